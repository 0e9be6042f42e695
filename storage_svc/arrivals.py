"""Usage and old objects, after records and bytes came by sync.

A record that came and names a file: the file is counted in its home if its bytes are
here. Those that are still to come are counted when they do (the row that waits for
them goes then). A record of a relocation that another node made names the old key:
the object there is leased for removal, as after a relocation of our own, and counted
no longer when it goes. Of documents that another node purged project_svc has the
bytes removed. No quota is asked: what is there, is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from services.events.due import DueHandler
from services.events.following import Follower, came_from_elsewhere
from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError
from services.model.paths import StorageKey, homeless, parse_storage_key
from services.objects.port import ObjectInfo
from services.records.pending_bytes import PENDING_BYTES
from services.records.port import Item, Key
from storage_svc.old_objects import OldObjects
from storage_svc.usage import Ledger

__all__ = ["FILE_ARRIVED", "Arrivals"]

FILE_ARRIVED: Final = "file.arrived"
"""Kind of due work; the subject is the key of a record's row, `{pk}|{sk}`."""

_FAMILIES: Final = frozenset({"document", "derived_artifact", "metadata_record"})
_WAS: Final = "was "


class Arrivals:
    """See the module. `follower` runs in the background, `due` is its due work."""

    def __init__(self, kernel: Kernel, *, ledger: Ledger, old: OldObjects) -> None:
        self._records = kernel.records
        self._objects = kernel.objects
        self._ledger = ledger
        self._old = old
        self.due: Mapping[str, DueHandler] = {FILE_ARRIVED: self.look}
        self.follower = Follower(
            kernel, name="storage_svc", subjects=self._subjects, handlers=self.due
        )

    async def look(self, subject: str) -> None:
        """Count the files that a record names; idempotent."""
        pk, sk = subject.split("|", 1)
        item = await self._records.get_row(Key(pk, sk))
        if item is None or item.deleted or item.family not in _FAMILIES:
            return
        members = json.loads(item.body)
        for key in dict.fromkeys(_named(members)):
            await self._count(key)
        former = _former(members)
        if former and await self._find(former) is not None:
            await self._old.lease(former)

    def _subjects(self, items: Sequence[Item]) -> Iterable[tuple[str, str]]:
        actor = self._records.actor
        for item in items:
            if item.family == PENDING_BYTES and item.deleted:
                row = json.loads(item.body)
                if row.get("direction") == "pull":
                    yield FILE_ARRIVED, f"{row['pk']}|{row['sk']}"
            elif item.family in _FAMILIES and came_from_elsewhere(item, actor):
                yield FILE_ARRIVED, f"{item.key.pk}|{item.key.sk}"

    async def _count(self, key: str) -> None:
        if await self._ledger.counts(key):
            return
        found = await self._find(key)
        if found is None:
            return
        await self._ledger.place(key, found.size)
        if await self._find(key) is None:  # removed meanwhile, maybe before it was counted
            await self._ledger.remove(key)

    async def _find(self, key: str) -> ObjectInfo | None:
        try:
            return await self._objects.head(key)
        except WorkspaceError as error:
            if error.reason != Reason.ERROR_REASON_NOT_FOUND:
                raise
            return None


def _named(members: Mapping[str, Any]) -> Iterator[str]:
    for name in ("file", "pending_file"):
        key = str(members.get(name, {}).get("storage_key", ""))
        if key and _parts(key) is not None:
            yield key


def _former(members: Mapping[str, Any]) -> str:
    """Where the file of a relocation's record was before, if it is the same file of
    the same document in another home; else ''."""
    now, note = str(members.get("file", {}).get("storage_key", "")), str(members.get("note", ""))
    before = note.removeprefix(_WAS)
    if not now or before in (note, now) or homeless(before) != homeless(now):
        return ""
    parts = _parts(before)
    is_own = parts is not None and parts.document_id == members.get("document_id")
    return before if is_own else ""


def _parts(key: str) -> StorageKey | None:
    try:
        return parse_storage_key(key)
    except WorkspaceError:
        return None
