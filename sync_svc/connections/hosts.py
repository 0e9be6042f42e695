"""Hosts that settings name."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

__all__ = ["is_host", "is_loopback"]

_HOST: Final = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:]{2,45}", re.ASCII
)
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


# Of machines in a cloud: who may read there has their credentials.
_METADATA: Final = ipaddress.ip_network("fd00:ec2::/32")
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*", re.ASCII)


def is_host(text: str) -> bool:
    """A name or an address, in its usual spelling, at which a server of data can be. Nobody
    is led to the metadata of the machine that this runs on: not even by platform admins,
    who may be that of the workspace and not of the machine."""
    if not _HOST.fullmatch(text):
        return False
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        # `2852039166` and `0251.0376.0251.0376` are 169.254.169.254 for a resolver.
        return not _NUMBER.fullmatch(text.rstrip(".").rpartition(".")[2])
    return not _is_special(getattr(address, "ipv4_mapped", None) or address)


def _is_special(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    of_metadata = address.version == 6 and address in _METADATA
    return of_metadata or address.is_link_local or address.is_multicast or address.is_unspecified


def is_loopback(host: str) -> bool:
    """This very machine, by name, address or socket."""
    return host.lower() in _LOOPBACK or host.startswith("/")
