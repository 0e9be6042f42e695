"""The metadata rules of HTTP/2 gRPC, so that an in-process call is not laxer.

Source: grpc `doc/PROTOCOL-HTTP2.md`, "Custom-Metadata".
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

from services.rpc.propagation import Metadatum

__all__ = ["checked", "metadata_size"]

_KEY = re.compile(r"[0-9a-z_.\-]+")
_OVERHEAD = 32  # HPACK counts this many bytes per entry (RFC 7541, 4.1)


def checked(metadata: Iterable[Metadatum]) -> tuple[Metadatum, ...]:
    """The entries as a tuple of pairs. Raises ValueError or TypeError on a bad one.

    Values never appear in the message: they may be credentials.
    """
    return tuple([_entry(key, value) for key, value in metadata])


def metadata_size(metadata: tuple[Metadatum, ...]) -> int:
    """Bytes as HTTP/2 counts them against the metadata limit."""
    return sum(len(key) + len(value) + _OVERHEAD for key, value in metadata)


def _entry(key: str, value: str | bytes) -> Metadatum:
    if not _legal(key):
        raise ValueError(f"metadata key {key!r}: use lower-case letters, digits, '-', '_', '.'")
    if key.endswith("-bin"):
        if not isinstance(value, bytes):
            raise TypeError(f"metadata {key!r}: a '-bin' value has to be bytes")
        return key, value
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if not (text.isascii() and text.isprintable()):
        raise ValueError(f"metadata {key!r}: the value has to be printable ASCII")
    return key, text


@functools.lru_cache(maxsize=256)
def _legal(key: str) -> bool:
    return _KEY.fullmatch(key) is not None
