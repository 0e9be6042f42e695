"""The one table from reasons to status codes, and the only place that answers errors.

Rich statuses follow AIP-193: `ErrorInfo` always, `BadRequest`, `RetryInfo` and
`PreconditionFailure` where they fit. An unexpected exception reaches the client
as INTERNAL with the request id and nothing of its text.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, ClassVar, NoReturn, cast

import grpc
import grpc.aio
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from workspace.common.v1.error_reason_pb2 import ErrorReason

from services.model.errors import Reason, WorkspaceError
from services.rpc.request_id import REQUEST_ID_HEADER, served_call
from services.rpc.wrap import CallInterceptor, Context, Handler, Stream, Unary, wrap_handler

__all__ = [
    "CODES",
    "DETAILS_HEADER",
    "DOMAIN",
    "ErrorInterceptor",
    "abort",
    "code_of",
    "error_info",
    "peer_status",
    "to_status",
]

DOMAIN = "workspace"
DETAILS_HEADER = "grpc-status-details-bin"

_C = grpc.StatusCode

CODES: Mapping[ErrorReason.ValueType, grpc.StatusCode] = {
    Reason.ERROR_REASON_UNSPECIFIED: _C.INTERNAL,  # never sent: becomes REASON_INTERNAL
    Reason.ERROR_REASON_INVALID_FIELD: _C.INVALID_ARGUMENT,
    Reason.ERROR_REASON_INVALID_MASK: _C.INVALID_ARGUMENT,
    Reason.ERROR_REASON_INVALID_PAGE_TOKEN: _C.INVALID_ARGUMENT,
    Reason.ERROR_REASON_REQUEST_ID_REUSED: _C.INVALID_ARGUMENT,
    Reason.ERROR_REASON_UNAUTHENTICATED: _C.UNAUTHENTICATED,
    Reason.ERROR_REASON_PERMISSION_DENIED: _C.PERMISSION_DENIED,
    Reason.ERROR_REASON_USER_DISABLED: _C.PERMISSION_DENIED,
    Reason.ERROR_REASON_NOT_FOUND: _C.NOT_FOUND,
    Reason.ERROR_REASON_ALREADY_EXISTS: _C.ALREADY_EXISTS,
    Reason.ERROR_REASON_ETAG_MISMATCH: _C.ABORTED,
    Reason.ERROR_REASON_CONFLICTING_WRITE: _C.ABORTED,
    Reason.ERROR_REASON_LAST_OWNER: _C.FAILED_PRECONDITION,
    Reason.ERROR_REASON_INVALID_STATE: _C.FAILED_PRECONDITION,
    Reason.ERROR_REASON_EXCEEDS_OWN_RIGHTS: _C.PERMISSION_DENIED,
    Reason.ERROR_REASON_CLASSIFICATION_LOWERED: _C.FAILED_PRECONDITION,
    Reason.ERROR_REASON_UPLOAD_FINISHED: _C.FAILED_PRECONDITION,
    Reason.ERROR_REASON_UPLOAD_INCOMPLETE: _C.FAILED_PRECONDITION,
    Reason.ERROR_REASON_CHECKSUM_MISMATCH: _C.FAILED_PRECONDITION,
    Reason.ERROR_REASON_FILE_NOT_AVAILABLE: _C.FAILED_PRECONDITION,
    Reason.ERROR_REASON_FOREIGN_CONSISTENCY_TOKEN: _C.FAILED_PRECONDITION,
    Reason.ERROR_REASON_CURSOR_LOST: _C.OUT_OF_RANGE,
    Reason.ERROR_REASON_LIMIT_EXCEEDED: _C.RESOURCE_EXHAUSTED,
    Reason.ERROR_REASON_STORAGE_FULL: _C.RESOURCE_EXHAUSTED,
    Reason.ERROR_REASON_BACKEND_UNAVAILABLE: _C.UNAVAILABLE,
    Reason.ERROR_REASON_DEADLINE_EXCEEDED: _C.DEADLINE_EXCEEDED,
    Reason.ERROR_REASON_INTERNAL: _C.INTERNAL,
    Reason.ERROR_REASON_NOT_SERVED: _C.UNIMPLEMENTED,
    Reason.ERROR_REASON_QUOTA_EXCEEDED: _C.RESOURCE_EXHAUSTED,
    Reason.ERROR_REASON_INVITATION_VOID: _C.FAILED_PRECONDITION,
    Reason.ERROR_REASON_HELD: _C.FAILED_PRECONDITION,
    Reason.ERROR_REASON_SECRET_REFUSED: _C.INVALID_ARGUMENT,
    Reason.ERROR_REASON_SURFACE_CHANGED: _C.FAILED_PRECONDITION,
    Reason.ERROR_REASON_MASS_CHANGE: _C.FAILED_PRECONDITION,
    Reason.ERROR_REASON_RUN_ACTIVE: _C.ABORTED,
    Reason.ERROR_REASON_OBJECT_CORRUPT: _C.DATA_LOSS,
}

_DEFAULT_RETRY = {
    Reason.ERROR_REASON_CONFLICTING_WRITE: 0.1,
    Reason.ERROR_REASON_BACKEND_UNAVAILABLE: 1.0,
}
_HIDDEN = frozenset({Reason.ERROR_REASON_UNSPECIFIED, Reason.ERROR_REASON_INTERNAL})

# A status travels in the trailers, twice in part (text, percent-encoded, and
# details, base64). Clients refuse trailers above 8 KiB by default.
_MAX_TEXT = 1024
_MAX_VALUE = 256
_MAX_STATUS = 4096

_NO_RETRY = (("grpc-retry-pushback-ms", "-1"),)
_CODE_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}
_log = logging.getLogger("workspace.rpc")


def code_of(error: WorkspaceError) -> grpc.StatusCode:
    """The status code of a domain error."""
    return CODES[error.reason]


def to_status(exc: BaseException, request_id: str) -> status_pb2.Status:
    """The `google.rpc.Status` that a caller may see of `exc`.

    WorkspaceError: its own text and details. A peer's error that is ours is
    passed on unchanged; another is UNAVAILABLE. TimeoutError: DEADLINE_EXCEEDED.
    Everything else: INTERNAL with the request id.
    """
    exc = _unwrap(exc)
    if isinstance(exc, grpc.aio.AioRpcError):
        passed = peer_status(exc)
        if passed is not None:
            return passed
    return _build(_as_workspace_error(exc, request_id))


def _unwrap(exc: BaseException) -> BaseException:
    """The one cause inside of the group that a TaskGroup makes of it."""
    while isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) == 1:
        exc = exc.exceptions[0]
    return exc


def _as_workspace_error(exc: BaseException, request_id: str) -> WorkspaceError:
    if isinstance(exc, WorkspaceError) and exc.reason not in _HIDDEN:
        return exc
    deadline = isinstance(exc, grpc.aio.AioRpcError) and exc.code() is _C.DEADLINE_EXCEEDED
    if deadline or isinstance(exc, TimeoutError):
        return WorkspaceError(
            Reason.ERROR_REASON_DEADLINE_EXCEEDED, "The deadline passed before the answer."
        )
    if isinstance(exc, grpc.aio.AioRpcError):
        return WorkspaceError(
            Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
            "A service that is needed does not answer; repeat the call.",
            metadata={"backend": "peer"},
        )
    return WorkspaceError(
        Reason.ERROR_REASON_INTERNAL,
        f"Internal error; give the request id {request_id} to the operator.",
        metadata={"request_id": request_id},
    )


def _clip(text: str, limit: int) -> str:
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")


def _build(error: WorkspaceError) -> status_pb2.Status:
    code = code_of(error)
    text = _clip(error.message, _MAX_TEXT)
    status = status_pb2.Status(code=code.value[0], message=text)
    _add(status, _info(error))
    retry = error.retry_after
    if retry is None:
        retry = _DEFAULT_RETRY.get(error.reason)
    if retry is not None:
        info = error_details_pb2.RetryInfo()
        info.retry_delay.FromNanoseconds(int(max(retry, 0.0) * 1e9))
        _add(status, info)
    if code is _C.FAILED_PRECONDITION:
        _add(status, _precondition(error, text))
    if error.violations:
        _add(status, _bad_request(error, _MAX_STATUS - status.ByteSize()))
    return status


def _add(status: status_pb2.Status, detail: Message) -> None:
    status.details.add().Pack(detail)


def _info(error: WorkspaceError) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo(reason=ErrorReason.Name(error.reason), domain=DOMAIN)
    for key, value in list(error.metadata.items())[:8]:
        info.metadata[_clip(key, 64)] = _clip(value, _MAX_VALUE)
    return info


def _precondition(error: WorkspaceError, text: str) -> error_details_pb2.PreconditionFailure:
    subject = error.metadata.get("resource") or next(iter(error.metadata.values()), "")
    failure = error_details_pb2.PreconditionFailure()
    failure.violations.add(
        type=ErrorReason.Name(error.reason),
        subject=_clip(subject, _MAX_VALUE),
        description=_clip(text, _MAX_VALUE),
    )
    return failure


def _bad_request(error: WorkspaceError, budget: int) -> error_details_pb2.BadRequest:
    """As many violations as fit into `budget` bytes; the last one counts the rest."""
    bad = error_details_pb2.BadRequest()
    for index, violation in enumerate(error.violations):
        entry = bad.field_violations.add(
            field=_clip(violation.field, _MAX_VALUE),
            description=_clip(violation.description, _MAX_VALUE),
        )
        if index and bad.ByteSize() > budget - 128:
            entry.field = ""
            entry.description = f"and {len(error.violations) - index} more violations"
            break
    return bad


def error_info(status: status_pb2.Status) -> error_details_pb2.ErrorInfo | None:
    """The `ErrorInfo` of this product in a status, or None."""
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if (
            detail.Is(cast("Descriptor", info.DESCRIPTOR))
            and detail.Unpack(info)
            and info.domain == DOMAIN
        ):
            return info
    return None


def peer_status(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    """The status inside a peer's error, when it is one of ours and consistent."""
    for key, value in error.trailing_metadata() or ():
        if key != DETAILS_HEADER or not isinstance(value, bytes):
            continue
        try:
            status = status_pb2.Status.FromString(value)
            ours = error_info(status) is not None
        except DecodeError:
            return None
        if ours and status.code == error.code().value[0] and status.code:
            return status
    return None


