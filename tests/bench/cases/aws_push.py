"""A first push of small records to DynamoDB and S3, by one to a folder on the disk."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import uvloop

from tests.bench.case import Bench
from tests.bench.cases.aws_stores import MISSING_GO, MISSING_JAVA, opened_aws, servers
from tests.bench.cases.sync_surfaces import Pair, fill, opened
from tests.bench.figures import Figure, Result, interleave

TITLE = "First push to DynamoDB and S3, by a push to a folder"
_RECORDS = 5_000
_ROUNDS = 3


def run(bench: Bench) -> Result:
    """Records a second, for information: a folder asks nobody."""
    missing = [each for each in (MISSING_JAVA, MISSING_GO) if each]
    if missing:
        return Result(skipped=missing)
    numbers = iter(range(100))
    with servers(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:

        def pushed(*, aws: bool) -> float:
            folder = bench.folder / str(next(numbers))
            folder.mkdir()
            return runner.run(_pushed(folder, aws=aws))

        taken = interleave(
            min(bench.rounds, _ROUNDS),
            {"folder": lambda: pushed(aws=False), "aws": lambda: pushed(aws=True)},
            warm_up=False,
        )
    return Result([
        Figure(
            f"first push of {_RECORDS:,} records", "records/s", "to a backup folder",
            taken["aws"], taken["folder"],
        )
    ])  # fmt: skip


async def _pushed(folder: Path, *, aws: bool) -> float:
    """From a workspace of its own: its memory of the other side is empty."""
    await fill(folder, _RECORDS)
    async with AsyncExitStack() as stack:
        local = await stack.enter_async_context(opened(folder / "local"))
        there = opened_aws("aws") if aws else opened(folder / "backup", portable=True)
        remote = await stack.enter_async_context(there)
        sides = Pair(replace(local, name=""), replace(remote, name="aws" if aws else "backup"))
        began = time.perf_counter()
        tally = await sides.push()
        seconds = time.perf_counter() - began
    written = tally.counts.records_written
    if written < _RECORDS - 2:
        raise RuntimeError(f"{written} of {_RECORDS} records")
    return written / seconds
