"""How far a transfer is: a bar with rate and time left at a terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

from services.cli.output import human_bytes

__all__ = ["Progress"]

_PER_FILE = 64 * 1024
"""A small file costs about as much as sending so many bytes of a large one."""


class Progress:
    """Counts files and bytes done. Shows a bar on standard error when that is
    a terminal and `shown` is true; counts silently otherwise."""

    def __init__(self, label: str, *, files: int, size: int, shown: bool) -> None:
        self.files = 0
        self.bytes = 0
        self.sent = 0
        self._total = files
        self._started = time.monotonic()
        self._bar: Any = None
        if shown and sys.stderr.isatty():
            self._bar, self._task = _bar(label, files * _PER_FILE + size)

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._started

    def done(self, size: int, *, sent: bool = False) -> None:
        """One more file; `sent` when its bytes moved."""
        self.files += 1
        self.bytes += size
        self.sent += size if sent else 0
        if self._bar is not None:
            rate = self.files / max(self.seconds, 0.001)
            speed = human_bytes(self.bytes / max(self.seconds, 0.001))
            self._bar.update(
                self._task,
                advance=_PER_FILE + size,
                status=f"{self.files}/{self._total} files  {rate:.0f}/s  {speed}/s",
            )

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


def _bar(label: str, total: int) -> tuple[Any, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    bar = RichProgress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[status]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    return bar, bar.add_task(label, total=max(total, 1), status="")
