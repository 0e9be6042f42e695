"""Header fields that every answer of an HTTP port has, whoever made it.

A browser that is led to an address of ours runs nothing, frames nothing, guesses no type
and tells nobody where it was; where TLS is on it comes by TLS from then on. (OWASP Secure
Headers; RFC 6797 for the last.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Scope

__all__ = ["SAFE_FIELDS", "harden", "raw_answer"]

SAFE_FIELDS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_TLS_ALWAYS: Final = "max-age=31536000"
"""A year, for this very host: others of its domain are not ours."""


def harden(message: Message, scope: Scope) -> None:
    """Add the fields to the start of an answer; what the application set itself (the
    sandbox of the data plane) stays."""
    headers = MutableHeaders(scope=message)
    for name, value in SAFE_FIELDS.items():
        headers.setdefault(name, value)
    if scope["scheme"] == "https" and not _is_localhost(scope):
        headers["Strict-Transport-Security"] = _TLS_ALWAYS


def raw_answer(status: str, text: str = "") -> bytes:
    """A whole answer outside of any application, after which the connection is closed.
    `status` is code and phrase."""
    body = text.encode()
    fields = {
        **SAFE_FIELDS,
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


def _is_localhost(scope: Scope) -> bool:
    """On a developer's machine the name is shared with servers that have no TLS."""
    host = Headers(scope=scope).get("host", "").rpartition("@")[2].partition(":")[0].lower()
    return host == "localhost" or host.endswith(".localhost")
