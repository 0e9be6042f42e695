"""Answers of the data plane other than success: google.rpc.Status as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus

from starlette.responses import Response

from services.model.errors import Reason
from services.objects.port import (
    ObjectExists,
    ObjectMissing,
    StoreFull,
    StoreUnavailable,
    WrongBytes,
)

__all__ = [
    "FIXED_HEADERS",
    "RefusedError",
    "bad_request",
    "driver_errors",
    "forbidden",
    "overloaded",
    "range_behind_end",
    "too_large",
    "too_slow",
    "unavailable",
    "wrong_header",
]

FIXED_HEADERS: Mapping[str, str] = {
    "Cache-Control": "private, no-store",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

# google.rpc.Code of each HTTP status that is sent.
_CODES = {
    HTTPStatus.BAD_REQUEST: 3,
    HTTPStatus.FORBIDDEN: 7,
    HTTPStatus.NOT_FOUND: 5,
    HTTPStatus.REQUEST_TIMEOUT: 4,
    HTTPStatus.LENGTH_REQUIRED: 3,
    HTTPStatus.PRECONDITION_FAILED: 9,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: 3,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: 3,
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: 11,
    HTTPStatus.TOO_MANY_REQUESTS: 8,
    HTTPStatus.INTERNAL_SERVER_ERROR: 15,
    HTTPStatus.SERVICE_UNAVAILABLE: 14,
    HTTPStatus.INSUFFICIENT_STORAGE: 8,
}


class RefusedError(Exception):
    """HTTP status, reason of the contract, text, and extra headers."""

    def __init__(
        self,
        status: HTTPStatus,
        reason: Reason.ValueType,
        message: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self._status = status
        self._reason = reason
        self._message = message
        self._headers = dict(headers or {})

    def response(self, *, close: bool) -> Response:
        """`close` where an unread body may follow that must not be taken for
        the next request."""
        detail = {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": Reason.Name(self._reason),
            "domain": "workspace",
            "metadata": {},
        }
        body = {"code": _CODES[self._status], "message": self._message, "details": [detail]}
        headers = {**FIXED_HEADERS, **self._headers}
        if close:
            headers["Connection"] = "close"
        return Response(
            json.dumps(body), self._status, headers=headers, media_type="application/json"
        )


def forbidden() -> RefusedError:
    """The one answer for every URL that does not allow the call."""
    return RefusedError(
        HTTPStatus.FORBIDDEN,
        Reason.ERROR_REASON_PERMISSION_DENIED,
        "The URL does not allow this call. Ask for a new one.",
    )


def wrong_header(name: str, value: str) -> RefusedError:
    """A valid URL, but a header that it binds is missing or another one. The
    value is one that the holder of the URL announced, not a secret."""
    return RefusedError(
        HTTPStatus.FORBIDDEN,
        Reason.ERROR_REASON_PERMISSION_DENIED,
        f"The URL was signed for another {name}. Send exactly one, '{name}: {value}'.",
    )


def bad_request(message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> RefusedError:
    """A request that breaks a rule; the text names the remedy."""
    return RefusedError(status, Reason.ERROR_REASON_INVALID_FIELD, message)


def too_large() -> RefusedError:
    """More bytes than the URL was signed for."""
    return RefusedError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        Reason.ERROR_REASON_INVALID_FIELD,
        "The body is longer than the length the URL was signed for.",
    )


def too_slow() -> RefusedError:
    """The body did not arrive within its time."""
    return RefusedError(
        HTTPStatus.REQUEST_TIMEOUT,
        Reason.ERROR_REASON_DEADLINE_EXCEEDED,
        "The body arrived too slowly; nothing was kept. Use a multipart upload.",
    )


def overloaded() -> RefusedError:
    """Too many transfers at a time."""
    return RefusedError(
        HTTPStatus.TOO_MANY_REQUESTS,
        Reason.ERROR_REASON_LIMIT_EXCEEDED,
        "Too many transfers at a time. Repeat the call later.",
        {"Retry-After": "1"},
    )


def unavailable() -> RefusedError:
    """The store, or the check of revocation, does not answer."""
    return RefusedError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
        "The object store does not answer. Repeat the call later.",
        {"Retry-After": "1"},
    )


def range_behind_end(size: int) -> RefusedError:
    """416, with the size in bytes."""
    return RefusedError(
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        Reason.ERROR_REASON_INVALID_FIELD,
        "Range: begins behind the end of the object.",
        {"Content-Range": f"bytes */{size}"},
    )


@contextmanager
def driver_errors(*, upload: bool) -> Iterator[None]:
    """Turn the driver's exceptions into answers. Wrong bytes are the client's
    mistake in an upload and the store's damage in a download."""
    try:
        yield
    except ObjectMissing:
        reason = Reason.ERROR_REASON_NOT_FOUND
        raise RefusedError(HTTPStatus.NOT_FOUND, reason, "There is no such object.") from None
    except ObjectExists:
        reason = Reason.ERROR_REASON_CHECKSUM_MISMATCH
        text = "The object is there already; an upload URL works once."
        raise RefusedError(HTTPStatus.PRECONDITION_FAILED, reason, text) from None
    except WrongBytes:
        reason, status = Reason.ERROR_REASON_OBJECT_CORRUPT, HTTPStatus.INTERNAL_SERVER_ERROR
        if upload:
            reason, status = Reason.ERROR_REASON_CHECKSUM_MISMATCH, HTTPStatus.BAD_REQUEST
        text = "The bytes do not have the length and SHA-256 they should have."
        raise RefusedError(status, reason, text) from None
    except StoreFull:
        reason = Reason.ERROR_REASON_STORAGE_FULL
        text = "The object store has no space left; nothing was kept."
        raise RefusedError(HTTPStatus.INSUFFICIENT_STORAGE, reason, text) from None
    except StoreUnavailable:
        raise unavailable() from None
