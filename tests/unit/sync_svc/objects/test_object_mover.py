"""The blob gate, both ways: objects first, verified, and nothing forgotten."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest
from workspace.project.v1.document_pb2 import DocumentStatus

from services.model.errors import Reason, WorkspaceError
from services.model.versions import State, join
from services.objects.filesystem import Syscalls
from services.objects.port import ByteRange, ObjectInfo, StoreUnavailable
from services.records.conflict_rows import Found
from services.records.pending_bytes import PendingBytes, PendingObject
from services.records.port import ABSENT, Put
from services.records.replica import Incoming
from sync_svc.engine.objects import Fault, expect_objects
from sync_svc.engine.objects.intents import candidate_key, register
from sync_svc.engine.objects.needed import named_objects
from sync_svc.engine.task import Stopped
from tests.unit.sync_svc.objects.world import (
    PULL,
    World,
    artifact,
    bytes_of,
    document,
    document_key,
    file_info,
    keys_of,
    open_surface,
    put_object,
    revision,
    storage_key,
    write,
)

DATA = b"the plan of the house" * 100
KEY = storage_key("d_1")
D1 = document_key("d_1")


async def with_document(
    world: World, name: str, document_id: str = "d_1", data: bytes = DATA
) -> None:
    surface = world.surfaces[name]
    await put_object(surface.objects, storage_key(document_id), data)
    await write(surface.records, document(document_id, data))


async def pending_of(world: World) -> list[PendingObject]:
    pages = PendingBytes(world.local.records).all()
    return [row async for page in pages for row in page]


class Through:
    """An object driver in front of another; tests override what they disturb."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.calls: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.driver, name)

    async def head(self, key: str) -> ObjectInfo:
        self.calls.append(("head", key))
        return await self.driver.head(key)  # type: ignore[no-any-return]

    async def write(self, key: str, chunks: AsyncIterator[bytes], **more: Any) -> ObjectInfo:
        self.calls.append(("write", key))
        return await self.driver.write(key, chunks, **more)  # type: ignore[no-any-return]


# What a state names


async def test_every_live_version_names_its_objects(world: World) -> None:
    await write(world.local.records, document("d_1", b"one", name="a.pdf"))
    first = (await world.incoming("local", D1))[0].state
    await write(world.remote.records, document("d_1", b"two", name="b.pdf"))
    second = (await world.incoming("remote", D1))[0].state
    both = join(first, second)
    assert len(both.versions) == 2
    named = named_objects(D1, both)
    assert all(each.required and each.record_key == D1 for each in named)
    by_key = {each.key: each for each in named}
    assert by_key.keys() == {storage_key("d_1", "a.pdf"), storage_key("d_1", "b.pdf")}
    assert by_key[storage_key("d_1", "a.pdf")].size == 3
    assert by_key[storage_key("d_1", "a.pdf")].sha256 == hashlib.sha256(b"one").hexdigest()


async def test_only_promised_bytes_are_required(world: World) -> None:
    status = DocumentStatus.DOCUMENT_STATUS_SCANNING
    held = document("d_1", DATA, status=status, pending_file=file_info("d_1", DATA))
    held.ClearField("file")
    await write(world.local.records, held)
    [needed] = named_objects(D1, (await world.incoming("local", D1))[0].state)
    assert (needed.key, needed.required) == (KEY, False)
    await write(world.local.records, revision("d_1", file_info("d_1", DATA)))
    [row] = await world.rows("local", "metadata_record")
    [needed] = named_objects(row.key, (await world.incoming("local", row.key))[0].state)
    assert (needed.key, needed.required) == (KEY, False)
    await write(world.local.records, document("d_1", DATA), deleted=True)
    assert named_objects(D1, (await world.incoming("local", D1))[0].state) == []


async def test_history_of_a_copy_does_not_take_the_file_of_its_origin_along(world: World) -> None:
    """The origin may lie outside the scope of the connection."""
    await put_object(world.local.objects, storage_key("d_2"), DATA)
    await write(world.local.records, revision("d_1", file_info("d_2", DATA)))
    [row] = await world.rows("local", "metadata_record")
    moved = await world.mover().send(world.task(), await world.incoming("local", row.key))
    assert not moved.gated
    assert await keys_of(world.remote.objects) == []


