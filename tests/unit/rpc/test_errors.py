from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st
from workspace.common.v1.error_reason_pb2 import ErrorReason

from services.model.errors import FieldViolation, Reason, WorkspaceError, invalid_field
from services.rpc.errors import (
    CODES,
    DETAILS_HEADER,
    error_info,
    peer_status,
    to_status,
)
from tests.unit.rpc.interceptor_harness import KINDS, VALID, Echo, detail, reason_of, status_of

PROTO = Path(__file__).parents[3] / "protos/workspace/common/v1/error_reason.proto"
SECRET = "hunter2 in /srv/secret.py"


@pytest.fixture(autouse=True, params=["socket", "local"])
def _transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Echo, "local", request.param == "local")


def documented() -> dict[str, str]:
    """Enum value name -> what its comment says after `Code:`."""
    codes: dict[str, str] = {}
    comment = ""
    for raw in PROTO.read_text().splitlines():
        line = raw.strip()
        if line.startswith("//"):
            comment += " " + line.removeprefix("//").strip()
        elif match := re.match(r"(ERROR_REASON_\w+) = \d+;", line):
            found = re.search(r"Code: ([^.]*)\.", comment)
            codes[match[1]] = found[1] if found else ""
            comment = ""
        else:
            comment = ""
    return codes


def test_the_table_is_what_the_contract_says() -> None:
    said = documented()
    assert set(said) == set(ErrorReason.keys())
    assert said.pop("ERROR_REASON_UNSPECIFIED") == ""
    for name, text in said.items():
        reason = ErrorReason.Value(name)
        first = re.match(r"[A-Z_]+", text)
        assert first is not None, name
        assert CODES[reason].name == first[0], name


def test_every_reason_has_a_row() -> None:
    assert set(CODES) == set(ErrorReason.values())


def test_details_of_a_bad_request() -> None:
    status = to_status(invalid_field("name", "must not be empty"), "r")
    assert (status.code, status.message) == (3, "name: must not be empty")
    assert detail(status, error_details_pb2.ErrorInfo).metadata == {"field": "name"}
    (violation,) = detail(status, error_details_pb2.BadRequest).field_violations
    assert (violation.field, violation.description) == ("name", "must not be empty")


def test_details_of_a_precondition_and_of_a_retry() -> None:
    held = WorkspaceError(
        Reason.ERROR_REASON_HELD, "held", metadata={"until": "2027", "resource": "documents/d"}
    )
    (failure,) = detail(to_status(held, "r"), error_details_pb2.PreconditionFailure).violations
    assert (failure.type, failure.subject) == ("ERROR_REASON_HELD", "documents/d")
    busy = WorkspaceError(Reason.ERROR_REASON_CONFLICTING_WRITE, "busy")
    assert detail(to_status(busy, "r"), error_details_pb2.RetryInfo).retry_delay.nanos > 0
    limit = WorkspaceError(Reason.ERROR_REASON_LIMIT_EXCEEDED, "slow down", retry_after=2.5)
    delay = detail(to_status(limit, "r"), error_details_pb2.RetryInfo).retry_delay
    assert delay.ToMilliseconds() == 2500


@pytest.mark.parametrize(
    "exc",
    [
        ValueError(SECRET),
        WorkspaceError(Reason.ERROR_REASON_INTERNAL, SECRET, metadata={"path": SECRET}),
        WorkspaceError(Reason.ERROR_REASON_UNSPECIFIED, SECRET),
        ExceptionGroup("two", [ValueError(SECRET), KeyError(SECRET)]),
    ],
)
def test_a_defect_shows_the_request_id_only(exc: Exception) -> None:
    status = to_status(exc, "req-1")
    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert detail(status, error_details_pb2.ErrorInfo).metadata == {"request_id": "req-1"}
    assert b"hunter2" not in status.SerializeToString()


def test_the_cause_inside_of_a_task_group_counts() -> None:
    group = ExceptionGroup("g", [ExceptionGroup("h", [invalid_field("a", "b")])])
    assert to_status(group, "r").code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


@given(
    st.text(),
    st.dictionaries(st.text(), st.text(), max_size=20),
    st.lists(st.tuples(st.text(max_size=400), st.text(max_size=400)), max_size=60),
)
def test_a_status_always_fits_into_the_trailers(
    text: str, metadata: dict[str, str], fields: list[tuple[str, str]]
) -> None:
    error = WorkspaceError(
        Reason.ERROR_REASON_INVALID_FIELD,
        text * 50,
        metadata=metadata,
        violations=[FieldViolation(*pair) for pair in fields],
    )
    status = to_status(error, "r")
    assert status.ByteSize() <= 4096 + 1024
    assert len(status.message.encode()) <= 1024


def test_many_violations_are_counted() -> None:
    error = WorkspaceError(
        Reason.ERROR_REASON_INVALID_FIELD,
        "bad",
        violations=[FieldViolation(f"items[{n}].name", "must not be empty") for n in range(1000)],
    )
    shown = detail(to_status(error, "r"), error_details_pb2.BadRequest).field_violations
    assert shown[-1].description == f"and {1000 - len(shown) + 1} more violations"


