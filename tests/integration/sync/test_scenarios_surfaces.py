"""Acceptance scenarios 13 and 16 to 20: surfaces that refuse, vanish, forget or change, and
nodes that leave, sleep or are copied."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from workspace.project.v1.document_pb2 import DocumentStatus
from workspace.project.v1.document_service_pb2 import CreateDocumentRequest
from workspace.sync.v1.conflict_pb2 import ConflictKind, Resolution
from workspace.sync.v1.connection_service_pb2 import GetConnectionRequest
from workspace.sync.v1.connection_service_pb2_grpc import ConnectionServiceStub
from workspace.sync.v1.quarantine_pb2 import QuarantineReason
from workspace.sync.v1.run_pb2 import Run, RunStatus
from workspace.sync.v1.status_pb2 import SyncHealth
from workspace.sync.v1.sync_service_pb2 import EvictNodeRequest

from services.model.stamp import Stamp
from services.records.port import Key
from services.rpc.errors import error_info, peer_status
from sync_svc.collection.tombstones import is_stub, purge_tombstones
from sync_svc.surfaces.opening import SurfaceOpener
from tests.chosen_records import needs_sqlite
from tests.integration.storage.people import refused
from tests.integration.sync.backups import Backups, Clouds, Folders
from tests.integration.sync.faults import Forgetful, Refusing, between
from tests.integration.sync.nodes import (
    Desk,
    Node,
    in_step,
    open_desk,
    request_id,
    require_equal,
    run_each,
)

FAILED = RunStatus.RUN_STATUS_FAILED
TRASHED = DocumentStatus.DOCUMENT_STATUS_TRASHED
DELETE = Resolution(delete=Resolution.Delete())
DAY = 86_400


@pytest.fixture
async def desk(tmp_path: Path, backups: Backups) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path, backups=backups) as made:
        yield made


async def _empty_documents(node: Node, project_id: str, count: int) -> list[str]:
    """Documents that await their files."""
    made = []
    for number in range(count):
        answer = await node.documents.CreateDocument(
            CreateDocumentRequest(
                project_id=project_id, name=f"{number}.txt", request_id=request_id()
            )
        )
        made.append(str(answer.document.document_id))
    return made


ITEMS = 100
"""The table says 500; a batch is smaller than either."""


async def test_scenario_13_one_item_is_always_rejected(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """13. One item of many is always rejected by the backend: all others are synced, the
    item is in quarantine with its reason, status is not green, others flow."""
    await desk.share("one")
    made = await _empty_documents(desk.a, desk.project_id, ITEMS)
    bad, allowed = made[ITEMS // 2], []
    between(
        monkeypatch,
        lambda driver: Refusing(driver, lambda key: bad in key.pk and key.pk not in allowed),
    )
    run = await desk.a.push()
    assert run.status == RunStatus.RUN_STATUS_SUCCEEDED_WITH_ISSUES
    await desk.b.pull()
    there = {key.pk for key in await desk.b.states()}
    assert {each for each in made if f"DOCUMENT#{each}" not in there} == {bad}
    kept = [each for each in await desk.a.quarantine() if each.family == "document"]
    assert [each.pk for each in kept] == [f"DOCUMENT#{bad}"]
    assert kept[0].reason == QuarantineReason.QUARANTINE_REASON_REJECTED
    assert (await desk.a.status()).health == SyncHealth.SYNC_HEALTH_YELLOW
    await desk.a.edit(made[0], title="others flow")
    await desk.a.push()
    await desk.b.pull()
    assert (await desk.b.read(made[0])).title == "others flow"
    assert await desk.a.quarantine() != []
    allowed.append(f"DOCUMENT#{bad}")
    await desk.a.push(full_reconcile=True)
    await desk.b.pull()
    assert await desk.a.quarantine() == []
    assert (await desk.b.read(bad)).name == f"{ITEMS // 2}.txt"


def _reason(run: Run) -> str:
    """Why a run failed."""
    info = error_info(run.error)
    assert info is not None
    return info.reason.removeprefix("ERROR_REASON_")


async def _why_not(call: Any) -> str:
    """Why a run was refused, or failed."""
    try:
        run = await call
    except grpc.aio.AioRpcError as error:
        status = peer_status(error)
        assert status is not None
        info = error_info(status)
        assert info is not None
        return info.reason.removeprefix("ERROR_REASON_")
    assert run.status == FAILED
    return _reason(run)


@pytest.mark.parametrize("what", ["unmounted", "emptied", "re-pointed"])
async def test_scenario_16_another_surface_or_none(
    desk: Desk, backups: Backups, what: str
) -> None:
    """16. The backend is emptied, re-pointed or unmounted, then sync: it refuses, local
    data stay untouched, and an explicit `reinitialise` sends everything again."""
    await desk.share("one", "two")
    folder, other = desk.folder / "backup", desk.folder / "other"
    if what == "re-pointed":
        async with Node.open(desk.folder / "c", backups=backups) as c:
            await c.connect(other)
            await c.project("Somebody else's")
            await c.push()
    reasons = {"BACKEND_UNAVAILABLE"} if what != "re-pointed" else {"SURFACE_CHANGED"}
    if what == "emptied":
        # A folder that was used and is empty may be a mount point; a table is a table.
        reasons = {"BACKEND_UNAVAILABLE" if isinstance(backups, Folders) else "SURFACE_CHANGED"}
    with backups.gone(folder, what, other):
        await _refused_and_untouched(desk, reasons)
        if what == "emptied" and isinstance(backups, Folders):
            assert not list(folder.iterdir()), "nothing is written before it is asked for"
        if what != "unmounted":
            await desk.a.push(reinitialise=True)
            await desk.b.pull(reinitialise=True)
            await run_each([desk.b, desk.a])
            await require_equal(desk.a, desk.b)
            return
    assert (await desk.a.push()).counts.records_written == 0


async def _refused_and_untouched(desk: Desk, reasons: set[str]) -> None:
    before = await desk.a.states()
    for run in (desk.a.push, desk.a.pull):
        assert await _why_not(run(ok=False)) in reasons
    assert (await desk.a.status()).health == SyncHealth.SYNC_HEALTH_RED
    after = await desk.a.states()
    assert before.keys() == after.keys()
    assert all(each.same_as(after[key]) for key, each in before.items())
    assert await desk.a.bytes_of(desk.ids["one"]) == b"one"


async def test_scenario_17_a_listing_leaves_some_out(
    desk: Desk, backups: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """17. The listing leaves out 10 % during a full reconcile: nothing is deleted, sending
    again does no harm, and a comparison tells."""
    await desk.share("one")
    made = await _empty_documents(desk.a, desk.project_id, 20)
    await run_each([desk.a, desk.b, desk.a])
    drivers: list[Forgetful] = []

    def forgetful(driver: Any) -> Forgetful:
        drivers.append(Forgetful(driver))
        return drivers[-1]

    with monkeypatch.context() as patched:
        between(patched, forgetful)
        for node in (desk.a, desk.b):
            assert (await node.push(full_reconcile=True)).counts.records_deleted == 0
            assert (await node.pull(full_reconcile=True)).counts.records_deleted == 0
        # A store without order is asked row by row: what a listing hides is found.
        assert bool(await desk.a.compare()) == (not isinstance(backups, Clouds))
    assert sum(each.left_out for each in drivers) >= 10
    await require_equal(desk.a, desk.b)
    for node in (desk.a, desk.b):
        assert await node.conflicts() == []
        assert {(await node.read(each)).status for each in made} == {
            DocumentStatus.DOCUMENT_STATUS_AWAITING_FILE
        }


async def test_scenario_18_most_documents_are_deleted(desk: Desk) -> None:
    """18. More than half of the documents are deleted on A, then push: it is blocked, and
    a plan shows what it would do; `force` goes on. A pull of B is guarded as well."""
    await desk.share("kept")
    made = await _empty_documents(desk.a, desk.project_id, 12)
    await run_each([desk.a, desk.b])
    for each in made[:8]:
        await desk.a.trash(each)
    there = await desk.b.states()
    assert await _why_not(desk.a.push(ok=False)) == "MASS_CHANGE"
    await desk.b.pull()
    assert all(each.same_as(there[key]) for key, each in (await desk.b.states()).items())
    plan = await desk.a.plan(push=True)
    assert plan.summary.needs_force
    assert plan.summary.guarded_changes == 8 > plan.summary.guard_limit
    gone = {op.key.pk for op in plan.operations if op.key.family == "document"}
    assert gone == {f"DOCUMENT#{each}" for each in made[:8]}
    await desk.a.push(force=True)
    assert await _why_not(desk.b.pull(ok=False)) == "MASS_CHANGE"
    assert (await desk.b.read(made[0])).status != TRASHED
    await desk.b.pull(force=True)
    await require_equal(desk.a, desk.b)
    assert {(await desk.b.read(each)).status for each in made[:8]} == {TRASHED}


async def _delete(desk: Desk, *names: str) -> None:
    """Leave nothing but tombstones, which A decides on conflicts that both have."""
    for name in names:
        await desk.a.edit(desk.ids[name], title="A's")
        await desk.b.edit(desk.ids[name], title="B's")
    await run_each([desk.a, desk.b, desk.a])
    for conflict in await desk.a.conflicts():
        await desk.a.resolve(conflict.conflict_id, DELETE)


async def _collect(desk: Desk, *, days: int) -> int:
    """What the daily collection of A does to the folder on a later day."""
    kernel = desk.a.ws.process.kernel
    later = int((time.time() + days * DAY) * 1000)
    opener = SurfaceOpener(
        own_instance_id=kernel.instance_id, data_dir=kernel.settings.data_dir,
        wall_ms=lambda: later,
    )
    async with opener(await _connection(desk.a)) as surface:
        return (await purge_tombstones(surface.records, now_ms=later)).purged


async def _connection(node: Node) -> Any:
    answer = await node.stub(ConnectionServiceStub).GetConnection(
        GetConnectionRequest(connection_id="backup")
    )
    return answer.connection


async def _tombstone(desk: Desk, node: Node, name: str) -> Stamp:
    document = desk.ids[name]
    key = Key(f"DOCUMENT#{document}", f"ARTIFACT#{document}")
    item = await node.ws.process.kernel.records.get_row(key)
    assert item is not None
    assert item.deleted
    return Stamp.load(item.stamp)


async def test_scenario_19_a_node_sleeps_through_a_deletion(desk: Desk) -> None:
    """19. B is offline, A deletes, collection runs, B returns after the retention. B was
    not evicted: the tombstone is still whole, and the deletion is applied."""
    await desk.share("one")
    await _delete(desk, "one")
    await desk.a.push()
    await desk.a.pull()
    assert [await _collect(desk, days=days) for days in (0, 1, 32, 33)] == [0, 0, 0, 0]
    assert (await desk.b.read(desk.ids["one"])).title
    await run_each([desk.b, desk.a], force=True)
    await require_equal(desk.a, desk.b)
    for node in (desk.a, desk.b):
        assert not is_stub(await _tombstone(desk, node, "one"))
        assert (await refused(node.read(desk.ids["one"]))).code.name == "PERMISSION_DENIED"
        node.set_time(lambda: time.time() + 34 * DAY)  # everybody acknowledges that day
    await run_each([desk.b, desk.a])
    assert sum([await _collect(desk, days=days) for days in (35, 36)]) >= 1


async def test_scenario_19_a_node_that_was_evicted_returns(desk: Desk) -> None:
    """19. As before, but B was evicted: it rejoins, nothing is resurrected, and the edit
    that B never sent is there as a conflict."""
    await run_each([desk.b])  # so that A sees it at once
    await desk.share("one", "edited")
    await _delete(desk, "one", "edited")
    await desk.b.edit(desk.ids["edited"], title="never sent")
    await desk.a.push()
    await desk.a.sync.EvictNode(
        EvictNodeRequest(
            node_id=desk.b.ws.process.kernel.instance_id, force=True, request_id=request_id()
        )
    )
    await desk.a.pull()
    await _collect(desk, days=0)
    desk.a.set_time(lambda: time.time() + 31 * DAY)
    await run_each([desk.a])
    assert sum([await _collect(desk, days=days) for days in (32, 33)]) >= 2
    await run_each([desk.b, desk.a, desk.b], force=True)
    await require_equal(desk.a, desk.b)
    for node in (desk.a, desk.b):
        assert is_stub(await _tombstone(desk, node, "one"))
        assert (await refused(node.read(desk.ids["one"]))).code.name == "PERMISSION_DENIED"
        assert await desk.kinds(node) == {"edited": ConflictKind.CONFLICT_KIND_EDIT_DELETE}
        assert (await node.read(desk.ids["edited"])).title == "never sent"
        assert await node.quarantine() == []


@needs_sqlite
async def test_scenario_20_a_copied_data_folder(tmp_path: Path, backups: Backups) -> None:
    """20. The data folder of A is copied, both edit and push: the copy is found out and
    becomes a node of its own, and no write is lost."""
    async with Node.open(tmp_path / "a", backups=backups) as a:
        await a.connect(tmp_path / "backup")
        project = await a.project()
        ids = [await a.document(project, f"{n}.txt", b"first") for n in range(2)]
        await run_each([a])
        actor = a.ws.process.kernel.records.actor
    shutil.copytree(tmp_path / "a", tmp_path / "copy")
    async with (
        Node.open(tmp_path / "a", new=False) as a, Node.open(tmp_path / "copy", new=False) as copy
    ):
        a.connections, copy.connections = ["backup"], ["backup"]
        assert a.ws.process.kernel.records.actor == actor
        assert copy.ws.process.kernel.records.actor != actor
        await a.edit(ids[0], title="of the original")
        await copy.edit(ids[0], title="of the copy")
        await a.revise(ids[1], b"new bytes")
        added = await copy.document(project, "added.txt", b"added")
        await in_step(a, copy, rounds=5)
        await require_equal(a, copy)
        for node in (a, copy):
            (conflict,) = await node.conflicts()
            versions = (await node.conflict(conflict.conflict_id)).versions
            assert {v.body["title"] for v in versions} == {"of the original", "of the copy"}
            assert await node.bytes_of(ids[1]) == b"new bytes"
            assert await node.bytes_of(added) == b"added"
