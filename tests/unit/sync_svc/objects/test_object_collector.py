"""Collection of objects: what nothing names goes late, what something names never."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from workspace.identity.v1.account_pb2 import Account
from workspace.project.v1.document_pb2 import Document, DocumentStatus
from workspace.project.v1.project_pb2 import Project
from workspace.storage.v1.upload_pb2 import Upload, UploadStatus

from services.model.errors import Reason, WorkspaceError
from services.model.versions import join
from services.objects.port import ObjectInfo, ObjectPage, StoreUnavailable
from services.objects.store import ObjectStore
from services.records.conflict_rows import Found
from services.records.port import ABSENT, Item, Key, Match, Put
from services.records.replica import Incoming
from services.records.walking import all_rows
from sync_svc.collection.object_names import Naming
from sync_svc.collection.objects import CollectedObjects, ObjectCollector
from sync_svc.collection.store_time import PROBE_PREFIX, store_time
from sync_svc.engine.objects.intents import CANDIDATES, candidate_key, register, unclaim
from sync_svc.surfaces.surface import Surface
from tests.unit.sync_svc.objects.world import (
    Clock,
    World,
    document,
    document_key,
    file_info,
    keys_of,
    put_object,
    revision,
    storage_key,
    write,
)

DAY = 86_400.0
LOST = storage_key("d_lost")
KEPT = storage_key("d_kept")


class Timed:
    """An object driver whose store has a clock of its own."""

    def __init__(self, driver: Any, clock: Clock) -> None:
        self.driver = driver
        self.clock = clock
        self.written: dict[str, float] = {}
        self.deletes: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.driver, name)

    def at(self, info: ObjectInfo) -> ObjectInfo:
        return replace(info, modified_at=self.written.get(info.key, 0.0))

    async def write(self, key: str, chunks: AsyncIterator[bytes], **more: Any) -> ObjectInfo:
        info = await self.driver.write(key, chunks, **more)
        self.written[key] = self.clock()
        return self.at(info)

    async def head(self, key: str) -> ObjectInfo:
        return self.at(await self.driver.head(key))

    async def delete(self, key: str) -> None:
        if not key.startswith(PROBE_PREFIX):
            self.deletes.append(key)
        await self.driver.delete(key)

    async def list(self, prefix: str, after: str | None = None, limit: int = 1000) -> ObjectPage:
        page = await self.driver.list(prefix, after, limit)
        return ObjectPage([self.at(info) for info in page.objects], page.next)


class Bench:
    """A surface with a clock of its own, and a collector."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clock = Clock()
        self.timed = Timed(world.remote.objects.driver, self.clock)
        world.wrap_objects("remote", self.timed)
        self.removed: list[tuple[str, int]] = []

    @property
    def surface(self) -> Surface:
        return self.world.remote

    async def put(self, key: str, data: bytes = b"data") -> None:
        await put_object(self.surface.objects, key, data)

    async def collect(self, *, force: bool = False, **more: Any) -> CollectedObjects:
        async def removed(key: str, size: int) -> None:
            self.removed.append((key, size))

        members: dict[str, Any] = {"holder": "h_1", "now": self.world.clock, "removed": removed}
        collector = ObjectCollector(**(members | more))
        return await collector.run(self.surface, force=force)

    async def days(self, *steps: float, **more: Any) -> CollectedObjects:
        """Collect once after each of these numbers of days."""
        done = CollectedObjects()
        for step in steps:
            self.clock.now += step * DAY
            done = await self.collect(**more)
        return done