async def test_other_families_name_nothing() -> None:
    assert named_objects(D1, State("project", {"a": 1}, {})) == []


# Push


async def test_a_push_brings_the_bytes_before_the_record(world: World) -> None:
    await with_document(world, "local")
    task = world.task()
    moved = await world.mover().send(task, await world.incoming("local", D1))
    assert (moved.gated, moved.corrupt, moved.objects) == (set(), set(), 1)
    assert await bytes_of(world.remote.objects, KEY) == DATA
    info = await world.remote.objects.head(KEY)
    assert (info.sha256, info.content_type) == (hashlib.sha256(DATA).hexdigest(), "application/pdf")
    counts = task.tally.counts
    assert (counts.objects_planned, counts.objects_done) == (1, 1)
    assert (counts.bytes_planned, counts.bytes_done) == (len(DATA), len(DATA))


async def test_a_derived_artifact_and_an_old_revision_come_along(world: World) -> None:
    records = world.local.records
    made = artifact("d_1", b"[1]")
    await put_object(world.local.objects, made.file.storage_key, b"[1]")
    await write(records, made)
    old = file_info("d_1", b"old", "old.pdf")
    await put_object(world.local.objects, old.storage_key, b"old")
    await write(records, revision("d_1", old))
    found = [await world.rows("local", each) for each in ("derived_artifact", "metadata_record")]
    keys = [item.key for items in found for item in items]
    moved = await world.mover().send(world.task(), await world.incoming("local", *keys))
    assert not moved.gated
    assert await keys_of(world.remote.objects) == sorted([made.file.storage_key, old.storage_key])


async def test_the_gate_holds_back_what_is_not_held_here(world: World) -> None:
    await write(world.local.records, document("d_1", DATA))
    await with_document(world, "local", "d_2")
    incoming = await world.incoming("local", D1, document_key("d_2"))
    moved = await world.mover().send(world.task(), incoming)
    assert (moved.gated, moved.missing, moved.corrupt) == ({D1}, {D1}, set())
    assert list(moved.faults.values()) == [Fault.MISSING]
    assert await keys_of(world.remote.objects) == [storage_key("d_2")]


async def test_the_gate_is_open_for_what_the_target_has_already(world: World) -> None:
    """Another node brought the bytes: the record may go, though they are not here."""
    await write(world.local.records, document("d_1", DATA))
    await put_object(world.remote.objects, KEY, DATA)
    moved = await world.mover().send(world.task(), await world.incoming("local", D1))
    assert (moved.gated, moved.corrupt, moved.objects) == (set(), set(), 0)


async def test_an_old_revision_that_retention_removed_gates_nothing(world: World) -> None:
    await write(world.local.records, revision("d_1", file_info("d_1", b"gone", "gone.pdf")))
    [row] = await world.rows("local", "metadata_record")
    moved = await world.mover().send(world.task(), await world.incoming("local", row.key))
    assert (moved.gated, moved.faults) == (set(), {})
    assert await pending_of(world) == []


async def test_a_corrupt_object_never_reaches_the_target(world: World) -> None:
    await with_document(world, "local")
    world.flip("local", KEY)
    task = world.task()
    moved = await world.mover().send(task, await world.incoming("local", D1))
    assert (moved.gated, list(moved.faults.values())) == ({D1}, [Fault.CORRUPT])
    assert await keys_of(world.remote.objects) == []
    assert task.tally.counts.bytes_done == 0
    [row] = await pending_of(world)
    assert (row.direction, row.fault, row.record) == ("push", "corrupt", D1)


async def test_an_object_of_another_size_than_recorded_is_damaged(world: World) -> None:
    await put_object(world.local.objects, KEY, DATA + b"!")
    await write(world.local.records, document("d_1", DATA))
    moved = await world.mover().send(world.task(), await world.incoming("local", D1))
    assert list(moved.faults.values()) == [Fault.CORRUPT]
    assert await keys_of(world.remote.objects) == []


async def test_other_bytes_under_the_key_are_a_mismatch_and_stay(world: World) -> None:
    await with_document(world, "local")
    await put_object(world.remote.objects, KEY, b"other")
    moved = await world.mover().send(world.task(), await world.incoming("local", D1))
    assert (moved.gated, moved.corrupt) == (set(), {D1})
    assert await bytes_of(world.remote.objects, KEY) == b"other"
    assert await pending_of(world) == []


