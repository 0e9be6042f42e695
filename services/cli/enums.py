"""Enum values as people write them: `account_admin`, `restricted`, `write`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from services.cli.failures import usage

__all__ = [
    "enum_word", "enum_words", "parse_enum", "parse_enums", "parse_moment", "parse_span",
    "parse_time",
]

_SPAN = re.compile(r"(\d+)([mhdw])")
_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def enum_word(enum: Any, number: int) -> str:
    """`ACCOUNT_ROLE_ACCOUNT_ADMIN` as `account_admin`; a newer value as its number."""
    value = enum.values_by_number.get(number)
    return _word(enum, value.name) if value is not None else str(number)


def enum_words(enum: Any) -> list[str]:
    """The words a person may use, in the order of the contract."""
    return [_word(enum, value.name) for value in enum.values if value.number]


def parse_enum(option: str, enum: Any, text: str) -> int:
    """The number of a word; 0 for ''. Raises a usage error that lists the words."""
    if not text:
        return 0
    wanted = text.strip().lower().replace("-", "_")
    for value in enum.values:
        if value.number and _word(enum, value.name) == wanted:
            return int(value.number)
    raise usage(f"{option}: {text!r} is not one of {', '.join(enum_words(enum))}")


def parse_enums(option: str, enum: Any, texts: Sequence[str]) -> list[int]:
    """Numbers of words, given one by one or joined by commas, without repetition."""
    words = [word for text in texts for word in text.split(",") if word.strip()]
    return list(dict.fromkeys(parse_enum(option, enum, word) for word in words))


def parse_time(option: str, text: str, *, now: datetime | None = None) -> datetime:
    """A time: RFC 3339, a date (UTC), or a span from now: `30m`, `12h`, `7d`, `2w`."""
    span = _SPAN.fullmatch(text)
    if span:
        seconds = int(span[1]) * _SECONDS[span[2]]
        return (now or datetime.now(UTC)) + timedelta(seconds=seconds)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise usage(
            f"{option}: {text!r} is no time; use 2026-12-31, 2026-12-31T18:00:00Z or 7d"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def parse_moment(option: str, text: str, *, now: datetime | None = None) -> datetime:
    """A time of the past: as `parse_time`, but a span is that long ago."""
    now = now or datetime.now(UTC)
    if _SPAN.fullmatch(text):
        return now - (parse_time(option, text, now=now) - now)
    return parse_time(option, text, now=now)


def parse_span(option: str, text: str) -> timedelta:
    """How long: `12h`, `7d`."""
    if not _SPAN.fullmatch(text):
        raise usage(f"{option}: {text!r} is no length of time; use 12h or 7d")
    now = datetime.now(UTC)
    return parse_time(option, text, now=now) - now


def _word(enum: Any, name: str) -> str:
    prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum.name).upper() + "_"
    return str(name).removeprefix(prefix).lower()