class _AbortStatus(grpc.Status):
    def __init__(
        self, status: status_pb2.Status, request_id: str, *, repeated: bool = False
    ) -> None:
        self.code = _CODE_BY_NUMBER[status.code]
        self.details = status.message
        self.trailing_metadata = (
            (REQUEST_ID_HEADER, request_id),
            (DETAILS_HEADER, status.SerializeToString()),
            *(_NO_RETRY if repeated else ()),
        )


def _was_repeated(exc: BaseException, context: Context) -> bool:
    """Whether a peer failed, whom our channel asked several times, and the caller is a
    peer too (its certificate says so): were it to repeat that, and each one before it,
    four attempts would be sixteen, sixty-four... (gRFC A6, "pushback")."""
    if "x509_pem_cert" not in context.auth_context():
        return False
    cause: BaseException | None = _unwrap(exc)
    while cause is not None and not isinstance(cause, grpc.aio.AioRpcError):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


async def abort(error: WorkspaceError, request_id: str, context: Context) -> NoReturn:
    """End a call with the rich status of `error`, where no `ErrorInterceptor` does."""
    await context.abort_with_status(_AbortStatus(to_status(error, request_id), request_id))
    raise AssertionError("abort_with_status returned")


async def _fail(exc: Exception, method: str, context: Context) -> NoReturn:
    """Log what is a defect, then end the call with the rich status."""
    call = served_call()
    status = to_status(exc, call.request_id)
    call.code = _CODE_BY_NUMBER[status.code]
    info = error_info(status)
    call.reason = info.reason if info else ""
    extra = {"request_id": call.request_id, "method": method}
    if call.reason == "ERROR_REASON_INTERNAL":
        _log.error("unhandled exception", exc_info=exc, extra=extra)
    elif isinstance(exc, grpc.aio.AioRpcError) and peer_status(exc) is None:
        _log.warning("a peer failed: %s %s", exc.code().name, exc.details(), extra=extra)
    repeated = call.code is _C.UNAVAILABLE and _was_repeated(exc, context)
    await context.abort_with_status(_AbortStatus(status, call.request_id, repeated=repeated))
    raise AssertionError("abort_with_status returned")


