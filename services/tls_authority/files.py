"""Writing a key and its certificate so that no reader keeps halves of two pairs."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path

from services.private_files import sync_folder

__all__ = ["NAMES", "install_folder", "install_pair"]

_PAIR = ("tls.key", "tls.crt")
NAMES = (*_PAIR, "ca.crt")
"""The files of a certificate, as cert-manager calls them."""
_MODES = {"tls.key": 0o600, "tls.crt": 0o644, "ca.crt": 0o644}


def install_folder(folder: Path, *, cert: bytes, key: bytes, authority: bytes) -> None:
    """A new folder (0700) with all three files: there at once, or not at all. Raises
    OSError where the folder is there and not empty."""
    temp = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}")
    temp.mkdir(mode=0o700)
    try:
        for name, data in (("tls.key", key), ("tls.crt", cert), ("ca.crt", authority)):
            _write(temp / name, data, _MODES[name])
        sync_folder(temp)
        temp.rename(folder)
    except BaseException:
        shutil.rmtree(temp, ignore_errors=True)
        raise
    sync_folder(folder.parent)


def install_pair(folder: Path, *, cert: bytes, key: bytes) -> None:
    """Replace key and certificate. Between the two renames lie microseconds; servers
    and channels of ours go on with the pair they have."""
    mark = secrets.token_hex(8)
    temps = [folder / f".{name}.{mark}" for name in _PAIR]
    try:
        for temp, name, data in zip(temps, _PAIR, (key, cert), strict=True):
            _write(temp, data, _MODES[name])
        for temp, name in zip(temps, _PAIR, strict=True):
            temp.replace(folder / name)
    finally:
        _remove(temps)
    sync_folder(folder)


def _write(path: Path, data: bytes, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)


def _remove(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