@pytest.fixture(params=[False, True], ids=["ordered", "unordered"])
def unordered(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
async def bench(world: World) -> Bench:
    made = Bench(world)
    await made.put(LOST)
    await made.put(KEPT)
    await write(made.surface.records, document("d_kept", b"data"))
    return made


async def test_what_nothing_names_goes_after_two_cycles_and_a_day(bench: Bench) -> None:
    assert (await bench.days(2)).candidates == 1
    assert (await bench.collect()).deleted == 0, "two cycles, but no day"
    assert (await bench.days(0.9)).deleted == 0, "not yet a day"
    done = await bench.days(0.2)
    assert (done.outcome, done.deleted, done.bytes, done.keys) == ("done", 1, 4, [LOST])
    assert await keys_of(bench.surface.objects) == [KEPT]
    assert bench.removed == [(LOST, 4)]
    assert (await bench.days(2)).candidates == 0
    rows = await bench.world.rows("remote", "collection")
    assert [row.key.sk for row in rows if not row.deleted] == ["STATE"]


async def test_one_late_cycle_is_not_enough(bench: Bench) -> None:
    assert (await bench.days(30)).deleted == 0
    assert (await bench.days(30)).deleted == 1


async def test_a_young_object_is_no_candidate(bench: Bench) -> None:
    assert (await bench.days(0.5)).candidates == 0


async def test_our_own_clock_makes_nothing_older(bench: Bench) -> None:
    await bench.days(2)
    bench.world.clock.now += 40 * DAY
    assert (await bench.collect()).deleted == 0


async def test_a_store_clock_that_is_set_back_starts_the_count_anew(bench: Bench) -> None:
    await bench.days(3)
    assert (await bench.days(-1, 0.9)).deleted == 0
    assert (await bench.days(1.1)).deleted == 1


async def test_an_object_that_was_written_again_starts_anew(bench: Bench) -> None:
    await bench.days(2)
    await bench.timed.driver.delete(LOST)
    await bench.put(LOST)
    assert (await bench.days(1.1)).deleted == 0
    assert (await bench.days(1.1)).deleted == 1


async def test_the_store_tells_its_time_and_keeps_no_probe(bench: Bench) -> None:
    assert await store_time(bench.surface.objects) == bench.clock()
    assert await keys_of(bench.surface.objects) == [KEPT, LOST]


async def test_a_probe_that_a_crash_left_is_collected(bench: Bench) -> None:
    await bench.put(PROBE_PREFIX + "0123")
    await bench.days(2, 2)
    assert PROBE_PREFIX + "0123" not in await keys_of(bench.surface.objects)


# What names an object


async def put_row(bench: Bench, key: Key, family: str, body: Any) -> None:
    await bench.surface.records.put_row(Put(key, ABSENT, family, json.dumps(body)))


async def stays(bench: Bench, days: Sequence[float] = (2, 2, 2)) -> None:
    done = await bench.days(*days)
    assert (done.outcome, done.deleted) == ("done", 0)
    assert LOST in await keys_of(bench.surface.objects)


async def test_a_version_beside_the_one_that_is_shown(bench: Bench, world: World) -> None:
    key = document_key("d_lost")
    await write(world.local.records, document("d_lost", b"data"))
    await write(bench.surface.records, document("d_lost", b"x", name="other.pdf"))
    mine, theirs = await world.incoming("local", key), await world.incoming("remote", key)
    both = Incoming(key, join(mine[0].state, theirs[0].state))
    await bench.surface.replica.join(key.pk, [both], origin="", found=Found(1))
    await stays(bench)


async def test_history_of_a_document_that_lives(bench: Bench) -> None:
    await write(bench.surface.records, document("d_lost", b"new", name="new.pdf"))
    await write(bench.surface.records, revision("d_lost", file_info("d_lost", b"data")))
    await stays(bench)


async def test_history_of_a_purged_document_keeps_nothing(bench: Bench) -> None:
    stub = Document(
        document_id="d_lost", project_id="p_1", status=DocumentStatus.DOCUMENT_STATUS_PURGED
    )
    await write(bench.surface.records, stub)
    await write(bench.surface.records, revision("d_lost", file_info("d_lost", b"data")))
    assert (await bench.days(2, 2)).deleted == 1


async def test_a_deleted_document_keeps_nothing(bench: Bench) -> None:
    await write(bench.surface.records, document("d_lost", b"data"))
    await write(bench.surface.records, document("d_lost", b"data"), deleted=True)
    await write(bench.surface.records, revision("d_lost", file_info("d_lost", b"data")))
    assert (await bench.days(2, 2)).deleted == 1


async def test_history_whose_document_is_not_here(bench: Bench) -> None:
    await write(bench.surface.records, revision("d_lost", file_info("d_lost", b"data")))
    await stays(bench)


async def test_history_of_a_copy_does_not_keep_the_file_of_its_origin(bench: Bench) -> None:
    """What is purged goes, though a document was once copied from it."""
    await write(bench.surface.records, document("d_copy", b"data"))
    told = revision("d_copy", file_info("d_lost", b"data"))
    await write(bench.surface.records, told)
    assert (await bench.days(2, 2)).keys == [LOST]


async def test_a_key_that_a_relocation_left(bench: Bench) -> None:
    await write(bench.surface.records, document("d_lost", b"new", name="new.pdf"))
    await write(bench.surface.records, revision("d_lost", file_info("d_lost", b"data")))
    moved = revision("d_lost", file_info("d_lost", b"data"), record_id="m_2")
    moved.file.storage_key = LOST.replace("accounts/a_1", "accounts/a_2")
    moved.reason, moved.note = "relocated_other", f"was {LOST}"
    await bench.put(moved.file.storage_key)
    await write(bench.surface.records, moved)
    assert (await bench.days(2, 2)).keys == [LOST]
    assert moved.file.storage_key in await keys_of(bench.surface.objects)


async def test_a_key_that_a_relocation_came_back_to(bench: Bench) -> None:
    await write(bench.surface.records, document("d_lost", b"new", name="new.pdf"))
    other = LOST.replace("accounts/a_1", "accounts/a_2")
    for number, (was, now) in enumerate([(LOST, other), (other, LOST)]):
        moved = revision("d_lost", file_info("d_lost", b"data"), record_id=f"m_{number}")
        moved.file.storage_key = now
        moved.reason, moved.note = "relocated_file", f"was {was}"
        await write(bench.surface.records, moved)
    await stays(bench)


async def test_an_intent_for_a_week(bench: Bench, world: World) -> None:
    await register(bench.surface.records, "r_1", [LOST], now_ms=world.clock.millis())
    await stays(bench)
    world.clock.now += 7 * DAY  # rows end by the clock of the records
    assert (await bench.days(2, 2)).deleted == 1


async def test_an_upload_that_is_open(bench: Bench) -> None:
    upload = Upload(
        upload_id="x_1", document_id="d_lost", project_id="p_1", storage_key=LOST,
        status=UploadStatus.UPLOAD_STATUS_PENDING, created_by="u_1",
    )
    upload.created_at.FromSeconds(1)
    await write(bench.surface.records, upload)
    await stays(bench)


async def test_an_upload_that_was_attached_just_now_and_not_one_long_ago(bench: Bench) -> None:
    upload = Upload(
        upload_id="x_1", document_id="d_lost", project_id="p_1", storage_key=LOST,
        status=UploadStatus.UPLOAD_STATUS_COMPLETED, created_by="u_1",
    )
    upload.created_at.FromSeconds(1)
    upload.completed_at.FromSeconds(int(bench.clock()))
    await write(bench.surface.records, upload)
    await stays(bench)
    assert (await bench.days(3, 2)).deleted == 1


async def test_a_version_in_quarantine_and_what_is_still_to_come(bench: Bench) -> None:
    held = {"item": {"body": json.dumps({"file": {"storage_key": LOST}})}}
    await put_row(bench, Key("SYNC#c_1", "QUARANTINE#q"), "quarantine", held)
    await stays(bench)


async def test_an_object_that_is_awaited_for_a_held_record(bench: Bench) -> None:
    await put_row(bench, Key("SYNC#c_1", "PENDING#x"), "pending_bytes", {"storage_key": LOST})
    await stays(bench)


async def test_a_version_that_people_have_yet_to_take(bench: Bench) -> None:
    version = {"body": json.dumps({"file": {"storage_key": LOST}})}
    key = Key("DOCUMENT#d_lost", "~CONFLICT#ARTIFACT#d_lost#held:c_1")
    await put_row(bench, key, "conflict", {"held": True, "state": {"versions": [version]}})
    await stays(bench)


async def test_an_old_object_of_a_relocation(bench: Bench) -> None:
    await put_row(bench, Key("RELOCATION#p_1", "OLD#x"), "relocated_object", {"key": LOST})
    await stays(bench)


async def test_a_family_of_newer_software(bench: Bench) -> None:
    body = {"parts": [{"storage_key": LOST}]}
    await put_row(bench, Key("ALBUM#1", "ALBUM"), "album", body)
    await stays(bench)


@pytest.mark.parametrize(
    "holder",
    [
        Project(project_id="p_1", account_id="a_1", name="House", legal_hold=True),
        Account(account_id="a_1", name="Builders", legal_hold=True),
    ],
)
async def test_a_legal_hold_keeps_what_nothing_names(bench: Bench, holder: Any) -> None:
    await write(bench.surface.records, holder)
    await stays(bench)
    assert bench.timed.deletes == []


def test_events_tell_what_was_and_name_nothing() -> None:
    event = Item(Key("DOCUMENT#d", "EVENT#1"), "t", "activity_event",
                 json.dumps({"before": {"file": {"storage_key": LOST}}}))
    assert list(Naming(now=0).of(event)) == []


# Late changes


async def test_a_record_that_comes_between_the_marks_and_the_removal(bench: Bench) -> None:
    await bench.days(2)

    class Late(Timed):
        """A record is written once the objects were listed for the last time."""

        listings = 0

        async def list(
            self, prefix: str, after: str | None = None, limit: int = 1000
        ) -> ObjectPage:
            self.listings += 1
            if self.listings == 2:
                await write(bench.surface.records, document("d_lost", b"data"))
            return await super().list(prefix, after, limit)

    late = Late(bench.timed.driver, bench.clock)
    late.written = bench.timed.written
    bench.world.wrap_objects("remote", late)
    done = await bench.days(2)
    assert (done.deleted, done.spared) == (0, 1)
    assert LOST in await keys_of(bench.surface.objects)


async def test_a_run_that_takes_a_claim_back_keeps_the_object(bench: Bench, world: World) -> None:
    """The mover announces an object between claim and removal."""
    await bench.days(2)
    await put_object(world.local.objects, LOST, b"data")
    await write(world.local.records, document("d_lost", b"data"))

    moved: list[Any] = []
    original = bench.surface.records.driver.scan

    async def scan(after: Key | None, limit: int) -> Sequence[Item]:
        claimed = await bench.surface.records.get_row(candidate_key(LOST))
        if not moved and claimed and json.loads(claimed.body).get("removing"):
            incoming = await world.incoming("local", document_key("d_lost"))
            moved.append(None)
            moved[0] = await world.mover().send(world.task(), incoming)
        return await original(after, limit)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.surface.records.driver, "scan", scan)
        done = await bench.days(2)
    assert done.deleted == 0
    assert moved[0].gated == {document_key("d_lost")}, "that run waits"
    again = await world.mover().send(
        world.task(run_id="r_2"), await world.incoming("local", document_key("d_lost"))
    )
    assert not again.gated
    assert LOST in await keys_of(bench.surface.objects)


