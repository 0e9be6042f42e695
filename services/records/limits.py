"""Limits of a commit: less than every provider's own, the same on all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from services.model.errors import invalid_field
from services.records.port import Put
from services.records.record import Write

__all__ = [
    "MAX_COMMIT_BYTES",
    "MAX_ITEM_BYTES",
    "MAX_KEY_BYTES",
    "MAX_ROWS",
    "MAX_ROWS_BYTES",
    "MAX_WRITES",
    "check_key",
    "check_rows",
    "check_sizes",
    "check_writes",
    "fit",
    "parts_that_fit",
]

MAX_WRITES = 90
MAX_COMMIT_BYTES = 1024 * 1024
MAX_ITEM_BYTES = 350 * 1024
MAX_KEY_BYTES = 512
MAX_ROWS = 98
"""Rows of one commit of a driver, with those that the kernel adds: HEAD, event, request,
versions and conflicts beside records. A driver may add one of its own: DynamoDB takes 100
writes and 4 MB in a transaction, Cosmos DB 100 operations and 2 MB in a batch."""
MAX_ROWS_BYTES = 1_800_000
"""Bodies and stamps of these rows together. Keys, index entries and names of members,
less than 3 KB a row, come on top."""


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


def check_rows(puts: Sequence[Put]) -> None:
    """Refuse rows of one commit that some provider could not take together. Raises
    INVALID_FIELD."""
    if len(puts) > MAX_ROWS:
        raise invalid_field(
            "writes",
            f"{len(puts)} rows, with versions side by side and history; at most {MAX_ROWS} in one "
            "commit: change fewer records at once, or decide their conflicts first",
        )
    sizes = [_size(put) for put in puts]
    if sum(sizes) > MAX_ROWS_BYTES:
        raise invalid_field(
            "writes",
            f"{sum(sizes)} bytes, with versions side by side and history; at most "
            f"{MAX_ROWS_BYTES} in one commit: change fewer records at once",
        )


def fit(puts: Sequence[Put], *, beside: int = 0) -> bool:
    """Whether one commit takes these rows and as many small ones `beside` them."""
    return len(puts) + beside <= MAX_ROWS and sum(map(_size, puts)) <= MAX_ROWS_BYTES


def parts_that_fit(puts: Iterable[Put], *, beside: int = 0) -> Iterator[list[Put]]:
    """The rows in order, in as few commits as take them; with each go as many small rows
    `beside` them."""
    part: list[Put] = []
    room = MAX_ROWS_BYTES
    for put in puts:
        size = _size(put)
        if part and (size > room or len(part) + beside >= MAX_ROWS):
            yield part
            part, room = [], MAX_ROWS_BYTES
        part.append(put)
        room -= size
    if part:
        yield part


def _size(put: Put) -> int:
    return len(put.body.encode()) + len(put.stamp.encode())
