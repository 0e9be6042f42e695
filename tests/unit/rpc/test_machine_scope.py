"""What the interceptor does with machine tokens, and with streams that go on."""

from __future__ import annotations

import time
from typing import Any

import grpc
import pytest

import services.rpc.authentication
from services.model.errors import Reason, WorkspaceError
from services.model.token_scopes import Needs, TokenScope
from services.rpc.context import Caller
from tests.unit.rpc.interceptor_harness import GOOD, VALID, Echo

BEARER = (("authorization", f"Bearer {GOOD}"),)


def machine(scope: TokenScope) -> Caller:
    return Caller("u_1", "machine", "k_1", scope=scope)


async def unary(echo: Echo, method: str) -> Any:
    codec = {"request_serializer": type(VALID).SerializeToString,
             "response_deserializer": type(VALID).FromString}
    return await echo.channel.unary_unary(f"/t.Echo/{method}", **codec)(VALID, metadata=BEARER)


async def stream(echo: Echo) -> list[Any]:
    codec = {"request_serializer": type(VALID).SerializeToString,
             "response_deserializer": type(VALID).FromString}
    call = echo.channel.unary_stream("/t.Echo/UnaryStream", **codec)(VALID, metadata=BEARER)
    return [message async for message in call]


async def code_of(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    code: grpc.StatusCode = caught.value.code()
    return code


async def test_what_no_row_names_never_reaches_its_handler() -> None:
    async with Echo().running() as echo:
        echo.gate.answer = machine(TokenScope())
        assert await code_of(unary(echo, "UnaryUnary")) is grpc.StatusCode.PERMISSION_DENIED
        assert await code_of(stream(echo)) is grpc.StatusCode.PERMISSION_DENIED
        assert echo.handled == 0


@pytest.mark.parametrize(
    ("needs", "scope", "passes"),
    [
        (Needs.DATA, TokenScope(project_ids=frozenset({"p_1"})), True),
        (Needs.WHOLE, TokenScope(project_ids=frozenset({"p_1"})), False),
        (Needs.WHOLE, TokenScope(), True),
        (Needs.NEVER, TokenScope(), False),
    ],
)
async def test_the_row_decides_before_the_handler(
    needs: Needs, scope: TokenScope, passes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.model.token_scopes.RPCS", {"/t.Echo/UnaryUnary": needs})
    async with Echo().running() as echo:
        echo.gate.answer = machine(scope)
        if passes:
            assert await unary(echo, "UnaryUnary") == VALID
        else:
            assert await code_of(unary(echo, "UnaryUnary")) is grpc.StatusCode.PERMISSION_DENIED
        assert echo.handled == passes


@pytest.mark.parametrize(
    ("scope", "error"),
    [(None, "refusal"), (TokenScope(), "refusal"), (TokenScope(), "error")],
)
async def test_a_stream_ends_for_whom_it_may_not_go_on(
    scope: TokenScope | None, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.rpc.authentication, "RECHECK_SECONDS", 0.0)
    monkeypatch.setattr("services.model.token_scopes.RPCS", {"/t.Echo/UnaryStream": Needs.DATA})
    revoked = WorkspaceError(Reason.ERROR_REASON_UNAUTHENTICATED, "revoked")

    async def act(request: Any, _: Any) -> Any:
        setattr(echo.gate, error, revoked)
        return request

    async with Echo(act=act).running() as echo:
        echo.gate.answer = Caller("u_1", "issuer", "subject", scope=scope)
        assert await code_of(stream(echo)) is grpc.StatusCode.UNAUTHENTICATED
        assert echo.handled == 1


@pytest.mark.parametrize("left", [-1, 3600])
async def test_a_stream_ends_with_the_token_of_its_person(
    left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.rpc.authentication, "RECHECK_SECONDS", 0.0)
    async with Echo().running() as echo:
        expires_at = int(time.time()) + left
        echo.gate.answer = Caller("u_1", "issuer", "subject", expires_at=expires_at)
        if left > 0:
            assert await stream(echo) == [VALID, VALID]
        else:
            assert await code_of(stream(echo)) is grpc.StatusCode.UNAUTHENTICATED
            assert echo.handled == 1


async def test_a_stream_goes_on_for_whom_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services.rpc.authentication, "RECHECK_SECONDS", 0.0)
    async with Echo().running() as echo:
        assert await stream(echo) == [VALID, VALID]
