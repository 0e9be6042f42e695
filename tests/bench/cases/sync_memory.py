"""Memory of a first push: that of a small workspace and of a large one.

Run as a module it is the child that is measured: `sync_memory FOLDER`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from tests.bench.case import Bench
from tests.bench.cases.sync_surfaces import fill, pair
from tests.bench.figures import Figure, Goal, Result

_STATUS = Path("/proc/self/status")
TITLE = "Peak memory of a first push"
_FEW = 10_000
_MANY = 200_000 if os.environ.get("WM_BENCH_FULL") else 60_000


def run(bench: Bench) -> Result:
    """MiB of a process that pushes everything; the goal is "flat"."""
    few, many = (_peak(bench.folder / str(records), records) for records in (_FEW, _MANY))
    figure = Figure(
        f"first push of {_MANY:,} records", "MiB", f"of {_FEW:,}", [many], [few],
        more_is_better=False, goal=Goal("ratio", at_least=0.8),
    )
    return Result([figure])


def _peak(folder: Path, records: int) -> float:
    folder.mkdir()
    asyncio.run(fill(folder, records))
    told = subprocess.run(
        [sys.executable, "-m", "tests.bench.cases.sync_memory", str(folder)],
        capture_output=True, text=True, check=True,
    )
    written, peak = told.stdout.split()
    if int(written) < records - 2:
        raise RuntimeError(f"{written} of {records} records")
    return float(peak)


async def _child(folder: Path) -> None:
    async with pair(folder) as sides:
        tally = await sides.push()
    print(tally.counts.records_written, _peak_mib())


def _peak_mib() -> float:
    """Of this program alone: what getrusage tells begins with the parent's."""
    [line] = [each for each in _STATUS.read_text().splitlines() if each.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    asyncio.run(_child(Path(sys.argv[1])))
