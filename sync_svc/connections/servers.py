"""URLs of servers in settings, and how a server is told in the name of a store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import SplitResult, urlsplit

from sync_svc.connections.hosts import is_loopback

__all__ = ["at", "host_of", "parts_of"]

_PORTS: Final = {"https": 443, "http": 80}


def parts_of(url: str) -> SplitResult | None:
    """A URL taken apart; None for what is none."""
    try:
        parts = urlsplit(url)
        known = parts.port != 0
    except ValueError:
        return None
    return parts if known else None


def host_of(parts: SplitResult) -> str:
    """Its host in lower case, '' for none."""
    return (parts.hostname or "").rstrip(".")


def at(name: str, url: str, is_usual: Callable[[str], bool]) -> str:
    """The name of a store on the server of `url`: `name@host:port`, and the bare name where
    the server is the usual one."""
    parts = parts_of(url)
    if parts is None:  # of a file that was edited by hand
        return f"{name}@{url}"
    if is_usual(url):
        return name
    host = "localhost" if is_loopback(host_of(parts)) else host_of(parts)
    return f"{name}@{host}:{parts.port or _PORTS.get(parts.scheme, 0)}"
