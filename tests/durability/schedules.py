"""Random schedules of what a cloud does wrong: what writers were told, and what is true.

Two processes write to one partition and store objects, and one follows the change feed,
while requests go wrong as the lane of the cloud has it. In the end: what was acknowledged
is there, once; what was refused never happened; the change feed has it all, for who read
it on and on as well. The folders of the clouds have the lanes.

WM_FAULT_SCHEDULES and WM_FAULT_FIRST: how many, from which.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from services.objects.port import ObjectDriver, ObjectMissing, StoreUnavailable
from services.records.port import (
    ABSENT,
    ConditionFailed,
    DriverUnavailable,
    Key,
    Match,
    Put,
    RecordDriver,
)

__all__ = [
    "AT_ONCE", "CALL_SECONDS", "SILENCE", "TIMEOUT", "WRITERS", "Lane", "hope", "run",
    "write_once",
]  # fmt: skip

SCHEDULES = int(os.environ.get("WM_FAULT_SCHEDULES", "50"))
FIRST = int(os.environ.get("WM_FAULT_FIRST", "0"))
TIMEOUT = 900 + 2 * SCHEDULES
AT_ONCE = 8
WRITERS, COMMITS = 2, 2
CALL_SECONDS = 0.5
SILENCE = 1.5 * CALL_SECONDS
"""Seconds until a server that is silent ends the connection."""


@dataclass
class Told:
    """What the writers of one schedule were told of each row, by its name, and of each
    object (those with None: nothing for sure)."""

    acknowledged: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    unclear: set[str] = field(default_factory=set)
    doubted: set[str] = field(default_factory=set)
    """Rows of one's own of which a commit said that they are another's."""
    stored: set[str] = field(default_factory=set)
    objects: dict[str, bytes] = field(default_factory=dict)


class Lane(Protocol):
    """Stores that go wrong, used by one schedule after the other. Those that are `sure`
    lead to the same, with time enough."""

    drivers: list[RecordDriver]
    store: ObjectDriver
    sure: RecordDriver
    sure_store: ObjectDriver
    sizes: Sequence[int]
    """Bytes of the objects of a schedule."""

    def go_wrong(self, rng: random.Random | None) -> None:
        """From here on, by chance; None: no more."""
        ...

    def refuse_commits(self) -> None:
        """None is ever written, from here on."""
        ...

    def seen(self) -> Collection[str]:
        """Names of all that went wrong."""
        ...


async def run(lanes: Sequence[Lane]) -> list[str]:
    """What went wrong in `SCHEDULES` of them."""
    seeds, found = iter(range(FIRST, FIRST + SCHEDULES)), list[str]()

    async def on(lane: Lane) -> None:
        for seed in seeds:
            found.extend(await schedule(lane, seed))

    await asyncio.gather(*map(on, lanes))
    return found


async def schedule(lane: Lane, seed: int) -> list[str]:
    """What went wrong in one schedule; empty when nothing did."""
    rng, pk, told = random.Random(seed), f"SCHEDULE#{seed}", Told()
    tail = await lane.sure.tail()
    lane.go_wrong(rng)
    done = asyncio.Event()
    following = asyncio.create_task(follow(lane.drivers[-1], pk, tail, done))
    writing = [write(driver, pk, f"{n}", told) for n, driver in enumerate(lane.drivers)]
    try:
        await asyncio.gather(*writing, store_objects(lane, seed, told))
    finally:
        lane.go_wrong(None)
        done.set()
        read, cursor = await following
    found = await faults_of(lane, pk, told, tail)
    later = read | await fed(lane.sure, pk, cursor)
    if missed := await fed(lane.sure, pk, tail) - later:
        found.append(f"not in the feed for who followed it: {sorted(missed)}")
    return [f"schedule {seed}: {each}" for each in found]


class _Hopeful:
    """The control: a driver that takes a lost answer for a good one."""

    def __init__(self, driver: RecordDriver) -> None:
        self._driver = driver
        self.batch_get = driver.batch_get

    async def commit(self, pk: str, puts: Sequence[Put]) -> list[str]:
        try:
            return await self._driver.commit(pk, puts)
        except DriverUnavailable:
            return ["hoped"] * len(puts)


async def hope(lane: Lane) -> list[str]:
    """What is found of one who hopes; it must be something."""
    lane.refuse_commits()
    return await write_once(lane, _Hopeful(lane.drivers[0]), "HOPED")  # type: ignore[arg-type]


async def write_once(lane: Lane, driver: RecordDriver, pk: str) -> list[str]:
    """What is wrong after one writer wrote, while there went wrong what does now."""
    tail, told = await lane.sure.tail(), Told()
    await write(driver, pk, "0", told)
    lane.go_wrong(None)
    return await faults_of(lane, pk, told, tail)


async def write(driver: RecordDriver, pk: str, writer: str, told: Told) -> None:
    """Each commit counts one more, and adds a row of its own."""
    for number in range(COMMITS):
        name = f"ROW#{writer}#{number}"
        for _ in range(20):
            try:
                puts = [await counted(driver, pk), row(pk, name)]
                await driver.commit(pk, puts)
            except ConditionFailed as error:
                if error.position == 0:
                    continue  # the other was quicker: count again
                told.doubted.add(name)
            except DriverUnavailable as error:
                (told.unclear if error.ambiguous else told.refused).add(name)
            else:
                told.acknowledged.add(name)
            break


async def counted(driver: RecordDriver, pk: str) -> Put:
    key = Key(pk, "COUNT")
    [item, _] = await driver.batch_get([key, Key(pk, "NONE")])
    if item is None:
        return Put(key, ABSENT, "test", "1")
    return Put(key, Match(item.token), "test", str(int(item.body) + 1))


def row(pk: str, name: str) -> Put:
    return Put(Key(pk, name), ABSENT, "test", "{}")


async def store_objects(lane: Lane, seed: int, told: Told) -> None:
    for number, size in enumerate(lane.sizes):
        key, data = f"schedules/{seed}/{number}", random.Random(seed).randbytes(size)
        told.objects[key] = data

        async def chunks(data: bytes = data) -> AsyncIterator[bytes]:
            yield data

        digest = hashlib.sha256(data).hexdigest()
        try:
            await lane.store.write(
                key, chunks(), size=len(data), sha256=digest, content_type="text/plain"
            )
        except StoreUnavailable:
            continue
        told.stored.add(key)


async def faults_of(lane: Lane, pk: str, told: Told, tail: str) -> list[str]:
    """What is not as the writers were told."""
    names = [*told.acknowledged, *told.refused, *told.unclear, *told.doubted]
    items = await lane.sure.batch_get([Key(pk, name) for name in names])
    there = {name for name, item in zip(names, items, strict=True) if item is not None}
    count = await lane.sure.get(Key(pk, "COUNT"))
    found = []
    if lost := told.acknowledged - there:
        found.append(f"acknowledged and lost: {sorted(lost)}")
    if ghosts := told.refused & there - told.acknowledged:
        found.append(f"refused and there: {sorted(ghosts)}")
    if told.doubted:
        found.append(f"refused for rows of one's own: {sorted(told.doubted)}")
    if int(count.body if count else 0) != len(there):
        found.append(f"{count.body if count else 0} counted, {len(there)} there")
    if missed := there - await fed(lane.sure, pk, tail):
        found.append(f"not in the feed: {sorted(missed)}")
    return [*found, *await wrong_objects(lane.sure_store, told)]


async def wrong_objects(store: ObjectDriver, told: Told) -> list[str]:
    """Objects that are not whole; those that nobody was told of may be missing."""
    found = []
    for key, data in told.objects.items():
        try:
            if b"".join([chunk async for chunk in store.open_read(key)]) != data:
                found.append(f"{key} has other bytes")
        except ObjectMissing:
            if key in told.stored:
                found.append(f"{key} was stored and is lost")
    return found


async def follow(
    driver: RecordDriver, pk: str, cursor: str, done: asyncio.Event
) -> tuple[set[str], str]:
    """Rows that the feed brings until it is `done`, and where to go on."""
    found: set[str] = set()
    while not done.is_set():
        try:
            page = await driver.changes(cursor, 2)
        except DriverUnavailable:
            await asyncio.sleep(0.05)
            continue
        found |= {item.key.sk for item in page.items if item.key.pk == pk}
        cursor = page.cursor
        await asyncio.sleep(0 if page.items else 0.2)
    return found, cursor


async def fed(driver: RecordDriver, pk: str, cursor: str) -> set[str]:
    """Rows of the partition that the feed brings, read until it is complete."""
    found: set[str] = set()
    while True:
        page = await driver.changes(cursor, 100)
        found |= {item.key.sk for item in page.items if item.key.pk == pk}
        cursor = page.cursor
        if page.complete and not page.items:
            return found
        await asyncio.sleep(0 if page.items else 0.05)