@pytest.mark.parametrize("kind", [*KINDS, "Writer"])
async def test_errors_of_every_kind_of_handler(kind: str) -> None:
    async def act(request: object, context: object) -> object:
        raise WorkspaceError(Reason.ERROR_REASON_ETAG_MISMATCH, "it changed")

    async with Echo(act).running() as echo:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo.call(kind)
    assert caught.value.code() is grpc.StatusCode.ABORTED
    assert caught.value.details() == "it changed"
    assert reason_of(caught.value) == "ETAG_MISMATCH"


@pytest.mark.case("Y03")
@pytest.mark.parametrize("kind", [*KINDS, "Writer"])
async def test_nothing_of_an_unexpected_exception_leaks(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def act(request: object, context: object) -> object:
        raise ValueError(SECRET)

    async with Echo(act).running() as echo:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo.call(kind)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert reason_of(caught.value) == "INTERNAL"
    assert "hunter2" not in f"{caught.value.details()}{caught.value.trailing_metadata()}"
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert SECRET in str(record.exc_info[1])
    assert vars(record)["request_id"] in str(caught.value.details())


@pytest.mark.parametrize("kind", ["UnaryUnary", "UnaryStream", "StreamStream"])
async def test_an_answer_of_the_wrong_type_is_a_defect_too(kind: str) -> None:
    async def act(request: object, context: object) -> object:
        return {"secret": SECRET}

    async with Echo(act).running() as echo:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo.call(kind)
    assert reason_of(caught.value) == "INTERNAL"


async def test_a_timeout_is_a_deadline() -> None:
    async def act(request: object, context: object) -> object:
        raise TimeoutError(SECRET)

    async with Echo(act).running() as echo:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await echo.call("UnaryUnary")
    assert reason_of(caught.value) == "DEADLINE_EXCEEDED"
    assert "hunter2" not in str(caught.value.details())


async def test_a_cancelled_call_is_cancelled_in_the_handler() -> None:
    entered, cancelled = asyncio.Event(), asyncio.Event()

    async def act(request: object, context: object) -> object:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with Echo(act).running() as echo:
        call = asyncio.create_task(echo.call("UnaryUnary"))
        await entered.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(cancelled.wait(), 20)


async def test_a_peers_error_of_ours_is_passed_on() -> None:
    async def refuse(request: object, context: object) -> object:
        raise WorkspaceError(
            Reason.ERROR_REASON_LAST_OWNER, "keep one owner", metadata={"resource": "accounts/a"}
        )

    async with Echo(refuse).running() as peer:

        async def forward(request: object, context: object) -> object:
            await peer.call("UnaryUnary")
            raise AssertionError("the peer refuses")

        async with Echo(forward).running() as echo:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await echo.call("UnaryUnary")
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert caught.value.details() == "keep one owner"
    info = detail(status_of(caught.value), error_details_pb2.ErrorInfo)
    assert info.metadata == {"resource": "accounts/a"}


async def test_a_peer_that_is_gone_is_unavailable() -> None:
    async with Echo().running() as gone:
        method = gone.channel.unary_unary("/t.Echo/NotThere")

        async def forward(request: object, context: object) -> object:
            return await method(b"", timeout=20)  # UNIMPLEMENTED, by gRPC and not by us

        async with Echo(forward).running() as echo:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await echo.call("UnaryUnary", VALID)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert reason_of(caught.value) == "BACKEND_UNAVAILABLE"
    assert "Method not found" not in str(caught.value.details())


def _peer_error(code: grpc.StatusCode, details: bytes) -> grpc.aio.AioRpcError:
    trailers = grpc.aio.Metadata((DETAILS_HEADER, details))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, details="x")


def test_a_peers_status_must_be_ours_and_consistent() -> None:
    ours = to_status(invalid_field("a", "b"), "r")
    good = _peer_error(grpc.StatusCode.INVALID_ARGUMENT, ours.SerializeToString())
    assert peer_status(good) == ours
    info = error_info(ours)
    assert info is not None
    assert info.reason == "ERROR_REASON_INVALID_FIELD"
    other = status_pb2.Status(code=3, message="m")
    other.details.add().Pack(error_details_pb2.ErrorInfo(reason="X", domain="example.com"))
    for code, raw in (
        (grpc.StatusCode.NOT_FOUND, ours.SerializeToString()),
        (grpc.StatusCode.INVALID_ARGUMENT, other.SerializeToString()),
        (grpc.StatusCode.INVALID_ARGUMENT, b"\xff\xff"),
    ):
        error = _peer_error(code, raw)
        assert peer_status(error) is None
        assert to_status(error, "r").code == grpc.StatusCode.UNAVAILABLE.value[0]
    late = grpc.aio.AioRpcError(grpc.StatusCode.DEADLINE_EXCEEDED, details="late")
    assert to_status(late, "r").code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
