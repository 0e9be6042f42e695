"""Objects pushed to a backup folder, by plain copies with SHA-256 and fsync."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvloop
from workspace.project.v1.project_pb2 import Project

from services.model.families import family_of
from services.records.record import Activity, Write
from tests.bench.case import Bench
from tests.bench.cases.sync_surfaces import Pair, pair, with_file
from tests.bench.controls import copy_with_checksum
from tests.bench.figures import Figure, Goal, Result, interleave

TITLE = "Sync of large objects, by copies with SHA-256 and fsync"
_MIB = 1 << 20
_SHAPES = (("one file of 256 MiB", 1, 256), ("200 files of 1 MiB", 200, 1))
_ROUNDS = 3


def run(bench: Bench) -> Result:
    """MiB a second of a whole push, records and all."""
    return Result([_measured(bench, *shape) for shape in _SHAPES])


def _measured(bench: Bench, name: str, files: int, size: int) -> Figure:
    folder, numbers = bench.folder / str(files), iter(range(100))
    folder.mkdir()
    asyncio.run(_prepared(folder, files, size))
    sources = [path for path in (folder / "local" / "objects").rglob("*") if path.is_file()]
    sources = [path for path in sources if path.stat().st_size == size * _MIB]
    if len(sources) != files:
        raise RuntimeError(f"{len(sources)} of {files} files")
    taken = interleave(
        min(bench.rounds, _ROUNDS),
        {
            "copy": lambda: _copied(folder / f"c{next(numbers)}", sources, files * size),
            "push": lambda: _pushed(folder, f"b{next(numbers)}", files * size),
        },
        warm_up=False,
    )
    return Figure(
        f"push of {name}", "MiB/s", "copy with SHA-256 and fsync", taken["push"], taken["copy"],
        goal=Goal("ratio", at_least=0.7),
    )


async def _prepared(folder: Path, files: int, size: int) -> None:
    async with pair(folder) as sides:
        await _write(sides, Project(project_id="p_bench", name="bench"))
        for number in range(files):
            data = random.Random(number).randbytes(_MIB) * size
            document = with_file(number, data)
            await sides.local.objects.write(
                document.storage_key, _chunks(data), size=len(data), sha256=document.file.sha256,
                content_type="application/octet-stream",
            )
            await _write(sides, document)


async def _write(sides: Pair, message: Any) -> None:
    family = family_of(message)
    pk, _ = family.key_of(message)
    await sides.local.records.commit(
        pk, [Write(family, message)], activity=Activity("bench.made", pk, project_id="p_bench")
    )


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), _MIB):
        yield data[at : at + _MIB]


def _copied(folder: Path, sources: list[Path], mib: int) -> float:
    folder.mkdir()
    began = time.perf_counter()
    for number, source in enumerate(sources):
        copy_with_checksum(source, folder / str(number))
    return mib / (time.perf_counter() - began)


def _pushed(folder: Path, name: str, mib: int) -> float:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_push(folder, name, mib))


async def _push(folder: Path, name: str, mib: int) -> float:
    """To a backup of its own, over a connection of its own."""
    async with pair(folder, backup=name) as sides:
        began = time.perf_counter()
        tally = await sides.push()
        seconds = time.perf_counter() - began
    if tally.counts.bytes_done != mib * _MIB:
        raise RuntimeError(f"{tally.counts.bytes_done} bytes were pushed")
    return mib / seconds
