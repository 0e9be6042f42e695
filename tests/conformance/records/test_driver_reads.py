"""Order, ranges, pages and expiry on every read path."""

from __future__ import annotations

import json
from itertools import product

import pytest

from services.records.port import ConditionFailed, Index, Item, Key, Match, RecordDriver
from tests.conformance.records.harness import (
    Clock,
    CollectingDriver,
    after,
    drain,
    everything,
    put,
)

RANGES: list[tuple[str, str | None]] = [
    ("", None), ("b", None), ("", "d"), ("b", "d"), ("b!", "c~"), ("d", "b"),
]  # fmt: skip
ASCII = [chr(code) for code in range(0x21, 0x7F)]


async def fill(driver: RecordDriver, sks: list[str], pk: str = "P#1") -> None:
    for start in range(0, len(sks), 90):
        await driver.commit(pk, [put(sk, pk=pk) for sk in sks[start : start + 90]])


async def pages(
    driver: RecordDriver, index: Index, partition: str, size: int, **bounds: object
) -> list[Item]:
    items: list[Item] = []
    position: str | None = None
    while True:
        page = await driver.query(index, partition, limit=size, after=position, **bounds)  # type: ignore[arg-type]
        assert len(page.items) <= size
        items.extend(page.items)
        if page.next is None:
            return items
        assert len(page.items) == size
        position = page.next


async def test_sort_keys_are_in_byte_order_with_every_ascii_character(
    driver: RecordDriver,
) -> None:
    sks = [f"a{char}{tail}" for char in ASCII for tail in ("", "b")]
    await fill(driver, list(reversed(sks)))
    expected = sorted(sks, key=str.encode)
    page = await driver.query(Index.BASE, "P#1", limit=500)
    assert [item.key.sk for item in page.items] == expected
    down = await driver.query(Index.BASE, "P#1", limit=500, descending=True)
    assert [item.key.sk for item in down.items] == expected[::-1]


async def test_partition_keys_are_in_byte_order_with_every_ascii_character(
    driver: RecordDriver,
) -> None:
    for char in reversed(ASCII):
        await driver.commit(f"p{char}q", [put("s", pk=f"p{char}q")])
    found = [item.key.pk[1] for item in await everything(driver)]
    assert found == ASCII or not driver.capabilities.ordered_scan
    assert sorted(found) == ASCII


@pytest.mark.case("K14")
async def test_keys_that_differ_in_case_only_are_different(driver: RecordDriver) -> None:
    await driver.commit("P#1", [put("a", "1"), put("A", "2")])
    page = await driver.query(Index.BASE, "P#1")
    assert [(item.key.sk, item.body) for item in page.items] == [("A", "2"), ("a", "1")]
    assert await driver.get(Key("p#1", "a")) is None


@pytest.mark.parametrize("index", list(Index))
@pytest.mark.parametrize("descending", [False, True])
async def test_ranges_and_pages_of_every_index(
    driver: RecordDriver, index: Index, descending: bool
) -> None:
    """Six items, three of them with the same sort key in the secondary indexes."""
    sorts = ["a", "b", "c", "c", "c", "d"]
    sks = ["a", "b", "c", "c#1", "c#2", "d"]
    puts = [
        put(sk, indexes={} if index is Index.BASE else {index: ("X", sort)})
        for sk, sort in zip(sks, sorts, strict=True)
    ]
    await driver.commit("P#1", puts)
    await driver.commit("P#2", [put("c", pk="P#2", indexes={Index.ACCOUNT: ("Y", "c")})])
    partition = "P#1" if index is Index.BASE else "X"
    order = sks if index is Index.BASE else sorts
    for size, (lower, upper) in product((1, 3, 100), RANGES):
        found = await pages(
            driver, index, partition, size, lower=lower, upper=upper, descending=descending
        )
        expected = [
            sk
            for sk, sort in zip(sks, order, strict=True)
            if sort >= lower and (upper is None or sort < upper)
        ]
        where = (size, lower, upper)
        assert [i.key.sk for i in found] == (expected[::-1] if descending else expected), where


