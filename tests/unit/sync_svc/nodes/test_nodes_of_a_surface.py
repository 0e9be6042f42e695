"""What a node says of itself in a surface, what is remembered here, and evictions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from services.model.errors import Reason, WorkspaceError
from services.records.port import Key, Match, Put
from sync_svc.collection.marks import MARK_KEY, Mark, Relayed, mark_of, mark_put
from sync_svc.nodes import clock_offset
from sync_svc.nodes.contact import ACKNOWLEDGE_MS
from sync_svc.nodes.mirror import mirror
from sync_svc.nodes.rows import LEASE_MS, Entry, NodeRow, node_key, node_put, node_rows, seen_key
from sync_svc.nodes.shape import known_nodes, message_of, own_message
from tests.unit.sync_svc.nodes.conftest import Open
from tests.unit.sync_svc.nodes.lives import (
    DAY_MS,
    PULL,
    Store,
    check,
    project_key,
    pull,
    push,
    task_of,
)


async def _entry(node: Store, surface: Store) -> Entry:
    row = await surface.node(node.instance.instance_id)
    assert row is not None
    return row.entries[(await node.now()).incarnation]


async def _evict(node: Store, surface: Store) -> None:
    """In the surface, as `mirror` does it."""
    key = node_key(node.instance.instance_id)
    item = await surface.records.get_row(key)
    assert item is not None
    row = NodeRow.of(item).evict("u_admin", 1)
    await surface.records.put_row(node_put(key, row, item))


async def test_a_pull_says_how_far_it_read_once_an_hour(stores: Open) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    await pull(ann, box)
    first = await _entry(ann, box)
    assert first.acknowledged_ms
    assert first.cursor == await box.records.tail() or first.cursor
    await pull(ann, box)
    assert await _entry(ann, box) == first
    ann.clock.now += ACKNOWLEDGE_MS
    await pull(ann, box)
    assert (await _entry(ann, box)).acknowledged_ms >= first.acknowledged_ms + ACKNOWLEDGE_MS


async def test_a_pull_with_nothing_to_say_is_one_request(stores: Open) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    await pull(ann, box)
    task = task_of(ann, box, PULL)
    box.driver.calls.clear()
    checks, _ = await check(task)
    await checks.acknowledge(task)
    assert box.driver.calls == ["batch_get"]


async def test_a_pull_of_some_projects_acknowledges_nothing(stores: Open) -> None:
    from workspace.sync.v1.run_pb2 import SyncOptions

    ann, box = await stores("ann"), await stores("box", passive=True)
    await pull(ann, box, options=SyncOptions(project_ids=["p"]))
    assert await box.node(ann.instance.instance_id) is None


async def test_nodes_of_a_surface_are_remembered_here(stores: Open) -> None:
    ann, bob, box = await stores("ann"), await stores("bob"), await stores("box", passive=True)
    await push(bob, box)
    await pull(bob, box)
    await pull(ann, box)
    known = {each.instance_id: each for each in await known_nodes(ann.records)}
    assert set(known) == {ann.instance.instance_id, bob.instance.instance_id}
    shown = message_of(known[bob.instance.instance_id], now_ms=ann.clock.now)
    assert shown.incarnation == bob.instance.incarnation
    assert [each.connection_id for each in shown.acknowledgements] == ["box"]
    assert shown.name
    assert shown.software_version
    assert shown.format_version == 1
    assert shown.last_seen_at.ToMilliseconds() >= shown.created_at.ToMilliseconds() > 0


async def test_an_eviction_takes_place_with_the_next_run(stores: Open) -> None:
    ann, bob, box = await stores("ann"), await stores("bob"), await stores("box", passive=True)
    await pull(bob, box)
    await pull(ann, box)
    key = seen_key(bob.instance.instance_id, "box")
    item = await ann.records.get_row(key)
    assert item is not None
    decided = replace(NodeRow.of(item).evict("u_admin", 7, "lost laptop"), pending=True)
    await ann.records.put_row(node_put(key, decided, item))
    assert not (await _entry(bob, box)).evicted
    ann.clock.now += ACKNOWLEDGE_MS
    await pull(ann, box)
    assert (await _entry(bob, box)).evicted
    row = await box.node(bob.instance.instance_id)
    assert row is not None
    assert (row.evicted_by, row.evicted_ms, row.note) == ("u_admin", 7, "lost laptop")
    item = await ann.records.get_row(key)
    assert item is not None
    assert not NodeRow.of(item).pending


async def test_an_evicted_node_rejoins_by_a_full_reconcile(stores: Open) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    await push(ann, box)
    await pull(ann, box)
    await _evict(ann, box)
    assert (await push(ann, box)).full_reconcile
    assert (await _entry(ann, box)).evicted  # a push has not read everything
    found = await pull(ann, box)
    assert found.full_reconcile
    assert not (await _entry(ann, box)).evicted
    row = await box.node(ann.instance.instance_id)
    assert row is not None
    assert (row.evicted_by, row.evicted_ms) == ("", 0)
    assert not (await pull(ann, box)).full_reconcile


async def test_a_pull_that_was_killed_before_its_end_is_still_evicted(stores: Open) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    await pull(ann, box)
    await _evict(ann, box)
    await check(task_of(ann, box, PULL))
    assert (await _entry(ann, box)).evicted
    assert (await pull(ann, box)).full_reconcile


async def test_what_a_rejoining_node_never_sent_is_a_conflict_and_nothing_rises(
    stores: Open,
) -> None:
    from sync_svc.collection.tombstones import purge_tombstones

    ann, bob, box = await stores("ann"), await stores("bob"), await stores("box", passive=True)
    await ann.edit("kept", name="k")
    await ann.edit("edited", name="e")
    for node in (ann, bob):
        await push(node, box)
        await pull(node, box)
    await bob.edit("edited", name="by bob, never sent")
    await ann.delete("kept")
    await ann.delete("edited")
    await push(ann, box)
    await _evict(bob, box)
    now = ann.clock.now + 31 * DAY_MS
    await purge_tombstones(box.records, now_ms=now)
    ann.clock.now = now
    await pull(ann, box)
    assert (await purge_tombstones(box.records, now_ms=now + DAY_MS)).purged == 2
    for _ in range(2):
        await push(bob, box)
        await pull(bob, box)
        await pull(ann, box)
    for store in (ann, bob, box):
        assert await store.values("kept") == {""}
        assert await store.values("edited") == {"", "by bob, never sent"}


async def test_without_the_stub_it_would_rise(stores: Open) -> None:
    """What the stub is for: the same with the row gone."""
    ann, bob, box = await stores("ann"), await stores("bob"), await stores("box", passive=True)
    await ann.edit("kept", name="k")
    await push(ann, box)
    await pull(bob, box)
    await ann.delete("kept")
    await push(ann, box)
    key = project_key("kept")
    item = await box.records.get_row(key)
    assert item is not None
    gone = Put(key, Match(item.token), item.family, item.body, item.stamp, True, expires_at=1)
    await box.records.put_row(gone)
    await push(bob, box)
    assert await box.values("kept") == {"k"}


def _row(**entries: Entry) -> NodeRow:
    return NodeRow("n1", entries=entries)


def test_who_is_waited_for() -> None:
    day = DAY_MS
    old, new = Entry(first_ms=1 * day, seen_ms=10 * day), Entry(first_ms=20 * day, seen_ms=25 * day)
    assert _row(a=old).awaited(400 * day) == [old]  # silent, but nobody followed it
    assert _row(a=old, b=new).awaited(39 * day) == [old, new]
    assert _row(a=old, b=new).awaited(41 * day) == [new]
    twin = replace(old, seen_ms=21 * day)
    assert _row(a=twin, b=new).awaited(90 * day) == [twin, new]  # it was seen since: a copy
    assert _row(a=replace(old, evicted=True)).awaited(11 * day) == []


@pytest.mark.parametrize(
    ("age", "evicted", "status"),
    [(LEASE_MS, False, 1), (LEASE_MS + 1, False, 2), (0, True, 3)],
)
async def test_status(stores: Open, age: int, status: int, *, evicted: bool) -> None:
    ann = await stores("ann")
    row = _row(a=Entry(first_ms=1, seen_ms=1000))
    row = row.evict("u", 5) if evicted else row
    await ann.records.put_row(node_put(node_key("n1"), row, None))
    (known,) = await known_nodes(ann.records)
    shown = message_of(known, now_ms=1000 + age)
    assert shown.status == status
    assert shown.evicted_by == ("u" if evicted else "")


async def test_members_of_later_software_are_passed_over(stores: Open) -> None:
    import json

    ann = await stores("ann")
    raw: dict[str, Any] = {"instance_id": "n9", "entries": {"a": {"seen_ms": 4, "x": 1}}, "y": 2}
    put = node_put(node_key("n9"), NodeRow("n9"), None)
    await ann.records.put_row(replace(put, body=json.dumps(raw)))
    (item,) = await node_rows(ann.records)
    assert NodeRow.of(item).seen_ms == 4
    assert item.key == Key("NODE#n9", "NODE")


async def test_clocks_are_compared_by_that_of_the_surface(stores: Open) -> None:
    ann, bob, box = await stores("ann"), await stores("bob"), await stores("box", passive=True)
    hour = 3_600_000
    await pull(bob, box, now_ms=lambda: bob.clock.now + hour)
    await pull(ann, box, now_ms=lambda: ann.clock.now - hour)
    by_id = {each.instance_id: each for each in await known_nodes(ann.records)}
    his, own = by_id[bob.instance.instance_id], by_id[ann.instance.instance_id]
    shown = message_of(his, now_ms=ann.clock.now, own=own)
    assert abs(shown.clock_offset_ms - 2 * hour) < 1000
    assert message_of(his, now_ms=ann.clock.now).clock_offset_ms == 0
    assert own_message(ann.instance, own, now_ms=ann.clock.now).clock_offset_ms == 0


async def test_a_surface_that_does_not_say_the_time_fails_no_run(
    stores: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)

    async def full(*_: Any) -> float:
        raise WorkspaceError(Reason.ERROR_REASON_STORAGE_FULL, "no room")

    monkeypatch.setattr(clock_offset, "store_time", full)
    await pull(ann, box)
    assert (await _entry(ann, box)).offset_ms is None


async def test_the_lease_of_this_workspace_counts_for_what_it_relays(stores: Open) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    gone = Entry(first_ms=1, seen_ms=ann.clock.now - 3 * DAY_MS, mark=0)
    later = Entry(first_ms=ann.clock.now, seen_ms=ann.clock.now, mark=9)
    await ann.records.put_row(
        mark_put(Mark(2, "c", relayed={"box": Relayed(2, 1, needed=5)}), None)
    )
    await box.records.put_row(node_put(node_key("n1"), _row(a=gone, b=later), None))
    for days, passed in ((30, False), (2, True)):
        await mirror(replace(task_of(ann, box, PULL), lease_ms=days * DAY_MS))
        mark = mark_of(await ann.records.get_row(MARK_KEY))
        assert mark.relayed["box"].passed is passed
