"""Writes a backup while the workspace is serving.

Rows are those of one moment. Objects are write-once and are copied twice: all
there are before that moment, then what the rows name and is not copied yet.
So whatever a row names is in the backup, unless it was purged in the seconds
between; that is said in the manifest, never passed over. Into the same folder
again only new objects are copied, and those whose key has another file since: what
was never completed is collected, and its key is free again.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.backup.archive import Manifest, RowWriter
from services.model.errors import Reason, WorkspaceError
from services.model.object_names import NAMING_FAMILIES, held_file, object_names
from services.model.times import key_time
from services.objects.port import ObjectDriver, ObjectExists, ObjectInfo, ObjectMissing, WrongBytes
from services.private_files import PrivateFileError, install_private, make_folder, read_private
from services.records.port import Item

__all__ = ["Backup"]


@dataclass(slots=True)
class _Named:
    """What the rows say: all storage keys, and the SHA-256 of those whose bytes must
    be there."""

    instance_id: str = ""
    keys: set[str] = field(default_factory=set)
    required: dict[str, str] = field(default_factory=dict)

    def note(self, item: Item) -> None:
        if item.family == "instance":
            self.instance_id = json.loads(item.body)["instance_id"]
        if item.family not in NAMING_FAMILIES or item.deleted:
            return
        members: dict[str, Any] = json.loads(item.body) if item.body else {}
        self.keys.update(object_names(members))
        if file := held_file(members):
            self.required[file["storage_key"]] = file.get("sha256", "")


class Backup:
    """One backup into `folder`. `source` holds the objects of the workspace,
    `target` those of the backup; `progress` is told (what, how many so far)."""

    def __init__(
        self,
        folder: Path,
        *,
        source: ObjectDriver,
        target: ObjectDriver,
        progress: Callable[[str, int], None],
    ) -> None:
        self._folder = folder
        self._source = source
        self._target = target
        self._progress = progress
        self._copied: dict[str, int] = {}
        self._differing: set[str] = set()

    async def run(self, rows: AsyncIterator[list[Item]], *, keys: Path | None) -> Manifest:
        """Copy everything; `rows` must not have begun to read yet."""
        await self._copy(await self._keys(self._source))
        named, count, digest = await self._write_rows(rows)
        missing = await self._copy(named.keys - self._copied.keys())
        for key in sorted(self._differing & named.keys):
            await self._replace(key, named.required.get(key, ""))
        await self._prune(named.keys)
        manifest = Manifest(
            instance_id=named.instance_id,
            created_at=key_time(datetime.now(UTC)),
            records=count,
            records_sha256=digest,
            objects=len(self._copied),
            object_bytes=sum(self._copied.values()),
            keys=_copy_keys(keys, self._folder / "keys") if keys else [],
            missing=sorted(named.required.keys() & set(missing)),
        )
        manifest.write(self._folder)
        return manifest

    async def _write_rows(self, rows: AsyncIterator[list[Item]]) -> tuple[_Named, int, str]:
        named, writer = _Named(), RowWriter(self._folder)
        try:
            async for page in rows:
                writer.write(page)
                for item in page:
                    named.note(item)
                self._progress("records", writer.count)
        except BaseException:
            writer.discard()
            raise
        return named, writer.count, writer.close()

    async def _copy(self, keys: Iterable[str]) -> list[str]:
        """Copy these objects; returns those that are not there."""
        missing = []
        for key in sorted(keys):
            try:
                await self._copy_one(key)
            except ObjectMissing:
                missing.append(key)
            self._progress("objects", len(self._copied))
        return missing

    async def _copy_one(self, key: str) -> None:
        info = await self._source.head(key)
        if await self._has(info):
            self._copied[key] = info.size
            return
        try:
            await self._target.write(
                key, self._source.open_read(key), size=info.size, sha256=info.sha256 or None,
                content_type=info.content_type,
            )
        except ObjectExists:
            self._differing.add(key)  # the rows say which of the two is right
        except WrongBytes:
            raise _damaged(key) from None
        else:
            self._copied[key] = info.size

    async def _replace(self, key: str, sha256: str) -> None:
        """The backup holds another file under `key`. Raises OBJECT_CORRUPT when
        what is here is not what the rows promise (`sha256`; '': nothing)."""
        info = await self._source.head(key)
        if sha256 and info.sha256 != sha256:
            raise _damaged(key)
        await self._target.delete(key)
        self._differing.discard(key)
        await self._copy_one(key)

    async def _has(self, info: ObjectInfo) -> bool:
        """Whether an earlier backup into this folder holds the object."""
        try:
            held = await self._target.head(info.key)
        except ObjectMissing:
            return False
        return bool(info.sha256) and (held.size, held.sha256) == (info.size, info.sha256)

    async def _prune(self, named: set[str]) -> None:
        """Take out of the backup what its rows do not name."""
        for key in await self._keys(self._target):
            if key not in named:
                await self._target.delete(key)
                self._copied.pop(key, None)

    @staticmethod
    async def _keys(driver: ObjectDriver) -> list[str]:
        found: list[str] = []
        after: str | None = None
        while True:
            page = await driver.list("", after)
            found += [info.key for info in page.objects]
            after = page.next
            if after is None:
                return found


def _damaged(key: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_OBJECT_CORRUPT,
        f"{key} is damaged, here or in the backup; see `wm doctor`, and restore it from an "
        "older backup",
        metadata={"resource": key},
    )


def _copy_keys(source: Path, target: Path) -> list[str]:
    """Key files, private as they are; returns their names."""
    make_folder(target)
    names = sorted(path.name for path in source.iterdir() if not path.name.startswith("."))
    for name in names:
        try:
            install_private(target / name, read_private(source / name), replace=True)
        except PrivateFileError as error:
            raise WorkspaceError(
                Reason.ERROR_REASON_INVALID_STATE, f"the key file {source / name} {error}"
            ) from None
    return names
