"""What a copy of a workspace wrote in its name comes by a third node.

The copy has the same file name, identity and incarnation, and speaks with another
surface than the original, so that no handshake tells of it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from workspace.sync.v1.connection_pb2 import Connection, Trust
from workspace.sync.v1.run_pb2 import SyncOptions

from services.model.families import FAMILIES
from services.model.stamp import Stamp
from services.objects.store import ObjectStore
from services.records.port import ABSENT, Key, Match, Put
from sync_svc.engine.pull import pull
from tests.unit.sync_svc.nodes.conftest import Open
from tests.unit.sync_svc.nodes.lives import DAY_MS, PULL, Store, project_key
from tests.unit.sync_svc.nodes.test_with_the_engine import Pair, objects

__all__ = ["objects"]


class Play:
    """Ann and her copy are one file with other content; Bob knows both surfaces."""

    def __init__(self, ann: Store, bob: Store, near: Store, far: Store, box: ObjectStore) -> None:
        self.ann, self.bob, self.near, self.far = ann, bob, near, far
        self.mine, self.copys = Pair(ann, near, box), Pair(ann, far, box)
        self.bobs = (Pair(bob, near, box), Pair(bob, far, box))

    async def carry(self) -> None:
        for _ in range(2):
            for pair in self.bobs:
                await pair.push()
                await pair.pull()

    async def settle(self) -> None:
        for _ in range(3):
            await self.mine.push()
            await self.mine.pull()
            await self.carry()


@pytest.fixture
async def play(stores: Open, objects: ObjectStore) -> Play:
    near, far = await stores("near", passive=True), await stores("far", passive=True)
    play = Play(await stores("ann"), await stores("bob"), near, far, objects)
    await play.ann.edit("p", name="zero", description="zero")
    await play.mine.push()
    await play.carry()
    return play


async def test_the_original_sees_it_and_nothing_is_lost(play: Play, tmp_path: Path) -> None:
    ann = play.ann
    before = await ann.now()
    copy = await ann.snapshot(tmp_path / "copy")
    await ann.edit("p", name="of ann")
    await ann.edit("own", name="of ann alone")
    kept = await ann.snapshot(tmp_path / "kept")
    await ann.roll_back(copy)  # now this file is the copy
    await ann.edit("p", name="of copy")
    await ann.edit("q", name="q of copy")
    await play.copys.push()
    await play.carry()
    await ann.roll_back(kept)  # and now it is Ann again
    await play.settle()
    for store in (ann, play.bob, play.near, play.far):
        assert await store.values("p") == {"of ann", "of copy"}
        assert await store.values("q") == {"q of copy"}
        assert await store.values("own") == {"of ann alone"}
    after = await ann.now()
    assert after.former == (before.incarnation,)
    assert after.unminted == {}
    assert [item for item in await ann.records.scan(None, 500) if item.family == "quarantine"] == []
    task = await play.mine.pull()
    assert not task.tally.full_reconcile
    assert task.tally.counts.records_written == 0


async def test_two_lives_that_exported_one_dot_are_a_conflict(play: Play, tmp_path: Path) -> None:
    ann = play.ann
    copy = await ann.snapshot(tmp_path / "copy")
    await ann.edit("p", name="of ann")
    await play.mine.push()
    kept = await ann.snapshot(tmp_path / "kept")
    await ann.roll_back(copy)
    await ann.edit("p", description="of copy")
    await play.copys.push()
    await ann.roll_back(kept)
    await play.carry()
    await play.settle()
    for store in (ann, play.bob, play.near, play.far):
        assert await store.values("p") == {"of ann", "zero"}
        assert await store.values("p", "description") == {"zero", "of copy"}
    state = await ann.state("p")
    assert state is not None
    assert all(dot[0].startswith("ext:") for dot in state.versions)


async def _claim(store: Store, project: str, actor: str, counter: int) -> None:
    """Somebody who may write to a surface writes in the name of another."""
    key = project_key(project)
    item = await store.records.get_row(key)
    assert item is not None
    old = Stamp.load(item.stamp)
    dot = (actor, counter)
    past = {**old.vv, actor: counter}
    stamp = replace(old, dot=dot, clock={**old.clock, actor: counter}, vv=past)
    put = Put(
        key, Match(item.token), FAMILIES["project"].name, item.body, stamp.dump(),
        indexes=item.indexes,
    )
    await store.records.put_row(put)


async def test_a_surface_can_force_one_incarnation_a_day(play: Play, stores: Open) -> None:
    bob, near = play.bob, play.near
    await play.bobs[0].pull()
    connection = Connection(connection_id="near", trust=Trust.TRUST_CONTENT_ONLY)

    async def claimed(counter: int) -> None:
        await _claim(near, "p", bob.records.actor, counter)
        task = replace(play.bobs[0].task(PULL), connection=connection)
        await pull(task)

    await claimed(7)
    assert len((await bob.now()).former) == 1
    await claimed(9)
    assert len((await bob.now()).former) == 1
    aside = [item for item in await bob.records.scan(None, 500) if item.family == "quarantine"]
    assert "COUNTER_AHEAD" in aside[0].body
    bob.clock.now += DAY_MS
    await claimed(11)
    assert len((await bob.now()).former) == 2


async def test_an_event_is_believed_only_where_the_surface_is_trusted(play: Play) -> None:
    bob, near = play.bob, play.near
    await play.bobs[0].pull()
    us = bob.records.actor
    event = next(i for i in await near.records.scan(None, 500) if i.family == "activity_event")
    peer = Stamp.load(event.stamp).dot[0]
    forged = Key(event.key.pk, event.key.sk.replace(peer, us))
    await near.records.put_row(
        Put(forged, ABSENT, event.family, event.body, event.stamp.replace(peer, us))
    )
    content = Connection(connection_id="near", trust=Trust.TRUST_CONTENT_ONLY)
    before = (await bob.now()).former
    await pull(replace(play.bobs[0].task(PULL), connection=content))
    assert (await bob.now()).former == before
    assert await bob.records.get_row(forged) is None
    task = play.bobs[0].task(PULL)
    await pull(replace(task, options=SyncOptions(force=True, full_reconcile=True)))
    assert (await bob.now()).former != before
    assert await bob.records.get_row(forged) is not None
