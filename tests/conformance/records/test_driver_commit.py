"""Conditional commits: read-after-write, all or nothing, no lost update."""

from __future__ import annotations

import asyncio
import json

import pytest

from services.records.port import (
    ABSENT,
    ConditionFailed,
    Index,
    Key,
    Match,
    RecordDriver,
)
from tests.conformance.records.harness import DriverCase, Store, after, everything, put


async def test_declares_the_capabilities_of_the_table(
    driver: RecordDriver, case: DriverCase
) -> None:
    assert driver.capabilities == case.capabilities


async def test_a_commit_is_read_back_in_full(driver: RecordDriver) -> None:
    written = put(
        "S#1",
        '{"a":1}',
        stamp='{"v":2}',
        expires_at=2_000_000,
        indexes={Index.TEAM: ("T#1", "a"), Index.PROJECT: ("J#1", "b")},
    )
    [token] = await driver.commit("P#1", [written])
    item = await driver.get(written.key)
    assert item is not None
    assert (item.key, item.token, item.family) == (written.key, token, "test")
    assert (item.body, item.stamp, item.deleted) == ('{"a":1}', '{"v":2}', False)
    assert item.expires_at == 2_000_000
    assert item.indexes == written.indexes


async def test_get_of_a_key_never_written_is_none(driver: RecordDriver) -> None:
    assert await driver.get(Key("P#1", "S#1")) is None


async def test_an_overwrite_is_read_at_once_and_changes_the_token(driver: RecordDriver) -> None:
    [first] = await driver.commit("P#1", [put("a", "1")])
    assert (await driver.get(Key("P#1", "a"))).body == "1"  # type: ignore[union-attr]
    [second] = await driver.commit("P#1", [put("a", "2", condition=Match(first))])
    item = await driver.get(Key("P#1", "a"))
    assert item is not None
    assert (item.body, item.token) == ("2", second)
    assert second != first


async def test_the_same_body_again_still_changes_the_token(driver: RecordDriver) -> None:
    [first] = await driver.commit("P#1", [put("a")])
    [second] = await driver.commit("P#1", [put("a", condition=Match(first))])
    assert first != second


async def test_absent_fails_on_a_row_and_on_a_tombstone(driver: RecordDriver) -> None:
    [token] = await driver.commit("P#1", [put("a", "1")])
    with pytest.raises(ConditionFailed) as live:
        await driver.commit("P#1", [put("a", "2")])
    assert live.value.current == await driver.get(Key("P#1", "a"))
    await driver.commit("P#1", [put("a", deleted=True, condition=Match(token))])
    with pytest.raises(ConditionFailed) as dead:
        await driver.commit("P#1", [put("a", "3")])
    assert dead.value.current is not None
    assert dead.value.current.deleted


async def test_match_fails_on_a_key_never_written(driver: RecordDriver) -> None:
    with pytest.raises(ConditionFailed) as failed:
        await driver.commit("P#1", [put("a", condition=Match("1"))])
    assert (failed.value.position, failed.value.current) == (0, None)


@pytest.mark.parametrize("token", ["", "x", "1 ", "01", "-1", "é", "9" * 40])
async def test_a_token_that_no_version_had_never_matches(
    driver: RecordDriver, token: str
) -> None:
    await driver.commit("P#1", [put("a", "1")])
    with pytest.raises(ConditionFailed):
        await driver.commit("P#1", [put("a", "2", condition=Match(token))])


@pytest.mark.parametrize("position", [0, 1, 45, 88, 89])
async def test_a_stale_token_at_any_position_changes_nothing(
    driver: RecordDriver, position: int
) -> None:
    keys = [f"S#{number:03}" for number in range(90)]
    tokens = await driver.commit("P#1", [put(sk, "old") for sk in keys])
    [newer] = await driver.commit(
        "P#1", [put(keys[position], "new", condition=Match(tokens[position]))]
    )
    before = await driver.batch_get([Key("P#1", sk) for sk in keys])
    stale = [put(sk, "lost", condition=Match(t)) for sk, t in zip(keys, tokens, strict=True)]
    with pytest.raises(ConditionFailed) as failed:
        await driver.commit("P#1", stale)
    assert failed.value.position == position
    assert failed.value.current is not None
    assert failed.value.current.token == newer
    assert await driver.batch_get([Key("P#1", sk) for sk in keys]) == before
    assert await everything(driver) == before


async def test_a_failed_absent_takes_the_other_writes_with_it(driver: RecordDriver) -> None:
    await driver.commit("P#1", [put("b")])
    with pytest.raises(ConditionFailed) as failed:
        await driver.commit("P#1", [put("a"), put("b"), put("c")])
    assert failed.value.position == 1
    assert await driver.get(Key("P#1", "a")) is None
    assert await driver.get(Key("P#1", "c")) is None


@pytest.mark.parametrize(
    "puts",
    [[], [put("a"), put("a")], [put("a", pk="P#2")]],
    ids=["none", "a key twice", "another partition"],
)
async def test_a_malformed_commit_is_refused(driver: RecordDriver, puts: list[object]) -> None:
    with pytest.raises(ValueError, match="distinct keys in one partition"):
        await driver.commit("P#1", puts)  # type: ignore[arg-type]
    assert await everything(driver) == []


async def test_batch_get_answers_in_the_order_asked(driver: RecordDriver) -> None:
    await driver.commit("P#1", [put(f"{n:03}", str(n)) for n in range(0, 500, 2)][:90])
    keys = [Key("P#1", f"{n:03}") for n in reversed(range(500))]
    got = await driver.batch_get([*keys, keys[-1]])
    expected = [str(n) if n % 2 == 0 and n < 180 else None for n in reversed(range(500))]
    assert [item and item.body for item in got] == [*expected, "0"]
    again = await driver.batch_get([*keys, keys[-1]])
    assert again == got


