"""Restored and cloned nodes: new incarnations, and not one write lost."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from services.records import remint as reminting
from services.records.actors import SETTLE_SECONDS
from services.records.instance import Instance
from sync_svc.nodes import contact, handshake
from sync_svc.nodes.checks import NodeChecks
from sync_svc.nodes.handshake import Handshake, Verdict
from sync_svc.nodes.rows import Entry
from tests.unit.sync_svc.nodes.conftest import Open
from tests.unit.sync_svc.nodes.lives import PUSH, Fragile, Killed, Store, load, pull, push, task_of


async def _step(*pairs: tuple[Store, Store]) -> None:
    """Everybody pushes and pulls until nothing can change any more."""
    for _ in range(3):
        for node, surface in pairs:
            await push(node, surface)
            await pull(node, surface)


async def _rolled_back(ann: Store, box: Store, tmp_path: Path) -> None:
    """Ann wrote 'first' to p before a snapshot, 'lost' after it and pushed that;
    rolled back, she writes 'second' under the same dots."""
    await ann.edit("p", name="zero", description="zero")
    await push(ann, box)
    await pull(ann, box)
    earlier = await ann.snapshot(tmp_path / "earlier")
    await ann.edit("p", name="lost")
    await ann.edit("q", name="lost q")
    await push(ann, box)
    await ann.roll_back(earlier)
    await ann.edit("p", name="second")
    await ann.edit("q", name="second q")


async def test_a_rolled_back_node_loses_nothing_of_either_life(
    stores: Open, tmp_path: Path
) -> None:
    ann, bob, box = await stores("ann"), await stores("bob"), await stores("box", passive=True)
    await _rolled_back(ann, box, tmp_path)
    before = await ann.now()
    found = await push(ann, box)
    assert found.full_reconcile
    after = await ann.now()
    assert after.former == (before.incarnation,)
    assert after.unminted == {}
    assert ann.records.actor == after.actor
    await _step((ann, box), (bob, box))
    for store in (ann, bob, box):
        assert await store.values("p") == {"lost", "second"}
        assert await store.values("q") == {"lost q", "second q"}
    assert (await ann.now()).incarnation == after.incarnation  # one alarm


async def test_an_edit_after_the_rollback_that_nobody_contested_is_no_conflict(
    stores: Open, tmp_path: Path
) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    await ann.edit("p", name="zero")
    await push(ann, box)
    earlier = await ann.snapshot(tmp_path / "earlier")
    await ann.edit("other", name="x")
    await push(ann, box)
    await ann.roll_back(earlier)
    await ann.edit("p", name="one")
    await _step((ann, box))
    assert await box.values("p") == {"one"}
    assert await ann.values("other") == {"x"}


async def test_versions_before_the_last_contact_keep_their_dots(
    stores: Open, tmp_path: Path
) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    await ann.edit("p", name="zero")
    await push(ann, box)
    dots = (await ann.state("p")).dots  # type: ignore[union-attr]
    earlier = await ann.snapshot(tmp_path / "earlier")
    await push(ann, box)
    await ann.roll_back(earlier)
    await push(ann, box)
    assert (await ann.now()).former
    assert (await ann.state("p")).dots == dots  # type: ignore[union-attr]


async def test_original_and_copy_end_apart_and_lose_nothing(stores: Open, tmp_path: Path) -> None:
    """A copy that nothing shows: the same machine, file and incarnation (a cloned
    virtual machine). Whoever speaks second notices."""
    ann, box = await stores("ann"), await stores("box", passive=True)
    await ann.edit("p", name="zero")
    await push(ann, box)
    twin_file = await ann.snapshot(tmp_path / "ann-twin")
    await ann.edit("p", name="of ann")
    kept = await ann.snapshot(tmp_path / "ann-kept")
    await ann.roll_back(twin_file)  # now this file is the twin
    await ann.edit("p", name="of twin")
    await push(ann, box)
    twin = await ann.now()
    twin_kept = await ann.snapshot(tmp_path / "twin-kept")
    await ann.roll_back(kept)  # and now it is ann again
    await push(ann, box)
    original = await ann.now()
    assert original.incarnation != twin.incarnation
    assert await box.values("p") == {"of ann", "of twin"}
    await ann.edit("p2", name="of ann")
    await push(ann, box)
    await ann.snapshot(tmp_path / "ann-later")
    await ann.roll_back(twin_kept)
    found = await push(ann, box)
    assert not found.full_reconcile  # the twin goes on as it was: no alarm to and fro
    await pull(ann, box)
    assert (await ann.now()).incarnation == twin.incarnation
    assert await ann.values("p2") == {"of ann"}
    row = await box.node(twin.instance_id)
    assert row is not None
    assert set(row.entries) == {original.incarnation, twin.incarnation}


async def test_a_copied_folder_is_another_incarnation_at_once(
    stores: Open, tmp_path: Path
) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    await ann.edit("p", name="zero")
    await push(ann, box)
    await ann.edit("p", name="unsent")
    file = await ann.snapshot(tmp_path / "copy.sqlite")
    copy = await stores("copy", file=file)
    assert copy.instance.former == (ann.instance.incarnation,)
    await ann.edit("p", name="of ann")
    await copy.edit("p", name="of copy")
    await _step((copy, box), (ann, box))
    for store in (ann, copy, box):
        assert await store.values("p") == {"of ann", "of copy"}


async def test_rolled_back_and_then_copied(stores: Open, tmp_path: Path) -> None:
    """The copy has a new incarnation at once, but the old one wrote a second time."""
    ann, box = await stores("ann"), await stores("box", passive=True)
    await _rolled_back(ann, box, tmp_path)
    file = await ann.snapshot(tmp_path / "copy.sqlite")
    copy = await stores("copy", file=file)
    await _step((copy, box))
    for store in (copy, box):
        assert await store.values("p") == {"lost", "second"}
        assert await store.values("q") == {"lost q", "second q"}
    assert (await copy.now()).unminted == {}


async def test_a_backup_restored_brings_no_false_conflicts(stores: Open, tmp_path: Path) -> None:
    """What was unsent in the backup was sent, and changed again, before the disaster."""
    ann, box = await stores("ann"), await stores("box", passive=True)
    await ann.edit("p", name="zero")
    await push(ann, box)
    await ann.edit("p", name="unsent")
    file = await ann.snapshot(tmp_path / "backup.sqlite")
    await push(ann, box)
    await ann.edit("p", name="last")
    await push(ann, box)
    restored = await stores("restored", file=file)
    await _step((restored, box))
    assert await box.values("p") == {"last"}
    assert await restored.values("p") == {"last"}


@pytest.mark.parametrize("at", range(1, 12))
async def test_killed_anywhere_while_it_is_put_right(
    stores: Open, tmp_path: Path, at: int
) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    await _rolled_back(ann, box, tmp_path)
    ann.driver.kill_at = at
    with suppress(Killed):
        await push(ann, box)
    ann.driver.kill_at = 0
    await ann.close()
    await ann.open()
    await _step((ann, box))
    for store in (ann, box):
        assert await store.values("p") == {"lost", "second"}
        assert await store.values("q") == {"lost q", "second q"}


async def test_an_edit_on_top_before_the_record_was_put_right_hides_nothing(
    stores: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new incarnation supersedes a version of the second life: its clock must not
    say that it saw the first life's version of the same dot."""
    ann, box = await stores("ann"), await stores("box", passive=True)
    await _rolled_back(ann, box, tmp_path)
    settled = ann.records.become

    async def edited_at_once(actor: str) -> None:
        await settled(actor)
        await ann.edit("p", name="third")

    monkeypatch.setattr(ann.records, "become", edited_at_once)
    await push(ann, box)
    monkeypatch.undo()
    await _step((ann, box))
    assert await box.values("p") == {"lost", "third"}


