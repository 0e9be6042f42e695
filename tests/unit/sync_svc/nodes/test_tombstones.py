"""Tombstones become stubs when everybody knows, never earlier, and stay for ever."""

from __future__ import annotations

import pytest

from services.model.families import FAMILIES
from services.model.stamp import Stamp
from services.model.versions import State, join
from services.records.conflict_rows import Found
from services.records.replica import Incoming
from sync_svc.collection.marks import MARK_KEY, mark_of
from sync_svc.collection.tombstones import RETENTION_MS, is_stub, purge_tombstones, stub_of
from sync_svc.nodes.contact import ACKNOWLEDGE_MS
from tests.unit.sync_svc.nodes.conftest import Open
from tests.unit.sync_svc.nodes.lives import DAY_MS, Killed, Store, project_key, pull, push


async def _purge(
    store: Store, *, connections: tuple[str, ...] = (), retention_ms: int = RETENTION_MS
) -> int:
    done = await purge_tombstones(
        store.records, now_ms=store.clock.now, connections=connections, retention_ms=retention_ms
    )
    return done.purged


async def _is_stub(store: Store, project: str) -> bool:
    item = await store.records.get_row(project_key(project))
    assert item is not None
    assert item.deleted
    return is_stub(Stamp.load(item.stamp))


async def _deleted(*nodes: Store, box: Store) -> None:
    """Every node had p; the first deleted it, and pushed that."""
    await nodes[0].edit("p", name="x")
    for node in nodes:
        await push(node, box)
        await pull(node, box)
    await nodes[0].delete("p")
    await push(nodes[0], box)


async def test_it_waits_for_every_node_and_the_retention(stores: Open) -> None:
    ann, bob, box = await stores("ann"), await stores("bob"), await stores("box", passive=True)
    await _deleted(ann, bob, box=box)
    assert await _purge(box) == 0  # the first mark
    ann.clock.now += RETENTION_MS + DAY_MS
    await pull(ann, box)
    assert await _purge(box) == 0
    assert not await _is_stub(box, "p")  # bob
    await pull(bob, box)
    assert await _purge(box) == 1
    assert await _is_stub(box, "p")
    assert await _purge(box) == 0


async def test_a_young_tombstone_stays(stores: Open) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    await _deleted(ann, box=box)
    await _purge(box)
    ann.clock.now += RETENTION_MS - DAY_MS
    await pull(ann, box)
    assert await _purge(box) == 0
    ann.clock.now += 2 * DAY_MS
    await pull(ann, box)
    assert await _purge(box) == 1


async def test_one_that_came_after_the_mark_waits_for_the_next(stores: Open) -> None:
    """Old by its stamp, but nobody was asked about it."""
    ann, bob, box = await stores("ann"), await stores("bob"), await stores("box", passive=True)
    await _deleted(ann, bob, box=box)
    await ann.edit("q", name="x")
    await ann.delete("q")
    await pull(bob, box)
    await _purge(box)
    ann.clock.now += RETENTION_MS + DAY_MS
    await pull(bob, box)
    await pull(ann, box)
    await push(ann, box)  # q comes now
    assert await _purge(box) == 1
    assert await _is_stub(box, "p")
    assert not await _is_stub(box, "q")
    assert await _purge(box) == 0
    for node in (ann, bob):
        await pull(node, box)
    assert await _purge(box) == 1


async def test_a_node_that_never_pulled_is_waited_for_until_it_is_evicted(stores: Open) -> None:
    ann, bob, box = await stores("ann"), await stores("bob"), await stores("box", passive=True)
    await _deleted(ann, box=box)
    await push(bob, box)
    await _purge(box)
    ann.clock.now += RETENTION_MS + DAY_MS
    await pull(ann, box)
    assert await _purge(box) == 0
    from tests.unit.sync_svc.nodes.test_nodes_of_a_surface import _evict

    await _evict(bob, box)
    assert await _purge(box) == 1


async def test_a_stub_and_its_tombstone_are_one_version(stores: Open) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    await _deleted(ann, box=box)
    full = await ann.state("p")
    assert full is not None
    (version,) = full.versions.values()
    stub = State(full.family, full.clock, {version.dot: stub_of(version)})
    assert join(full, stub).dots == full.dots
    for joined in (join(full, stub), join(stub, full), join(stub, stub)):
        assert joined.same_as(stub)
    older = State("project", {version.dot[0]: 1}, {(version.dot[0], 1): version})
    assert join(older, stub).dots == (version.dot,)  # what was before does not rise
    other = State("project", {"n2.b": 1}, {("n2.b", 1): version})
    assert len(join(other, stub).versions) == len(join(other, full).versions)


