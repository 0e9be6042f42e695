"""Pushes and pulls of nothing, of one change and of everything, small and large."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import uvloop

from services.records.port import Put
from tests.bench.case import Bench
from tests.bench.cases.sync_surfaces import edit, fill, opened, pair, puts_of
from tests.bench.figures import Figure, Goal, Result

TITLE = "Sync of records with a backup folder"
_FEW, _MANY = 1000, 100_000
_AT_A_TIME = 32


def run(bench: Bench) -> Result:
    """Seconds of the record store of the backup, and how often it was asked."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        few = runner.run(_measured(bench, _FEW))
        many = runner.run(_measured(bench, _MANY))
    many_asked = Goal("value", at_most=6)
    same = Goal("ratio", at_least=1)
    figures = [
        Figure(
            f"first push of {_MANY:,} records", "records/s", "the same rows by driver.commit",
            [many["first"]], [many["plain"]], goal=Goal("value", at_least=2000),
        ),
        *(
            Figure(
                f"{name} of nothing among {_MANY:,}", "s", f"among {_FEW:,}", many[name],
                few[name], more_is_better=False, goal=Goal("value", at_most=1),
            )
            for name in ("push", "pull")
        ),
        Figure(
            "requests of a push and a pull of nothing", "requests", f"among {_FEW:,}",
            [many["asked"]], [few["asked"]], more_is_better=False, goal=same,
        ),
        Figure(
            "one change, pushed and pulled", "requests", f"among {_FEW:,}",
            [many["change"]], [few["change"]], more_is_better=False, goal=many_asked,
        ),
    ]
    return Result(figures, notes={"records": "documents, and the events of their making"})


async def _measured(bench: Bench, records: int) -> dict[str, Any]:
    folder = bench.folder / str(records)
    folder.mkdir()
    await fill(folder, records)
    found: dict[str, Any] = {"plain": await _plain(folder / "plain", records)}
    async with pair(folder) as sides:
        began = time.perf_counter()
        tally = await sides.push()
        found["first"] = tally.counts.records_written / (time.perf_counter() - began)
        if tally.counts.records_written < records - 2:
            raise RuntimeError(f"{tally.counts.records_written} of {records} records")
        await sides.pull()
        await sides.push()
        found["push"] = [await _seconds(sides.push) for _ in range(bench.rounds)]
        found["pull"] = [await _seconds(sides.pull) for _ in range(bench.rounds)]
        found["asked"] = await sides.requests(sides.push) + await sides.requests(sides.pull)
        await edit(sides.local, 5, "pushed")
        found["change"] = await sides.requests(sides.push)
        await sides.pull()
        await edit(sides.remote, 6, "pulled")
        found["change"] += await sides.requests(sides.pull)
    return found


async def _plain(folder: Path, records: int) -> float:
    """Records a second of the control: the same conditional writes, nothing else."""
    async with opened(folder, portable=True) as surface:
        commits = list(puts_of(surface.instance.actor, records))
        left = iter(commits)

        async def write(commits: Any) -> None:
            for puts in commits:
                await surface.records.driver.commit(*_keyed(puts))

        began = time.perf_counter()
        await asyncio.gather(*(write(left) for _ in range(_AT_A_TIME)))
        return 2 * len(commits) / (time.perf_counter() - began)


def _keyed(puts: Sequence[Put]) -> tuple[str, Sequence[Put]]:
    return puts[0].key.pk, puts


async def _seconds(work: Callable[[], Awaitable[Any]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began
