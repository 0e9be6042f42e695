"""Writing one file so that it is complete, verified and durable, or absent.

temporary file in the same folder (O_EXCL, 0600) -> bytes -> length and
SHA-256 -> label -> fsync(file) -> link (create-only) -> unlink of the
temporary name -> fsync(folder). A crash at any point leaves at most a hidden
temporary file, which the next start removes.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import threading
from collections.abc import Sequence
from contextlib import suppress

from services.objects.filesystem.health import Health
from services.objects.filesystem.labels import (
    DEFAULT_TYPE,
    HashCache,
    Label,
    read_label,
    write_label,
)
from services.objects.filesystem.syscalls import Syscalls
from services.objects.filesystem.tree import TEMP_PREFIX, Tree, VanishedError
from services.objects.port import ObjectExists, ObjectInfo, ObjectMissing, StoreUnavailable

__all__ = ["CHUNK", "TEMP_PREFIX", "Blobs", "TempFile"]

CHUNK = 1024 * 1024
_STRIPES = 64
_RETRIES = 16


class TempFile:
    """An unpublished file, its running SHA-256 and its length.

    Holds an advisory lock for as long as it lives, by which the sweep of
    another process knows it is in use.
    """

    def __init__(self, blobs: Blobs, folder: int, name: str, fd: int) -> None:
        self.folder = folder
        self.name = name
        self.fd = fd
        self.size = 0
        self._blobs = blobs
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def append(self, data: bytes) -> None:
        """Write all of `data` and hash it."""
        self._write(data)
        self.size += len(data)
        self._hash.update(data)

    def append_from(self, source: int, offset: int, count: int) -> None:
        """Copy `count` bytes of an open file, inside the kernel where it can.
        Not hashed: call `rehash` over what really arrived."""
        calls = self._blobs.calls
        end = offset + count
        while offset < end:
            wanted = min(CHUNK, end - offset)
            with self._blobs.health.guard("write"):
                copied = calls.copy_range(source, self.fd, wanted, offset)
            if copied < 0:
                copied = self._copy_by_hand(source, offset, wanted)
            if copied == 0:
                raise StoreUnavailable("a part became shorter while it was read")
            offset += copied
            self.size += copied

    def rehash(self, offset: int, count: int) -> None:
        """Add bytes offset..offset+count of this file to the hash."""
        end = offset + count
        while offset < end:
            with self._blobs.health.guard("read"):
                data = self._blobs.calls.read(self.fd, min(CHUNK, end - offset), offset)
            if not data:
                raise StoreUnavailable("the file became shorter while it was read")
            self._hash.update(data)
            offset += len(data)

    def discard(self) -> None:
        """Remove the temporary name, if it is still there, and close."""
        calls = self._blobs.calls
        with suppress(OSError):
            calls.unlink(self.name, dir_fd=self.folder)
        calls.close(self.fd)
        calls.close(self.folder)

    def _copy_by_hand(self, source: int, offset: int, wanted: int) -> int:
        with self._blobs.health.guard("read"):
            data = self._blobs.calls.read(source, wanted, offset)
        self._write(data)
        return len(data)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        with self._blobs.health.guard("write"):
            while view:
                written = self._blobs.calls.write(self.fd, view)
                if written == 0:
                    raise OSError(errno.EIO, "write made no progress")
                view = view[written:]


class Blobs:
    """Blocking operations on single files; the driver calls them in threads."""

    def __init__(self, tree: Tree, *, calls: Syscalls, health: Health) -> None:
        self.tree = tree
        self.calls = calls
        self.health = health
        self._hashes = HashCache()
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]

    def begin(self, folders: Sequence[str], *, create: bool = True) -> TempFile:
        """A new temporary file in the folder, which is made if need be; without
        `create` an absent folder raises ObjectMissing."""
        self.health.require_writable()
        for _ in range(_RETRIES):  # the folder may be pruned before it is used
            folder = self.tree.open_folder(folders, create=create)
            name = TEMP_PREFIX + secrets.token_hex(8)
            try:
                fd = self._create(folder, name)
            except VanishedError:
                self.calls.close(folder)
                continue
            except BaseException:
                self.calls.close(folder)
                raise
            return TempFile(self, folder, name, fd)
        raise StoreUnavailable("the folder is being removed at the same time")

    def publish(self, temp: TempFile, name: str, content_type: str, *, exclusive: bool) -> Label:
        """Make the file visible under `name`, durable when it returns.

        The same bytes there already are a success, unless `exclusive`; the
        bytes are compared by hashing what is on the disk. Raises ObjectExists.
        """
        label = Label(temp.sha256, content_type or DEFAULT_TYPE, temp.size)
        self._seal(temp, label)
        # Nobody may acknowledge a link that another thread is about to take back.
        with self._stripe(temp.folder, name):
            self.health.require_writable()
            with self.health.guard("link"):
                try:
                    self.calls.link(temp.name, name, dir_fd=temp.folder)
                except FileExistsError:
                    return self._accept_existing(temp, name, exclusive)
            self._settle_or_take_back(temp, name)
        return label

    def replace(self, temp: TempFile, name: str) -> None:
        """As `publish`, but over whatever was there (parts, never objects)."""
        self._seal(temp, None)
        with self.health.guard("rename"):
            try:
                self.calls.rename(temp.name, name, dir_fd=temp.folder)
            except FileNotFoundError:  # the whole folder was dropped meanwhile
                raise ObjectMissing(name) from None
        self.tree.sync(temp.folder)

    def describe(self, key: str, folder: int, name: str, *, compute: bool = True) -> ObjectInfo:
        """Size, SHA-256 and type. Without `compute` an unknown hash is ''."""
        fd = self.tree.open_file(folder, name)
        try:
            return self.describe_open(key, fd, compute=compute)
        finally:
            self.calls.close(fd)

    def describe_open(self, key: str, fd: int, *, compute: bool = True) -> ObjectInfo:
        """As `describe`, of an open file."""
        status = self.calls.fstat(fd)
        with self.health.guard("read"):
            label = read_label(self.calls, fd, status)
        sha256 = label.sha256 if label else self._hashes.get(status)
        if not sha256 and compute:
            sha256 = self._hash_open(fd, status)
            self._hashes.put(status, sha256)
        content_type = label.content_type if label else DEFAULT_TYPE
        return ObjectInfo(key, status.st_size, sha256, content_type, status.st_mtime)

    def sweep(self, folder: int, name: str, *, older_than: float) -> bool:
        """Remove a temporary file that no living writer holds."""
        with suppress(OSError, ObjectMissing):
            fd = self.tree.open_file(folder, name)
            try:
                if self.calls.fstat(fd).st_mtime >= older_than:
                    return False
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.calls.unlink(name, dir_fd=folder)
            finally:
                self.calls.close(fd)
            return True
        return False

    def _create(self, folder: int, name: str) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        with self.health.guard("create"):
            try:
                fd = self.calls.open(name, flags, dir_fd=folder)
            except FileNotFoundError:
                raise VanishedError from None
        with suppress(OSError):  # some network filesystems have no locks
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return fd

    def _seal(self, temp: TempFile, label: Label | None) -> None:
        if label is not None:
            with self.health.guard("setxattr"):
                write_label(self.calls, temp.fd, label)
        self.tree.sync(temp.fd)

    def _settle_or_take_back(self, temp: TempFile, name: str) -> None:
        try:
            with self.health.guard("unlink"):
                self.calls.unlink(temp.name, dir_fd=temp.folder)
            self.tree.sync(temp.folder)
        except BaseException:
            # Not acknowledged, so not there: completion must not find it.
            with suppress(OSError):
                self.calls.unlink(name, dir_fd=temp.folder)
            raise

    def _accept_existing(self, temp: TempFile, name: str, exclusive: bool) -> Label:
        try:
            fd = self.tree.open_file(temp.folder, name)
        except ObjectMissing as error:
            raise ObjectExists(name) from error
        try:
            status = self.calls.fstat(fd)
            same = status.st_size == temp.size and self._hash_open(fd, status) == temp.sha256
            info = self.describe_open(name, fd)
        finally:
            self.calls.close(fd)
        if exclusive or not same:
            raise ObjectExists(name)
        self.tree.sync(temp.folder)  # the writer of it may have died before its own
        return Label(info.sha256, info.content_type, info.size)

    def _hash_open(self, fd: int, status: os.stat_result) -> str:
        digest = hashlib.sha256()
        offset = 0
        while offset < status.st_size:
            with self.health.guard("read"):
                data = self.calls.read(fd, CHUNK, offset)
            if not data:
                break
            digest.update(data)
            offset += len(data)
        return digest.hexdigest()

    def _stripe(self, folder: int, name: str) -> threading.Lock:
        status = self.calls.fstat(folder)
        return self._stripes[hash((status.st_dev, status.st_ino, name)) % _STRIPES]
