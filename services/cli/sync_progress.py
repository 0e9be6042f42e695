"""How far a run is: a bar at a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

from workspace.sync.v1.run_pb2 import Progress, Run, RunPhase, RunStatus, SyncDirection

from services.cli.enums import enum_word
from services.cli.output import counted, human_bytes, print_line

__all__ = ["RunProgress", "report", "what_was_done"]

_LINE_SECONDS = 5.0


class RunProgress:
    """Shows messages of a run on standard error, if `shown`."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._said = -_LINE_SECONDS
        self._line = ""
        self._bar: Any = None
        if shown and sys.stderr.isatty():
            self._bar, self._task = _bar()

    def show(self, progress: Progress) -> None:
        """The run is so far now."""
        if self._bar is not None:
            counts = progress.run.counts
            done = max(counts.records_done + counts.objects_done, 0)
            total = max(counts.records_planned + counts.objects_planned, done)
            self._bar.update(
                self._task, description=_phase(progress.run), completed=done, total=total or None,
                status=_status(progress),
            )
        elif self._shown and time.monotonic() - self._said >= _LINE_SECONDS:
            line = f"{_phase(progress.run)}  {_status(progress)}"
            if line != self._line:
                self._said, self._line = time.monotonic(), line
                sys.stderr.write(line.rstrip() + "\n")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def report(run: Run) -> None:
    """What became of a run, for people."""
    way = enum_word(SyncDirection.DESCRIPTOR, run.direction)
    outcome = enum_word(RunStatus.DESCRIPTOR, run.status).replace("_", " ")
    seconds = (run.finished_at.ToNanoseconds() - run.started_at.ToNanoseconds()) / 1e9
    print_line(f"{way} {run.run_id} {outcome} after {max(seconds, 0):.1f} s")
    print_line(f"  {what_was_done(run)}")
    for text in _left_over(run):
        print_line(f"  {text}")
    if run.HasField("error"):
        print_line(f"  {run.error.message}")


def what_was_done(run: Run) -> str:
    """`12 records written (2 deleted), 3 objects (1.5 MiB) moved, 40 unchanged`."""
    counts = run.counts
    written = f"{counted(counts.records_written, 'record')} written"
    if counts.records_deleted:
        written += f" ({counts.records_deleted:,} deleted)"
    parts = [written]
    if counts.objects_done:
        moved = counted(counts.objects_done, "object")
        parts.append(f"{moved} ({human_bytes(counts.bytes_done)}) moved")
    if counts.records_unchanged:
        parts.append(f"{counts.records_unchanged:,} unchanged")
    if counts.retries:
        parts.append(f"{counted(counts.retries, 'call')} repeated")
    return ", ".join(parts)


def _left_over(run: Run) -> list[str]:
    counts = run.counts
    told = (
        (counts.conflicts, "conflict", "opened: wm sync conflicts"),
        (counts.quarantined, "record", "put in quarantine: wm sync quarantine"),
        (counts.bytes_pending, "version", "waiting for objects: a later run brings them"),
    )
    found = [f"{counted(count, noun)} {what}" for count, noun, what in told if count]
    issues = RunStatus.RUN_STATUS_SUCCEEDED_WITH_ISSUES
    if run.status == issues and not found:
        found.append("something of earlier runs is left: wm sync status")
    return found


def _phase(run: Run) -> str:
    if run.status == RunStatus.RUN_STATUS_CANCELLING:
        return "cancelling"
    if run.status == RunStatus.RUN_STATUS_QUEUED:
        return "queued"
    return enum_word(RunPhase.DESCRIPTOR, run.phase) if run.phase else "starting"


def _status(progress: Progress) -> str:
    counts = progress.run.counts
    parts = [f"{counts.records_done:,}/{counts.records_planned:,} records"]
    if progress.records_per_second >= 1:
        parts[0] += f" ({progress.records_per_second:,.0f}/s)"
    if counts.bytes_planned:
        moved = f"{human_bytes(counts.bytes_done)} of {human_bytes(counts.bytes_planned)}"
        parts.append(f"{moved} ({human_bytes(progress.bytes_per_second)}/s)")
    if counts.retries:
        parts.append(f"{counts.retries:,} repeated")
    if progress.HasField("remaining"):
        parts.append(f"{progress.remaining.seconds} s left")
    return ", ".join(parts)


def _bar() -> tuple[Any, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    bar = RichProgress(
        TextColumn("{task.description:<10}"),
        BarColumn(),
        TextColumn("{task.fields[status]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    return bar, bar.add_task("starting", total=None, status="")