async def test_equal_sort_keys_of_many_partitions_page_without_loss(driver: RecordDriver) -> None:
    keys = [(f"P#{p}", f"S#{s}") for p in range(3) for s in range(3)]
    for pk, sk in keys:
        await driver.commit(pk, [put(sk, pk=pk, indexes={Index.TEAM: ("T", "same")})])
    up = await pages(driver, Index.TEAM, "T", 1)
    assert [(item.key.pk, item.key.sk) for item in up] == keys
    down = await pages(driver, Index.TEAM, "T", 2, descending=True)
    assert [(item.key.pk, item.key.sk) for item in down] == keys[::-1]


@pytest.mark.parametrize("descending", [False, True])
async def test_a_position_outside_the_bounds_does_not_widen_them(
    driver: RecordDriver, descending: bool
) -> None:
    await fill(driver, list("abcdef"))
    whole = await driver.query(Index.BASE, "P#1", limit=1, descending=descending)
    page = await driver.query(
        Index.BASE, "P#1", lower="c", upper="e", after=whole.next, descending=descending
    )
    assert sorted(item.key.sk for item in page.items) == ["c", "d"]


@pytest.mark.parametrize("position", ["", "x", "[]", '["a","b"]', '["a","b",1]', "null", "{}"])
async def test_a_position_that_no_page_returned_is_refused(
    driver: RecordDriver, position: str
) -> None:
    with pytest.raises(ValueError, match="after"):
        await driver.query(Index.BASE, "P#1", after=position)


async def test_a_rewrite_moves_and_removes_index_entries(driver: RecordDriver) -> None:
    both = {Index.TEAM: ("T", "1"), Index.USER: ("U", "1")}
    [token] = await driver.commit("P#1", [put("a", indexes=both)])
    await driver.commit(
        "P#1", [put("a", condition=Match(token), indexes={Index.TEAM: ("T", "2")})]
    )
    team = await driver.query(Index.TEAM, "T")
    assert [item.indexes for item in team.items] == [{Index.TEAM: ("T", "2")}]
    assert list((await driver.query(Index.USER, "U")).items) == []


async def test_index_reads_are_as_consistent_as_declared(driver: RecordDriver) -> None:
    seen = 0
    for number in range(30):
        await driver.commit("P#1", [put(f"{number:02}", indexes={Index.ACCOUNT: ("A", "x")})])
        page = await driver.query(Index.ACCOUNT, "A")
        seen += len(page.items) == number + 1
    assert (seen == 30) or not driver.capabilities.consistent_index_reads


@pytest.mark.parametrize("page", [1, 5, 1000])
async def test_a_scan_goes_over_all_rows_once_as_declared(
    driver: RecordDriver, page: int
) -> None:
    keys = [Key(f"P#{p}", f"S#{s}") for p in range(3) for s in range(4)]
    for key in reversed(keys):
        await driver.commit(key.pk, [put(key.sk, pk=key.pk)])
    found = [item.key for item in await everything(driver, page)]
    assert sorted(found) == keys
    assert found == keys or not driver.capabilities.ordered_scan
    assert found == [item.key for item in await everything(driver)], "the same in every call"


async def test_a_scan_goes_on_after_every_row_that_it_delivered(
    driver: CollectingDriver, clock: Clock
) -> None:
    """Also after one that is gone since."""
    for pk in ("P#1", "P#2", "P#3"):
        puts = [put(sk, pk=pk, expires_at=1_000_010 if sk == "b" else None) for sk in "abc"]
        await driver.commit(pk, puts)
    found = [item.key for item in await everything(driver)]
    for at, key in enumerate(found):
        assert [item.key for item in await rest(driver, key)] == found[at + 1 :]
    clock.now += 10
    kept = [key for key in found if key.sk != "b"]
    for collected in (0, 3):
        assert await driver.collect_expired(collected) == collected
        for at, key in enumerate(found):
            later = [each for each in found[at + 1 :] if each in kept]
            assert [item.key for item in await rest(driver, key)] == later


