"""Where documents are: moving inside the project, the trash, and back.

A move claims the new place, commits, releases the old place. The trash
releases the place after its commit; a restore claims it again before. A release
ends only the claim that was read before the commit, so that it cannot end one
that was made since.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from workspace.project.v1.document_pb2 import Document, DocumentStatus
from workspace.project.v1.document_service_pb2 import (
    DeleteDocumentRequest,
    DeleteDocumentResponse,
    MoveDocumentRequest,
    MoveDocumentResponse,
    RestoreDocumentRequest,
    RestoreDocumentResponse,
)
from workspace.project.v1.history_pb2 import MetadataRecordType

from project_svc.access.gate import require_active
from project_svc.documents.changes import CallersEdit, DocumentChanges, require_status, wrong_state
from project_svc.documents.documents import extension_of
from project_svc.documents.names import Claim, Place, PlaceClaims, place_of
from project_svc.documents.purge import DOCUMENT_PURGE
from project_svc.projects.holds import require_no_hold
from services.model.errors import Reason, WorkspaceError, invalid_field
from services.model.names import validate_document_name, validate_relative_path
from services.model.permissions import OWNER, WRITE
from services.model.times import to_timestamp
from services.records.record import Write

__all__ = ["DocumentPlaces"]

_TRASHED = DocumentStatus.DOCUMENT_STATUS_TRASHED
_PURGED = DocumentStatus.DOCUMENT_STATUS_PURGED
_LIFECYCLE = MetadataRecordType.METADATA_RECORD_TYPE_LIFECYCLE
_NOT_MOVED = (
    Reason.ERROR_REASON_CONFLICTING_WRITE,
    Reason.ERROR_REASON_ETAG_MISMATCH,
    Reason.ERROR_REASON_INVALID_STATE,
    Reason.ERROR_REASON_PERMISSION_DENIED,
)
_TRASH_FIELDS = ("trashed_at", "trashed_by", "status_before_trash", "purge_after")


class DocumentPlaces:
    """Use cases of moving, deleting and restoring."""

    def __init__(self, *, changes: DocumentChanges, claims: PlaceClaims) -> None:
        self._changes = changes
        self._claims = claims

    async def move(self, request: MoveDocumentRequest) -> MoveDocumentResponse:
        """Another folder or name in the same project.

        Raises ALREADY_EXISTS when the place is taken, INVALID_FIELD for another
        project, which this deployment does not move documents to.
        """
        old: list[Claim | None] = []
        new: list[Claim] = []

        async def decide(edit: CallersEdit) -> list[Write[Any]]:
            document = edit.document
            edit.require_usable()
            target = _target(edit.before, request)
            old[:], new[:] = [], []
            if target == place_of(document):
                return []
            old.append(await self._claims.held(place_of(document), document.document_id))
            new.append(await self._claims.take(target, document.document_id, renew=True))
            document.name, document.relative_path = target.name, target.relative_path
            document.file_extension = extension_of(target.name)
            return [edit.snapshot(_LIFECYCLE, "moved")]

        try:
            answer = await self._changes.run(
                request,
                MoveDocumentResponse,
                permission=WRITE,
                event="document.moved",
                decide=decide,
            )
        except WorkspaceError as error:
            # Not when the commit may have happened: then the claim is in use.
            if error.reason in _NOT_MOVED:
                for claim in new:
                    await self._claims.release(claim)
            raise
        for left in old:
            await self._claims.release(left)
        return answer

    async def delete(self, request: DeleteDocumentRequest) -> DeleteDocumentResponse:
        """Into the trash. Raises HELD under a legal hold, INVALID_STATE when it
        is there already or purged."""
        held: list[Claim | None] = []

        async def decide(edit: CallersEdit) -> list[Write[Any]]:
            document = edit.document
            require_active(edit.project)
            if document.status in (_TRASHED, _PURGED):
                raise wrong_state(document)
            require_no_hold(edit.access)
            held[:] = [await self._claims.held(place_of(document), document.document_id)]
            now = edit.now
            keep = timedelta(days=self._changes.kernel.settings.trash_days)
            document.status_before_trash = document.status
            document.status = _TRASHED
            document.trashed_at.CopyFrom(to_timestamp(now))
            document.trashed_by = edit.access.user_id
            document.purge_after.CopyFrom(to_timestamp(now + keep))
            await self._changes.kernel.due.schedule(
                DOCUMENT_PURGE, document.document_id, (now + keep).timestamp()
            )
            return [edit.snapshot(_LIFECYCLE, "trashed")]

        answer = await self._changes.run(
            request,
            DeleteDocumentResponse,
            permission=OWNER,
            event="document.trashed",
            decide=decide,
        )
        for claim in held:
            await self._claims.release(claim)
        return answer

    async def restore(self, request: RestoreDocumentRequest) -> RestoreDocumentResponse:
        """Out of the trash, to the place it had. Raises INVALID_STATE when it is
        not there, ALREADY_EXISTS when the place is taken."""

        async def decide(edit: CallersEdit) -> list[Write[Any]]:
            document = edit.document
            require_active(edit.project)
            require_status(document, _TRASHED)
            await self._claims.take(place_of(document), document.document_id, renew=True)
            document.status = document.status_before_trash
            for name in _TRASH_FIELDS:
                document.ClearField(name)  # type: ignore[arg-type]
            return [edit.snapshot(_LIFECYCLE, "restored")]

        return await self._changes.run(
            request,
            RestoreDocumentResponse,
            permission=OWNER,
            event="document.restored",
            decide=decide,
        )


def _target(document: Document, request: MoveDocumentRequest) -> Place:
    if request.project_id not in ("", document.project_id):
        raise invalid_field(
            "project_id",
            "documents are not moved between projects here; leave it empty, or create the "
            "document in the other project",
        )
    path, name = document.relative_path, document.name
    if request.HasField("relative_path"):
        path = validate_relative_path("relative_path", request.relative_path)
    if request.name:
        name = validate_document_name("name", request.name)
    return Place(document.project_id, path, name)
