"""What every surface does alike, whatever it is made of: the life of a surface from
its first push to the workspace that is restored from it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from workspace.sync.v1.plan_pb2 import DifferenceKind

from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES
from services.model.stamp import Stamp
from services.records.port import DriverUnavailable, Key
from services.records.record import Activity, Write
from services.records.siblings import SIBLING
from sync_svc.collection import objects as collecting
from sync_svc.collection.objects import ObjectCollector
from sync_svc.collection.tombstones import RETENTION_MS, is_stub, purge_tombstones
from sync_svc.engine.pull import pull
from sync_svc.engine.push import push
from sync_svc.engine.sync_state import SyncStates
from sync_svc.engine.task import Stopped
from tests.conformance.sync.content import (
    FILES,
    assert_equal,
    differences,
    furnish,
    in_step,
    objects,
    rows,
    with_file,
)
from tests.conformance.sync.kinds import Rig
from tests.unit.sync_svc.engine.world import (
    PULL,
    PUSH,
    CountingDriver,
    document,
    document_key,
    same,
)
from tests.unit.sync_svc.objects.world import put_object, storage_key

DAY = 86_400.0
FEW = 4000
"""Bytes of a batch: a handful of records make several."""


async def test_a_first_push_brings_everything_byte_for_byte(rig: Rig) -> None:
    await furnish(rig)
    tally = await rig.push()
    assert tally.full_reconcile
    assert tally.counts.objects_done == len(FILES) + 1
    here, there = await rows(rig, "local"), await rows(rig, "remote")
    assert here.items() <= there.items()
    files = await objects(rig, "remote")
    assert {key: files[key] for key in map(storage_key, FILES)} == {
        storage_key(name): data for name, data in FILES.items()
    }
    await rig.pull()
    await assert_equal(rig)


async def test_nothing_new_costs_a_request_or_two(rig: Rig) -> None:
    await furnish(rig)
    await in_step(rig)
    driver = rig.count("remote")
    await rig.push()
    assert driver.calls == ["batch_get"]
    driver.calls.clear()
    await rig.pull()
    await rig.pull()
    assert driver.calls == ["batch_get", "changes"] * 2


async def test_one_change_costs_a_few_requests(rig: Rig) -> None:
    await rig.project()
    await rig.documents(12)
    await in_step(rig)
    driver = rig.count("remote")
    await rig.write(document("d_3", "edited"))
    assert (await rig.push()).counts.records_written == 2
    assert len(driver.calls) == 4
    await rig.write(document("d_4", "edited there"), on="remote")
    driver.calls.clear()
    assert (await rig.pull()).counts.records_written == 2
    assert driver.calls == ["batch_get", "changes"]


async def test_many_records_are_few_reads_and_commits_side_by_side(rig: Rig) -> None:
    """No record waits for the round trip of another: a commit is answered only when
    eight are under way."""
    await rig.project()
    await in_step(rig)
    await rig.documents(40)
    driver, under_way = rig.count("remote"), asyncio.Event()
    begun: list[str] = []

    async def together(pk: str) -> None:
        if pk.startswith("DOCUMENT#"):
            begun.append(pk)
            if len(begun) == 8:
                under_way.set()
            async with asyncio.timeout(300):
                await under_way.wait()

    driver.meanwhile = together
    await rig.push()
    assert len(begun) == 40
    reads = [call for call in driver.calls if not call.startswith("commit")]
    assert len(reads) <= 6, "of all rows in a batch by one call"
    await rig.pull()
    await assert_equal(rig)


async def test_edits_of_both_sides_meet(rig: Rig) -> None:
    await rig.project()
    await rig.documents(4)
    await in_step(rig)
    await rig.write(document("d_0", "here"))
    await rig.write(document("d_1", "there"), on="remote")
    await in_step(rig)
    for on in ("local", "remote"):
        assert '"here"' in await _body(rig, "d_0", on=on)
        assert '"there"' in await _body(rig, "d_1", on=on)
        assert await rig.rows(on, "conflict") == []
    await assert_equal(rig)


async def test_one_document_edited_on_both_sides_is_one_conflict_until_decided(rig: Rig) -> None:
    await rig.project()
    await rig.documents(2)
    await in_step(rig)
    await rig.write(document("d_0", "here"))
    await rig.write(document("d_0", "there"), on="remote")
    await in_step(rig)
    for on in ("local", "remote"):
        assert len(await rig.rows(on, "conflict")) == 1
        assert len(await rig.rows(on, SIBLING)) == 2, "both versions, side by side"
    await assert_equal(rig)
    await _decide(rig, "d_0", "decided")
    await in_step(rig)
    for on in ("local", "remote"):
        assert await rig.rows(on, SIBLING) == []
        assert '"decided"' in await _body(rig, "d_0", on=on)
    await assert_equal(rig)


async def _body(rig: Rig, document_id: str, *, on: str) -> str:
    """That of the only version."""
    state = await rig.state(document_key(document_id), on=on)
    assert state is not None
    [version] = state.versions.values()
    return version.body


async def _decide(rig: Rig, document_id: str, name: str) -> None:
    """Write over all versions that are there."""
    records, key = rig.surfaces["local"].records, document_key(document_id)
    base: Any = await records.get(FAMILIES["document"], key)
    state = await rig.state(key, on="local")
    assert state is not None
    write = Write(
        FAMILIES["document"], document(document_id, name), base=base, resolves=tuple(state.dots)
    )
    await records.commit(key.pk, [write], activity=Activity("test.decided", key.pk))


async def test_a_lost_workspace_is_restored_by_a_pull(rig: Rig) -> None:
    """With its conflicts, tombstones, history and every byte; the new one is a node of
    its own, and what it writes then is nobody else's."""
    await furnish(rig)
    await in_step(rig)
    await rig.write(with_file("d_plan", FILES["d_plan"], title="here"))
    await rig.write(with_file("d_plan", FILES["d_plan"], title="there"), on="remote")
    await in_step(rig)
    before, files = await rows(rig, "local"), await objects(rig, "local")
    actor = rig.surfaces["local"].records.actor
    await rig.shut("local")
    await rig.reopen("remote")
    await rig.open("restored")
    await rig.pull("restored")
    assert await rows(rig, "restored") == before
    assert await objects(rig, "restored") == files
    await assert_equal(rig, "restored")
    assert rig.surfaces["restored"].records.actor != actor
    assert (await rig.push("restored")).counts.records_written == 0
    await rig.write(document("d_new"), on="restored")
    await in_step(rig, "restored")
    await assert_equal(rig, "restored")


