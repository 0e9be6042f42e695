"""What an object key may look like: one rule for every driver.

Keys are relative, `/`-separated, UTF-8 in NFC, at most 1,024 bytes (S3 and
Azure Blob) and 254 segments (Azure Blob); a segment is 1..255 bytes (ext4,
APFS). Names that some provider or client system reads in its own way are
refused everywhere, so that a store can be moved between providers.
"""

from __future__ import annotations

import re
import unicodedata

from services.model.errors import invalid_field

__all__ = ["key_error", "split_key", "validate_key", "validate_prefix"]

MAX_KEY_BYTES = 1024
MAX_SEGMENT_BYTES = 255
MAX_SEGMENTS = 254

_BAD_ASCII = re.compile(r'[\x00-\x1f\x7f\\<>:"|?*]')
_STRUCTURAL = frozenset("./\\:")
# Control, surrogate, private use, line and paragraph separators. Unassigned
# code points are not refused: which they are depends on the Unicode version.
_CATEGORIES = frozenset({"Cc", "Cs", "Co", "Zl", "Zp"})
_ZERO_WIDTH, _EMBEDDING = range(0x200B, 0x2010), range(0x202A, 0x202F)
_ISOLATES = range(0x2060, 0x2070)  # word joiner and invisible operators included
_INVISIBLE = frozenset(  # bidi controls and zero-width characters
    chr(code) for block in ((0x61C, 0xFEFF), _ZERO_WIDTH, _EMBEDDING, _ISOLATES) for code in block
)
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[1-9¹²³])(\..*)?", re.IGNORECASE)


def _has_bad_character(segment: str) -> bool:
    if _BAD_ASCII.search(segment) is not None:
        return True
    return not segment.isascii() and any(map(_bad_beyond_ascii, segment))


def _bad_beyond_ascii(char: str) -> bool:
    if char.isascii():
        return False
    if unicodedata.category(char) in _CATEGORIES or char in _INVISIBLE:
        return True
    if ord(char) & 0xFFFE == 0xFFFE or 0xFDD0 <= ord(char) <= 0xFDEF:  # noncharacters
        return True
    # Look-alikes of separators, such as U+FF0F and U+2024 (no NFKC is applied).
    return not _STRUCTURAL.isdisjoint(unicodedata.normalize("NFKC", char))


def _segment_error(segment: str) -> str:
    if not segment:
        return "has an empty segment"
    if segment.startswith("."):
        return "has a segment that starts with '.', which is reserved"
    if segment != segment.strip() or segment.endswith("."):
        return "has a segment that starts or ends with a space or ends with a dot"
    if _has_bad_character(segment):
        return "contains a character that not every provider keeps"
    if len(segment.encode()) > MAX_SEGMENT_BYTES:
        return f"has a segment of more than {MAX_SEGMENT_BYTES} bytes"
    return "contains a reserved device name" if _DEVICE.fullmatch(segment) else ""


def key_error(key: str) -> str:
    """Why `key` is not a key, or '' when it is one. Never raises."""
    segments = key.split("/")
    if len(segments) > MAX_SEGMENTS:
        return f"has more than {MAX_SEGMENTS} segments"
    if len(key) > MAX_KEY_BYTES:
        return f"is longer than {MAX_KEY_BYTES} bytes"
    for problem in map(_segment_error, segments):
        if problem:
            return problem
    if len(key.encode()) > MAX_KEY_BYTES:
        return f"is longer than {MAX_KEY_BYTES} bytes"
    return "" if unicodedata.is_normalized("NFC", key) else "is not in Unicode NFC"


def validate_key(key: str, field: str = "key") -> str:
    """`key` itself. Raises WorkspaceError(INVALID_FIELD) that names `field`."""
    problem = key_error(key)
    if problem:
        raise invalid_field(field, f"{problem}; use the storage path the service made")
    return key


def validate_prefix(prefix: str) -> str:
    """A prefix of keys: '' or anything a key can begin with, cut anywhere."""
    problem = key_error(prefix.rstrip("/") or "x")
    # A cut may fall behind a space or a dot, or inside a reserved word.
    if problem and key_error(prefix + "x"):
        raise invalid_field("prefix", problem)
    if prefix.startswith("/") or "//" in prefix:
        raise invalid_field("prefix", "has an empty segment")
    return prefix


def split_key(key: str) -> tuple[tuple[str, ...], str]:
    """(folders, name) of a valid key; raises WorkspaceError for any other."""
    *folders, name = validate_key(key).split("/")
    return tuple(folders), name
