"""Files that are being received: beside their place, under names that nobody foresees.

Downloads may lie in a folder that others write to. A name that can be guessed could be
taken before by a link, or by a file that somebody else holds open.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import time
from contextlib import suppress
from typing import Final

__all__ = ["new_part", "remove_left_parts", "usual_mode"]

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NAME: Final = re.compile(r"\.wm-[A-Za-z0-9_.-]{1,64}\.[0-9a-f]{16}\.part", re.ASCII)
_LEFT_SECONDS: Final = 3600.0
"""A transfer that writes nothing for so long was given up before."""


def new_part(label: str, folder: int | None = None) -> tuple[int, str]:
    """(descriptor, name) of an empty file that only its owner reads, in an open folder or
    the working one. `label` is 1 to 64 letters, digits, `_`, `.`, `-`. Raises OSError."""
    name = f".wm-{label}.{secrets.token_hex(8)}.part"
    return os.open(name, _NEW, 0o600, dir_fd=folder), name


def usual_mode() -> int:
    """The mode that new files of this process have. To be asked before threads write
    files: the mask can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask


def remove_left_parts(folder: int) -> None:
    """Remove from an open folder what a process that was killed left an hour ago or earlier."""
    for name in filter(_NAME.fullmatch, os.listdir(folder)):
        with suppress(OSError):  # another one does the same, or it is not ours to remove
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode) and status.st_mtime < time.time() - _LEFT_SECONDS:
                os.unlink(name, dir_fd=folder)
