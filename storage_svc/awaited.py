"""Files whose record came by sync before their bytes did: no URL would find them."""

from __future__ import annotations

from collections.abc import Sequence

from workspace.project.v1.document_pb2 import FileInfo

from services.model.errors import Reason, WorkspaceError
from services.objects.store import ObjectStore
from services.records.pending_bytes import PendingBytes
from services.records.store import RecordStore

__all__ = ["AwaitedFiles", "still_to_come"]


class AwaitedFiles:
    """Says which files are still to come, and over which connection."""

    def __init__(self, *, records: RecordStore, objects: ObjectStore) -> None:
        self._pending = PendingBytes(records)
        self._objects = objects

    async def among(self, files: Sequence[FileInfo]) -> dict[str, str]:
        """Storage keys of those that are not here, with the connection's id. Usually
        one read says that nothing is awaited at all."""
        if not await self._pending.any():
            return {}
        named = [file for file in files if file.storage_key]
        found = {file.storage_key: await self._connection(file) for file in named}
        return {key: connection for key, connection in found.items() if connection}

    async def _connection(self, file: FileInfo) -> str:
        for row in await self._pending.of_object(file.storage_key):
            if row.direction == "pull" and row.sha256 == file.sha256:
                return "" if await self._is_here(file) else row.connection_id
        return ""

    async def _is_here(self, file: FileInfo) -> bool:
        try:
            info = await self._objects.head(file.storage_key)
        except WorkspaceError as error:
            if error.reason != Reason.ERROR_REASON_NOT_FOUND:
                raise
            return False
        return info.sha256 in ("", file.sha256)


def still_to_come(document_id: str, connection_id: str) -> WorkspaceError:
    """FILE_NOT_AVAILABLE that says what helps."""
    return WorkspaceError(
        Reason.ERROR_REASON_FILE_NOT_AVAILABLE,
        f"the bytes of documents/{document_id} are still to come over connection "
        f"{connection_id}; pull again once its surface has them, or pull from another",
        metadata={"document_id": document_id},
    )
