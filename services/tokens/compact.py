"""The compact form of a JWS, taken apart without trusting anything of it.

RFC 7515 section 7.1, with what libraries let through closed: size before any
decoding, one spelling per token (no padding, no stray bits), strict JSON.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any, Final

from services.model import base64url
from services.tokens.claims import TokenRefusedError

__all__ = ["MAX_TOKEN_BYTES", "CompactToken", "parse_json", "split_token"]

MAX_TOKEN_BYTES: Final = 16 * 1024
_SHAPE: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_MAX_DEPTH: Final = 16
_MAX_INTEGER_CHARS: Final = 19


@dataclass(frozen=True, slots=True)
class CompactToken:
    """Decoded parts; `payload` is still bytes: it is parsed after the signature."""

    header: dict[str, Any]
    payload: bytes
    signature: bytes
    signing_input: bytes


def split_token(token: str) -> CompactToken:
    """Size, shape, base64url and header JSON. Raises TokenRefusedError."""
    if len(token) > MAX_TOKEN_BYTES:
        raise TokenRefusedError("size")
    if not token.isascii() or _SHAPE.fullmatch(token) is None:
        raise TokenRefusedError("shape")
    header, payload, signature = token.split(".")
    return CompactToken(
        parse_json(_decode(header)),
        _decode(payload),
        _decode(signature),
        f"{header}.{payload}".encode("ascii"),
    )


def parse_json(data: bytes) -> dict[str, Any]:
    """A JSON object: UTF-8 without BOM, no member twice (at any depth), finite
    numbers, at most 16 deep. Raises TokenRefusedError."""
    if data.startswith(b"\xef\xbb\xbf") or _nests_too_deep(data):
        raise TokenRefusedError("json")
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_members,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_refuse_constant,
        )
    except (ValueError, RecursionError):
        raise TokenRefusedError("json") from None
    if not isinstance(value, dict):
        raise TokenRefusedError("json")
    return value


def _decode(segment: str) -> bytes:
    try:
        return base64url.decode(segment)
    except ValueError:
        raise TokenRefusedError("base64url") from None


def _nests_too_deep(data: bytes) -> bool:
    """Counts brackets, those inside of strings included: real tokens have few."""
    depth = 0
    for byte in data:
        if byte in b"[{":
            depth += 1
            if depth > _MAX_DEPTH:
                return True
        elif byte in b"]}":
            depth -= 1
    return False


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member occurs twice")
    return members


def _integer(text: str) -> int:
    if len(text) > _MAX_INTEGER_CHARS:
        raise ValueError("the integer is too long")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("the number is not finite")
    return value


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")