async def test_two_nodes_meet_on_the_surface(rig: Rig) -> None:
    await furnish(rig)
    await rig.open("other")
    await in_step(rig)
    await in_step(rig, "other")
    await rig.write(document("d_a"), on="local")
    await rig.write(document("d_b"), on="other")
    await in_step(rig)
    await in_step(rig, "other")
    await in_step(rig)
    await assert_equal(rig, "local")
    await assert_equal(rig, "other")


async def test_a_surface_that_is_opened_again_is_the_same(rig: Rig) -> None:
    await furnish(rig)
    await in_step(rig)
    instance = rig.surfaces["remote"].instance
    await rig.reopen("remote")
    assert rig.surfaces["remote"].instance == instance
    tally = await rig.push()
    assert not tally.full_reconcile
    assert tally.counts.records_written == 0


@pytest.mark.parametrize("direction", [PUSH, PULL])
async def test_a_reconcile_makes_up_for_lost_cursors(rig: Rig, direction: int) -> None:
    await rig.project()
    await rig.documents(5)
    await in_step(rig)
    await rig.write(document("d_1", "here"))
    await rig.write(document("d_2", "there"), on="remote")
    states = SyncStates(rig.surfaces["local"].records)
    state = await states.load("c-remote")
    lost = replace(state, push_cursor="nonsense", pull_cursor="nonsense")
    await states.store(lost)
    one, other = (rig.push, rig.pull) if direction == PUSH else (rig.pull, rig.push)
    assert (await one()).full_reconcile
    await other()
    await assert_equal(rig)
    again = await rig.push(full_reconcile=True)
    assert (again.counts.records_done, again.counts.records_written) == (0, 0)