async def test_two_versions_that_give_one_key_other_bytes(world: World) -> None:
    """Both nodes uploaded the first file under one name: the target can keep one."""
    await with_document(world, "local")
    mine = (await world.incoming("local", D1))[0]
    await write(world.remote.records, document("d_1", b"theirs"))
    theirs = (await world.incoming("remote", D1))[0]
    both = Incoming(D1, join(mine.state, theirs.state))
    moved = await world.mover().send(world.task(), [both])
    assert D1 in moved.corrupt | moved.gated
    assert await bytes_of(world.remote.objects, KEY) == DATA


async def test_a_record_that_waited_goes_when_its_bytes_are_here(world: World) -> None:
    await write(world.local.records, document("d_1", DATA))
    await world.mover().send(world.task(), await world.incoming("local", D1))
    [row] = await pending_of(world)
    assert (row.connection_id, row.fault, row.attempts) == ("c_1", "missing", 1)
    again = world.mover()
    assert await again.waiting(world.task(run_id="r_2")) == [D1]
    await again.send(world.task(run_id="r_2"), await world.incoming("local", D1))
    [row] = await pending_of(world)
    assert row.attempts == 2
    await put_object(world.local.objects, KEY, DATA)
    third = world.mover()
    assert await third.waiting(world.task(run_id="r_3")) == [D1]
    moved = await third.send(world.task(run_id="r_3"), await world.incoming("local", D1))
    assert not moved.gated
    assert await pending_of(world) == []
    assert await world.mover().waiting(world.task(run_id="r_4")) == []


async def test_the_second_time_nothing_is_written(world: World) -> None:
    await with_document(world, "local")
    await world.mover().send(world.task(), await world.incoming("local", D1))
    watched = Through(world.remote.objects.driver)
    world.wrap_objects("remote", watched)
    mover, task = world.mover(), world.task()
    incoming = await world.incoming("local", D1)
    moved = await mover.send(task, incoming)
    assert not moved.gated
    assert {name for name, _ in watched.calls} == {"head"}
    seen = len(watched.calls)
    await mover.send(task, incoming)
    assert len(watched.calls) == seen, "what is known present is not looked at again"


async def test_what_the_target_names_is_not_looked_at(world: World) -> None:
    await with_document(world, "local")
    await with_document(world, "remote")
    await write(world.local.records, document("d_1", DATA, relative_path="houses/plan.pdf"))
    watched = Through(world.remote.objects.driver)
    world.wrap_objects("remote", watched)
    there = await world.states("remote", D1)
    moved = await world.mover().send(world.task(), await world.incoming("local", D1), there=there)
    assert (moved.gated, watched.calls) == (set(), [])
    assert not await world.rows("remote", "object_intent")


async def test_intents_are_there_before_the_first_byte(world: World) -> None:
    await with_document(world, "local")
    found: list[list[str]] = []

    class Watching(Through):
        async def write(self, key: str, chunks: AsyncIterator[bytes], **more: Any) -> ObjectInfo:
            items = await world.rows("remote", "object_intent")
            found.append([name for item in items for name in json.loads(item.body)["keys"]])
            return await super().write(key, chunks, **more)

    world.wrap_objects("remote", Watching(world.remote.objects.driver))
    await world.mover().send(world.task(), await world.incoming("local", D1))
    assert found == [[KEY]]
    [item] = await world.rows("remote", "object_intent")
    assert item.expires_at == int(world.clock()) + 7 * 86_400
    world.clock.now += 100
    await world.mover().send(world.task(), await world.incoming("local", D1))
    [item] = await world.rows("remote", "object_intent")
    assert item.expires_at == int(world.clock()) + 7 * 86_400, "a repetition renews"
    world.clock.now += 7 * 86_400
    assert not await world.rows("remote", "object_intent")


