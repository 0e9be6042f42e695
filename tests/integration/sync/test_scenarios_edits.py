"""Acceptance scenarios 1 to 5: what two nodes that sync over a folder edit and delete.

The numbers are those of the table "Acceptance scenarios" in the anchors of the project.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from workspace.project.v1.document_pb2 import DocumentStatus
from workspace.sync.v1.conflict_pb2 import ConflictKind, Resolution
from workspace.sync.v1.quarantine_pb2 import QuarantineReason
from workspace.sync.v1.status_pb2 import SyncHealth

from services.records.port import Key
from tests.integration.sync.backups import Backups
from tests.integration.sync.nodes import Desk, Node, in_step, open_desk, require_equal, run_each

EDIT_EDIT = ConflictKind.CONFLICT_KIND_EDIT_EDIT
EDIT_DELETE = ConflictKind.CONFLICT_KIND_EDIT_DELETE
TRASHED = DocumentStatus.DOCUMENT_STATUS_TRASHED
AVAILABLE = DocumentStatus.DOCUMENT_STATUS_AVAILABLE
HOUR_MS = 3_600_000


@pytest.fixture
async def desk(tmp_path: Path, backups: Backups) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path, backups=backups) as made:
        yield made


async def test_scenario_1_ten_ways_to_change_after_a_first_sync(desk: Desk) -> None:
    """1. New, changed and deleted on either side, changed on both, changed and deleted
    both ways, deleted on both: one run each way; only changed-both and edit/delete pairs
    become conflicts; nothing is lost; a second run does nothing."""
    a, b = desk.a, desk.b
    await desk.share(
        "changed_a", "changed_b", "deleted_a", "deleted_b", "changed_both",
        "changed_deleted", "deleted_changed", "deleted_both",
    )
    ids = desk.ids
    ids["new_a"] = await a.document(desk.project_id, "new_a.txt", b"new_a")
    ids["new_b"] = await b.document(desk.project_id, "new_b.txt", b"new_b")
    await a.revise(ids["changed_a"], b"by a")
    await b.revise(ids["changed_b"], b"by b")
    for node, title in ((a, "A's"), (b, "B's")):
        await node.edit(ids["changed_both"], title=title)
    await a.edit(ids["changed_deleted"], title="kept")
    await b.edit(ids["deleted_changed"], title="kept")
    for name in ("deleted_a", "deleted_changed", "deleted_both"):
        await a.trash(ids[name])
    for name in ("deleted_b", "changed_deleted", "deleted_both"):
        await b.trash(ids[name])

    await a.push(force=True)
    await b.pull(force=True)
    await b.push(force=True)
    await a.pull(force=True)

    expected = {
        "changed_both": EDIT_EDIT, "changed_deleted": EDIT_DELETE, "deleted_changed": EDIT_DELETE
    }
    await require_equal(a, b)
    for node in (a, b):
        assert await desk.kinds(node) == expected
        bytes_of = {name: await node.bytes_of(ids[name]) for name in ("changed_a", "changed_b")}
        assert bytes_of == {"changed_a": b"by a", "changed_b": b"by b"}
        assert await node.bytes_of(ids["new_a"]) == b"new_a"
        assert await node.bytes_of(ids["new_b"]) == b"new_b"
        for name in ("deleted_a", "deleted_b", "deleted_both"):
            assert (await node.read(ids[name])).status == TRASHED, name
        (both,) = await node.conflicts(project_id=desk.project_id, document_id=ids["changed_both"])
        titles = {v.body["title"] for v in (await node.conflict(both.conflict_id)).versions}
        assert titles == {"A's", "B's"}
        for name in ("changed_deleted", "deleted_changed"):
            (found,) = await node.conflicts(project_id=desk.project_id, document_id=ids[name])
            versions = (await node.conflict(found.conflict_id)).versions
            assert {dict(v.body).get("title", "") for v in versions} == {"", "kept"}
            assert all(each.objects_available for each in versions)
    for node in (a, b):
        for run in (await node.push(), await node.pull()):
            assert (run.counts.records_written, run.counts.objects_done) == (0, 0)


async def test_scenario_2_the_same_edit_on_both_nodes(desk: Desk) -> None:
    """2. Both nodes make the same edit: no conflict, one version. Two equal versions stay
    side by side until the next edit, and are one to everybody who reads."""
    await desk.share("same")
    for node in (desk.a, desk.b):
        await node.edit(desk.ids["same"], title="Agreed")
    await in_step(desk.a, desk.b)
    await require_equal(desk.a, desk.b)
    for node in (desk.a, desk.b):
        assert await node.conflicts() == []
        state = (await node.states())[_key(desk.ids["same"])]
        assert len({each.digest for each in state.versions.values()}) == 1
        assert (await node.read(desk.ids["same"])).title == "Agreed"
    await desk.b.edit(desk.ids["same"], title="Agreed again")
    await run_each([desk.b, desk.a])
    for node in (desk.a, desk.b):
        assert await node.conflicts() == []
        assert len((await node.states())[_key(desk.ids["same"])].versions) == 1
        assert (await node.read(desk.ids["same"])).title == "Agreed again"


async def test_scenario_3_different_edits_in_either_order(desk: Desk) -> None:
    """3. Both nodes edit differently, and either pushes first: the same conflict id and
    the same winner on both nodes in both orders."""
    a, b = desk.a, desk.b
    await desk.share("a_first", "b_first")
    for name, order in (("a_first", [a, b, a]), ("b_first", [b, a, b])):
        document = desk.ids[name]
        await a.edit(document, title="A's")
        await b.edit(document, title="B's")  # later, so that it is shown
        await run_each(order)
        await require_equal(a, b)
        named = {"project_id": desk.project_id, "document_id": document}
        (one,), (other,) = await a.conflicts(**named), await b.conflicts(**named)
        assert one.conflict_id == other.conflict_id
        assert one.kind == other.kind == EDIT_EDIT
        assert [(await node.read(document)).title for node in (a, b)] == ["B's", "B's"]


def _behind() -> int:
    return int(time.time() * 1000) - 24 * HOUR_MS


def _ahead() -> int:
    return int(time.time() * 1000) + 23 * HOUR_MS


class Stopped:
    """A clock that shows the same for everybody."""

    def __init__(self) -> None:
        self.now = int(time.time() * 1000) + 1000

    def __call__(self) -> int:
        return self.now


@pytest.mark.parametrize("clock", [Stopped, lambda: _behind, lambda: _ahead])
async def test_scenario_4_with_clocks_that_tie_or_drift(
    desk: Desk, clock: Callable[[], Callable[[], int]]
) -> None:
    """4. As 3 with clocks forced equal, and with B a day in the past or nearly one in the
    future: the same conflict and winner everywhere, and no loss."""
    await desk.share("one")
    document, shown = desk.ids["one"], clock()
    if isinstance(shown, Stopped):
        desk.a.set_clock(shown)
    desk.b.set_clock(shown)
    await desk.a.edit(document, title="A's")
    await desk.b.edit(document, title="B's")
    await run_each([desk.a, desk.b, desk.a])
    await require_equal(desk.a, desk.b)
    (one,), (other,) = await desk.a.conflicts(), await desk.b.conflicts()
    assert one.conflict_id == other.conflict_id
    titles = [(await node.read(document)).title for node in (desk.a, desk.b)]
    assert titles[0] == titles[1]
    for node in (desk.a, desk.b):
        versions = (await node.conflict(one.conflict_id)).versions
        assert {each.body["title"] for each in versions} == {"A's", "B's"}
        if isinstance(shown, Stopped):
            assert len({(e.stamp.hlc.wall_ms, e.stamp.hlc.counter) for e in versions}) == 1


async def test_scenario_4_a_clock_too_far_ahead_is_flagged_and_nothing_is_lost(
    desk: Desk,
) -> None:
    """4. More than a day ahead: the version is kept aside and told of, the rest flows,
    and it comes when its time is near."""
    await desk.share("one", "two")
    desk.b.set_clock(lambda: int(time.time() * 1000) + 25 * HOUR_MS)
    await desk.b.edit(desk.ids["one"], title="from the future")
    await desk.b.push()
    await desk.a.edit(desk.ids["two"], title="today")
    await desk.a.push()
    run = await desk.a.pull()
    assert run.counts.quarantined >= 1
    kept = [each for each in await desk.a.quarantine() if each.family == "document"]
    assert {each.reason for each in kept} == {QuarantineReason.QUARANTINE_REASON_CLOCK_AHEAD}
    assert (await desk.a.status()).health == SyncHealth.SYNC_HEALTH_YELLOW
    assert (await desk.a.read(desk.ids["one"])).title == ""
    await desk.b.pull()
    assert (await desk.b.read(desk.ids["two"])).title == "today"
    assert (await desk.b.read(desk.ids["one"])).title == "from the future"
    desk.a.set_time(lambda: time.time() + 2 * 3600)
    await desk.a.pull(full_reconcile=True)
    assert (await desk.a.read(desk.ids["one"])).title == "from the future"
    assert await desk.a.quarantine() == []


@pytest.mark.parametrize("first", ["deletes", "edits"])
async def test_scenario_5_one_deletes_what_the_other_edits(desk: Desk, first: str) -> None:
    """5. A deletes, B edits, either pushes first: an `edit_delete` conflict on both, the
    bytes retrievable; keeping the edit and keeping the deletion each come everywhere."""
    await desk.share("edit", "deletion")
    for document in desk.ids.values():
        await desk.a.trash(document)
        await desk.b.revise(document, b"edited")
        await desk.b.edit(document, title="edited")
    nodes = [desk.a, desk.b] if first == "deletes" else [desk.b, desk.a]
    await run_each([*nodes, nodes[0]], force=True)
    await require_equal(desk.a, desk.b)
    for node in (desk.a, desk.b):
        assert await desk.kinds(node) == {"edit": EDIT_DELETE, "deletion": EDIT_DELETE}
    conflicts = {each.document_id: each.conflict_id for each in await desk.b.conflicts()}
    assert conflicts == {each.document_id: each.conflict_id for each in await desk.a.conflicts()}
    for name, document in desk.ids.items():
        for node in (desk.a, desk.b):
            versions = (await node.conflict(conflicts[document])).versions
            assert [each.objects_available for each in versions] == [True, True]
        await _keep(desk.b, conflicts[document], edit=name == "edit")
    await run_each([desk.b, desk.a], force=True)
    await require_equal(desk.a, desk.b)
    for node in (desk.a, desk.b):
        assert await node.conflicts() == []
        kept = await node.read(desk.ids["edit"])
        assert (kept.status, kept.title) == (AVAILABLE, "edited")
        assert await node.bytes_of(desk.ids["edit"]) == b"edited"
        assert (await node.read(desk.ids["deletion"])).status == TRASHED


async def _keep(node: Node, conflict_id: str, *, edit: bool) -> None:
    """Decide for one of the two versions."""
    versions = (await node.conflict(conflict_id)).versions
    trashed = DocumentStatus.Name(TRASHED)
    (chosen,) = [v for v in versions if (v.body["status"] == trashed) != edit]
    await node.resolve(conflict_id, Resolution(theirs=Resolution.Theirs(dot=chosen.stamp.dot)))


def _key(document_id: str) -> Key:
    return Key(f"DOCUMENT#{document_id}", f"ARTIFACT#{document_id}")
