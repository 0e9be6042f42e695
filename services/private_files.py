"""Secret files of a local deployment: 0600, made once, never half-written."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from services.model.errors import Reason, WorkspaceError

__all__ = ["SECRET_BYTES", "load_or_create_secret"]

SECRET_BYTES = 32


def load_or_create_secret(path: Path) -> bytes:
    """The 32 secret bytes of a file; made durably at the first call.

    Two processes that start at once get the same bytes. Raises INVALID_STATE
    for a file that is short, or that others can read.
    """
    if not path.exists():
        _create(path, secrets.token_bytes(SECRET_BYTES))
    return _read(path)


def _create(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temp = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(fd, data)
        os.fsync(fd)
        # link() does not replace: the first process wins.
        with contextlib.suppress(FileExistsError):
            os.link(temp, path)
    finally:
        os.close(fd)
        temp.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: Path) -> bytes:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise _refused(path, f"can be read by others; run: chmod 600 {path}")
    data = path.read_bytes()
    if len(data) != SECRET_BYTES:
        raise _refused(path, f"must hold {SECRET_BYTES} bytes; restore it from your backup")
    return data


def _refused(path: Path, problem: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE, f"the key file {path} {problem}",
        metadata={"file": path.name},
    )