async def test_an_object_that_is_being_removed_waits_for_the_next_run(world: World) -> None:
    await with_document(world, "local")
    await put_object(world.remote.objects, KEY, DATA)
    body = json.dumps({"key": KEY, "removing": True})
    await world.remote.records.put_row(Put(candidate_key(KEY), ABSENT, "collection", body))
    moved = await world.mover().send(world.task(), await world.incoming("local", D1))
    assert (moved.gated, list(moved.faults.values())) == ({D1}, [Fault.REMOVING])
    await world.remote.objects.delete(KEY)  # what the collector was about to do
    moved = await world.mover().send(world.task(run_id="r_2"), await world.incoming("local", D1))
    assert not moved.gated
    assert await bytes_of(world.remote.objects, KEY) == DATA


async def test_a_full_target_fails_the_run_and_keeps_nothing(world: World) -> None:
    class Full(Syscalls):
        def write(self, fd: int, data: Any) -> int:
            raise OSError(errno.ENOSPC, "no space")

    full = await open_surface(world.folder, "full", world.clock, calls=Full())
    await with_document(world, "local")
    try:
        with pytest.raises(WorkspaceError) as raised:
            await world.mover().send(
                world.task(remote=full), await world.incoming("local", D1)
            )
        assert raised.value.reason == Reason.ERROR_REASON_STORAGE_FULL
        assert await keys_of(full.objects) == []
    finally:
        await full.records.close()
        await full.objects.close()


async def test_a_source_that_vanishes_in_the_middle_goes_on_where_it_was(world: World) -> None:
    data = bytes(range(256)) * 4096 * 3
    await with_document(world, "local", data=data)
    spans: list[ByteRange | None] = []

    class Breaking(Through):
        async def open_read(
            self, key: str, span: ByteRange | None = None
        ) -> AsyncGenerator[bytes, None]:
            spans.append(span)
            async for chunk in self.driver.open_read(key, span):
                yield chunk
                if len(spans) < 3:
                    raise StoreUnavailable("gone")

    world.wrap_objects("local", Breaking(world.local.objects.driver))
    task = world.task()
    moved = await world.mover().send(task, await world.incoming("local", D1))
    assert not moved.gated
    assert await bytes_of(world.remote.objects, KEY) == data
    assert [span and span.first for span in spans] == [None, 1 << 20, 2 << 20]
    assert (task.tally.counts.retries, task.tally.counts.bytes_done) == (2, len(data))


async def test_a_target_that_vanishes_is_tried_again_and_then_the_run_fails(world: World) -> None:
    await with_document(world, "local")
    failures = [2]

    class Away(Through):
        async def write(self, key: str, chunks: AsyncIterator[bytes], **more: Any) -> ObjectInfo:
            failures[0] -= 1
            if failures[0] >= 0:
                await anext(chunks)
                raise StoreUnavailable("gone")
            return await self.driver.write(key, chunks, **more)  # type: ignore[no-any-return]

    remote = world.remote.objects.driver
    world.wrap_objects("remote", Away(remote))
    task = world.task()
    await world.mover().send(task, await world.incoming("local", D1))
    assert (task.tally.counts.retries, task.tally.counts.bytes_done) == (2, len(DATA))
    await remote.delete(KEY)
    failures[0] = 99
    with pytest.raises(WorkspaceError) as raised:
        await world.mover().send(world.task(), await world.incoming("local", D1))
    assert raised.value.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    assert failures[0] == 94, "five tries"


async def test_a_run_that_is_stopped_leaves_whole_objects_only(world: World) -> None:
    for number in range(6):
        await with_document(world, "local", f"d_{number}")
    written: list[str] = []

    class Counting(Through):
        async def write(self, key: str, chunks: AsyncIterator[bytes], **more: Any) -> ObjectInfo:
            info = await super().write(key, chunks, **more)
            written.append(key)
            return info

    world.wrap_objects("remote", Counting(world.remote.objects.driver))
    keys = [document_key(f"d_{number}") for number in range(6)]
    task = world.task(stop=lambda: len(written) >= 2)
    with pytest.raises(Stopped):
        await world.mover(concurrency=1).send(task, await world.incoming("local", *keys))
    assert len(await keys_of(world.remote.objects)) == 2


