"""Mounts the forgetful file system, and pulls its plug."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Disk", "fuse_is_missing"]

ROOT = Path(__file__).parents[3]
_SECONDS = 20


def fuse_is_missing() -> str:
    """Why there can be no such disk here, or ''."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "no access to /dev/fuse"
    if shutil.which("fusermount3") is None:
        return "fusermount3 is not installed (Debian: apt-get install fuse3)"
    return ""


class Disk:
    """A mounted disk at `path`. `lose_power` keeps what was synced, and mounts again."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "disk"
        self._backing = folder / "backing"
        self._daemon: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextmanager
    def mounted(cls, folder: Path) -> Iterator[Disk]:
        disk = cls(folder)
        disk.path.mkdir(parents=True)
        disk.mount()
        try:
            yield disk
        finally:
            disk._drop()

    def mount(self) -> None:
        self._daemon = subprocess.Popen(
            [sys.executable, "-m", "tests.durability.powerloss.filesystem",
             str(self._backing), str(self.path)],
            cwd=ROOT,
        )
        deadline = time.monotonic() + _SECONDS
        while not self.path.is_mount():
            assert self._daemon.poll() is None, "the file system did not start"
            assert time.monotonic() < deadline, "the file system is not mounted"
            time.sleep(0.01)

    def fail(self, error: str = "", at: int = 0, *, sticky: bool = False) -> None:
        """Let the `at`-th change from now on fail (`ENOSPC`, `EIO`), with `sticky`
        all later ones, too; without arguments nothing fails any more."""
        text = f"{error} {at}{' sticky' if sticky else ''}" if error else " "
        os.setxattr(self.path, "user.fault", text.encode())

    @property
    def changes(self) -> int:
        """How many changes there were since `fail`."""
        return int(os.getxattr(self.path, "user.fault"))

    def lose_power(self) -> None:
        """Everything unsynced is gone. Whoever uses the disk must be dead."""
        self._drop()
        self.mount()

    def _drop(self) -> None:
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon.wait()
            self._daemon = None
        subprocess.run(["fusermount3", "-u", "-z", str(self.path)], check=False)
        deadline = time.monotonic() + _SECONDS
        while self.path.is_mount() and time.monotonic() < deadline:
            time.sleep(0.01)
