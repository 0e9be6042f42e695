"""The files around an SQLite database: its lock, its file system, its identity."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
from pathlib import Path

from services.model.errors import Reason, WorkspaceError
from services.private_files import sync_folder

__all__ = ["FileLock", "create_file", "file_identity", "refuse_network_filesystem"]

_NETWORK = frozenset(
    ("nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afs", "9p", "ceph", "glusterfs",
     "fuse.sshfs", "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse", "fuse.davfs")
)
_MOUNTS = Path("/proc/mounts")
_MACHINE_ID = Path("/etc/machine-id")


class FileLock:
    """An exclusive `flock` on `<database>.lock`, held until `release`.

    A file of its own: closing any descriptor of the database file would drop
    the POSIX locks that SQLite itself holds on it. The file is never removed,
    or two openers could lock two different files of the same name.
    """

    def __init__(self, database: Path, *, create: bool = True) -> None:
        """`create` False is for folders that cannot be written to: a lock file that
        is there is locked; where there is none, nobody has opened the database."""
        self.path = database.with_name(database.name + ".lock")
        self._fd = self._open(create)
        if self._fd < 0:
            return
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._refused(database) from None
        if not create:
            return
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Give the lock up. A second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self, create: bool) -> int:
        if create:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            return os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, PermissionError):
            return -1

    def _refused(self, database: Path) -> WorkspaceError:
        holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
        self.release()
        return WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            f"{database} is in use by process {holder}: stop that process, or connect to it "
            "instead of opening the file a second time",
            metadata={"file": database.name, "pid": holder},
        )


def create_file(path: Path) -> None:
    """Make an empty file that only its owner can read, unless there is one.

    SQLite gives its -wal and -shm files the same mode.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    sync_folder(path.parent)


def refuse_network_filesystem(path: Path, *, mounts: Path = _MOUNTS) -> None:
    """Raise INVALID_STATE when `path` is on a network file system (Linux only).

    Locks and fsync do not mean there what SQLite needs them to mean
    (https://sqlite.org/faq.html#q5).
    """
    kind = _filesystem(path, mounts)
    if kind in _NETWORK:
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            f"{path} is on a network file system ({kind}), where SQLite loses data: "
            "move the data folder to a local disk, or use PostgreSQL",
            metadata={"file": path.name, "filesystem": kind},
        )


def _filesystem(path: Path, mounts: Path) -> str:
    """Type of the innermost mount that holds `path`, or '' where unknown."""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    real, best, kind = path.resolve(), -1, ""
    for line in lines:
        _, mount, found = line.split(" ")[:3]
        point = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), mount))
        # A later line of the same length was mounted over the earlier one.
        if real.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), found
    return kind


def file_identity(path: Path, store_id: str) -> str:
    """Name of this very file on this very machine: a copy has another one."""
    status = path.stat()
    where = f"{store_id}|{_machine()}|{status.st_dev}|{status.st_ino}"
    return f"sqlite:{store_id}:{hashlib.sha256(where.encode()).hexdigest()[:16]}"


def _machine() -> str:
    try:
        return _MACHINE_ID.read_text("ascii").strip()
    except OSError:
        return platform.node()
