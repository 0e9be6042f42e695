"""The words and signs of a query."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from tests.fakes.cosmos.errors import Refused, bad_request

__all__ = ["syntax_error", "tokens", "unquoted"]

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![A-Za-z_])"
    r"|(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<parameter>@\w+)|(?P<word>[A-Za-z_]\w*)"
    r"|(?P<sign><=|>=|!=|<>|[=<>()\[\],.*]))",
    re.ASCII,
)


def syntax_error(near: str) -> Refused:
    message = f"Syntax error, incorrect syntax near '{near}'."
    return bad_request(json.dumps({"errors": [{"severity": "Error", "code": "SC1001",
                                              "message": message}]}))  # fmt: skip


def tokens(text: str) -> Iterator[tuple[str, str]]:
    """Kinds (number, text, parameter, word, sign, end) and texts. Raises 400."""
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            raise syntax_error(text[at : at + 12].strip())
        kind = str(match.lastgroup)
        yield kind, match[kind]
        at = match.end()
    yield "end", ""


def unquoted(text: str) -> str:
    """Escapes are those of JSON, and \\'."""
    inside = text[1:-1].replace("\\'", "'")
    if text[0] == "'":
        inside = re.sub(r'(?<!\\)((?:\\\\)*)"', r'\1\\"', inside)
    try:
        return str(json.loads(f'"{inside}"'))
    except ValueError as error:
        raise syntax_error(text) from error