def _passthrough(serializer: Callable[[Any], bytes] | None) -> Callable[[Any], bytes]:
    """Messages were serialised inside the try; those written through the
    context (`context.write`) still come as messages."""

    def serialize(message: Any) -> bytes:
        if serializer is None or isinstance(message, bytes):
            return message  # type: ignore[no-any-return]
        return serializer(message)

    return serialize


class ErrorInterceptor(CallInterceptor):
    """Turns every exception of a handler into a rich status.

    The response is serialised here too, so that a handler that answers the
    wrong type is a defect like any other and not UNKNOWN with its text.
    """

    name: ClassVar[str] = "errors"

    def wrap(self, method: str, handler: Handler) -> Handler:
        """Iterate streams inside the try, whatever side they stream on."""
        serialize = _passthrough(handler.response_serializer)

        def unary(inner: Unary) -> Unary:
            async def serve(request: Any, context: Context) -> Any:
                try:
                    return serialize(await inner(request, context))
                except grpc.aio.BaseError:  # the status is sent already
                    raise
                except Exception as exc:
                    await _fail(exc, method, context)

            return serve

        def stream(inner: Stream) -> Stream:
            async def serve(request: Any, context: Context) -> AsyncGenerator[Any, None]:
                try:
                    async with aclosing(inner(request, context)) as items:
                        async for item in items:
                            yield serialize(item)
                except grpc.aio.BaseError:
                    raise
                except Exception as exc:
                    await _fail(exc, method, context)

            return serve

        return wrap_handler(handler, unary, stream, response_serializer=serialize)
