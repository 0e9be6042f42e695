"""JSON as the service keeps it: numbers are doubles, texts are Unicode without lone
surrogates, NaN is no number; and the order of values (null, booleans, numbers, texts)."""

from __future__ import annotations

import json
from typing import Any

from tests.fakes.cosmos.errors import bad_request

__all__ = ["UNDEFINED", "Undefined", "at", "dumped", "parsed", "sort_key"]


class Undefined:
    """The value of a property that an item does not have."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED = Undefined()
_EXACT = 2**53


def _integer(text: str) -> int:
    value = int(text)
    return value if -_EXACT <= value <= _EXACT else int(float(text))


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def parsed(text: bytes) -> Any:
    """Raises 400."""
    try:
        value = json.loads(text.decode(), parse_int=_integer, parse_constant=_no_number)
        if b"\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # refuses lone surrogates
    except (ValueError, RecursionError) as error:
        raise bad_request("The request payload is invalid. Ensure it is valid JSON.") from error
    return value


def dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def at(body: Any, path: tuple[str | int, ...]) -> Any:
    """The value at a path, else `UNDEFINED`."""
    for step in path:
        named = isinstance(step, str) and isinstance(body, dict) and step in body
        if not named and not (
            isinstance(step, int) and isinstance(body, list) and 0 <= step < len(body)
        ):
            return UNDEFINED
        body = body[step]
    return body


def sort_key(value: Any) -> tuple[int, Any]:
    """By type, then by value; texts by code point. Arrays and objects are not ordered."""
    if value is UNDEFINED:
        return 0, 0
    if value is None:
        return 1, 0
    if isinstance(value, bool):
        return 2, value
    if isinstance(value, int | float):
        return 3, value
    if isinstance(value, str):
        return 4, value
    return (5, 0) if isinstance(value, list) else (6, 0)