async def test_on_a_shared_store_it_waits_until_other_processes_have_noticed(
    stores: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, box = await stores("ann"), await stores("box", passive=True)
    await _rolled_back(ann, box, tmp_path)
    shared = replace(ann.driver.capabilities, multi_process=True)
    monkeypatch.setattr(Fragile, "capabilities", shared, raising=False)
    waited: list[float] = []

    async def other_process_writes(seconds: float) -> None:
        """Under the former incarnation, in the last moment."""
        waited.append(seconds)
        actor = ann.records.actors.current
        ann.records.actors.current = ann.instance.actor
        await ann.edit("late", name="late")
        ann.records.actors.current = actor

    task = task_of(ann, box, PUSH)
    await NodeChecks(sleep=other_process_writes).preflight(task, await load(task))
    assert waited == [SETTLE_SECONDS]
    late = await ann.state("late")
    assert late is not None
    assert [actor for actor, _ in late.dots] == [ann.records.actor]


class TestMutants:
    """What these tests would not be worth without: each change loses a write."""

    async def test_unchecked_token(
        self, stores: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def trusting(
            own: Instance, memory: Handshake, surface: Instance, entry: Entry | None
        ) -> Verdict:
            return Verdict(fresh=memory.incarnation != own.incarnation)

        monkeypatch.setattr("sync_svc.nodes.preflight.judge", trusting)
        # The second line of defence: the handshake itself looks at the token again.
        monkeypatch.setattr(contact, "_introduce", partial(contact._introduce, force=True))
        ann, box = await stores("ann"), await stores("box", passive=True)
        await _rolled_back(ann, box, tmp_path)
        await _step((ann, box))
        assert await box.values("p") != {"lost", "second"}

    async def test_new_incarnation_without_minting_again(
        self, stores: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reminting, "_concerns", lambda *_: False)
        ann, box = await stores("ann"), await stores("box", passive=True)
        await _rolled_back(ann, box, tmp_path)
        await _step((ann, box))
        assert await box.values("p") != {"lost", "second"}

    async def test_a_clock_that_claims_the_old_dot(
        self, stores: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reminting, "_common", lambda *_: 99)
        ann, box = await stores("ann"), await stores("box", passive=True)
        await _rolled_back(ann, box, tmp_path)
        await _step((ann, box))
        assert await box.values("p") != {"lost", "second"}


def test_the_verdict() -> None:
    own = Instance("n1", "a", "x")
    surface = Instance("n2", "s", "y", generation=3)
    memory = Handshake(
        incarnation="a", confirmed="t5", contacts=5, pending="t6", surface_incarnation="s",
        provider_identity="y", generation=3,
    )

    def judged(entry: Entry | None, **changes: Any) -> Verdict:
        return handshake.judge(own, replace(memory, **changes), surface, entry)

    assert judged(Entry("t5", 5)) == Verdict()
    assert judged(Entry("t6", 6)) == Verdict()
    assert judged(Entry("t7", 7)) == Verdict(ours=True)
    assert judged(Entry("t4", 4)) == Verdict(theirs=True)
    assert judged(Entry("", 0)) == Verdict(theirs=True)
    assert judged(Entry("other", 5)) == Verdict(ours=True, theirs=True)
    assert judged(None) == Verdict(theirs=True)
    assert judged(None, contacts=0, confirmed="", pending="") == Verdict()
    assert judged(Entry("", 0), contacts=0, confirmed="", pending="") == Verdict()
    assert judged(Entry("t1", 1), contacts=0, confirmed="", pending="") == Verdict(ours=True)
    assert judged(Entry("t5", 5), generation=4) == Verdict(theirs=True)
    assert judged(Entry("t5", 5), surface_incarnation="r") == Verdict(moved=True)
    assert judged(None, incarnation="z") == Verdict(fresh=True)
    assert judged(Entry("t9", 9), incarnation="z") == Verdict(ours=True, fresh=True)
