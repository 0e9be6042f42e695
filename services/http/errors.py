"""Failures over HTTP: `google.rpc.Status` as JSON, and the status code table.

The HTTP codes are those of the comments in google/rpc/code.proto. Where HTTP
itself has a sharper word (404 for a path, 405, 413, 415, 431) the answer uses
it and the body keeps the code of its reason.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, cast

import grpc
import grpc.aio
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor
from google.rpc import error_details_pb2, status_pb2
from starlette.responses import Response

from services.model.errors import Reason, WorkspaceError, invalid_field
from services.rpc.errors import peer_status, to_status

__all__ = [
    "HTTP_STATUS",
    "HttpError",
    "bad_request",
    "error_response",
    "http_status",
    "not_served",
    "seen_status",
    "status_object",
]

_C = grpc.StatusCode

HTTP_STATUS: Mapping[grpc.StatusCode, int] = {
    _C.OK: 200,
    _C.CANCELLED: 499,
    _C.UNKNOWN: 500,
    _C.INVALID_ARGUMENT: 400,
    _C.DEADLINE_EXCEEDED: 504,
    _C.NOT_FOUND: 404,
    _C.ALREADY_EXISTS: 409,
    _C.PERMISSION_DENIED: 403,
    _C.UNAUTHENTICATED: 401,
    _C.RESOURCE_EXHAUSTED: 429,
    _C.FAILED_PRECONDITION: 400,
    _C.ABORTED: 409,
    _C.OUT_OF_RANGE: 400,
    _C.UNIMPLEMENTED: 501,
    _C.INTERNAL: 500,
    _C.UNAVAILABLE: 503,
    _C.DATA_LOSS: 500,
}

_BY_NUMBER = {code.value[0]: status for code, status in HTTP_STATUS.items()}


class HttpError(Exception):
    """A refusal of the gateway itself. `status` None: the table's code of the
    reason. `headers` are added to the answer (`Allow`, `Connection`)."""

    def __init__(
        self,
        error: WorkspaceError,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.status = status
        self.headers = dict(headers or {})


def bad_request(field: str, description: str, *, status: int = HTTPStatus.BAD_REQUEST) -> HttpError:
    """400 (or 415) with ERROR_REASON_INVALID_FIELD that names the field and the remedy."""
    return HttpError(invalid_field(field, description), status=status)


def not_served(message: str, *, status: int, allow: Iterable[str] = ()) -> HttpError:
    """404 or 405. The code is UNIMPLEMENTED, as gRPC reads a 404 of HTTP."""
    methods = ", ".join(sorted(set(allow)))
    return HttpError(
        WorkspaceError(Reason.ERROR_REASON_NOT_SERVED, message),
        status=status,
        headers={"Allow": methods} if methods else {},
    )


def http_status(code: int) -> int:
    """HTTP status of a gRPC status number; 500 for numbers that do not exist."""
    return _BY_NUMBER.get(code, 500)


def seen_status(exc: BaseException, request_id: str) -> status_pb2.Status:
    """What a caller may see of any failure.

    A peer's error that carries our `ErrorInfo` passes unchanged. Others are
    told from their code alone: their text may name addresses.
    """
    if isinstance(exc, HttpError):
        return to_status(exc.error, request_id)
    if isinstance(exc, grpc.aio.AioRpcError) and peer_status(exc) is None:
        return to_status(_foreign(exc), request_id)
    return to_status(exc, request_id)


def _foreign(exc: grpc.aio.AioRpcError) -> BaseException:
    """Errors that gRPC made itself, before a handler was reached."""
    if exc.code() is _C.UNIMPLEMENTED:
        return WorkspaceError(
            Reason.ERROR_REASON_NOT_SERVED, "This call is not served by this deployment."
        )
    if exc.code() is _C.RESOURCE_EXHAUSTED:
        return WorkspaceError(
            Reason.ERROR_REASON_LIMIT_EXCEEDED,
            "The message is too large or the server is busy; send less, or repeat later.",
        )
    if exc.code() in {_C.INTERNAL, _C.UNKNOWN, _C.DATA_LOSS}:
        return RuntimeError("a peer failed without a status of ours")
    return exc


def status_object(status: status_pb2.Status) -> dict[str, Any]:
    """The JSON object of a status: snake_case members, details with `@type`.

    Details of types this process does not know are left out.
    """
    shown = status_pb2.Status(code=status.code, message=status.message)
    for detail in status.details:
        probe = status_pb2.Status(details=[detail])
        try:
            json_format.MessageToDict(probe)
        except (TypeError, ValueError, json_format.Error):
            continue
        shown.details.append(detail)
    return json_format.MessageToDict(shown, preserving_proto_field_name=True)


def error_response(exc: BaseException, request_id: str) -> Response:
    """The HTTP answer for any failure."""
    status = seen_status(exc, request_id)
    own = exc.status if isinstance(exc, HttpError) else None
    code = own or http_status(status.code)
    headers = dict(exc.headers) if isinstance(exc, HttpError) else {}
    retry = _retry_seconds(status)
    if retry is not None:
        headers["Retry-After"] = str(retry)
    if code == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    body = json.dumps(status_object(status), ensure_ascii=False).encode("utf-8", "replace")
    return Response(body, code, headers, media_type="application/json")


def _retry_seconds(status: status_pb2.Status) -> int | None:
    """Whole seconds, at least 1: HTTP knows no fractions."""
    info = error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Is(cast("Descriptor", info.DESCRIPTOR)) and detail.Unpack(info):
            return max(1, math.ceil(info.retry_delay.ToTimedelta().total_seconds()))
    return None
