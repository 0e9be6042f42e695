"""Writing a tree that cannot be led out of its root.

Names come from a server: they are validated again, and every folder is opened
below its parent without following links, so that neither a name nor a link in
the target leads elsewhere. Blocking; call it in threads.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from services.cli.exporting.parts import new_part, remove_left_parts, usual_mode
from services.cli.failures import CliError
from services.model.names import validate_document_name, validate_relative_path

__all__ = ["ExportTree", "Part"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class Part:
    """A file that is being written under a name of its own."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def append(self, data: bytes) -> None:
        """Write all of `data`."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self._digest.update(data)
        self.size += len(data)


class ExportTree:
    """The folder of an export. `force`: replace files that differ."""

    def __init__(self, root: Path, *, force: bool) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._force = force
        self._lock = threading.Lock()
        self._done: set[tuple[int, int]] = set()
        self._swept: set[tuple[int, int]] = set()
        self._mode = usual_mode()

    def close(self) -> None:
        """Give the root folder free."""
        os.close(self._root)

    def is_there(self, folder: str, name: str, *, size: int, sha256: str) -> bool:
        """Whether the very file is there. Raises CliError when another one is
        (without `force`), or one that this export has just written."""
        with self._folder(folder, name) as parent:
            try:
                fd = os.open(name, _READ, dir_fd=parent)
            except FileNotFoundError:
                return False
            with os.fdopen(fd, "rb") as file:
                status = os.fstat(fd)
                with self._lock:
                    clash = (status.st_dev, status.st_ino) in self._done
                if clash:
                    raise CliError("this file system takes it for another document's name")
                if status.st_size == size and _digest(file) == sha256:
                    self._remember(status)
                    return True
        if not self._force:
            raise CliError("another file of that name is there; --force replaces it")
        return False

    @contextmanager
    def part(self, folder: str, name: str, document_id: str) -> Iterator[Part]:
        """A file to fill; on leaving without an error it gets its name."""
        with self._folder(folder, name) as parent:
            self._sweep(parent)
            fd, temp = new_part(document_id, parent)
            try:
                with os.fdopen(fd, "wb", closefd=True):
                    yield Part(fd)
                    self._remember(os.fstat(fd))
                    os.fchmod(fd, self._mode)
                os.rename(temp, name, src_dir_fd=parent, dst_dir_fd=parent)
            except BaseException:
                os.unlink(temp, dir_fd=parent)
                raise

    @contextmanager
    def _folder(self, folder: str, name: str) -> Iterator[int]:
        if validate_document_name("name", name) != name:
            raise CliError("its name is not in Unicode form NFC")
        if validate_relative_path("folder", folder) != folder:
            raise CliError("its folder is not in Unicode form NFC")
        fd = os.dup(self._root)
        for segment in filter(None, folder.split("/")):
            fd = _step(fd, segment)
        try:
            yield fd
        finally:
            os.close(fd)

    def _sweep(self, folder: int) -> None:
        """Once for each folder of an export."""
        status = os.fstat(folder)
        with self._lock:
            seen = (status.st_dev, status.st_ino) in self._swept
            self._swept.add((status.st_dev, status.st_ino))
        if not seen:
            remove_left_parts(folder)

    def _remember(self, status: os.stat_result) -> None:
        with self._lock:
            self._done.add((status.st_dev, status.st_ino))


def _step(parent: int, segment: str) -> int:
    """The folder below `parent`, made when absent; closes `parent`."""
    try:
        with suppress(FileExistsError):
            os.mkdir(segment, dir_fd=parent)
        return os.open(segment, _FOLDER, dir_fd=parent)
    except NotADirectoryError:
        raise CliError(f"{segment!r} is a file or link where a folder is needed") from None
    except OSError as error:
        raise CliError(f"folder {segment!r}: {error.strerror}") from None
    finally:
        os.close(parent)


def _digest(file: object) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
