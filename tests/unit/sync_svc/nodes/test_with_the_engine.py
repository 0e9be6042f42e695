"""Restores, clones, rewinds and evictions with the runs that people start."""

from __future__ import annotations

from pathlib import Path

import pytest
from workspace.sync.v1.connection_pb2 import Connection, Trust
from workspace.sync.v1.run_pb2 import SyncOptions

from services.model.errors import Reason, WorkspaceError
from services.objects.filesystem import FilesystemDriver
from services.objects.keyring import Keyring
from services.objects.store import ObjectStore
from services.objects.tokens import UrlSigner
from sync_svc.collection.tombstones import purge_tombstones
from sync_svc.engine.pull import pull
from sync_svc.engine.push import push
from sync_svc.engine.task import Task
from tests.unit.sync_svc.nodes.conftest import Open
from tests.unit.sync_svc.nodes.lives import DAY_MS, PULL, PUSH, Store, load, task_of


@pytest.fixture
async def objects(tmp_path: Path) -> ObjectStore:
    signer = UrlSigner(Keyring.open(tmp_path / "keys"))
    driver = FilesystemDriver(tmp_path / "objects", signer=signer, public_url="http://127.0.0.1:9")
    return ObjectStore(driver)


class Pair:
    """Runs between a node and a surface; no record here names an object."""

    def __init__(self, node: Store, surface: Store, objects: ObjectStore) -> None:
        self.node, self.surface, self._objects = node, surface, objects

    def task(self, direction: int, **given: object) -> Task:
        from dataclasses import replace

        task = task_of(self.node, self.surface, direction, **given)  # type: ignore[arg-type]
        return replace(
            task,
            connection=Connection(
                connection_id=task.connection.connection_id, trust=Trust.TRUST_FULL
            ),
            options=SyncOptions(force=True),
            local=replace(task.local, objects=self._objects),
            remote=replace(task.remote, objects=self._objects),
        )

    async def push(self) -> Task:
        task = self.task(PUSH)
        await push(task)
        return task

    async def pull(self) -> Task:
        task = self.task(PULL)
        await pull(task)
        return task


async def _step(*pairs: Pair) -> None:
    for _ in range(3):
        for pair in pairs:
            await pair.push()
            await pair.pull()


async def test_a_rolled_back_node(stores: Open, objects: ObjectStore, tmp_path: Path) -> None:
    ann, bob, box = await stores("ann"), await stores("bob"), await stores("box", passive=True)
    mine, his = Pair(ann, box, objects), Pair(bob, box, objects)
    await ann.edit("p", name="zero", description="zero")
    await _step(mine)
    earlier = await ann.snapshot(tmp_path / "earlier")
    await ann.edit("p", name="lost")
    await mine.push()
    await ann.roll_back(earlier)
    await ann.edit("p", name="second")
    await mine.push()
    await _step(mine, his)
    for store in (ann, bob, box):
        assert await store.values("p") == {"lost", "second"}
    task = await mine.push()
    assert not task.tally.full_reconcile
    assert task.tally.counts.records_written == 0


async def test_a_rolled_back_surface(stores: Open, objects: ObjectStore, tmp_path: Path) -> None:
    ann, bob, box = await stores("ann"), await stores("bob"), await stores("box", passive=True)
    mine, his = Pair(ann, box, objects), Pair(bob, box, objects)
    await ann.edit("p", name="zero")
    await _step(mine, his)
    earlier = await box.snapshot(tmp_path / "earlier")
    await bob.edit("q", name="by bob")
    await ann.edit("p", name="one")
    await _step(mine, his)
    await box.roll_back(earlier)
    assert (await mine.push()).tally.full_reconcile
    assert (await his.push()).tally.full_reconcile
    assert await box.values("p") == {"one"}
    assert await box.values("q") == {"by bob"}


async def test_another_surface(stores: Open, objects: ObjectStore) -> None:
    ann, box, other = await stores("ann"), await stores("box", passive=True), await stores(
        "other", passive=True
    )
    await ann.edit("p", name="zero")
    await _step(Pair(ann, box, objects))
    with pytest.raises(WorkspaceError) as refused:
        await push(Pair(ann, other, objects).task(PUSH, connection="box"))
    assert refused.value.reason == Reason.ERROR_REASON_SURFACE_CHANGED
    assert await other.state("p") is None


async def test_an_evicted_node_comes_back(stores: Open, objects: ObjectStore) -> None:
    from tests.unit.sync_svc.nodes.test_nodes_of_a_surface import _evict

    ann, bob, box = await stores("ann"), await stores("bob"), await stores("box", passive=True)
    mine, his = Pair(ann, box, objects), Pair(bob, box, objects)
    for project in ("kept", "edited"):
        await ann.edit(project, name=project)
    await _step(mine, his)
    await bob.edit("edited", name="never sent")
    await ann.delete("kept")
    await ann.delete("edited")
    await mine.push()
    await _evict(bob, box)
    await purge_tombstones(box.records, now_ms=ann.clock.now)
    ann.clock.now += 31 * DAY_MS
    await mine.pull()
    assert (await purge_tombstones(box.records, now_ms=ann.clock.now)).purged == 2
    assert (await his.push()).tally.full_reconcile
    await _step(his, mine)
    for store in (ann, bob, box):
        assert await store.values("kept") == {""}
        assert await store.values("edited") == {"", "never sent"}
    assert not (await his.pull()).tally.full_reconcile


async def test_the_cost_of_a_quiet_run(stores: Open, objects: ObjectStore) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    mine = Pair(ann, box, objects)
    await ann.edit("p", name="zero")
    await _step(mine)
    box.driver.calls.clear()
    await mine.push()
    assert box.driver.calls == ["batch_get"]
    assert (await load(mine.task(PUSH))).instance_id == box.instance.instance_id