@pytest.mark.parametrize("size", [1, 40])
async def test_batch_get_sees_every_acknowledged_commit(driver: RecordDriver, size: int) -> None:
    keys = [Key("P#1", f"{n:03}") for n in range(size)]
    assert await driver.batch_get(keys) == [None] * size
    tokens = await driver.commit("P#1", [put(key.sk) for key in keys])
    assert [item and item.token for item in await driver.batch_get(keys)] == tokens


PLANES = "".join(
    chr(plane << 16 | offset)
    for plane in range(17)
    for offset in (0x01, 0x0A, 0x7F, 0xE9, 0x0301, 0x4E00, 0xFDFF)
)


async def test_bodies_of_every_plane_come_back_unchanged(driver: RecordDriver) -> None:
    nul = json.dumps("a\0b")
    tokens = await driver.commit("P#1", [put("a", PLANES, stamp=PLANES), put("b", nul)])
    assert len(tokens) == 2
    items = await everything(driver)
    assert [item.body for item in items] == [PLANES, nul]
    assert items[0].stamp == PLANES
    assert json.loads(items[1].body) == "a\0b"


async def test_a_body_of_350_kib_comes_back_unchanged(driver: RecordDriver) -> None:
    body = json.dumps("x" * (350 * 1024 - 2))
    await driver.commit("P#1", [put("a", body)])
    item = await driver.get(Key("P#1", "a"))
    assert item is not None
    assert item.body == body


async def test_a_tombstone_is_read_as_deleted(driver: RecordDriver) -> None:
    await driver.commit("P#1", [put("a", deleted=True, indexes={Index.USER: ("U", "x")})])
    item = await driver.get(Key("P#1", "a"))
    assert item is not None
    assert item.deleted
    assert await driver.batch_get([Key("P#1", "a")]) == [item]
    assert await everything(driver) == [item]
    assert list((await driver.query(Index.USER, "U")).items) == [item]


async def test_writers_at_once_lose_no_update(driver: RecordDriver, case: DriverCase) -> None:
    await driver.commit("P#1", [put("counter", "0")])

    async def increment() -> None:
        for _ in range(5):
            while True:
                item = await driver.get(Key("P#1", "counter"))
                assert item is not None
                try:
                    await driver.commit("P#1", [after(item, str(int(item.body) + 1))])
                except ConditionFailed:
                    continue
                break

    await asyncio.gather(*(increment() for _ in range(case.writers)))
    item = await driver.get(Key("P#1", "counter"))
    assert item is not None
    assert item.body == str(5 * case.writers)


async def test_writers_on_their_own_partitions_all_succeed(
    driver: RecordDriver, case: DriverCase
) -> None:
    async def write(number: int) -> list[str]:
        pk = f"P#{number}"
        return [(await driver.commit(pk, [put(f"{n}", pk=pk)]))[0] for n in range(10)]

    tokens = await asyncio.gather(*(write(number) for number in range(case.writers)))
    assert len({token for own in tokens for token in own}) == 10 * case.writers
    assert len(await everything(driver)) == 10 * case.writers


async def test_one_failing_commit_among_50_fails_alone(driver: RecordDriver) -> None:
    await driver.commit("P#1", [put("taken", "first")])
    commits = [
        driver.commit("P#1", [put(f"{n:02}"), put("taken" if n == 25 else f"{n:02}x")])
        for n in range(50)
    ]
    outcomes = await asyncio.gather(*commits, return_exceptions=True)
    failed = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, Exception)]
    assert failed == [25]
    assert isinstance(outcomes[25], ConditionFailed)
    assert len(await everything(driver)) == 1 + 49 * 2
    taken = await driver.get(Key("P#1", "taken"))
    assert taken is not None
    assert taken.body == "first"


async def test_of_concurrent_creators_exactly_one_wins(driver: RecordDriver) -> None:
    commits = [driver.commit("P#1", [put("a", str(n))]) for n in range(20)]
    outcomes = await asyncio.gather(*commits, return_exceptions=True)
    winners = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, list)]
    assert len(winners) == 1
    assert all(isinstance(o, ConditionFailed) for n, o in enumerate(outcomes) if n not in winners)
    item = await driver.get(Key("P#1", "a"))
    assert item is not None
    assert item.body == str(winners[0])


async def test_what_was_acknowledged_is_there_after_a_restart(store: Store) -> None:
    first = await store.open()
    tokens = await first.commit("P#1", [put("a", "1"), put("b", "2")])
    identity = await first.identity()
    await first.close()
    second = await store.open()
    assert [item.token for item in await everything(second)] == tokens
    assert await second.identity() == identity
    [newer] = await second.commit("P#1", [put("a", "3", condition=Match(tokens[0]))])
    assert newer not in tokens


async def test_two_stores_have_different_identities(case: DriverCase, environment: object) -> None:
    one = await case.store(environment).open()  # type: ignore[arg-type]
    two = await case.store(environment).open()  # type: ignore[arg-type]
    assert await one.identity() != await two.identity()


async def test_conditions_are_checked_inside_one_commit_order(driver: RecordDriver) -> None:
    """Two commits sent together: the second sees what the first wrote."""
    outcomes = await asyncio.gather(
        driver.commit("P#1", [put("a", "1")]),
        driver.commit("P#1", [put("a", "2", condition=ABSENT)]),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ConditionFailed", "list"]