async def test_objects_move_side_by_side_and_no_more_than_allowed(world: World) -> None:
    for number in range(8):
        await with_document(world, "local", f"d_{number}")
    at_work, most = [0], [0]

    class Measuring(Through):
        async def write(self, key: str, chunks: AsyncIterator[bytes], **more: Any) -> ObjectInfo:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
            try:
                await asyncio.sleep(0)
                return await self.driver.write(key, chunks, **more)  # type: ignore[no-any-return]
            finally:
                at_work[0] -= 1

    world.wrap_objects("remote", Measuring(world.remote.objects.driver))
    keys = [document_key(f"d_{number}") for number in range(8)]
    await world.mover(concurrency=3).send(world.task(), await world.incoming("local", *keys))
    assert most[0] == 3
    assert len(await keys_of(world.remote.objects)) == 8


async def test_a_large_object_is_streamed(world: World) -> None:
    size = 64 << 20
    path = world.path("local", KEY)
    path.parent.mkdir(parents=True)
    block, digest = bytes(range(256)) * 4096, hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(size // len(block)):
            file.write(block)
            digest.update(block)
    record = document("d_1", b"")
    record.file.size_bytes, record.file.sha256 = size, digest.hexdigest()
    await write(world.local.records, record)
    incoming = await world.incoming("local", D1)
    tracemalloc.start()
    try:
        moved = await world.mover().send(world.task(), incoming)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert not moved.gated
    assert (await world.remote.objects.head(KEY)).sha256 == digest.hexdigest()
    assert peak < 16 << 20


# Plan


async def test_a_plan_reads_only_and_says_what_would_move(world: World) -> None:
    await with_document(world, "local")
    await write(world.local.records, document("d_2", DATA))
    await with_document(world, "local", "d_3")
    await put_object(world.remote.objects, storage_key("d_3"), b"other")
    keys = [D1, document_key("d_2"), document_key("d_3")]
    before = [(i.key, i.token) for i in await world.remote.records.scan(None, 500)]
    mover, task = world.mover(), world.task()
    needed = await mover.needed(task, await world.incoming("local", *keys))
    survey = await mover.survey(task, needed)
    assert (survey.objects, survey.bytes) == (1, len(DATA))
    assert (survey.gated, survey.corrupt) == ({keys[1]}, {keys[2]})
    assert [(i.key, i.token) for i in await world.remote.records.scan(None, 500)] == before
    assert await keys_of(world.remote.objects) == [storage_key("d_3")]
    moved = await mover.move(task, needed)
    assert (moved.objects, moved.bytes, moved.gated) == (1, len(DATA), survey.gated)


# Pull


async def test_a_pull_takes_the_record_and_notes_what_is_missing(world: World) -> None:
    await write(world.remote.records, document("d_1", DATA))
    await with_document(world, "remote", "d_2")
    keys = [D1, document_key("d_2")]
    task = world.task(PULL)
    moved = await world.mover().fetch(task, await world.incoming("remote", *keys))
    assert (moved.gated, moved.corrupt) == ({D1}, set())
    assert task.tally.counts.bytes_pending == 1
    assert await bytes_of(world.local.objects, storage_key("d_2")) == DATA
    [row] = await pending_of(world)
    assert (row.direction, row.fault, row.storage_key) == ("pull", "missing", KEY)
    assert await PendingBytes(world.local.records).of_object(KEY) == [row]


async def test_a_corrupt_object_of_the_surface_is_pending_not_taken(world: World) -> None:
    await with_document(world, "remote")
    world.flip("remote", KEY)
    moved = await world.mover().fetch(world.task(PULL), await world.incoming("remote", D1))
    assert moved.gated == {D1}
    assert await keys_of(world.local.objects) == []
    [row] = await pending_of(world)
    assert row.fault == "corrupt"


async def pulled_without_bytes(world: World) -> None:
    await write(world.remote.records, document("d_1", DATA))
    incoming = await world.incoming("remote", D1)
    await world.mover().fetch(world.task(PULL), incoming)
    await world.local.replica.join(
        "DOCUMENT#d_1", incoming, origin="", found=Found(world.clock.millis())
    )


async def test_bytes_that_come_later_end_the_waiting(world: World) -> None:
    await pulled_without_bytes(world)
    assert await world.mover().fetch_pending(world.task(PULL, "r_2")) == 0
    [row] = await pending_of(world)
    assert row.attempts == 2
    await put_object(world.remote.objects, KEY, DATA)
    task = world.task(PULL, "r_3")
    assert await world.mover().fetch_pending(task) == 1
    assert await pending_of(world) == []
    assert await bytes_of(world.local.objects, KEY) == DATA
    assert not await PendingBytes(world.local.records).any()


async def test_another_connection_may_have_the_bytes(world: World) -> None:
    await pulled_without_bytes(world)
    other = await open_surface(world.folder, "other", world.clock)
    try:
        await put_object(other.objects, KEY, DATA)
        world.connection_id = "c_2"
        assert await world.mover().fetch_pending(world.task(remote=other)) == 1
        assert await pending_of(world) == []
        assert await bytes_of(world.local.objects, KEY) == DATA
    finally:
        await other.records.close()
        await other.objects.close()


async def test_another_connection_with_other_bytes_does_not(world: World) -> None:
    await pulled_without_bytes(world)
    await put_object(world.remote.objects, KEY, b"hostile")
    assert await world.mover().fetch_pending(world.task(PULL, "r_2")) == 0
    assert await keys_of(world.local.objects) == []
    [row] = await pending_of(world)
    assert row.attempts == 2


async def test_what_nobody_names_any_more_is_not_waited_for(world: World) -> None:
    await pulled_without_bytes(world)
    await write(world.local.records, document("d_1", DATA), deleted=True)
    assert await world.mover().fetch_pending(world.task(PULL, "r_2")) == 0
    assert len(await pending_of(world)) == 1, "a new row may be there before its record"
    world.clock.now += 3601
    await world.mover().fetch_pending(world.task(PULL, "r_3"))
    assert await pending_of(world) == []


async def test_a_held_version_that_is_taken_has_its_bytes_fetched_later(world: World) -> None:
    await with_document(world, "remote")
    incoming, now = await world.incoming("remote", D1), world.clock.millis()
    assert await expect_objects(world.local, incoming, connection_id="c_1", now_ms=now) == 1
    await world.local.replica.join("DOCUMENT#d_1", incoming, origin="", found=Found(now))
    assert await world.mover().fetch_pending(world.task()) == 1
    assert await bytes_of(world.local.objects, KEY) == DATA
    assert await expect_objects(world.local, incoming, connection_id="c_1", now_ms=now) == 0
    assert await pending_of(world) == []


async def test_many_objects_that_are_to_come_are_all_tried(world: World) -> None:
    """More rows than a page has; some come, some do not."""
    rows = [
        PendingObject("c_1", "pull", f"DOCUMENT#d_{n}", f"ARTIFACT#d_{n}", storage_key(f"d_{n}"),
                      len(DATA), hashlib.sha256(DATA).hexdigest(), "", "missing",
                      world.clock.millis())
        for n in range(450)
    ]
    await PendingBytes(world.local.records).put(rows)
    for n in range(0, 450, 50):
        await put_object(world.remote.objects, storage_key(f"d_{n}"), DATA)
    assert await world.mover().fetch_pending(world.task(PULL)) == 9
    left = await pending_of(world)
    assert (len(left), {row.attempts for row in left}) == (441, {2})


async def test_as_many_intents_as_needed(world: World) -> None:
    keys = [f"{KEY}.{number:05}" for number in range(4500)]
    await register(world.remote.records, "r_1", keys, now_ms=world.clock.millis())
    items = await world.rows("remote", "object_intent")
    assert sorted(key for item in items for key in json.loads(item.body)["keys"]) == keys
    assert max(len(item.body) for item in items) < 64 * 1024


async def test_a_bridge_forwards_nothing_whose_bytes_it_lacks(world: World) -> None:
    """A -> local -> B: taken from A without bytes, so not given to B."""
    await pulled_without_bytes(world)
    other = await open_surface(world.folder, "other", world.clock)
    try:
        world.connection_id = "c_2"
        task = world.task(remote=other)
        moved = await world.mover().send(task, await world.incoming("local", D1))
        assert moved.gated == {D1}
        await put_object(world.remote.objects, KEY, DATA)
        world.connection_id = "c_1"
        await world.mover().fetch_pending(world.task(PULL, "r_2"))
        world.connection_id = "c_2"
        mover = world.mover()
        assert await mover.waiting(task) == [D1]
        assert not (await mover.send(task, await world.incoming("local", D1))).gated
        assert await bytes_of(other.objects, KEY) == DATA
        assert await pending_of(world) == []
    finally:
        await other.records.close()
        await other.objects.close()
