"""Secret files of a local deployment: 0600, made once, never half-written."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from services.model.errors import Reason, WorkspaceError

__all__ = [
    "SECRET_BYTES",
    "PrivateFileError",
    "install_private",
    "is_known_to_all",
    "load_or_create_secret",
    "make_folder",
    "make_key_file",
    "read_private",
    "refused",
    "sync_folder",
]

SECRET_BYTES = 32
_MOST_BYTES = 64 * 1024
_LEAST_VARIETY = 8


class PrivateFileError(Exception):
    """What is wrong with a secret file, as the end of a sentence about it."""


def load_or_create_secret(path: Path) -> bytes:
    """The 32 secret bytes of a file; made durably at the first call.

    Two processes that start at once get the same bytes. Raises INVALID_STATE
    for a file that is short, or that others can read.
    """
    if not path.exists():
        make_key_file(path, secrets.token_bytes(SECRET_BYTES))
    try:
        data = read_private(path)
    except PrivateFileError as error:
        raise refused(path, str(error)) from error
    if len(data) != SECRET_BYTES:
        raise refused(path, f"must hold {SECRET_BYTES} bytes; restore it from your backup")
    if is_known_to_all(data):
        raise refused(path, "holds a default key; remove it, and the next start makes a new one")
    return data


def is_known_to_all(secret: bytes) -> bool:
    """Whether a key of 32 bytes or more was not drawn but typed: zeros, `changeme` again and
    again. Of 32 random bytes fewer than 8 different ones have a chance below 2 to the -120."""
    return len(set(secret)) < _LEAST_VARIETY


def make_key_file(path: Path, data: bytes) -> None:
    """A key file of a first start, unless another process was quicker. Raises
    INVALID_STATE where none can be made, as in a folder that is mounted to be read."""
    try:
        make_folder(path.parent)
        install_private(path, data)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise refused(
            path, f"is missing and cannot be made ({why}); put the keys there, or mount it writable"
        ) from error


def make_folder(path: Path) -> None:
    """Make a folder (0700) and those above it, durably: without an fsync of the
    parent a new name does not survive a power loss. Raises OSError."""
    if path.is_dir():
        return
    if not path.parent.is_dir():
        make_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    sync_folder(path.parent)


def install_private(path: Path, data: bytes, *, replace: bool = False) -> None:
    """Write the file durably with mode 0600. Without `replace` a file that
    appeared meanwhile wins: of two processes that start at once, the first."""
    temp = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        if replace:
            temp.replace(path)
        else:
            with contextlib.suppress(FileExistsError):
                os.link(temp, path)  # link() does not replace
    finally:
        temp.unlink(missing_ok=True)
    sync_folder(path.parent)


def read_private(path: Path) -> bytes:
    """The bytes of a plain file that only its owner can read.

    Links are not followed. Raises PrivateFileError.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise PrivateFileError("is missing") from error
    except OSError as error:
        raise PrivateFileError("cannot be opened as a plain file") from error
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise PrivateFileError("is not a plain file")
        if status.st_mode & 0o077:
            raise PrivateFileError("can be read by other users (chmod 600 it)")
        return file.read(_MOST_BYTES)


def refused(path: Path, problem: str) -> WorkspaceError:
    """INVALID_STATE that names the file."""
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE,
        f"the key file {path} {problem}",
        metadata={"file": path.name},
    )


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
