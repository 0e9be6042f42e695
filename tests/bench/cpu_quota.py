"""Processor time as a pod gets it: so much of each tenth of a second, then a pause.

What Kubernetes makes of `limits.cpu` (cgroup v1 `cpu.cfs_quota_us`, v2 `cpu.max`), with as
much weight as makes a limit a guarantee against other work on the machine. Needs a
hierarchy that this user may write.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["CpuQuota", "missing", "quotas", "seconds_used"]

_PERIOD_US = 100_000
_V1, _V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
_TICKS = os.sysconf("SC_CLK_TCK")


class CpuQuota:
    """A group at `folder`; `cores` None: without a limit, but with weight."""

    def __init__(self, folder: Path, *, cores: float | None) -> None:
        self._folder = folder
        self._cores = cores

    def make(self) -> None:
        """Raises OSError where that is not allowed."""
        self._folder.mkdir()
        quota = round(self._cores * _PERIOD_US) if self._cores else None
        if (self._folder / "cpu.shares").exists():
            self._write("cpu.cfs_period_us", str(_PERIOD_US))
            self._write("cpu.cfs_quota_us", str(quota or -1))
            self._write("cpu.shares", "16384")
        else:
            self._write("cpu.max", f"{quota or 'max'} {_PERIOD_US}")
            self._write("cpu.weight", "2000")

    def add(self, pid: int) -> None:
        """The process with all its threads, and the children that it will have."""
        self._write("cgroup.procs", str(pid))

    def remove(self) -> None:
        """Once all its processes ended."""
        for _ in range(50):
            if not self._folder.exists():
                break
            with suppress(OSError):
                self._folder.rmdir()
            time.sleep(0.1)

    def throttled(self) -> float:
        """Share of the periods at whose end the processes had to wait."""
        lines = (self._folder / "cpu.stat").read_text().splitlines()
        found = dict(line.split() for line in lines)
        return int(found["nr_throttled"]) / max(1, int(found["nr_periods"]))

    def _write(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text)


def _root() -> Path:
    return _V1 if (_V1 / "cpu.shares").exists() else _V2


def missing() -> str:
    """Why there are no quotas here; '' where there are."""
    try:
        with quotas(1, cores=0.5):
            return ""
    except OSError as error:
        return f"limits of processor time: {type(error).__name__} at the cgroup hierarchy"


@contextmanager
def quotas(count: int, *, cores: float | None) -> Iterator[list[CpuQuota]]:
    """So many groups, gone at the end of the block, when their processes have to be."""
    stem = f"workspace-bench-{os.getpid()}-{time.monotonic_ns()}"
    groups = [CpuQuota(_root() / f"{stem}-{n}", cores=cores) for n in range(count)]
    try:
        for group in groups:
            group.make()
        yield groups
    finally:
        for group in groups:
            group.remove()


def seconds_used(pid: int) -> float:
    """Processor time of a process and of the children that it waited for, so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS
