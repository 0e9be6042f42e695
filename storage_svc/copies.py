"""CopyObject: bytes of one document become the bytes of another.

Steps, each repeatable: the source is looked at; the target is leased, so that a
copy which no record comes to name is removed again; room is reserved under an id
that derives from the target; the store copies, create-only and verified; the
usage counts the copy instead of the reservation; the event is committed.
"""

from __future__ import annotations

import hashlib

from workspace.storage.v1.storage_service_pb2 import CopyObjectRequest, CopyObjectResponse

from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError
from services.model.paths import parse_storage_key
from services.records.record import Activity
from storage_svc.digests import digest_of
from storage_svc.old_objects import OldObjects
from storage_svc.usage import Ledger, Quota

__all__ = ["ObjectCopies"]


class ObjectCopies:
    """See the module."""

    def __init__(self, *, kernel: Kernel, ledger: Ledger, old: OldObjects) -> None:
        self._kernel = kernel
        self._objects = kernel.objects
        self._ledger = ledger
        self._old = old

    async def copy(self, request: CopyObjectRequest) -> CopyObjectResponse:
        """Raises NOT_FOUND without a source, CHECKSUM_MISMATCH when it or the
        target has other bytes, QUOTA_EXCEEDED without room."""
        parse_storage_key(request.source_key)
        project_id = parse_storage_key(request.target_key).project_id
        mutation = self._kernel.mutations.begin(request)
        pk = f"OBJECT#{mutation.new_id('o')}"
        if done := await mutation.replay(pk, CopyObjectResponse):
            return done
        await self._require_source(request)
        await self._old.lease(request.target_key)
        await self._place(request)
        return await mutation.commit(
            pk,
            [],
            activity=Activity(
                "object.copied", f"objects/{request.target_key}", project_id=project_id
            ),
            answer=lambda _: CopyObjectResponse(),
        )

    async def _require_source(self, request: CopyObjectRequest) -> None:
        """Where the store keeps no SHA-256 its bytes are read."""
        found = await self._objects.head(request.source_key)
        if (
            found.size != request.size_bytes
            or await digest_of(self._objects, found) != request.sha256
        ):
            raise WorkspaceError(
                Reason.ERROR_REASON_CHECKSUM_MISMATCH,
                "the source key holds other bytes than sha256 and size_bytes say; nothing was "
                "copied",
                metadata={"storage_key": request.source_key},
            )

    async def _place(self, request: CopyObjectRequest) -> None:
        key, size = request.target_key, request.size_bytes
        copy_id = f"copy_{hashlib.sha256(key.encode()).hexdigest()[:32]}"
        if not await self._is_there(request):
            quota = Quota(bytes=request.quota_bytes, documents=request.quota_documents)
            await self._ledger.reserve(key, copy_id, size, quota)
            try:
                await self._objects.copy(request.source_key, key)
            except WorkspaceError as error:
                if error.reason != Reason.ERROR_REASON_BACKEND_UNAVAILABLE:
                    await self._ledger.release(key, copy_id)
                raise
        await self._ledger.settle(key, copy_id, size)

    async def _is_there(self, request: CopyObjectRequest) -> bool:
        """Whether an earlier run copied: room is not asked for twice."""
        try:
            found = await self._objects.head(request.target_key)
        except WorkspaceError as error:
            if error.reason != Reason.ERROR_REASON_NOT_FOUND:
                raise
            return False
        return (found.size, found.sha256) == (request.size_bytes, request.sha256)
