"""Listen addresses and call targets: which stay on this machine."""

from __future__ import annotations

import ipaddress
import re

__all__ = ["address_of", "is_local", "literal"]

_SCHEME = re.compile(r"^(?:dns|ipv4|ipv6|passthrough):(?:/{0,3})(?:[^/]*/)?")


def is_local(address: str) -> bool:
    """Whether `address` (host:port, or a gRPC target) cannot leave this machine.

    A name other than `localhost` is not local: what it resolves to may change.
    """
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host = _host(address)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def address_of(host: str, port: int) -> str:
    """`host:port`, with the brackets that IPv6 needs."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def literal(address: str) -> str:
    """`localhost` as 127.0.0.1: gRPC would bind only one of its two addresses
    when the other is taken, and say nothing."""
    host, colon, port = address.rpartition(":")
    return f"127.0.0.1{colon}{port}" if host == "localhost" else address


def _host(address: str) -> str:
    rest = _SCHEME.sub("", address)
    if rest.startswith("["):
        return rest[1:].partition("]")[0]
    return rest.rpartition(":")[0] if ":" in rest else rest
