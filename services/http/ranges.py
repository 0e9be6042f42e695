"""The Range header of a download (RFC 9110 14.2), one range only."""

from __future__ import annotations

import re

from services.objects.port import ByteRange

__all__ = ["NOT_SATISFIABLE", "parse_range"]

NOT_SATISFIABLE = ByteRange(-1, -1)
"""Returned for a range that begins behind the end: answer 416."""

_ONE_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.ASCII)


def parse_range(header: str, size: int) -> ByteRange | None:
    """The bytes wanted of an object of `size` bytes, both ends set.

    None means the whole object: no header, another unit, several ranges, or
    something malformed, all of which a server may ignore.
    """
    match = _ONE_RANGE.fullmatch(header.strip())
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        count = min(int(match[2]), size)
        return ByteRange(size - count, size - 1) if count else NOT_SATISFIABLE
    first = int(match[1])
    last = min(int(match[2]), size - 1) if match[2] else size - 1
    if match[2] and int(match[2]) < first:
        return None
    return ByteRange(first, last) if first < size else NOT_SATISFIABLE
