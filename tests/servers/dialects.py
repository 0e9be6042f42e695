"""How the services of AWS and Azure's Blob Storage say what went wrong, for `faulty`."""

from __future__ import annotations

import json
from email.message import Message
from enum import Enum
from typing import Final, Protocol, TypeAlias
from urllib.parse import parse_qs, urlsplit

__all__ = ["AWS", "BLOB", "Dialect", "Fault"]

Headers: TypeAlias = "Message[str, str]"
Refusal = tuple[int, list[tuple[str, str]], bytes]
"""Status, headers and body."""


class Fault(Enum):
    """What may go wrong with one request."""

    THROTTLED = "fewer requests, please; nothing done"
    BROKEN = "500 before anything was done"
    BROKEN_AFTER = "500 after the work was done"
    CUT = "the connection ends before anything was done"
    CUT_AFTER = "the connection ends after the work was done"
    SILENT_AFTER = "no answer for `Faulty.silence` seconds after the work was done"
    PARTIAL = "half of a batch is not answered"
    EXPIRED = "the session of the credentials has ended; nothing done"
    SKEWED = "the clock of the client is wrong; nothing done"


_AWS_CODES: Final = {  # status and codes: DynamoDB, S3
    Fault.THROTTLED: ((400, "ThrottlingException"), (503, "SlowDown")),
    Fault.BROKEN: ((500, "InternalServerError"), (500, "InternalError")),
    Fault.BROKEN_AFTER: ((500, "InternalServerError"), (500, "InternalError")),
    Fault.EXPIRED: ((400, "ExpiredTokenException"), (400, "ExpiredToken")),
    Fault.SKEWED: ((400, "RequestTimeTooSkewed"), (403, "RequestTimeTooSkewed")),
}
_BLOB_CODES: Final = {
    Fault.THROTTLED: (503, "ServerBusy"),
    Fault.BROKEN: (500, "InternalError"),
    Fault.BROKEN_AFTER: (500, "InternalError"),
}


class Dialect(Protocol):
    """One service's names for requests and failures."""

    def operation(self, method: str, path: str, headers: Headers) -> str:
        """What a plan calls the request."""

    def refusal(self, fault: Fault, path: str, headers: Headers) -> Refusal | None:
        """The answer, when the service gives one for this fault."""


class _Aws:
    """DynamoDB and S3, told apart by a header. Operations: DynamoDB's, or S3's method."""

    def operation(self, method: str, path: str, headers: Headers) -> str:
        return headers.get("X-Amz-Target", "").partition(".")[2] or method

    def refusal(self, fault: Fault, path: str, headers: Headers) -> Refusal | None:
        if fault not in _AWS_CODES:
            return None
        dynamodb = bool(headers.get("X-Amz-Target"))
        status, code = _AWS_CODES[fault][0 if dynamodb else 1]
        if dynamodb:
            kind = "application/x-amz-json-1.0"
            text = json.dumps({"__type": f"com.amazonaws.dynamodb#{code}", "message": "faulty"})
        else:
            kind = "application/xml"
            text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>-</Message></Error>"
        return status, [("Content-Type", kind)], text.encode()


class _Blob:
    """Blob Storage (Microsoft Learn, "Blob Storage error codes"). Operations: the method,
    and `comp` of the query, as "PUT block" or "POST userdelegationkey"."""

    def operation(self, method: str, path: str, headers: Headers) -> str:
        comp = parse_qs(urlsplit(path).query).get("comp", [""])[0]
        return f"{method} {comp}".strip()

    def refusal(self, fault: Fault, path: str, headers: Headers) -> Refusal | None:
        if fault in (Fault.EXPIRED, Fault.SKEWED):  # of a signed URL, or of a token
            signed = "sig" in parse_qs(urlsplit(path).query)
            status, code = (
                (403, "AuthenticationFailed") if signed else (401, "InvalidAuthenticationInfo")
            )
        elif fault in _BLOB_CODES:
            status, code = _BLOB_CODES[fault]
        else:
            return None
        text = (
            '\ufeff<?xml version="1.0" encoding="utf-8"?>'
            f"<Error><Code>{code}</Code><Message>-</Message></Error>"
        )
        found = [("Content-Type", "application/xml"), ("x-ms-error-code", code)]
        return status, [*found, ("x-ms-version", "2026-04-06")], text.encode()


AWS: Dialect = _Aws()
BLOB: Dialect = _Blob()
