"""Instance rows seen from outside, and changes of incarnation under way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from workspace.project.v1.project_pb2 import Project

from services.backends import wall_millis
from services.backup.archive import Manifest, RowWriter
from services.backup.restore import restore_records
from services.model.clocks import HybridClock
from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES
from services.records.incarnation_watch import IncarnationWatch
from services.records.instance import (
    INSTANCE_KEY,
    check_readable,
    check_writable,
    create_instance,
    mark_minted,
    new_incarnation,
    open_instance,
    raise_floor,
    read_instance,
)
from services.records.port import Key, Match, Put, RecordDriver
from services.records.record import Activity, Write
from services.records.sql import SqliteDriver
from services.records.store import RecordStore

_ACTIVITY = Activity("project.updated", "projects/p")


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[RecordDriver]:
    driver = await SqliteDriver.open(tmp_path / "workspace.sqlite")
    yield driver
    await driver.close()


class Held:
    """A driver whose commits wait until they are let go."""

    def __init__(self, inner: RecordDriver) -> None:
        self._inner = inner
        self.sent = asyncio.Event()
        self.go = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def commit(self, pk: str, puts: list[Put]) -> list[str]:
        self.sent.set()
        await self.go.wait()
        return await self._inner.commit(pk, puts)


def _store(driver: object, actor: str = "n1.old") -> RecordStore:
    return RecordStore(cast(RecordDriver, driver), actor=actor, clock=HybridClock(wall_millis))


async def _write(records: RecordStore, project: str = "p") -> str:
    write: Write[Any] = Write(FAMILIES["project"], Project(project_id=project, name="x"))
    done = await records.commit(f"PROJECT#{project}", [write], activity=_ACTIVITY)
    return done.records[0].stamp.dot[0]


async def test_looking_is_no_start(driver: RecordDriver) -> None:
    assert await read_instance(driver) is None
    made = await create_instance(driver)
    assert made.generation == 0
    assert await create_instance(driver) == made == await read_instance(driver)
    assert (await open_instance(driver)).generation == 1
    assert (await create_instance(driver)).generation == 1


async def test_made_by_several_at_once_it_is_one(driver: RecordDriver) -> None:
    made = await asyncio.gather(*(create_instance(driver) for _ in range(5)))
    assert len({each.actor for each in made}) == 1


async def test_what_later_software_added_is_kept(driver: RecordDriver) -> None:
    await open_instance(driver)
    item = await driver.get(INSTANCE_KEY)
    assert item is not None
    body = json.dumps(json.loads(item.body) | {"min_reader": 1, "min_writer": 1, "colour": "red"})
    await driver.commit(INSTANCE_KEY.pk, [Put(INSTANCE_KEY, Match(item.token), "instance", body)])
    await open_instance(driver)
    item = await driver.get(INSTANCE_KEY)
    assert item is not None
    assert json.loads(item.body)["colour"] == "red"


@pytest.mark.parametrize(
    ("reader", "writer", "reads", "writes"),
    [(1, 1, True, True), (1, 2, True, False), (2, 2, False, False), (2, 1, False, False)],
)
async def test_formats(
    driver: RecordDriver, reader: int, writer: int, *, reads: bool, writes: bool
) -> None:
    await create_instance(driver)
    item = await driver.get(INSTANCE_KEY)
    assert item is not None
    members = {"min_reader": reader, "min_writer": writer, "format": 2}
    body = json.dumps(json.loads(item.body) | members)
    await driver.commit(INSTANCE_KEY.pk, [Put(INSTANCE_KEY, Match(item.token), "instance", body)])
    found = await read_instance(driver)
    assert found is not None
    for check, fine, does in ((check_readable, reads, "reads"), (check_writable, writes, "")):
        if fine:
            check(found)
            continue
        with pytest.raises(WorkspaceError, match=f"has format 2, this program {does}") as refused:
            check(found)
        assert refused.value.reason == Reason.ERROR_REASON_INVALID_STATE


async def test_a_new_incarnation_is_taken_once(driver: RecordDriver) -> None:
    first = await open_instance(driver)
    several = await asyncio.gather(
        *(new_incarnation(driver, first.incarnation, unminted_after="h") for _ in range(4))
    )
    assert len({each.incarnation for each in several}) == 1
    assert several[0].former == (first.incarnation,)
    assert several[0].unminted == {first.incarnation: ("h", "h")}
    assert several[0].actor != first.actor
    second = await new_incarnation(driver, several[0].incarnation)
    assert second.former == (first.incarnation, several[0].incarnation)
    assert set(second.unminted) == {first.incarnation}  # not done yet
    assert (await mark_minted(driver, {first.incarnation: ("h", "other")})).unminted
    assert (await mark_minted(driver, second.unminted)).unminted == {}


async def test_the_floor_only_rises(driver: RecordDriver) -> None:
    await open_instance(driver)
    await raise_floor(driver, "2")
    await raise_floor(driver, "1")
    found = await read_instance(driver)
    assert found is not None
    assert found.floor == "2"


async def test_becoming_waits_for_what_was_planned_before(driver: RecordDriver) -> None:
    held = Held(driver)
    records = _store(held)
    writing = asyncio.ensure_future(_write(records))
    await held.sent.wait()
    becoming = asyncio.ensure_future(records.become("n1.new"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not becoming.done()
    held.go.set()
    await becoming
    assert writing.done() or await driver.get(Key("PROJECT#p", "PROJECT#p")) is not None
    assert await writing == "n1.old"
    assert await _write(records, "q") == "n1.new"


async def test_becoming_waits_for_who_waits_for_the_partition(driver: RecordDriver) -> None:
    """A plan is stamped before its turn comes: it still has the old actor then."""
    held = Held(driver)
    records = _store(held)
    first = asyncio.ensure_future(_write(records))
    await held.sent.wait()
    second = asyncio.ensure_future(
        records.commit(
            "PROJECT#p",
            [Write(FAMILIES["project_grant"], _grant())],
            activity=_ACTIVITY,
        )
    )
    for _ in range(20):
        await asyncio.sleep(0)
    becoming = asyncio.ensure_future(records.become("n1.new"))
    held.go.set()
    await becoming
    assert await first == "n1.old"
    key = Key(*FAMILIES["project_grant"].key_of(_grant()))
    assert await driver.get(key) is not None
    assert (await second).records[0].stamp.dot[0] == "n1.old"


async def test_becoming_waits_for_a_commit_whose_caller_left(driver: RecordDriver) -> None:
    held = Held(driver)
    records = _store(held)
    writing = asyncio.ensure_future(_write(records))
    await held.sent.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    becoming = asyncio.ensure_future(records.become("n1.new"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not becoming.done()
    held.go.set()
    await becoming
    assert await driver.get(Key("PROJECT#p", "PROJECT#p")) is not None


class Shared(Held):
    """The same rows as another process of a shared database sees them."""

    def __init__(self, inner: RecordDriver) -> None:
        super().__init__(inner)
        self.go.set()

    @property
    def capabilities(self) -> Any:
        from dataclasses import replace

        return replace(self._inner.capabilities, multi_process=True)


async def test_other_processes_notice(driver: RecordDriver) -> None:
    first = await open_instance(driver)
    here, there = _store(driver, first.actor), _store(Shared(driver), first.actor)
    watch = IncarnationWatch(there, period=0)
    await watch.look()
    later = await new_incarnation(driver, first.incarnation)
    await here.become(later.actor)
    watching = asyncio.ensure_future(watch.run())
    for _ in range(1000):
        await asyncio.sleep(0)
        if there.actor == later.actor:
            break
    watching.cancel()
    assert await _write(there) == later.actor


async def test_a_process_that_cannot_look_writes_nothing(driver: RecordDriver) -> None:
    first = await open_instance(driver)
    records = _store(Shared(driver), first.actor)
    records.actors.sure(-1e9)  # looked for the last time long ago
    with pytest.raises(WorkspaceError, match="writes nothing until it can") as refused:
        await _write(records)
    assert refused.value.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    await IncarnationWatch(records).look()
    await _write(records)


async def test_nobody_watches_a_store_of_one_process(driver: RecordDriver) -> None:
    await IncarnationWatch(_store(driver)).run()


@pytest.mark.parametrize("emptied", [False, True])
async def test_a_restored_store_is_another_incarnation(
    driver: RecordDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, emptied: bool
) -> None:
    """In a new database, and in the very one that was emptied."""
    first = await open_instance(driver)
    writer = RowWriter(tmp_path)
    writer.write(await driver.scan(None, 1000))
    digest = writer.close()
    manifest = Manifest(first.instance_id, "2026-01-01T00:00:00Z", writer.count, digest, 0, 0, [])
    target = await SqliteDriver.open(tmp_path / "restored.sqlite")
    if emptied:
        monkeypatch.setattr(target, "_identity", await driver.identity())
    try:
        await restore_records(tmp_path, manifest, target, progress=lambda *_: None)
        restored = await open_instance(target)
        assert restored.instance_id == first.instance_id
        assert restored.former == (first.incarnation,)
        assert restored.actor != first.actor
    finally:
        await target.close()


def _grant() -> Any:
    from workspace.project.v1.grant_pb2 import Grant

    return Grant(project_id="p", grant_id="g_1")
