"""Times: UTC, microseconds, and the fixed-width text of them that sorts in keys.

`google.protobuf.Timestamp` carries nanoseconds; below a microsecond is cut off
(towards the past), the same on every provider.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

__all__ = [
    "KEY_TIME_CHARS",
    "from_micros",
    "from_timestamp",
    "hour_key",
    "key_time",
    "parse_key_time",
    "timestamp_key",
    "to_micros",
    "to_timestamp",
    "truncated",
]

KEY_TIME_CHARS: Final = 27
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_KEY_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")


def key_time(moment: datetime) -> str:
    """`2026-01-02T03:04:05.000006Z`: 27 ASCII characters, byte order = time order.

    A naive datetime is refused with ValueError: nobody knows its zone.
    """
    return _utc(moment).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_key_time(text: str) -> datetime:
    """The exact reverse of `key_time`; ValueError for any other spelling."""
    if not _KEY_TIME.fullmatch(text):
        raise ValueError("not a key time; expected YYYY-MM-DDTHH:MM:SS.ffffffZ")
    return datetime.fromisoformat(text)


def hour_key(moment: datetime) -> str:
    """`2026-01-02T03`: the hour bucket of due work (`DUE#{hour}#{shard}`)."""
    return key_time(moment)[:13]


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970, exact."""
    return (_utc(moment) - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The reverse of `to_micros`."""
    return _EPOCH + timedelta(microseconds=micros)


def to_timestamp(moment: datetime) -> Timestamp:
    """As a protobuf timestamp."""
    seconds, micros = divmod(to_micros(moment), 1_000_000)
    return Timestamp(seconds=seconds, nanos=micros * 1000)


def from_timestamp(stamp: Timestamp) -> datetime:
    """As a datetime in UTC; nanoseconds are cut to microseconds.

    Raises ValueError for nanos outside 0..999,999,999, OverflowError outside the years 1-9999.
    """
    if not 0 <= stamp.nanos < 1_000_000_000:
        raise ValueError("nanos must be from 0 to 999999999")
    return from_micros(stamp.seconds * 1_000_000 + stamp.nanos // 1000)


def truncated(stamp: Timestamp) -> Timestamp:
    """The stamp as every provider stores it: whole microseconds."""
    return to_timestamp(from_timestamp(stamp))


def timestamp_key(stamp: Timestamp) -> str:
    """The key text of a protobuf timestamp."""
    return key_time(from_timestamp(stamp))


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a time without a zone; use datetime.now(UTC)")
    return moment.astimezone(UTC)
