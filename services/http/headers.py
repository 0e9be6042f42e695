"""What of a request's header fields reaches a service: an allow-list of four."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus

from services.http.errors import HttpError, bad_request
from services.model.errors import Reason, WorkspaceError
from services.rpc.deadline import DeadlineLimits
from services.rpc.headers import AUTHORIZATION, bearer_in
from services.rpc.rates import CLIENT_HEADER

__all__ = ["RawHeaders", "RequestHeaders", "read_headers"]

RawHeaders = Iterable[tuple[bytes, bytes]]

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?", re.ASCII)
_ETAG = re.compile(r'"[\x21\x23-\x7e]{1,510}"')
_MAX_AUTHORIZATION = 24 * 1024  # what is much larger than any token is said to be so


@dataclass(frozen=True, slots=True)
class RequestHeaders:
    """`timeout` in seconds; `if_match` is an etag with its quotes, '' for none."""

    metadata: tuple[tuple[str, str], ...] = field(repr=False)
    timeout: float
    if_match: str


def read_headers(
    headers: RawHeaders,
    *,
    request_id: str,
    streams: bool,
    deadlines: DeadlineLimits,
    client: str = "",
    public: bool = False,
) -> RequestHeaders:
    """`authorization`, `x-request-id`, `traceparent` and the deadline; nothing else
    is forwarded, whatever it is called; but for the address of the `client` as the
    connection says it. A `public` method asks for no credentials: none are looked at,
    as over gRPC.

    Raises HttpError 400 naming the field, 431; UNAUTHENTICATED as `bearer_in`.
    """
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    metadata = [("x-request-id", request_id)]
    if client:
        metadata.append((CLIENT_HEADER, client))
    bearer = "" if public else _bearer(found.get(AUTHORIZATION, []))
    if bearer:
        metadata.append((AUTHORIZATION, f"Bearer {bearer}"))
    parents = found.get("traceparent", [])
    if len(parents) == 1 and _TRACEPARENT.fullmatch(parents[0]):
        metadata.append(("traceparent", parents[0]))
    return RequestHeaders(
        metadata=tuple(metadata),
        timeout=_timeout(found.get("x-timeout-seconds", []), streams, deadlines),
        if_match=_if_match(found.get("if-match", [])),
    )


def _bearer(values: list[str]) -> str:
    if len(values) == 1 and len(values[0]) > _MAX_AUTHORIZATION:
        raise HttpError(
            WorkspaceError(
                Reason.ERROR_REASON_LIMIT_EXCEEDED,
                f"The Authorization header is larger than {_MAX_AUTHORIZATION} bytes.",
                metadata={"limit": "authorization_bytes", "maximum": str(_MAX_AUTHORIZATION)},
            ),
            status=HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        )
    return bearer_in(values)


def _timeout(values: list[str], streams: bool, deadlines: DeadlineLimits) -> float:
    maximum = deadlines.max_stream if streams else deadlines.max_unary
    if not values:
        return maximum if streams else deadlines.default_unary
    if len(values) > 1 or not _SECONDS.fullmatch(values[0]) or float(values[0]) <= 0:
        raise bad_request("x-timeout-seconds", "must be one positive number of seconds")
    return min(float(values[0]), maximum)


def _if_match(values: list[str]) -> str:
    """`*` asks for nothing more than that the record exists, as every call does."""
    if not values or values == ["*"]:
        return ""
    etag = values[0].strip()
    if len(values) > 1 or not _ETAG.fullmatch(etag):
        raise bad_request("if-match", 'must be one strong etag in quotes, such as "abc"')
    return etag