async def test_a_scan_meets_what_lies_before_and_after_a_change(driver: RecordDriver) -> None:
    """Rows that are rewritten, and come, while the walk is on its way."""
    old = [Key(f"P#{n:02}", "a") for n in range(20)]
    for key in old:
        await driver.commit(key.pk, [put(key.sk, pk=key.pk)])
    found: list[Item] = []
    while page := await driver.scan(found[-1].key if found else None, 3):
        found.extend(page)
        await driver.commit(found[-1].key.pk, [after(found[-1], '{"n":1}')])
        new = f"N#{len(found):02}"
        await driver.commit(new, [put("a", pk=new)])
        if len(found) > 200:
            break  # what comes may be met, too
    met = [item.key for item in found if item.key.pk.startswith("P#")]
    assert sorted(met) == old


async def test_a_large_store_is_scanned_in_pages(driver: RecordDriver) -> None:
    """More than a provider puts into one page: a short one is not the end."""
    body = json.dumps("x" * (300 * 1024))
    for number in range(8):
        await driver.commit(f"P#{number}", [put("a", body, pk=f"P#{number}")])
    found = await everything(driver, 100)
    assert sorted(item.key.pk for item in found) == [f"P#{number}" for number in range(8)]


async def rest(driver: RecordDriver, after_key: Key) -> list[Item]:
    """What a scan delivers behind a key, a few at a time."""
    items: list[Item] = []
    while page := await driver.scan(items[-1].key if items else after_key, 2):
        items.extend(page)
    return items


async def test_an_expired_row_is_invisible_on_every_path_at_once(
    driver: CollectingDriver, clock: Clock
) -> None:
    key = Key("P#1", "a")
    token, _ = await driver.commit(
        "P#1", [put("a", expires_at=1_000_010, indexes={Index.TEAM: ("T", "1")}), put("b")]
    )
    clock.now = 1_000_009.9
    assert await driver.get(key) is not None
    clock.now = 1_000_010.0
    assert await driver.get(key) is None
    assert await driver.batch_get([key]) == [None]
    assert await driver.batch_get([key] + [Key("P#1", f"x{n}") for n in range(40)]) == [None] * 41
    assert [i.key.sk for i in (await driver.query(Index.BASE, "P#1")).items] == ["b"]
    assert list((await driver.query(Index.TEAM, "T")).items) == []
    assert [i.key.sk for i in await everything(driver)] == ["b"]
    assert [i.key.sk for i in await drain(driver)] == ["b"]
    with pytest.raises(ConditionFailed) as failed:
        await driver.commit("P#1", [put("a", condition=Match(token))])
    assert failed.value.current is None


async def test_an_expired_row_counts_as_absent(driver: RecordDriver, clock: Clock) -> None:
    [old] = await driver.commit("P#1", [put("a", "old", expires_at=1_000_001)])
    clock.now += 1
    [new] = await driver.commit("P#1", [put("a", "new")])
    item = await driver.get(Key("P#1", "a"))
    assert item is not None
    assert (item.body, item.token, item.expires_at) == ("new", new, None)
    assert new != old


async def test_only_expired_rows_are_collected_and_no_more_than_asked(
    driver: CollectingDriver, clock: Clock
) -> None:
    await driver.commit("P#1", [put(f"{n}", expires_at=1_000_000 + n) for n in range(1, 9)])
    await driver.commit("P#1", [put("keep"), put("tombstone", deleted=True)])
    assert await driver.collect_expired(100) == 0
    clock.now += 5
    assert await driver.collect_expired(2) == 2
    assert await driver.collect_expired(100) == 3
    assert await driver.collect_expired(100) == 0
    clock.now -= 5  # had the rows only been hidden, they would be back
    keys = [item.key.sk for item in await everything(driver)]
    assert keys == ["6", "7", "8", "keep", "tombstone"]
    assert await driver.get(Key("P#1", "1")) is None
