"""Exactness and bounds of the point cache."""

from __future__ import annotations

from services.records.port import Item, Key
from services.records.sql.cache import MISS, PointCache


def item(sk: str, body: str = "{}", token: str = "1", expires_at: int | None = None) -> Item:
    return Item(Key("P", sk), token, "f", body, expires_at=expires_at)


def make(max_items: int = 100, max_bytes: int = 1 << 20) -> PointCache:
    return PointCache(max_items=max_items, max_bytes=max_bytes)


def test_knows_present_absent_and_unknown() -> None:
    cache = make()
    cache.store(Key("P", "a"), item("a"))
    cache.store(Key("P", "b"), None)
    assert cache.get(Key("P", "a"), 0) == item("a")
    assert cache.get(Key("P", "b"), 0) is None
    assert cache.get(Key("P", "c"), 0) is MISS


def test_the_least_recently_used_entry_goes_first() -> None:
    cache = make(max_items=2)
    cache.store(Key("P", "a"), item("a"))
    cache.store(Key("P", "b"), item("b"))
    cache.get(Key("P", "a"), 0)
    cache.store(Key("P", "c"), item("c"))
    assert cache.get(Key("P", "b"), 0) is MISS
    assert cache.get(Key("P", "a"), 0) == item("a")


def test_bytes_are_bounded_and_given_back() -> None:
    cache = make(max_bytes=20_000)
    for number in range(50):
        cache.store(Key("P", str(number)), item(str(number), "x" * 1000))
        assert cache.size <= 20_000
    assert 0 < len(cache) < 20
    for number in range(50):
        cache.settle([Key("P", str(number))], {})
    assert (len(cache), cache.size) == (0, 0)


def test_an_item_larger_than_the_cache_is_not_stored_and_evicts_nothing() -> None:
    cache = make(max_bytes=5000)
    cache.store(Key("P", "a"), item("a"))
    cache.store(Key("P", "b"), item("b", "x" * 6000))
    assert cache.get(Key("P", "b"), 0) is MISS
    assert cache.get(Key("P", "a"), 0) == item("a")


def test_an_expired_entry_is_absent() -> None:
    cache = make()
    cache.store(Key("P", "a"), item("a", expires_at=10))
    assert cache.get(Key("P", "a"), 9) is not None
    assert cache.get(Key("P", "a"), 10) is None


def test_a_marked_key_is_unknown_until_every_batch_settled() -> None:
    """Two batches of the same key under way: the first may not lift both marks."""
    cache = make()
    key = Key("P", "a")
    cache.store(key, item("a"))
    cache.mark([key])
    cache.mark([key])
    assert cache.get(key, 0) is MISS
    cache.settle([key], {key: item("a", token="2")})
    assert cache.get(key, 0) is MISS
    cache.settle([key], {key: item("a", token="3")})
    assert cache.get(key, 0) == item("a", token="3")


def test_settling_without_an_item_forgets_the_entry() -> None:
    cache = make()
    key = Key("P", "a")
    cache.store(key, item("a"))
    cache.mark([key])
    cache.settle([key], {})
    assert cache.get(key, 0) is MISS
    assert cache.size == 0


def test_writes_do_not_push_out_what_is_read() -> None:
    cache = make()
    key = Key("P", "a")
    cache.mark([key])
    cache.settle([key], {key: item("a")})
    assert len(cache) == 0
