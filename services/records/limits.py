"""Limits of a commit: less than every provider's own, the same on all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.model.errors import invalid_field
from services.records.record import Write

__all__ = [
    "MAX_COMMIT_BYTES",
    "MAX_ITEM_BYTES",
    "MAX_KEY_BYTES",
    "MAX_WRITES",
    "check_key",
    "check_sizes",
    "check_writes",
]

MAX_WRITES = 90
MAX_COMMIT_BYTES = 1024 * 1024
MAX_ITEM_BYTES = 350 * 1024
MAX_KEY_BYTES = 512


def check_writes(pk: str, writes: Sequence[Write[Any]]) -> None:
    """Refuse a commit that some provider could not take. Raises INVALID_FIELD."""
    if len(writes) > MAX_WRITES:
        raise invalid_field("writes", f"{len(writes)} writes; at most {MAX_WRITES} in one commit")
    seen = set()
    for write in writes:
        key = write.family.key_of(write.message)
        check_key(key[0])
        check_key(key[1])
        if key[0] != pk:
            raise invalid_field("writes", f"{write.family.name} lies in another partition")
        if key in seen:
            raise invalid_field("writes", f"{write.family.name} is written twice in one commit")
        seen.add(key)


def check_key(text: str) -> None:
    """A key part is 1 to 512 bytes of printable ASCII."""
    if not (text.isascii() and text.isprintable() and 0 < len(text) <= MAX_KEY_BYTES):
        raise invalid_field("key", "must be 1 to 512 printable ASCII characters")


def check_sizes(bodies: Sequence[str]) -> None:
    """Item and commit sizes in UTF-8 bytes."""
    sizes = [len(body.encode()) for body in bodies]
    if max(sizes, default=0) > MAX_ITEM_BYTES:
        raise invalid_field(
            "record", f"{max(sizes)} bytes; at most {MAX_ITEM_BYTES}: move bulky data into a file"
        )
    if sum(sizes) > MAX_COMMIT_BYTES:
        raise invalid_field(
            "writes", f"{sum(sizes)} bytes together; at most {MAX_COMMIT_BYTES} in one commit"
        )
