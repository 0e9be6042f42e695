"""Bytes to a signed URL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import httpx

from services.cli.failures import CliError
from services.cli.importing.retry import Busy
from services.cli.importing.source import Source
from services.cli.trust import Reached

__all__ = ["UrlRefused", "http_client", "put_bytes", "put_part", "refusal_of"]

_TIMEOUT = httpx.Timeout(120.0, connect=5.0)
_BUSY = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)

_AZURE_TAKEN = frozenset(
    {"BlobAlreadyExists", "UnauthorizedBlobOverwrite", "AuthorizationPermissionMismatch"}
)


class UrlRefused(Exception):
    """The URL has expired or was revoked: ask for a new one."""


def http_client(connections: int, reached: Reached) -> httpx.AsyncClient:
    """A client with connections that stay open. Proxies of the environment are
    for the web, not for the data plane of this machine; its authorities (SSL_CERT_FILE)
    are for the stores of a company as well. That of the workspace (--ca) is for its own
    host alone."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    own: dict[str, httpx.AsyncBaseTransport | None] = {}
    if reached.ca_file is not None:
        host = f"[{reached.host}]" if ":" in reached.host else reached.host
        own[f"https://{host}"] = httpx.AsyncHTTPTransport(
            verify=reached.context(), limits=limits, trust_env=False
        )
    authorities = httpx.create_ssl_context()
    return httpx.AsyncClient(
        limits=limits, timeout=_TIMEOUT, trust_env=False, verify=authorities, mounts=own
    )


async def put_bytes(http: httpx.AsyncClient, transfer: Any, source: Source) -> None:
    """The whole file. An object that is there already is left to the
    completion, which compares its checksum."""
    content = source.data if source.data is not None else source.chunks()
    await _put(http, transfer, content, source.size)


async def put_part(
    http: httpx.AsyncClient, transfer: Any, source: Source, first: int, length: int
) -> None:
    """Bytes first..first+length as one part."""
    await _put(http, transfer, source.chunks(first, length), length)


async def _put(
    http: httpx.AsyncClient, transfer: Any, content: bytes | AsyncIterator[bytes], size: int
) -> None:
    headers = {**transfer.headers, "Content-Length": str(size)}
    try:
        response = await http.request(
            transfer.method or "PUT", transfer.url, content=content, headers=headers
        )
    except httpx.LocalProtocolError:
        raise CliError("changed while it was sent; repeat the import") from None
    status = response.status_code
    if response.is_success or _is_there(response):
        return
    if status in _BUSY:
        raise Busy
    if status == HTTPStatus.FORBIDDEN:
        raise UrlRefused
    raise CliError(refusal_of(response))


def _is_there(response: httpx.Response) -> bool:
    """The key holds an object: 412 of S3 and of ours, a code of Azure's, whose URLs may
    create and not overwrite."""
    taken = response.status_code == HTTPStatus.PRECONDITION_FAILED
    return taken or response.headers.get("x-ms-error-code", "") in _AZURE_TAKEN


def refusal_of(response: httpx.Response) -> str:
    """What the store says, with its reason where it gives one. The body is read."""
    try:
        body = response.json()
        reasons = [str(d["reason"]) for d in body.get("details", []) if "reason" in d]
        return str(body["message"]) + (f" ({reasons[0]})" if reasons else "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"the store answered {response.status_code}"
