"""Names and ids from outside: the one validator every service and driver uses.

Three kinds of text, three strictnesses:

* *label* (`validate_name`): what people call accounts, teams, projects. Any
  printable text. It never becomes a path, so `Q3: plan / draft?` is fine.
* *segment* (`validate_document_name`, `validate_relative_path`): a file or
  folder name of a tree. Everything a Linux tree commonly holds is accepted as it
  is, leading dots included (`.gitignore`), because an imported tree has to come
  back as it was. Refused is what cannot come back everywhere or deceives the
  reader: reliability 2.5 K01-K11, K15, K17, K18. Device names (K16: `nul.txt`)
  are accepted in a document's `name`, which is data, and refused in the folders
  of `relative_path`. K19 (names with a leading dot are reserved) does not apply:
  no physical key is made from these texts as they are.
* *file name of a storage key* (`safe_filename`): made by us, never refused.

In all three, nothing that cannot be seen is taken: controls, bidi and zero-width
characters (those inside of joined emoji, too: whoever compares two names must see all
there is), private use, noncharacters, and what Unicode shows as nothing or reserves for that.
A variation selector may follow the character that it belongs to.

All are NFC. Comparisons are byte-exact and case-sensitive: `Makefile` and `makefile` are
two names, on every database, since an imported tree may have both (K13, K14).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from services.model.errors import invalid_field

__all__ = [
    "ID_PATTERN",
    "MAX_FILENAME_BYTES",
    "MAX_NAME_BYTES",
    "MAX_NAME_CHARS",
    "MAX_PATH_BYTES",
    "MAX_PATH_DEPTH",
    "cleaned_name",
    "is_device_name",
    "is_filename_of_key",
    "is_visible",
    "safe_filename",
    "shorten",
    "split_extension",
    "validate_document_name",
    "validate_id",
    "validate_name",
    "validate_relative_path",
]

ID_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
MAX_NAME_CHARS: Final = 200
MAX_NAME_BYTES: Final = 255
MAX_FILENAME_BYTES: Final = 200
MAX_PATH_BYTES: Final = 1024
MAX_PATH_DEPTH: Final = 254
_MAX_EXTENSION_BYTES: Final = 32

_ID = re.compile(ID_PATTERN.rstrip("$"))
# Windows refuses these in file names (K17); `/` and `\` are separators (K05, K07).
_FORBIDDEN_IN_SEGMENT: Final = frozenset('<>:"|?*\\/')
# Legal in names, but two layers have read them differently in URLs (K03, K04).
_REPLACED_IN_KEYS: Final = _FORBIDDEN_IN_SEGMENT | frozenset("%#;")
_DEVICES: Final = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"]
    + [f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"]
)
# Cc control, Cf format (bidi, zero-width), Zl/Zp line ends, Cs lone surrogates,
# Co private use (Azure refuses it).
_FORBIDDEN_CATEGORIES: Final = frozenset(["Cc", "Cf", "Zl", "Zp", "Cs", "Co"])
# Invisible although their category is not Cf (Default_Ignorable_Code_Point of the UCD),
# those that are reserved to become so included.
_RESERVED: Final = frozenset(
    map(chr, (*range(0xFFF0, 0xFFF9), *range(0xE0000, 0xE0100), *range(0xE01F0, 0xE1000)))
)
_INVISIBLE: Final = _RESERVED | frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2065\u3164\uffa0"
)
# Invisible, too, but they choose the form of the character before them: phones type them
# with emoji, Japanese names are written with them. On their own they are refused.
_SELECTORS: Final = frozenset(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
# Earlier releases let these stand in file names of storage keys, which never change. Each with
# a character of as many bytes that may stand anywhere.
_ONCE_TAKEN: Final = {
    char: "\u4e00" if char <= "\uffff" else "\U00020000"
    for char in _SELECTORS | _RESERVED
    if unicodedata.category(char) not in _FORBIDDEN_CATEGORIES
}
# An encoded dot or slash in any spelling that some decoder accepts (K03).
_ENCODED_PERCENT: Final = re.compile(r"%(25)+", re.IGNORECASE)
_ENCODED_DOT: Final = re.compile(r"%(2e|u002e|c0%ae|e0%80%ae)", re.IGNORECASE)
_ENCODED_SLASH: Final = re.compile(r"%(2f|5c|u002f|u005c|c0%af|c1%9c)", re.IGNORECASE)


def validate_name(
    field: str, value: str, *, max_chars: int = MAX_NAME_CHARS, before: str = ""
) -> str:
    """A label for people, NFC-normalised; 1 to `max_chars` characters. What it was
    `before` may stay: an earlier release took more than this one does.

    Raises INVALID_FIELD naming the field and the remedy.
    """
    if value and value == before:
        return value
    name = _normal(field, value)
    _refuse_hidden(field, name)
    if not name:
        raise invalid_field(field, "must not be empty; give it a name")
    if len(name) > max_chars:
        raise invalid_field(field, f"has {len(name)} characters; at most {max_chars} are allowed")
    if name != name.strip():
        raise invalid_field(field, "starts or ends with a space; remove it")
    return name


def cleaned_name(text: str, *, max_chars: int = MAX_NAME_CHARS) -> str:
    """The label in a text that cannot be refused, such as a name that a sign-in
    provider says: as `validate_name` wants it, or '' when nothing visible is left."""
    placed = _in_place(unicodedata.normalize("NFC", text))
    visible = (" " if hidden else char for char, hidden in placed)
    return " ".join("".join(visible).split())[:max_chars].rstrip()


def is_visible(text: str) -> bool:
    """Whether no character is invisible or steers a terminal or a mail."""
    return not any(hidden for _, hidden in _in_place(text))


def validate_document_name(field: str, value: str) -> str:
    """The original name of a file: one path segment, NFC, at most 255 bytes and 200 characters.

    Raises INVALID_FIELD naming the field and the remedy.
    """
    name = _normal(field, value)
    _check_segment(field, name)
    if len(name) > MAX_NAME_CHARS:
        raise invalid_field(field, f"has {len(name)} characters; at most {MAX_NAME_CHARS}")
    return name


def validate_relative_path(field: str, value: str) -> str:
    """The folder of a document inside its project, segments joined by `/`, NFC.

    Empty means the project's root. At most 1,024 bytes and 254 segments.
    Raises INVALID_FIELD naming the field and the remedy.
    """
    path = _normal(field, value)
    if not path:
        return path
    if len(path.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES:
        raise invalid_field(field, f"is longer than {MAX_PATH_BYTES} bytes; shorten it")
    segments = path.split("/")
    if len(segments) > MAX_PATH_DEPTH:
        raise invalid_field(field, f"is deeper than {MAX_PATH_DEPTH} folders; flatten it")
    for segment in segments:
        _check_segment(field, segment)
        if is_device_name(segment):
            raise invalid_field(field, "has a folder named like a Windows device; rename it")
    return path


def validate_id(field: str, value: str) -> str:
    """An opaque id: 1 to 64 ASCII letters, digits, `_`, `.`, `-`, a letter or digit first."""
    if not _ID.fullmatch(value):
        raise invalid_field(field, "is not an id; use an id exactly as the service returned it")
    return value


def is_device_name(segment: str) -> bool:
    """Whether Windows takes this name for a device, with or without an extension (K16)."""
    return segment.split(".", 1)[0].rstrip(" ").lower() in _DEVICES


def safe_filename(name: str) -> str:
    """The `{filename}` of a storage key: total, idempotent, never empty.

    NFC; no path, control, bidi, zero-width or URL-ambiguous character; no
    reserved Windows name; no leading dot (drivers keep temporary files there) or `~`;
    at most 200 bytes; extension kept.
    """
    text = _replace_unsafe(unicodedata.normalize("NFC", name)).strip(" ")
    text = text.rstrip(". ")
    if not text:
        return "_"
    if text[0] in ". ~" or is_device_name(text) or unicodedata.combining(text[0]):
        text = f"_{text}"
    return _truncate(text)


def is_filename_of_key(name: str) -> bool:
    """Whether `safe_filename` made it, here or in a release that took more of what cannot be
    seen: objects lie under such names."""
    if safe_filename(name) == name:
        return True
    shown = "".join(_ONCE_TAKEN.get(char, char) for char in name)
    return shown != name and safe_filename(shown) == shown


def split_extension(name: str) -> tuple[str, str]:
    """`("report", ".pdf")`; an extension of over 32 bytes or a dot-first name has none."""
    stem, dot, extension = name.rpartition(".")
    if not stem or not extension or len(extension.encode()) >= _MAX_EXTENSION_BYTES:
        return name, ""
    return stem, dot + extension


def shorten(stem: str, max_bytes: int) -> str:
    """`stem` cut at a character to at most `max_bytes`, without a trailing space or dot."""
    return stem.encode()[:max_bytes].decode("utf-8", "ignore").rstrip(". ")


def _truncate(text: str) -> str:
    if len(text.encode()) <= MAX_FILENAME_BYTES:
        return text
    stem, extension = split_extension(text)
    return shorten(stem, MAX_FILENAME_BYTES - len(extension.encode())) + extension


def _replace_unsafe(text: str) -> str:
    placed = _in_place(text)
    return "".join("_" if hidden or _unsafe_in_key(char) else char for char, hidden in placed)


def _unsafe_in_key(char: str) -> bool:
    return (
        char in _REPLACED_IN_KEYS
        or _imitates_syntax(char)
        or (char.isspace() and char != " ")
    )


def _normal(field: str, value: str) -> str:
    if not isinstance(value, str):
        raise invalid_field(field, "must be text")
    return unicodedata.normalize("NFC", value)


def _check_segment(field: str, segment: str) -> None:
    if not segment:
        raise invalid_field(field, "has an empty part; remove leading, trailing and double '/'")
    _refuse_hidden(field, segment)
    if len(segment.encode()) > MAX_NAME_BYTES:
        raise invalid_field(field, f"has a name of more than {MAX_NAME_BYTES} bytes; shorten it")
    if segment[0].isspace() or segment[-1].isspace() or segment[-1] == ".":
        raise invalid_field(field, "has a name with a space around it or a dot at its end")
    for char in segment:
        if char in _FORBIDDEN_IN_SEGMENT or _imitates_syntax(char):
            raise invalid_field(field, f"must not contain {char!a}; replace it, for example by '_'")
    if segment == "~" or _hides_dots(segment):
        raise invalid_field(field, "is a path instruction, not a name; rename it")


def _hides_dots(segment: str) -> bool:
    """Whether some number of percent-decodings yields a `.` or `..` segment (K03)."""
    text = _ENCODED_SLASH.sub("/", _ENCODED_DOT.sub(".", _ENCODED_PERCENT.sub("%", segment)))
    return any(part in (".", "..") for part in text.split("/"))


def _refuse_hidden(field: str, text: str) -> None:
    for char, hidden in _in_place(text):
        if hidden:
            raise invalid_field(
                field, f"contains the invisible or control character U+{ord(char):04X}; remove it"
            )


def _in_place(text: str) -> Iterator[tuple[str, bool]]:
    """Each character, and whether nobody sees it where it stands."""
    before = " "
    for char in text:
        alone = char in _SELECTORS and (before in _SELECTORS or before.isspace())
        hidden = alone or _is_hidden(char)
        yield char, hidden
        before = " " if hidden else char


def _is_hidden(char: str) -> bool:
    if " " <= char <= "~":
        return False
    if unicodedata.category(char) in _FORBIDDEN_CATEGORIES or char in _INVISIBLE:
        return True
    return (ord(char) & 0xFFFE) == 0xFFFE or 0xFDD0 <= ord(char) <= 0xFDEF


def _imitates_syntax(char: str) -> bool:
    """Whether NFKC would turn the character into path syntax (K11), for example U+FF0F."""
    if char <= "~":
        return False
    return any(mark in unicodedata.normalize("NFKC", char) for mark in "./\\:")
