"""When a fact may be used again: the rules of the design, one by one."""

from __future__ import annotations

import pytest

from project_svc.access.fact_cache import MOST_STALE_SECONDS, Cached, FactCache
from services.rpc.consistency import (
    AS_OF_NOW,
    MINIMIZE_LATENCY,
    STRONG,
    ConsistencyToken,
    Demand,
    Level,
)

Cache = FactCache[str, str]
PK, OTHER = "ACCOUNT#a", "ACCOUNT#b"
READ_AT = 1_000.0


class Clock:
    def __init__(self) -> None:
        self.time = READ_AT

    def __call__(self) -> float:
        return self.time


def cache_of(clock: Clock, *, exact: bool = False, most: int = 10, **more: bool) -> Cache:
    return FactCache(most=most, now=clock, exact=exact, **more)


def fill(cache: Cache, key: str, *, pseq: int = 5, owner: str = "", pk: str = PK) -> None:
    with cache.filling() as filling:
        filling.keep(key, Cached(f"fact {key}", {pk: pseq}, READ_AT, owner))


def at_least(*tokens: ConsistencyToken) -> Demand:
    return Demand(Level.AT_LEAST_AS_FRESH, tokens)


def token(pk: str, pseq: int, seconds: float) -> ConsistencyToken:
    return ConsistencyToken(pk, pseq, int(seconds * 1000))


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_watched_fact_serves_for_five_seconds_after_the_watermark(clock: Clock) -> None:
    cache = cache_of(clock)
    fill(cache, "k")
    assert cache.get("k", MINIMIZE_LATENCY) is None  # nobody watches yet
    cache.delivered(READ_AT)
    clock.time = READ_AT + MOST_STALE_SECONDS
    assert cache.get("k", MINIMIZE_LATENCY) == "fact k"
    clock.time += 0.001
    assert cache.get("k", MINIMIZE_LATENCY) is None
    cache.delivered(READ_AT + 1)
    assert cache.get("k", MINIMIZE_LATENCY) == "fact k"


@pytest.mark.case("A24")
def test_a_clock_that_is_ahead_prolongs_nothing(clock: Clock) -> None:
    """The watermark is told by another machine."""
    cache = cache_of(clock)
    fill(cache, "k")
    cache.delivered(READ_AT + 3_600)
    clock.time = READ_AT + MOST_STALE_SECONDS
    assert cache.get("k", MINIMIZE_LATENCY) == "fact k"
    clock.time += 0.001
    assert cache.get("k", MINIMIZE_LATENCY) is None


@pytest.mark.case("A24")
def test_a_clock_that_is_set_back_prolongs_nothing(clock: Clock) -> None:
    cache = cache_of(clock)
    fill(cache, "k")
    cache.delivered(READ_AT)
    clock.time = READ_AT - 3_600
    assert cache.get("k", MINIMIZE_LATENCY) is None
    cache.delivered(clock.time)
    assert cache.get("k", MINIMIZE_LATENCY) == "fact k"
    clock.time += MOST_STALE_SECONDS + 0.001
    assert cache.get("k", MINIMIZE_LATENCY) is None


def test_a_watermark_never_goes_back(clock: Clock) -> None:
    cache = cache_of(clock)
    fill(cache, "k")
    cache.delivered(READ_AT)
    cache.delivered(READ_AT - 100)
    assert cache.get("k", MINIMIZE_LATENCY)


def test_fully_consistent_never_uses_it_and_gates_only_an_exact_one(clock: Clock) -> None:
    watched, exact = cache_of(clock), cache_of(clock, exact=True)
    for cache in (watched, exact):
        fill(cache, "k")
        cache.delivered(READ_AT)
        assert cache.get("k", STRONG) is None
    assert watched.get("k", AS_OF_NOW) is None
    assert exact.get("k", AS_OF_NOW) == "fact k"
    clock.time += 1_000  # no watermark is needed where every commit is announced
    assert exact.get("k", MINIMIZE_LATENCY) == "fact k"


