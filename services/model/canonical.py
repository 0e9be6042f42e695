"""Canonical JSON (RFC 8785) and the digests that are made over it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import rfc8785

__all__ = ["canonical_json", "content_digest"]


def canonical_json(value: Any) -> str:
    """The one JSON text of a value of dicts, lists, strings, numbers, booleans.

    Equal values have equal texts on every node. Raises ValueError for NaN,
    infinities and integers beyond 2**53 (RFC 8785 section 3.2.2.3).
    """
    if _is_plain(value):
        # Without floats and with ASCII member names the standard encoder gives
        # exactly the RFC 8785 text, ten times faster.
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return rfc8785.dumps(value).decode()


def content_digest(family: str, deleted: bool, content: Mapping[str, Any]) -> str:
    """Lower-hex SHA-256 over (family, deleted, content fields)."""
    text = canonical_json([family, deleted, dict(content)])
    return hashlib.sha256(text.encode()).hexdigest()


def _is_plain(value: Any) -> bool:
    if value is None or isinstance(value, str | bool):
        return True
    if isinstance(value, int):
        return -(2**53) < value < 2**53
    if isinstance(value, dict):
        return all(isinstance(k, str) and k.isascii() for k in value) and all(
            map(_is_plain, value.values())
        )
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return False
