"""Folders and names beneath the root, reached one name at a time.

Every step opens a single name relative to an open folder and refuses links,
so nothing outside the root can be reached, whatever is planted inside it.
No path is resolved as text (`realpath` and a prefix test can be outrun).
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from services.objects.filesystem.health import Health
from services.objects.filesystem.syscalls import Syscalls
from services.objects.port import ObjectExists, ObjectMissing, StoreUnavailable
from services.private_files import make_folder

__all__ = ["TEMP_PREFIX", "Tree", "VanishedError"]

_LOG = logging.getLogger(__name__)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY
_NOT_A_FOLDER = frozenset({errno.ENOTDIR, errno.ELOOP})
_RETRIES = 16
_FRESH_SECONDS = 60.0
_now = time.time
TEMP_PREFIX = ".tmp-"
"""Of the names of files that are not complete yet."""


class VanishedError(Exception):
    """A folder was pruned between two steps; walk again."""


class Tree:
    """Opens folders and files under `root`; with `linked` also files that have another
    name somewhere. Blocking; call it from a thread."""

    def __init__(
        self, root: Path, *, calls: Syscalls, health: Health, linked: bool = False
    ) -> None:
        self._calls = calls
        self._health = health
        self._linked = linked
        self._lock = threading.Lock()
        self._durable: set[tuple[int, int]] = set()
        make_folder(root)
        self._root = calls.open(str(root), _FOLDER)

    def close(self) -> None:
        self._calls.close(self._root)

    @contextmanager
    def folder(self, names: Sequence[str], *, create: bool = False) -> Iterator[int]:
        """An open folder. Raises ObjectMissing (or, with `create`, ObjectExists)
        where something that is not a real folder stands in the way."""
        fd = self._walk(names, create)
        try:
            yield fd
        finally:
            self._calls.close(fd)

    def open_folder(self, names: Sequence[str], *, create: bool = False) -> int:
        """As `folder`, but the caller closes the descriptor."""
        return self._walk(names, create)

    def open_file(self, folder: int, name: str) -> int:
        """A plain file for reading. Links, FIFOs, devices and sockets are refused before
        they are opened, files that have another name, too. Raises ObjectMissing."""
        with self._health.guard("open"):
            try:
                status = self._calls.stat(name, dir_fd=folder)
                if not stat.S_ISREG(status.st_mode):
                    self._refuse_kind(status.st_mode)
                fd = self._calls.open(name, os.O_RDONLY | os.O_NONBLOCK, dir_fd=folder)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENAMETOOLONG):
                    raise ObjectMissing(name) from error
                raise
        if self._is_good(folder, name, fd):
            return fd
        self._calls.close(fd)
        raise ObjectMissing(name)

    def sync(self, fd: int) -> None:
        """fsync, or StoreUnavailable and a degraded store."""
        with self._health.guard("fsync"):
            self._calls.fsync(fd)

    def remove(self, folder: int, name: str) -> bool:
        """Unlink; False when it was not there. Folders are left alone."""
        with self._health.guard("unlink"):
            try:
                self._calls.unlink(name, dir_fd=folder)
            except FileNotFoundError:
                return False
            except (IsADirectoryError, PermissionError):
                if stat.S_ISDIR(self._calls.stat(name, dir_fd=folder).st_mode):
                    return False
                raise
        return True

    def prune(self, names: Sequence[str]) -> None:
        """Remove the folders of `names` that are empty, innermost first."""
        for depth in range(len(names), 0, -1):
            with suppress(ObjectMissing), self.folder(names[: depth - 1]) as parent:
                try:
                    self._calls.rmdir(names[depth - 1], dir_fd=parent)
                except OSError:
                    return
            with self._lock:  # its inode number may come back as another folder
                self._durable.clear()

    def _walk(self, names: Sequence[str], create: bool) -> int:
        for _ in range(_RETRIES):
            with suppress(VanishedError):
                return self._walk_once(names, create)
        raise StoreUnavailable("the folder is being removed at the same time")

    def _walk_once(self, names: Sequence[str], create: bool) -> int:
        fd = os.dup(self._root)
        try:
            for name in names:
                inner = self._step(fd, name, create)
                outer, fd = fd, inner
                try:
                    if create:
                        self._settle(outer, inner)
                finally:
                    self._calls.close(outer)
        except BaseException:
            self._calls.close(fd)
            raise
        return fd

    def _step(self, folder: int, name: str, create: bool) -> int:
        fd = self._open_inner(folder, name, create)
        if fd is None and create:
            self._make(folder, name)
            fd = self._open_inner(folder, name, create)
        if fd is not None:
            return fd
        raise VanishedError if create else ObjectMissing(name)

    def _open_inner(self, folder: int, name: str, create: bool) -> int | None:
        with self._health.guard("open"):
            try:
                return self._calls.open(name, _FOLDER, dir_fd=folder)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
                    return None
                if error.errno not in _NOT_A_FOLDER:
                    raise
        self._refuse(folder, name)
        raise ObjectExists(name) if create else ObjectMissing(name)

    def _make(self, folder: int, name: str) -> None:
        with self._health.guard("mkdir"):
            try:
                self._calls.mkdir(name, dir_fd=folder)
            except FileExistsError:
                return
            except FileNotFoundError:  # another thread pruned `folder` itself
                raise VanishedError from None

    def _settle(self, parent: int, folder: int) -> None:
        """fsync the parent once per folder and process, so that an entry made
        by a process that died before its fsync is durable, too."""
        status = self._calls.fstat(folder)
        identity = (status.st_dev, status.st_ino)
        if identity in self._durable:
            return
        self.sync(parent)
        with self._lock:
            if len(self._durable) > 100_000:
                self._durable.clear()
            self._durable.add(identity)

    def _is_good(self, folder: int, name: str, fd: int) -> bool:
        """Whether it is a plain file of ours. Closes `fd` when nobody can tell, as where
        there are no more descriptors to read the folder with."""
        try:
            with self._health.guard("stat"):
                plain = stat.S_ISREG(self._calls.fstat(fd).st_mode)
                return plain and self._is_ours_alone(folder, name, fd)
        except BaseException:
            self._calls.close(fd)
            raise

    def _is_ours_alone(self, folder: int, name: str, fd: int) -> bool:
        """Whether the file has one name. Whoever has it under another one could change
        what was verified. While it is published it has two, the temporary one beside it."""
        if self._linked or name.startswith(TEMP_PREFIX):
            return True
        for _ in range(2):  # it may be complete when the folder has been read
            status = self._calls.fstat(fd)
            if status.st_nlink <= 1 or (
                status.st_nlink == 2
                and (_is_fresh(status) or self._is_being_published(folder, status))
            ):
                return True
        _LOG.warning("refused a planted hard link in the object store")
        return False

    def _is_being_published(self, folder: int, file: os.stat_result) -> bool:
        for name in os.listdir(folder):
            with suppress(FileNotFoundError):
                if name.startswith(TEMP_PREFIX) and os.path.samestat(
                    self._calls.stat(name, dir_fd=folder), file
                ):
                    return True
        return False

    def _refuse(self, folder: int, name: str) -> None:
        with suppress(OSError):
            mode = self._calls.stat(name, dir_fd=folder).st_mode
            if not stat.S_ISREG(mode):
                _LOG.warning("refused a planted %s in the object store", _kind(mode))

    def _refuse_kind(self, mode: int) -> None:
        if not stat.S_ISDIR(mode):
            _LOG.warning("refused a planted %s in the object store", _kind(mode))
        raise ObjectMissing("not a plain file")


def _is_fresh(file: os.stat_result) -> bool:
    """Filesystems that cache attributes (FUSE) count the temporary name for a while after
    it went, in the next process, too: what was linked just now is judged later."""
    return 0 <= _now() - file.st_ctime < _FRESH_SECONDS


def _kind(mode: int) -> str:
    kinds = {stat.S_IFLNK: "link", stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "special file")
