"""From errno to the port's exceptions, and what makes a store degraded."""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.objects.port import StoreFull, StoreUnavailable

__all__ = ["Health", "require_room"]

_LOG = logging.getLogger(__name__)
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Health:
    """Whether the store may still acknowledge writes.

    After a failed fsync or EIO nobody knows which bytes reached the medium,
    and asking again may answer "yes" wrongly (PostgreSQL's "fsyncgate"):
    writes stop until the process starts again.
    """

    def __init__(self) -> None:
        self._cause = ""

    @property
    def degraded(self) -> str:
        """Why writes are refused, or '' while they are not."""
        return self._cause

    def require_writable(self) -> None:
        """Raises StoreUnavailable once the store is degraded."""
        if self._cause:
            raise StoreUnavailable(f"the object store is degraded after {self._cause}")

    @contextmanager
    def guard(self, step: str) -> Iterator[None]:
        """Translate OSError of one step; `step` "fsync" is never trusted again."""
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise StoreFull(f"no space left for {step}") from error
            if error.errno == errno.EIO or step == "fsync":
                self._degrade(step, error)
            name = errno.errorcode.get(error.errno or 0, "error")
            raise StoreUnavailable(f"{step} failed ({name})") from error

    def _degrade(self, step: str, error: OSError) -> None:
        self._cause = self._cause or f"a failed {step}"
        _LOG.error("object store degraded: %s failed with errno %s", step, error.errno)


def require_room(root: Path, size: int) -> None:
    """Raises StoreFull when `size` bytes do not fit on the disk of `root`: what would not
    fit at its end takes no room from everything else until then."""
    try:
        disk = shutil.disk_usage(root)
    except OSError:
        return  # the first write will say what is wrong
    if size > disk.free and disk.total > 0:  # filesystems that cannot say (FUSE) have 0 of both
        raise StoreFull(f"no space left for {size} bytes")
