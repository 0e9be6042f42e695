"""The token bucket on a clock of its own."""

from __future__ import annotations

import pytest
from workspace.common.v1.error_reason_pb2 import ErrorReason

from services.model.errors import WorkspaceError
from services.rate_limits import RateLimiter


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def limiter(clock: Clock, maximum: int = 10) -> RateLimiter:
    return RateLimiter("tries", maximum=maximum, period=60, now=clock)


def test_the_eleventh_is_refused_with_the_time_to_wait() -> None:
    clock = Clock()
    tries = limiter(clock)
    for _ in range(10):
        tries.take("ann")
    with pytest.raises(WorkspaceError) as caught:
        tries.take("ann")
    assert caught.value.reason == ErrorReason.ERROR_REASON_LIMIT_EXCEEDED
    assert caught.value.metadata == {"limit": "tries", "maximum": "10"}
    assert caught.value.retry_after == pytest.approx(6.0)


def test_one_key_does_not_use_up_another() -> None:
    tries = limiter(Clock(), 1)
    tries.take("ann")
    tries.take("bob")
    with pytest.raises(WorkspaceError):
        tries.require("ann")


def test_time_gives_back_and_no_more_than_the_maximum() -> None:
    clock = Clock()
    tries = limiter(clock, 2)
    tries.take("ann")
    tries.take("ann")
    clock.seconds += 30
    tries.take("ann")
    with pytest.raises(WorkspaceError):
        tries.take("ann")
    clock.seconds += 3600
    tries.take("ann")
    tries.take("ann")
    with pytest.raises(WorkspaceError):
        tries.take("ann")


def test_require_counts_nothing_and_count_refuses_nothing() -> None:
    tries = limiter(Clock(), 1)
    for _ in range(5):
        tries.require("ann")
    for _ in range(5):
        tries.count("ann")
    with pytest.raises(WorkspaceError):
        tries.require("ann")


@pytest.mark.case("A24")
def test_a_clock_that_goes_back_gives_nothing() -> None:
    clock = Clock()
    tries = limiter(clock, 1)
    tries.take("ann")
    clock.seconds -= 500
    with pytest.raises(WorkspaceError):
        tries.require("ann")


def test_memory_is_bounded() -> None:
    tries = limiter(Clock(), 1)
    tries.take("first")
    for number in range(10_000):
        tries.take(f"u{number}")
    tries.take("first")  # forgotten, so it begins anew