@pytest.mark.parametrize(
    ("pk", "pseq", "made_at", "usable"),
    [
        (PK, 5, READ_AT - 2, True),
        (PK, 5, READ_AT - 1.999, False),  # a clock may be two seconds behind
        (PK, 6, READ_AT - 100, False),  # the fact is older than the token's write
        (PK, 4, READ_AT - 100, True),
        (OTHER, 99, READ_AT - 2, True),
        (OTHER, 99, READ_AT - 1, False),
    ],
)
def test_a_token_wants_its_version_and_a_later_read(
    clock: Clock, pk: str, pseq: int, made_at: float, usable: bool
) -> None:
    for exact in (True, False):
        cache = cache_of(clock, exact=exact)
        fill(cache, "k")
        cache.delivered(READ_AT)
        assert (cache.get("k", at_least(token(pk, pseq, made_at))) is not None) is usable


def test_every_token_has_to_be_met(clock: Clock) -> None:
    cache = cache_of(clock, exact=True)
    fill(cache, "k")
    good, bad = token(PK, 5, READ_AT - 9), token(PK, 6, READ_AT - 9)
    assert cache.get("k", at_least(good, good))
    assert cache.get("k", at_least(good, bad)) is None


def test_what_nobody_watches_any_more_is_not_as_fresh_as_a_token(clock: Clock) -> None:
    cache = cache_of(clock)
    fill(cache, "k")
    cache.delivered(READ_AT)
    clock.time += 60
    assert cache.get("k", at_least(token(PK, 1, READ_AT - 100))) is None


def test_a_change_ends_what_rests_on_it_and_nothing_else(clock: Clock) -> None:
    cache = cache_of(clock, exact=True)
    fill(cache, "ann", owner="ann")
    fill(cache, "bob", owner="bob")
    fill(cache, "other", owner="ann", pk=OTHER)
    cache.invalidate(PK, "ann")
    assert [cache.get(k, AS_OF_NOW) is not None for k in ("ann", "bob", "other")] == [
        False, True, True,
    ]  # fmt: skip
    cache.invalidate(PK)
    assert cache.get("bob", AS_OF_NOW) is None
    cache.clear()
    assert len(cache) == 0


@pytest.mark.parametrize("owner", ["", "ann"])
@pytest.mark.parametrize("protected", [False, True])
def test_a_fill_that_a_change_overtook_is_dropped(
    clock: Clock, owner: str, protected: bool
) -> None:
    """Without the rule (`protected` False) the old fact would stay."""
    cache = cache_of(clock, exact=True, drop_overtaken=protected)
    with cache.filling() as filling:
        cache.invalidate(PK, owner)
        filling.keep("k", Cached("old", {PK: 5}, READ_AT, "ann"))
    assert cache.get("k", AS_OF_NOW) == (None if protected else "old")


def test_a_fill_is_kept_when_others_changed(clock: Clock) -> None:
    cache = cache_of(clock, exact=True)
    with cache.filling() as filling:
        cache.invalidate(PK, "bob")
        cache.invalidate(OTHER)
        filling.keep("k", Cached("fact", {PK: 5}, READ_AT, "ann"))
    assert cache.get("k", AS_OF_NOW) == "fact"


def test_a_fill_does_not_survive_a_lost_cursor(clock: Clock) -> None:
    cache = cache_of(clock)
    with cache.filling() as filling:
        cache.clear()
        filling.keep("k", Cached("fact", {PK: 5}, READ_AT, "ann"))
    cache.delivered(READ_AT)
    assert cache.get("k", MINIMIZE_LATENCY) is None


def test_what_does_not_say_on_what_it_rests_is_not_kept(clock: Clock) -> None:
    cache = cache_of(clock, exact=True)
    with cache.filling() as filling:
        filling.keep("k", Cached("fact", {}, READ_AT))
    assert len(cache) == 0


def test_it_is_bounded_and_drops_what_was_used_longest_ago(clock: Clock) -> None:
    cache = cache_of(clock, exact=True, most=2)
    fill(cache, "a")
    fill(cache, "b")
    assert cache.get("a", AS_OF_NOW)
    before = cache.generation
    fill(cache, "c")
    assert [cache.get(k, AS_OF_NOW) is not None for k in "abc"] == [True, False, True]
    assert cache.generation != before
    for _ in range(3):
        cache.invalidate(PK)
    assert not cache._dependents, "nothing is left of what is gone"


def test_switched_off_it_answers_nothing_but_knows_versions(clock: Clock) -> None:
    cache = cache_of(clock, exact=True, serve=False)
    fill(cache, "k")
    assert cache.get("k", AS_OF_NOW) is None
    assert cache.get("k", MINIMIZE_LATENCY) is None
    assert cache.known("k") == "fact k"
