"""Restores a backup into an empty workspace, and proves that it is the same.

Locally everything is built in a folder beside the target and renamed at the
end: an interrupted restore leaves nothing that looks like a workspace.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path

from services.backup.archive import Manifest, read_rows, row_line
from services.model.errors import Reason, WorkspaceError
from services.objects.port import ObjectDriver, ObjectExists, WrongBytes
from services.private_files import PrivateFileError, install_private, make_folder, read_private
from services.records.instance import new_incarnation, read_instance
from services.records.limits import parts_that_fit
from services.records.port import Item, Put, RecordDriver
from services.records.walking import all_rows

__all__ = ["restore_keys", "restore_objects", "restore_records"]

_COMMITS_AT_ONCE = 64
_PAGE = 1000
_MODULUS = 1 << 256


async def restore_records(
    folder: Path, manifest: Manifest, driver: RecordDriver, *, progress: Callable[[str, int], None]
) -> None:
    """Write every row into the empty store of `driver`, then compare what is there with
    what was read, whatever order the store has. The store
    begins under a new incarnation: when it is opened, because its provider identity is
    another than recorded, or at once if the very database was emptied and filled again.

    Raises INVALID_STATE when the store is not empty or the result differs.
    """
    if await driver.scan(None, 1):
        raise _refused("the record store is not empty; restore into a new one")
    written, expected = 0, _Rows()
    rows = expected.noting(read_rows(folder, manifest.records_sha256, now=time.time()))
    for commits in _batches(_commits(rows)):
        await asyncio.gather(*(driver.commit(puts[0].key.pk, puts) for puts in commits))
        written += sum(map(len, commits))
        progress("records", written)
    found = _Rows()
    async for item in all_rows(driver, page=_PAGE):
        found.note(item)
    if found != expected:
        raise _refused("the restored records are not those of the backup; restore again")
    instance = await read_instance(driver)
    if instance is not None and instance.provider_identity == await driver.identity():
        await new_incarnation(driver, instance.incarnation)


async def restore_objects(
    source: ObjectDriver,
    target: ObjectDriver,
    *,
    promised: int,
    progress: Callable[[str, int], None],
) -> int:
    """Copy every object, verified; returns how many. Raises INVALID_STATE when there are
    fewer than the `promised` ones, or one is damaged."""
    copied, after = 0, None
    while True:
        page = await source.list("", after)
        for info in page.objects:
            head = await source.head(info.key)
            try:
                await target.write(
                    info.key, source.open_read(info.key), size=head.size,
                    sha256=head.sha256 or None, content_type=head.content_type,
                )
            except (WrongBytes, ObjectExists):
                raise _refused(
                    f"{info.key} of the backup is damaged, or the target holds another file "
                    "there; use another backup and an empty target"
                ) from None
            copied += 1
            progress("objects", copied)
        after = page.next
        if after is None:
            break
    if copied < promised:
        raise _refused(
            f"the backup holds {copied} of its {promised} files; use another backup"
        )
    return copied


def restore_keys(folder: Path, target: Path) -> None:
    """Put the key files of the backup in place, mode 0600."""
    source = folder / "keys"
    if not source.is_dir():
        return
    make_folder(target)
    for path in sorted(source.iterdir()):
        try:
            install_private(target / path.name, read_private(path))
        except PrivateFileError as error:
            raise _refused(f"the key file {path} {error}") from None


def discard(folder: Path) -> None:
    """Remove what an interrupted restore left."""
    shutil.rmtree(folder, ignore_errors=True)


def _commits(rows: Iterable[Put]) -> Iterator[list[Put]]:
    """Rows of one partition together, as many as a commit takes."""
    for _, group in groupby(rows, key=lambda put: put.key.pk):
        yield from parts_that_fit(group)


def _batches(commits: Iterator[list[Put]]) -> Iterator[Sequence[list[Put]]]:
    while batch := list(islice(commits, _COMMITS_AT_ONCE)):
        yield batch


@dataclass(slots=True)
class _Rows:
    """A set of rows that do not expire: how many, and the sum of the digests of their
    lines, in which their order does not matter."""

    count: int = 0
    digests: int = 0

    def note(self, row: Item | Put) -> None:
        """One more of them."""
        if row.expires_at is None:
            self.count += 1
            digest = hashlib.sha256(row_line(row)).digest()
            self.digests = (self.digests + int.from_bytes(digest, "big")) % _MODULUS

    def noting(self, rows: Iterable[Put]) -> Iterator[Put]:
        """The rows, each noted on its way."""
        for row in rows:
            self.note(row)
            yield row


def _refused(message: str) -> WorkspaceError:
    return WorkspaceError(Reason.ERROR_REASON_INVALID_STATE, message)
