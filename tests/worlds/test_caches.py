"""The caches of permission facts: each way in which they could be wrong is noticed.

Two kinds: an entry that outlives a change, and a fill that began before a change and
ends after it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from workspace.common.v1.consistency_pb2 import Consistency

from identity_svc.memberships.memberships import Memberships
from project_svc.access.freshness import MembershipFollower, ViewFollower
from services.records.store import RecordStore
from tests.harness import Workspace
from tests.worlds.changes import direct_change
from tests.worlds.making import Cast, random_world
from tests.worlds.questions import Asker
from tests.worlds.stored import stored_world
from tests.worlds.transplant import changed

FACTS, MEMBERSHIPS = "project_svc.access.fact_cache", "project_svc.access.membership_cache"
FRESHNESS = "project_svc.access.freshness"
Texts = tuple[tuple[str, str], ...]

STALE: dict[str, tuple[str, Texts]] = {
    "projects are not told of commits": (
        FRESHNESS, (('        if pk.startswith(_PROJECT):\n            views.invalidate(pk)\n\n', "        pass\n\n"),)
    ),
    "memberships are not told of commits": (
        FRESHNESS, (("    kernel.records.on_commit(memberships.committed)\n", ""),)
    ),
    "rows that concern everybody are passed over": (
        MEMBERSHIPS, (("if owner is not None:", "if owner:"),)
    ),
    "entries of others stay": (
        FACTS, (("owners = [owner] if owner else list(of_partition)", "owners = [owner]"),)
    ),
    "assembled views stay": (
        FACTS, (("        self.generation += 1\n        if self._drop_overtaken:", "        if self._drop_overtaken:"),)
    ),
    "a key without its scope": (
        MEMBERSHIPS,
        (
            ("scope: self.facts.get((user_id, scope), demand)", "scope: self.facts.get((user_id, scope[:4]), demand)"),
            ("filling.keep((user_id, scope), Cached", "filling.keep((user_id, scope[:4]), Cached"),
        ),
    ),
    "a key without its user": (
        MEMBERSHIPS,
        (
            ("scope: self.facts.get((user_id, scope), demand)", 'scope: self.facts.get(("", scope), demand)'),
            ("filling.keep((user_id, scope), Cached", 'filling.keep(("", scope), Cached'),
        ),
    ),
    "views by user alone": (
        MEMBERSHIPS,
        (
            ("found = self._views.get(request)", "found = self._views.get(request[0])"),
            ("self._views[request] =", "self._views[request[0]] ="),
            ("self._views.move_to_end(request)", "self._views.move_to_end(request[0])"),
        ),
    ),
    "facts rest on the user alone": (
        MEMBERSHIPS, (("rests_on = {**own, **partitions} if", "rests_on = own if"),)
    ),
    "only the first partition counts": (
        FACTS,
        (
            ("        for pk in entry.partitions:\n            self._dependents", "        for pk in list(entry.partitions)[:1]:\n            self._dependents"),
            ("        for pk in entry.partitions:\n            of_partition", "        for pk in list(entry.partitions)[:1]:\n            of_partition"),
        ),
    ),
}  # fmt: skip
# ruff: noqa: E501 - one mutant a line
OVERTAKEN: tuple[str, Texts] = (
    FACTS, (("            self._overtaken.add((pk, owner))\n", "            pass\n"),)
)
WITH_ALL_OWNERS: tuple[str, Texts] = (
    FACTS, (("owners = {_ANYBODY, entry.owner}", "owners = {entry.owner}"),)
)


@asynccontextmanager
async def workspace(folder: Path, *mutants: tuple[str, Texts]) -> AsyncIterator[Workspace]:
    with ExitStack() as stack:
        for name, texts in mutants:
            stack.enter_context(changed(name, *texts))
        async with Workspace.open(folder) as ws:
            yield ws


async def matrix(ws: Workspace, cast: Cast) -> list[str]:
    """What differs now in the whole matrix, asked of the caches."""
    asker = Asker(ws, cast, await stored_world(ws, cast), random.Random(1))
    await asker.batch(Consistency(minimize_latency=True))
    return asker.wrong


async def first_stale(ws: Workspace, *, worlds: int = 4, steps: int = 25) -> str:
    for seed in range(700, 700 + worlds):
        rng = random.Random(seed)
        cast = await random_world(ws, rng, f"c{seed}", people=3, projects=4)
        if wrong := await matrix(ws, cast):
            return wrong[0]
        for _ in range(steps):
            await direct_change(ws, cast, rng)
            if wrong := await matrix(ws, cast):
                return wrong[0]
    return ""


class Gate:
    """Holds the `nth` call back once it has read, until `go`."""

    def __init__(self, nth: int) -> None:
        self.left, self.reached, self.go = nth, asyncio.Event(), asyncio.Event()

    async def passed(self, answer: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            self.reached.set()
            await self.go.wait()
        return answer


def memberships_held(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Memberships.batch_get

    async def held(self: Memberships, request: Any) -> Any:
        return await gate.passed(await read(self, request))

    monkeypatch.setattr(Memberships, "batch_get", held)


def heads_held(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last read of a project is that of its head."""
    read = RecordStore.head

    async def held(self: RecordStore, pk: str) -> Any:
        head = await read(self, pk)
        return await gate.passed(head) if pk.startswith("PROJECT#") else head

    monkeypatch.setattr(RecordStore, "head", held)


