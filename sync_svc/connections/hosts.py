"""Hosts that settings name."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["is_host", "is_loopback"]

_HOST: Final = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:]{2,45}", re.ASCII
)
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def is_host(text: str) -> bool:
    """A name or an address."""
    return bool(_HOST.fullmatch(text))


def is_loopback(host: str) -> bool:
    """This very machine, by name, address or socket."""
    return host.lower() in _LOOPBACK or host.startswith("/")