async def test_a_former_collector_deletes_nothing_more(bench: Bench, world: World) -> None:
    for number in range(3):
        await bench.put(storage_key(f"d_lost{number}"))
    await bench.days(2)
    records = bench.surface.records

    class TakenOver(Timed):
        async def delete(self, key: str) -> None:
            await super().delete(key)
            if key.startswith(PROBE_PREFIX):
                return
            state = await records.get_row(Key(CANDIDATES, "STATE"))
            assert state is not None
            row = json.loads(state.body) | {"epoch": 99, "holder": "h_2"}
            await records.put_row(
                Put(state.key, Match(state.token), "collection", json.dumps(row))
            )

    other = TakenOver(bench.timed.driver, bench.clock)
    other.written = bench.timed.written
    world.wrap_objects("remote", other)
    done = await bench.days(2)
    assert (done.outcome, done.deleted) == ("lost", 1)
    assert len(other.deletes) == 1


# Listings that are not to be trusted


async def test_a_listing_that_fails_deletes_nothing(bench: Bench, world: World) -> None:
    await bench.days(2)

    class Failing(Timed):
        async def list(
            self, prefix: str, after: str | None = None, limit: int = 1000
        ) -> ObjectPage:
            raise StoreUnavailable("gone")

    failing = Failing(bench.timed.driver, bench.clock)
    world.wrap_objects("remote", failing)
    with pytest.raises(WorkspaceError):
        await bench.days(2)
    assert failing.deletes == []


