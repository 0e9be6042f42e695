"""Key times and protobuf timestamps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from services.model import times

MOMENTS = st.datetimes(timezones=st.just(UTC))


def test_the_shape() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert times.key_time(moment) == "2026-01-02T03:04:05.000006Z"
    assert times.hour_key(moment) == "2026-01-02T03"
    assert times.key_time(datetime(9, 1, 1, tzinfo=UTC)) == "0009-01-01T00:00:00.000000Z"
    east = moment.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert times.key_time(east) == times.key_time(moment)


@given(MOMENTS, MOMENTS)
def test_bytes_sort_as_time(one: datetime, other: datetime) -> None:
    assert (times.key_time(one) < times.key_time(other)) == (one < other)
    assert len(times.key_time(one)) == times.KEY_TIME_CHARS


@given(MOMENTS)
def test_round_trips(moment: datetime) -> None:
    assert times.parse_key_time(times.key_time(moment)) == moment
    assert times.from_micros(times.to_micros(moment)) == moment
    stamp = times.to_timestamp(moment)
    assert times.from_timestamp(stamp) == moment
    assert times.truncated(stamp) == stamp
    assert times.timestamp_key(stamp) == times.key_time(moment)
    assert 0 <= stamp.nanos < 10**9
    assert stamp.ToJsonString()


@pytest.mark.parametrize(
    "text",
    [
        "", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000006",
        "2026-01-02T03:04:05.000006+00:00",
        "2026-01-02 03:04:05.000006Z", "2026-01-02T03:04:05.0000061Z",
        "2026-13-02T03:04:05.000006Z",
        "2026-01-02T03:04:05.000006Z\n", "2026-02-30T03:04:05.000006Z",
        "٢026-01-02T03:04:05.000006Z",
    ],
)  # fmt: skip
def test_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        times.parse_key_time(text)


def test_a_time_without_a_zone_is_refused() -> None:
    naive = datetime(2026, 1, 1)
    for convert in (times.key_time, times.to_micros, times.to_timestamp, times.hour_key):
        with pytest.raises(ValueError, match="zone"):
            convert(naive)


def test_nanoseconds_are_cut_towards_the_past() -> None:
    stamp = Timestamp(seconds=1, nanos=999_999_999)
    assert times.from_timestamp(stamp) == datetime(1970, 1, 1, 0, 0, 1, 999_999, tzinfo=UTC)
    assert times.truncated(stamp) == Timestamp(seconds=1, nanos=999_999_000)
    before = Timestamp(seconds=-1, nanos=1_999)
    assert times.to_micros(times.from_timestamp(before)) == -999_999


def test_bad_stamps_are_refused() -> None:
    for nanos in (-1, 10**9):
        with pytest.raises(ValueError):
            times.from_timestamp(Timestamp(seconds=0, nanos=nanos))
    with pytest.raises(OverflowError):
        times.from_timestamp(Timestamp(seconds=253_402_300_800))


def test_micros_are_exact_far_away() -> None:
    assert times.to_micros(datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == (
        253_402_300_799_999_999
    )
