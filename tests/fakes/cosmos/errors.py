"""Refusals with the status, the substatus and the body of the service (Microsoft Learn,
"HTTP status codes for Azure Cosmos DB")."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

__all__ = ["Answer", "Refused", "bad_request", "not_found"]

_CODES = {
    304: "NotModified", 400: "BadRequest", 401: "Unauthorized", 403: "Forbidden",
    404: "NotFound", 405: "MethodNotAllowed", 408: "RequestTimeout", 409: "Conflict",
    410: "Gone", 412: "PreconditionFailed", 413: "RequestEntityTooLarge",
    424: "FailedDependency", 429: "429", 449: "RetryWith", 500: "InternalServerError",
    503: "ServiceUnavailable",
}  # fmt: skip


@dataclass(slots=True)
class Answer:
    """What the client gets."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Refused(Exception):
    """The service refuses the request; nothing was done."""

    def __init__(
        self, status: int, message: str, *, sub: int = 0, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.sub = status, message, sub
        self.headers = headers or {}

    def answer(self) -> Answer:
        if self.status == 304:
            return Answer(304, b"", dict(self.headers))
        body = {"code": _CODES[self.status], "message": self.message}
        headers = {**self.headers, "x-ms-substatus": str(self.sub)}
        return Answer(self.status, json.dumps(body).encode(), headers)


def bad_request(message: str, sub: int = 0) -> Refused:
    return Refused(400, message, sub=sub)


def not_found(what: str, sub: int = 0) -> Refused:
    """404; `sub` 1003 when what contains it is missing."""
    return Refused(404, f"Entity with the specified id does not exist: {what}", sub=sub)
