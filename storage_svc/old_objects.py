"""Objects that a relocation may leave behind, and their removal.

A row `OLD#{digest}` says that a key is to be looked at, at a time. It is written
before a copy is made and before a key is switched, so that whatever a crash
leaves is found: what records name then is kept, the rest is removed.

A row is a lease on its object. Until `remove_at` nothing removes it, so whoever
has just renewed the row may have records name the key. The removal claims the
row first (`removing`) and looks at the records after that; a relocation that
needs the key meanwhile waits until the removal is through.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from typing import Any

from workspace.project.v1.document_service_pb2 import ProjectFile

from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError
from services.model.paths import homeless, parse_storage_key
from services.objects.tokens import SKEW_SECONDS, max_seconds
from services.records.port import ABSENT, ConditionFailed, Item, Key, Match, Put
from services.rpc.context import set_current_call
from storage_svc.gate import ProjectGate
from storage_svc.stored import pending_upload_of
from storage_svc.usage import Ledger

__all__ = ["DUE_KIND", "GRACE_SECONDS", "OldObjects", "relocation_pk"]

DUE_KIND = "relocated_object"
GRACE_SECONDS = max_seconds("GET") + SKEW_SECONDS
"""By then every download URL that names the old key has ended."""
_HELD_SECONDS = 3600
_BUSY_SECONDS = 60
_GONE_SECONDS = 3600
_LOG = logging.getLogger("workspace.storage.relocation")


def relocation_pk(project_id: str) -> str:
    """Partition of a project's relocation."""
    return f"RELOCATION#{project_id}"


class OldObjects:
    """See the module. `grace` is in seconds."""

    def __init__(
        self,
        *,
        kernel: Kernel,
        gate: ProjectGate,
        ledger: Ledger,
        grace: float = GRACE_SECONDS,
    ) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._objects = kernel.objects
        self._gate = gate
        self._ledger = ledger
        self._grace = grace

    async def lease(self, key: str) -> None:
        """Have `key` looked at after the grace, not before. Raises
        BACKEND_UNAVAILABLE while it is being removed: try again soon."""
        parts = parse_storage_key(key)
        row_key = _row_key(parts.project_id, key)
        at = self._kernel.now() + self._grace
        item = await self._records.get_row(row_key)
        if item is not None and not item.deleted and json.loads(item.body)["removing"]:
            raise _busy()
        # First the hint, then what it is about.
        await self._kernel.due.schedule(DUE_KIND, _subject(parts.project_id, key), at)
        body = json.dumps(
            {"key": key, "document": parts.document_id, "remove_at": at, "removing": False}
        )
        condition = ABSENT if item is None else Match(item.token)
        try:
            await self._records.put_row(Put(row_key, condition, "relocated_object", body))
        except ConditionFailed:
            raise _busy() from None

    async def look(self, subject: str) -> float | None:
        """Due work: remove the object unless something names it."""
        set_current_call(None)
        project_id, _, digest = subject.partition("/")
        key = Key(relocation_pk(project_id), f"OLD#{digest}")
        item = await self._records.get_row(key)
        if item is None or item.deleted:
            return None
        row, now = json.loads(item.body), self._kernel.now()
        if not row["removing"] and row["remove_at"] > now:
            return float(row["remove_at"])
        claimed = await self._claim(item, row)
        if claimed is None:
            return now + _BUSY_SECONDS
        keep_until = await self._remove(project_id, row, now)
        # Kept for now: no longer claimed, or a relocation would wait for ever.
        await self._put(claimed, row | {"removing": False, "remove_at": keep_until})
        return keep_until

    async def _claim(self, item: Item, row: Mapping[str, Any]) -> Item | None:
        """The row, marked as being removed; None if somebody else changed it."""
        if row["removing"]:
            return item
        if not await self._put(item, dict(row) | {"removing": True}):
            return None
        return await self._records.get_row(item.key)

    async def _remove(self, project_id: str, row: Mapping[str, Any], now: float) -> float | None:
        """None when the row has done its work, else when to look again."""
        key = row["key"]
        listed = await self._gate.files(project_id, document_id=row["document"])
        if any(file.file.storage_key == key for file in listed.files):
            return None
        if listed.held or not await self._is_safe(key, listed.files):
            return now + _HELD_SECONDS
        if await pending_upload_of(self._records, project_id, key, now=now):
            return now + _HELD_SECONDS
        await self._objects.delete(key)
        await self._ledger.remove(key)
        return None

    async def _is_safe(self, key: str, files: list[ProjectFile]) -> bool:
        """Whether the file is somewhere else, whole, or nowhere any more."""
        for each in files:
            if homeless(each.file.storage_key) != homeless(key):
                continue
            try:
                info = await self._objects.head(each.file.storage_key)
            except WorkspaceError as error:
                if error.reason != Reason.ERROR_REASON_NOT_FOUND:
                    raise
                _LOG.error("an old object is kept: its copy is not there")
                return False
            return info.size == each.file.size_bytes
        return True

    async def _put(self, item: Item, row: Mapping[str, Any]) -> bool:
        """Write the row, or take it away when it says no time to look again."""
        gone = row["remove_at"] is None
        put = Put(
            item.key,
            Match(item.token),
            "relocated_object",
            json.dumps(row),
            deleted=gone,
            expires_at=int(self._kernel.now()) + _GONE_SECONDS if gone else None,
        )
        try:
            await self._records.put_row(put)
        except ConditionFailed:
            return False
        return True


def _busy() -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
        "an old copy of the object is being removed; repeat in a minute",
        metadata={"backend": "objects"},
        retry_after=_BUSY_SECONDS,
    )


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def _row_key(project_id: str, key: str) -> Key:
    return Key(relocation_pk(project_id), f"OLD#{_digest(key)}")


def _subject(project_id: str, key: str) -> str:
    return f"{project_id}/{_digest(key)}"
