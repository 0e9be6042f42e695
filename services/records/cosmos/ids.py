"""Sort keys as ids of documents, and back.

An id of Cosmos DB has 1 to 1,023 bytes, none of `/ \\ ? #`, and no space at its end; a
document with such an id can be stored by a batch and then not be read (Cosmos DB, "Service
quotas"; azure-cosmos-dotnet-v3#1734). Ids are part of URLs, and more than one layer on the
way encodes and decodes these. So an id has nothing that any of them would touch: letters,
digits, `-`, `_` and `.`; every other byte, and a leading `.`, is `~` and two hexadecimal
digits. What gets too long ends with `~~` and the SHA-256 of the sort key instead of its
tail: no escaped text holds `~~`.
"""

from __future__ import annotations

import hashlib
import re

__all__ = ["MAX_ID_BYTES", "id_of", "sort_key_of"]

MAX_ID_BYTES = 1023
_ESCAPED = re.compile(rb"^\.|[^A-Za-z0-9_.-]")
_ESCAPE = re.compile(rb"~([0-9A-F]{2})")
_HASHED = "~~"
_KEPT = MAX_ID_BYTES - len(_HASHED) - 64


def id_of(sk: str) -> str:
    """The id of the row with this sort key. Raises ValueError for an empty one."""
    if not sk:
        raise ValueError("a sort key has one character at least")
    text = _ESCAPED.sub(_escape, sk.encode()).decode("ascii")
    if len(text) <= MAX_ID_BYTES:
        return text
    return f"{text[:_KEPT]}{_HASHED}{hashlib.sha256(sk.encode()).hexdigest()}"


def sort_key_of(document_id: str) -> str | None:
    """The sort key of an id; None when the id has not all of it (its document does)."""
    if _HASHED in document_id:
        return None
    return _ESCAPE.sub(_unescape, document_id.encode("ascii")).decode()


def _escape(found: re.Match[bytes]) -> bytes:
    return b"~%02X" % found[0][0]


def _unescape(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 16)])