@pytest.mark.parametrize("keep", [0, 1, 2])
async def test_records_that_are_not_all_listed_delete_nothing(bench: Bench, keep: int) -> None:
    await bench.days(2)
    original = bench.surface.records.driver.scan

    async def scan(after: Key | None, limit: int) -> Sequence[Item]:
        return list(await original(after, limit))[:keep] if after is None else []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.surface.records.driver, "scan", scan)
        done = await bench.days(2)
    assert (done.outcome, done.deleted) == ("incomplete", 0)
    assert bench.timed.deletes == []


async def test_a_scan_that_omits_a_record_again_and_again_deletes_nothing(bench: Bench) -> None:
    """Even what every listing left out is found by the last look."""
    original = bench.surface.records.driver.scan

    async def scan(after: Key | None, limit: int) -> Sequence[Item]:
        items = await original(after, limit)
        return [item for item in items if item.key != document_key("d_kept")]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.surface.records.driver, "scan", scan)
        done = await bench.days(2, 2)
    assert KEPT in await keys_of(bench.surface.objects)
    assert done.spared == 1


async def test_the_guard_stops_what_looks_like_lost_records(bench: Bench) -> None:
    for number in range(101):
        await bench.put(storage_key(f"d_x{number:03}"))
    done = await bench.days(2, 2)
    assert (done.outcome, done.deleted, done.candidates) == ("guarded", 0, 102)
    assert (await bench.collect(force=True)).deleted == 102
    assert await keys_of(bench.surface.objects) == [KEPT]


