"""A first push of small records to stores of a cloud, by one to a folder on the disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from pathlib import Path

import uvloop

from sync_svc.surfaces.surface import Surface
from tests.bench.case import Bench
from tests.bench.cases.sync_surfaces import Pair, fill, opened
from tests.bench.figures import Figure, interleave

__all__ = ["first_push"]

_ROUNDS = 3
Opened = Callable[[str], AbstractAsyncContextManager[Surface]]
"""A new surface of that name."""


def first_push(bench: Bench, cloud: str, there: Opened, records: int) -> Figure:
    """Records a second, for information: a folder asks nobody."""
    numbers = iter(range(100))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:

        def pushed(opened_there: Opened | None) -> float:
            folder = bench.folder / str(next(numbers))
            folder.mkdir()
            name = cloud if opened_there else "backup"
            return runner.run(_pushed(folder, name, opened_there, records))

        taken = interleave(
            min(bench.rounds, _ROUNDS),
            {"folder": lambda: pushed(None), "cloud": lambda: pushed(there)},
            warm_up=False,
        )
    return Figure(
        f"first push of {records:,} records", "records/s", "to a backup folder",
        taken["cloud"], taken["folder"],
    )


async def _pushed(folder: Path, name: str, there: Opened | None, records: int) -> float:
    """From a workspace of its own: its memory of the other side is empty."""
    await fill(folder, records)
    async with AsyncExitStack() as stack:
        local = await stack.enter_async_context(opened(folder / "local"))
        other = there(name) if there else opened(folder / "backup", portable=True)
        remote = await stack.enter_async_context(other)
        sides = Pair(replace(local, name=""), replace(remote, name=name))
        began = time.perf_counter()
        tally = await sides.push()
        seconds = time.perf_counter() - began
    written = tally.counts.records_written
    if written < records - 2:
        raise RuntimeError(f"{written} of {records} records")
    return written / seconds
