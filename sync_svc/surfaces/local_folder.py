"""A folder as a surface: `workspace.sqlite` and `objects/`.

That is the layout of a data folder, too: a node that is not being served can be
synced with as it is. The database of a surface keeps a rollback journal, so that
the folder can be carried away whenever no run uses it.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from services.model.errors import Reason, WorkspaceError
from services.objects.filesystem import FilesystemDriver
from services.objects.port import SignRequest
from services.objects.store import ObjectStore
from services.objects.tokens import UrlSigner
from services.private_files import make_folder
from services.records.port import DriverUnavailable, RecordDriver, StorageFull
from services.records.sql import SqliteDriver

__all__ = ["DATABASE", "OBJECTS", "open_local_records", "open_objects", "refusals"]

DATABASE = "workspace.sqlite"
OBJECTS = "objects"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_CLOSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class _NoUrls(UrlSigner):
    """Surfaces hand out no URLs: nobody serves them."""

    def __init__(self) -> None:
        """Without keys."""

    def issue(self, request: SignRequest) -> NoReturn:
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE, f"surfaces have no URLs ({request.method})"
        )


async def open_local_records(folder: Path, *, read_only: bool, known: bool) -> RecordDriver:
    """The database of a folder, made at first use. `known`: the surface was there
    before, so that an empty folder is a disk that is not mounted."""
    path = folder / DATABASE
    with refusals(folder):
        await asyncio.to_thread(_prepare, folder, read_only, known)
        return await SqliteDriver.open(path, readers=2, portable=True, read_only=read_only)


async def open_objects(folder: Path, *, read_only: bool) -> ObjectStore:
    """The objects of a folder."""
    root = folder / OBJECTS
    if read_only and not await asyncio.to_thread(root.is_dir):
        raise _missing(folder, f"it has no {OBJECTS}/")
    with refusals(folder):
        driver = FilesystemDriver(root, signer=_NoUrls(), public_url="", sweep=not read_only)
        return ObjectStore(driver)


@contextmanager
def refusals(folder: Path) -> Iterator[None]:
    """Failures as reasons, with the folder and the remedy."""
    try:
        yield
    except OSError as error:
        raise _failed(folder, error) from error
    except StorageFull as error:
        raise _full(folder) from error
    except DriverUnavailable as error:
        raise WorkspaceError(
            Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
            f"the database in {folder} cannot be opened ({error}); check the disk and the file",
            metadata={"backend": "surface"},
        ) from error


def _prepare(folder: Path, read_only: bool, known: bool) -> None:
    path = folder / DATABASE
    if path.is_symlink() or (path.exists() and not path.is_file()):
        # Who may write in the folder must not choose another's database.
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            f"{path} is no plain file; name the folder that has the database itself",
            metadata={"backend": "surface"},
        )
    if path.exists():
        return
    if known:
        raise _missing(
            folder,
            "the surface was there before; is its disk mounted? If it is meant to be empty, run "
            "once with reinitialise",
        )
    if read_only:
        raise _missing(folder, "nothing was pushed to it yet")
    if not folder.parent.is_dir():
        raise _missing(folder, f"{folder.parent} does not exist; mount or make it first")
    make_folder(folder)


def _missing(folder: Path, why: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
        f"there is no surface in {folder}: {why}",
        metadata={"backend": "surface"},
    )


def _full(folder: Path) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_STORAGE_FULL, f"no space is left in {folder}; free some and repeat"
    )


def _failed(folder: Path, error: OSError) -> WorkspaceError:
    if error.errno in _FULL:
        return _full(folder)
    if error.errno in _CLOSED:
        return WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            f"{folder} cannot be written to ({error.strerror}); give the server's user the "
            "right to, or mount it for writing",
            metadata={"backend": "surface"},
        )
    return WorkspaceError(
        Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
        f"{folder} cannot be used ({error.strerror})",
        metadata={"backend": "surface"},
    )
