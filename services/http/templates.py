"""Path templates of `google.api.http`, and paths that are matched against them.

Of the template syntax of google/api/http.proto only what the contract uses is
taken: literals, one-segment variables `{field.path}`, and a `:verb` at the end.
Paths are matched raw, as they came over the wire, and decoded exactly once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from services.http.errors import bad_request

__all__ = ["Template", "decode_segment", "parse_template", "split_path"]

_LITERAL = re.compile(r"[A-Za-z0-9_.~-]+")
_VARIABLE = re.compile(r"\{([a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*)(?:=\*)?\}")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f/\\;%]")


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template. A segment is a literal, or None for the next variable."""

    text: str
    segments: tuple[str | None, ...]
    variables: tuple[str, ...]
    verb: str

    @property
    def shape(self) -> tuple[tuple[str | None, ...], str]:
        """Equal for two templates that match the same paths."""
        return self.segments, self.verb

    @property
    def specificity(self) -> tuple[bool, ...]:
        """Sorts literals before variables, from the left."""
        return tuple(segment is None for segment in self.segments)

    def captures(self, segments: list[str]) -> list[str] | None:
        """The raw values of the variables, or None when the path does not match."""
        if len(segments) != len(self.segments):
            return None
        found: list[str] = []
        for expected, given in zip(self.segments, segments, strict=True):
            if expected is None:
                found.append(given)
            elif expected != given:
                return None
        return found


def parse_template(text: str) -> Template:
    """Raises ValueError on anything beyond the supported syntax."""
    if not text.startswith("/"):
        raise ValueError(f"{text}: a path template begins with '/'")
    path, colon, verb = text.partition(":")
    if colon and not _LITERAL.fullmatch(verb):
        raise ValueError(f"{text}: '{verb}' is no verb")
    segments: list[str | None] = []
    variables: list[str] = []
    for part in path[1:].split("/"):
        variable = _VARIABLE.fullmatch(part)
        if variable:
            variables.append(variable[1])
            segments.append(None)
        elif _LITERAL.fullmatch(part):
            segments.append(part)
        else:
            raise ValueError(f"{text}: segment '{part}' is neither a literal nor a variable")
    if len(set(variables)) != len(variables):
        raise ValueError(f"{text}: a variable occurs twice")
    return Template(text, tuple(segments), tuple(variables), verb)


def split_path(raw_path: str) -> tuple[list[str], str]:
    """Raw segments and verb. A raw ':' in the last segment always begins the
    verb; a parameter that holds one spells it %3A."""
    segments = raw_path.removeprefix("/").split("/")
    last, _, verb = segments[-1].partition(":")
    segments[-1] = last
    return segments, verb


def decode_segment(raw: str, variable: str) -> str:
    """The value of a path parameter. Raises HttpError 400 naming it.

    Refused is whatever another hop could read as another path: separators,
    dot segments, `;` parameters, escapes that are still there after decoding.
    """
    if _BROKEN_ESCAPE.search(raw):
        raise bad_request(variable, "has a broken percent escape in the path")
    try:
        value = unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        raise bad_request(variable, "is not UTF-8 in the path") from None
    if not value:
        raise bad_request(variable, "is empty in the path")
    if value in {".", ".."} or _FORBIDDEN.search(value):
        raise bad_request(variable, "has characters that are not allowed in a path parameter")
    return value