async def test_a_comparison_finds_what_differs_and_names_it(rig: Rig) -> None:
    await furnish(rig)
    await in_step(rig)
    assert await differences(rig) == []
    await rig.write(document("d_here"))
    await rig.write(document("d_there"), on="remote")
    lost = storage_key("d_photo")
    await rig.lose_object("remote", lost)
    found = {(sk, kind): key for _, sk, kind, key in await differences(rig)}
    assert ("ARTIFACT#d_here", DifferenceKind.DIFFERENCE_KIND_LOCAL_ONLY) in found
    assert ("ARTIFACT#d_there", DifferenceKind.DIFFERENCE_KIND_REMOTE_ONLY) in found
    assert found["ARTIFACT#d_photo", DifferenceKind.DIFFERENCE_KIND_OBJECT] == lost


@pytest.mark.parametrize("direction", [PUSH, PULL])
async def test_a_run_that_is_stopped_is_finished_by_the_next(
    rig: Rig, direction: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sync_svc.engine.batches.BATCH_BYTES", FEW)
    on, target = ("local", "remote") if direction == PUSH else ("remote", "local")
    await rig.project(on=on)
    await in_step(rig)
    await rig.documents(8, on=on)
    asked = iter([False])
    task = rig.task(direction, force=True)
    work = push if direction == PUSH else pull
    with pytest.raises(Stopped):
        await work(replace(task, stop=lambda: next(asked, True)))
    whole = set(await rig.states(on))
    there = set(await rig.states(target))
    assert there < whole, "it stopped between two batches"
    rest = await (rig.push() if direction == PUSH else rig.pull())
    assert rest.counts.records_written == len(whole - there)
    await in_step(rig)
    await assert_equal(rig)


@pytest.mark.parametrize("ambiguous", [False, True])
async def test_answers_that_get_lost_are_made_up_for(
    rig: Rig, ambiguous: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From one commit on each fails before it is sent (or: has its effect, and no answer
    comes), later in each run; in the end all is there, once."""
    monkeypatch.setattr("sync_svc.engine.batches.BATCH_BYTES", FEW)
    await furnish(rig)
    whole = rig.surfaces["remote"]
    for at in range(40):
        driver = rig.count("remote")
        _lose(driver, at, ambiguous=ambiguous)
        try:
            await rig.push()
            break
        except (WorkspaceError, DriverUnavailable):
            assert at < 39
        finally:
            rig.surfaces["remote"] = whole
    await rig.pull()
    await assert_equal(rig)
    assert await rig.rows("local", "conflict") == []


def _lose(driver: CountingDriver, at: int, *, ambiguous: bool) -> None:
    """Lose the answer of call `at` and of all after it."""
    inner = driver.inner

    class Lossy:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        async def commit(self, *args: Any) -> Any:
            if len(driver.calls) <= at:
                return await inner.commit(*args)
            if ambiguous:
                await inner.commit(*args)
            raise DriverUnavailable("no answer", ambiguous=ambiguous)

    driver.inner = Lossy()  # type: ignore[assignment]


async def test_a_deletion_travels_and_does_not_come_back(rig: Rig) -> None:
    await rig.project()
    await rig.documents(3)
    await in_step(rig)
    await rig.write(document("d_0"), deleted=True)
    await rig.write(document("d_1"), on="remote", deleted=True)
    await in_step(rig)
    for on in ("local", "remote"):
        for name in ("d_0", "d_1"):
            item = await rig.surfaces[on].records.get_row(document_key(name))
            assert item is not None
            assert item.deleted
    await rig.push(full_reconcile=True)
    await rig.pull(full_reconcile=True)
    await assert_equal(rig)


async def test_a_tombstone_that_all_know_becomes_a_stub_and_stays_one(rig: Rig) -> None:
    await rig.project()
    await rig.documents(2)
    await in_step(rig)
    await rig.write(document("d_0"), deleted=True)
    await in_step(rig)
    assert await _purge(rig) == 0, "the first mark"
    rig.clock.now += RETENTION_MS / 1000 - DAY
    await in_step(rig)
    assert await _purge(rig) == 0, "too young"
    rig.clock.now += 2 * DAY
    await in_step(rig)
    assert await _purge(rig) == 1
    await rig.pull()
    for on in ("local", "remote"):
        item = await rig.surfaces[on].records.get_row(document_key("d_0"))
        assert item is not None
        assert item.deleted
        assert is_stub(Stamp.load(item.stamp))
    await rig.open("late")
    await in_step(rig, "late")
    await assert_equal(rig, "late")


async def _purge(rig: Rig) -> int:
    done = await purge_tombstones(rig.surfaces["remote"].records, now_ms=rig.clock.millis())
    return done.purged


async def test_objects_that_nothing_names_are_collected_there_and_no_others(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await furnish(rig)
    await in_step(rig)
    lost = storage_key("d_lost")
    await put_object(rig.surfaces["remote"].objects, lost, b"lost")
    named = set(map(storage_key, FILES))
    real, passed = collecting.store_time, [0.0]

    async def later(store: Any) -> float:
        return await real(store) + passed[0]

    monkeypatch.setattr(collecting, "store_time", later)
    collector = ObjectCollector(holder="h", now=rig.clock)
    keys: list[str] = []
    for days in (2, 3.5, 9, 12):
        passed[0] = days * DAY
        done = await collector.run(rig.surfaces["remote"])
        assert done.outcome == "done"
        keys += done.keys
    assert lost in keys
    left = set(await objects(rig, "remote"))
    assert lost not in left
    assert named <= left
    assert [each for each in await differences(rig) if each[3]] == []


async def test_an_object_goes_before_the_record_that_names_it(rig: Rig) -> None:
    """The surface never names bytes that it has not: a push that ends in between leaves
    bytes without a record, never the other way round."""
    await furnish(rig)
    await rig.push()
    made = with_file("d_late", b"late")
    await put_object(rig.surfaces["local"].objects, made.storage_key, b"late")
    await rig.write(made)
    driver = rig.count("remote")
    whole = rig.surfaces["remote"]

    def refuse(call: str) -> None:
        if call == "commit DOCUMENT#d_late":
            raise DriverUnavailable("gone")

    driver.before = refuse
    with pytest.raises(WorkspaceError) as caught:
        await rig.push()
    assert caught.value.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    assert (await objects(rig, "remote"))[made.storage_key] == b"late"
    assert await rig.state(document_key("d_late"), on="remote") is None
    driver.before = lambda _: None
    rig.surfaces["remote"] = whole
    await rig.push()
    assert await rig.state(document_key("d_late"), on="remote") is not None


async def test_a_record_whose_bytes_are_missing_there_is_taken_and_marked(rig: Rig) -> None:
    await rig.project(account_id="a_1")
    await in_step(rig)
    made = with_file("d_1", b"bytes")
    await rig.write(made, on="remote")
    tally = await rig.pull()
    assert tally.counts.records_written
    assert len(await rig.rows("local", "pending_bytes")) == 1
    await put_object(rig.surfaces["remote"].objects, made.storage_key, b"bytes")
    await rig.pull()
    assert await rig.rows("local", "pending_bytes") == []
    assert (await objects(rig, "local"))[made.storage_key] == b"bytes"
    await in_step(rig)
    await assert_equal(rig)


async def test_the_plan_is_what_the_run_does(rig: Rig) -> None:
    await rig.project()
    await rig.documents(3)
    await in_step(rig)
    await rig.write(document("d_0", "edited"))
    await rig.write(document("d_8"))
    before = await rig.states("remote")
    lines, _ = await rig.plan(PUSH)
    assert same(before, await rig.states("remote"))
    await rig.push()
    after = await rig.states("remote")
    changed = {key for key, state in after.items() if not state.same_as(before.get(key))}
    assert changed == {Key(line.key.pk, line.key.sk) for line in lines}
