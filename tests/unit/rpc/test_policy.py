from __future__ import annotations

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2

from services.rpc.policy import (
    KERNEL_POLICY,
    PUBLIC,
    USER,
    Kind,
    Rule,
    merge_policies,
    service,
    user_or_service,
)
from tests.unit.rpc.interceptor_harness import SIGNED_IN, Echo, reason_of


@pytest.fixture(autouse=True, params=["socket", "local"])
def _transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Echo, "local", request.param == "local")


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (PUBLIC, [True, True, True, True]),
        (USER, [False, True, False, True]),
        (service("a"), [False, False, True, True]),
        (service("b"), [False, False, False, False]),
        (user_or_service("a"), [False, True, True, True]),
        (user_or_service("b"), [False, True, False, True]),
    ],
)
def test_the_truth_table(rule: Rule, expected: list[bool]) -> None:
    cases = [(False, ""), (True, ""), (False, "a"), (True, "a")]
    assert [rule.allows(has_user=user, peer=peer) for user, peer in cases] == expected


@pytest.mark.parametrize(
    "make",
    [
        service,
        user_or_service,
        lambda: service(""),
        lambda: Rule(Kind.USER, frozenset({"a"})),
    ],
)
def test_a_rule_that_says_nothing_is_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(ValueError):
        make()


@pytest.mark.parametrize("method", ["NoRow", "NoRowStream"])
async def test_a_method_without_a_row_cannot_be_called(method: str) -> None:
    async with Echo().running() as echo:
        for metadata in ((), SIGNED_IN):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await echo.call(method, metadata=metadata)
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
            assert reason_of(caught.value) == "PERMISSION_DENIED"
    assert (echo.handled, echo.gate.seen) == (0, [])


async def test_a_user_never_reaches_an_internal_method() -> None:
    async with Echo().running() as echo:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo.call("Internal")
        assert reason_of(caught.value) == "PERMISSION_DENIED"
        await echo.call("Either")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo.call("Either", metadata=())
        assert reason_of(caught.value) == "UNAUTHENTICATED"
    assert echo.handled == 1


@pytest.mark.parametrize("near", ["/t.Echo/Open ", "/t.echo/Open", "t.Echo/Open", "/t.Echo/*"])
async def test_rows_match_exactly(near: str) -> None:
    async with Echo(policy={near: PUBLIC}).running() as echo:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo.call("Open")
    assert reason_of(caught.value) == "PERMISSION_DENIED"
    assert echo.handled == 0


def test_tables_merge_without_a_word_twice() -> None:
    merged = merge_policies(KERNEL_POLICY, {"/t.Echo/Open": USER})
    assert merged["/t.Echo/Open"] == USER
    with pytest.raises(ValueError, match="two policy rows"):
        merge_policies(merged, {"/t.Echo/Open": PUBLIC})


def test_the_kernel_rows_are_health_and_reflection() -> None:
    health = health_pb2.DESCRIPTOR.services_by_name["Health"]
    rows = {f"/{health.full_name}/{method.name}" for method in health.methods}
    assert rows <= set(KERNEL_POLICY)
    rest = set(KERNEL_POLICY) - rows
    assert all(name.startswith("/grpc.reflection.") for name in rest)
    assert set(KERNEL_POLICY.values()) == {PUBLIC}
