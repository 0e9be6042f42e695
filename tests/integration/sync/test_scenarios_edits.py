"""Acceptance scenarios 1 to 5: what two nodes that sync over a folder edit and delete.

The numbers are those of the table "Acceptance scenarios" in the anchors of the project.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from workspace.project.v1.document_pb2 import DocumentStatus
from workspace.sync.v1.conflict_pb2 import ConflictKind, Resolution
from workspace.sync.v1.quarantine_pb2 import QuarantineReason
from workspace.sync.v1.status_pb2 import SyncHealth

from tests.integration.sync.nodes import Node, in_step, require_equal, run_each

EDIT_EDIT = ConflictKind.CONFLICT_KIND_EDIT_EDIT
EDIT_DELETE = ConflictKind.CONFLICT_KIND_EDIT_DELETE
TRASHED = DocumentStatus.DOCUMENT_STATUS_TRASHED
AVAILABLE = DocumentStatus.DOCUMENT_STATUS_AVAILABLE
HOUR_MS = 3_600_000


class Desk:
    """Two nodes, one folder, and documents by name that both have."""

    def __init__(self, a: Node, b: Node) -> None:
        self.a, self.b = a, b
        self.project_id = ""
        self.ids: dict[str, str] = {}

    async def share(self, *names: str) -> None:
        """Documents of A that both have afterwards; their bytes are their names."""
        self.project_id = self.project_id or await self.a.project()
        for name in names:
            made = await self.a.document(self.project_id, f"{name}.txt", name.encode())
            self.ids[name] = made
        await in_step(self.a, self.b)

    async def kinds(self, node: Node) -> dict[str, Any]:
        """Open conflicts by the name of their document."""
        by_id = {made: name for name, made in self.ids.items()}
        return {by_id[each.document_id]: each.kind for each in await node.conflicts()}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(Node.open(tmp_path / n)) for n in ("a", "b")]
        for node in nodes:
            await node.connect(tmp_path / "backup")
        yield Desk(*nodes)


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
        (both,) = await node.conflicts(document_id=ids["changed_both"])
        titles = {v.body["title"] for v in (await node.conflict(both.conflict_id)).versions}
        assert titles == {"A's", "B's"}
        for name in ("changed_deleted", "deleted_changed"):
            (found,) = await node.conflicts(document_id=ids[name])
            versions = (await node.conflict(found.conflict_id)).versions
            assert {v.body["title"] if "title" in v.body else "" for v in versions} == {"", "kept"}
            assert all(each.objects_available for each in versions)
    for node in (a, b):
        for run in (await node.push(), await node.pull()):
            assert (run.counts.records_written, run.counts.objects_done) == (0, 0)


async def test_scenario_2_the_same_edit_on_both_nodes(desk: Desk) -> None:
    """2. Both nodes make the same edit: no conflict, one version."""
    await desk.share("same")
    for node in (desk.a, desk.b):
        await node.edit(desk.ids["same"], title="Agreed")
    await in_step(desk.a, desk.b)
    await require_equal(desk.a, desk.b)
    for node in (desk.a, desk.b):
        assert await node.conflicts() == []
        (state,) = [s for k, s in (await node.states()).items() if _is(k, desk.ids["same"])]
        assert len(state.versions) == 1
        assert (await node.read(desk.ids["same"])).title == "Agreed"


@pytest.mark.parametrize("first", ["a", "b"])
async def test_scenario_3_different_edits_in_either_order(desk: Desk, first: str) -> None:
    """3. Both nodes edit differently, and either pushes first: the same conflict id and
    the same winner on both nodes in both orders."""
    await desk.share("one")
    document = desk.ids["one"]
    await desk.a.edit(document, title="A's")
    await desk.b.edit(document, title="B's")  # later, so that it is shown
    nodes = [desk.a, desk.b] if first == "a" else [desk.b, desk.a]
    await run_each([*nodes, nodes[0]])
    await require_equal(desk.a, desk.b)
    found = [(await node.conflicts())[0] for node in nodes]
    assert found[0].conflict_id == found[1].conflict_id
    assert {each.kind for each in found} == {EDIT_EDIT}
    for node in nodes:
        assert (await node.read(document)).title == "B's"


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
            assert len({each.stamp.hlc for each in versions}) == 1


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
@pytest.mark.parametrize("keep", ["edit", "deletion"])
async def test_scenario_5_one_deletes_what_the_other_edits(
    desk: Desk, first: str, keep: str
) -> None:
    """5. A deletes, B edits, either pushes first: an `edit_delete` conflict on both, the
    bytes retrievable; keeping the edit and keeping the deletion each come everywhere."""
    await desk.share("one")
    document = desk.ids["one"]
    await desk.a.trash(document)
    await desk.b.revise(document, b"edited")
    await desk.b.edit(document, title="edited")
    nodes = [desk.a, desk.b] if first == "deletes" else [desk.b, desk.a]
    await run_each([*nodes, nodes[0]])
    await require_equal(desk.a, desk.b)
    (found,), (other,) = await desk.a.conflicts(), await desk.b.conflicts()
    assert found.conflict_id == other.conflict_id
    assert found.kind == other.kind == EDIT_DELETE
    for node in (desk.a, desk.b):
        versions = (await node.conflict(found.conflict_id)).versions
        assert all(each.objects_available for each in versions)
    kept = await _keep(desk, found.conflict_id, edit=keep == "edit")
    await in_step(desk.a, desk.b)
    await require_equal(desk.a, desk.b)
    for node in (desk.a, desk.b):
        assert await node.conflicts() == []
        shown = await node.read(document)
        assert shown.status == (AVAILABLE if keep == "edit" else TRASHED)
        if keep == "edit":
            assert shown.title == kept == "edited"
            assert await node.bytes_of(document) == b"edited"


async def _keep(desk: Desk, conflict_id: str, *, edit: bool) -> str:
    """Decide on B for one of the two versions; the title of what was kept."""
    versions = (await desk.b.conflict(conflict_id)).versions
    trashed = DocumentStatus.Name(TRASHED)
    (chosen,) = [v for v in versions if (v.body["status"] == trashed) != edit]
    theirs = Resolution.Theirs(dot=chosen.stamp.dot)
    answer = await desk.b.resolve(conflict_id, Resolution(theirs=theirs))
    return str(answer.result["title"]) if "title" in answer.result else ""


def _is(key: Any, document_id: str) -> bool:
    return bool(key.pk == f"DOCUMENT#{document_id}" and key.sk == f"ARTIFACT#{document_id}")