async def test_another_surface_behind_the_connection_is_not_collected(bench: Bench) -> None:
    other = replace(bench.surface.instance, instance_id="n_other")
    collector = ObjectCollector(holder="h_1", now=bench.world.clock)
    with pytest.raises(WorkspaceError) as raised:
        await collector.run(replace(bench.surface, instance=other))
    assert raised.value.reason == Reason.ERROR_REASON_SURFACE_CHANGED


async def test_a_surface_that_is_only_read_is_left_alone(bench: Bench) -> None:
    collector = ObjectCollector(holder="h_1", now=bench.world.clock)
    done = await collector.run(replace(bench.surface, read_only=True))
    assert done.outcome == "read_only"
    assert not await bench.world.rows("remote", "collection")


async def test_small_windows_find_the_same(bench: Bench) -> None:
    for number in range(7):
        await bench.put(storage_key(f"d_y{number}"))
        if number % 2:
            await write(bench.surface.records, document(f"d_y{number}", b"data"))
    done = await bench.days(2, 2, window=3)
    assert (done.seen, done.deleted) == (9, 5)
    left = {storage_key(f"d_y{number}") for number in (1, 3, 5)} | {KEPT}
    assert set(await keys_of(bench.surface.objects)) == left


async def test_more_candidates_than_are_kept_go_in_turns(bench: Bench) -> None:
    for number in range(5):
        await bench.put(storage_key(f"d_z{number}"))
    for _ in range(6):
        await bench.days(2, most=2)
    assert await keys_of(bench.surface.objects) == [KEPT]


async def test_an_object_store_of_a_workspace_is_as_it_was_for_others(bench: Bench) -> None:
    """The collector leaves rows of its own partition only."""
    before = {i.key: i.token async for i in all_rows(bench.surface.records)}
    await bench.days(2, 2)
    after = {i.key: i.token async for i in all_rows(bench.surface.records)}
    changed = {key for key in after if after[key] != before.get(key)}
    assert {key.pk for key in changed} == {CANDIDATES}
    assert isinstance(bench.surface.objects, ObjectStore)


async def test_a_claim_that_was_taken_back_meanwhile_is_obeyed(bench: Bench) -> None:
    """A run took the claim back, and the next run found the object: it names it now."""
    later = storage_key("d_lost_2")
    await bench.put(later)
    await bench.days(2)

    async def removed(key: str, _: int) -> None:
        other = later if key == LOST else LOST
        records = bench.surface.records
        for run_id, claimed in (("r_1", {other}), ("r_2", set())):
            await register(records, run_id, [other], now_ms=bench.world.clock.millis())
            assert await unclaim(records, [other], now_ms=bench.world.clock.millis()) == claimed

    done = await bench.days(2, removed=removed)
    assert (done.deleted, done.spared) == (1, 1)
    assert len(await keys_of(bench.surface.objects)) == 2