async def test_a_stub_travels_once_and_the_tombstone_never_back(stores: Open) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    await _deleted(ann, box=box)
    await _purge(box)
    ann.clock.now += RETENTION_MS + DAY_MS
    await pull(ann, box)
    await _purge(box)
    assert await _is_stub(box, "p")
    assert not await _is_stub(ann, "p")
    for source, target, changed in ((ann, box, False), (box, ann, True), (box, ann, False)):
        state = await source.state("p")
        assert state is not None
        (joined,) = await target.surface.replica.join(
            project_key("p").pk, [Incoming(project_key("p"), state)], origin="x", found=Found(1)
        )
        assert joined.changed is changed
    assert await _is_stub(box, "p")
    assert await _is_stub(ann, "p")


async def test_a_record_written_again_counts_on(stores: Open) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    await _deleted(ann, box=box)
    await _purge(ann, connections=())
    ann.clock.now += RETENTION_MS + DAY_MS
    await _purge(ann)
    assert await _is_stub(ann, "p")
    again = await ann.edit("p", name="again")
    assert again.stamp.dot[1] == 3
    await push(ann, box)
    assert await box.values("p") == {"again"}


async def test_the_own_store_waits_for_each_connection(stores: Open) -> None:
    ann, bob, box = await stores("ann"), await stores("bob"), await stores("box", passive=True)
    await _deleted(ann, bob, box=box)
    await _purge(ann, connections=("box",))
    ann.clock.now += RETENTION_MS + DAY_MS

    async def hour(*nodes: Store) -> None:
        ann.clock.now += ACKNOWLEDGE_MS
        for node in nodes:
            await push(node, box)
            await pull(node, box)

    assert await _purge(ann, connections=("box",)) == 0
    await hour(ann, bob)
    assert await _purge(ann, connections=("box",)) == 0
    never = 10**15  # here only the marks of the surface count
    await _purge(box, retention_ms=never)  # it makes a mark, which all nodes have to pass
    await hour(ann)
    await _purge(box, retention_ms=never)
    await hour(ann)
    assert await _purge(ann, connections=("box",)) == 0  # bob
    for _ in range(3):
        await hour(bob, ann)
        await _purge(box, retention_ms=never)
    await hour(bob, ann)
    await hour(ann)
    assert await _purge(ann, connections=("box", "other")) == 0  # never pushed to
    assert await _purge(ann, connections=("box",)) == 1
    assert await _is_stub(ann, "p")


async def test_a_lost_feed_makes_a_new_mark(stores: Open) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    await _deleted(ann, box=box)
    await _purge(box)
    item = await box.records.get_row(MARK_KEY)
    assert item is not None
    from dataclasses import replace

    from sync_svc.collection.marks import mark_put

    await box.records.put_row(mark_put(replace(mark_of(item), cursor='["x", 1, "", ""]'), item))
    ann.clock.now += RETENTION_MS + DAY_MS
    await pull(ann, box)
    assert await _purge(box) == 0
    assert mark_of(await box.records.get_row(MARK_KEY)).number == 2
    await pull(ann, box)
    assert await _purge(box) == 1


@pytest.mark.parametrize("at", [1, 2])
async def test_killed_it_goes_on(stores: Open, at: int) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    await _deleted(ann, box=box)
    await _purge(box)
    ann.clock.now += RETENTION_MS + DAY_MS
    await pull(ann, box)
    box.driver.kill_at = at
    with pytest.raises(Killed):
        await _purge(box)
    box.driver.kill_at = 0
    await _purge(box)
    assert await _is_stub(box, "p")


async def test_contested_records_and_rows_of_one_store_are_left_alone(stores: Open) -> None:
    ann, bob, box = await stores("ann"), await stores("bob"), await stores("box", passive=True)
    await ann.edit("p", name="x")
    await push(ann, box)
    await pull(bob, box)
    await bob.edit("p", name="y")
    await ann.delete("p")
    await push(ann, box)
    await push(bob, box)
    await pull(ann, box)
    assert FAMILIES["webhook"].synced is False
    await _purge(box)
    ann.clock.now += RETENTION_MS + DAY_MS
    for node in (ann, bob):
        await pull(node, box)
    assert await _purge(box) == 0
    assert await box.values("p") == {"", "y"}