HELD: dict[str, Callable[[Gate, pytest.MonkeyPatch], None]] = {
    "memberships": memberships_held, "projects": heads_held,
}  # fmt: skip


async def first_overtaken(ws: Workspace, of: str, *, worlds: int = 16) -> str:
    """A change in the middle of the first reads of a world: what stays of them."""
    for seed in range(800, 800 + worlds):
        rng = random.Random(seed)
        cast = await random_world(ws, rng, f"o{of[0]}{seed}", people=2, projects=4)
        gate, before = Gate(rng.randint(1, 4)), await stored_world(ws, cast)
        with pytest.MonkeyPatch.context() as monkeypatch:
            HELD[of](gate, monkeypatch)
            asker = Asker(ws, cast, before, rng)
            reading = asyncio.ensure_future(asker.batch(Consistency()))
            await _first(reading, gate.reached.wait())
            for _ in range(3):
                await direct_change(ws, cast, rng, of=of)
            gate.go.set()
            await reading
        if wrong := await matrix(ws, cast):
            return wrong[0]
    return ""


async def _first(task: asyncio.Future[None], other: Awaitable[Any]) -> None:
    waiting = asyncio.ensure_future(other)
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


@pytest.mark.case("G12")
async def test_no_entry_outlives_a_change(tmp_path: Path) -> None:
    async with workspace(tmp_path) as ws:
        assert await first_stale(ws, worlds=2) == ""


@pytest.fixture
def told_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Followers that say "nothing was changed by others", which is so: they would hide that
    an own commit was not told of, where the store is slower than they are."""

    async def views(self: ViewFollower) -> None:
        await _always(lambda: self._views.delivered(time.time()))

    async def memberships(self: MembershipFollower) -> None:
        await _always(lambda: self._facts.delivered(time.time()))

    monkeypatch.setattr(ViewFollower, "run", views)
    monkeypatch.setattr(MembershipFollower, "run", memberships)


async def _always(say: Callable[[], None]) -> None:
    while True:
        say()
        await asyncio.sleep(0.1)


@pytest.mark.usefixtures("told_of_nothing")
@pytest.mark.parametrize("why", STALE)
async def test_a_stale_cache_is_noticed(tmp_path: Path, why: str) -> None:
    async with workspace(tmp_path, STALE[why]) as ws:
        assert await first_stale(ws), f"{why}: not noticed"


@pytest.mark.parametrize("of", HELD)
async def test_no_fill_outlives_a_change(tmp_path: Path, of: str) -> None:
    async with workspace(tmp_path) as ws:
        assert await first_overtaken(ws, of) == ""


MANY = 64
"""It ends with the first that is noticed; a busy machine keeps few entries for long."""


@pytest.mark.usefixtures("told_of_nothing")
@pytest.mark.parametrize("of", HELD)
async def test_a_kept_overtaken_fill_is_noticed(tmp_path: Path, of: str) -> None:
    async with workspace(tmp_path, OVERTAKEN) as ws:
        assert await first_overtaken(ws, of, worlds=MANY), "not noticed"


@pytest.mark.usefixtures("told_of_nothing")
async def test_a_fill_overtaken_for_everybody_is_noticed(tmp_path: Path) -> None:
    async with workspace(tmp_path, WITH_ALL_OWNERS) as ws:
        assert await first_overtaken(ws, "memberships", worlds=MANY), "not noticed"
