"""Derived artifacts: outputs made from a document, such as `chunks.json`.

They lie in the document's partition. At most one artifact of a kind and name
is live: creating the next one supersedes it in the same commit, under the head
of the partition, so that two makers at once cannot both stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workspace.project.v1.document_pb2 import (
    DerivedArtifact,
    DerivedArtifactStatus,
    DocumentStatus,
    FileInfo,
)
from workspace.project.v1.document_service_pb2 import (
    AttachFileRequest,
    AttachFileResponse,
    CreateDerivedArtifactRequest,
    CreateDerivedArtifactResponse,
    FileDisposition,
    ListDerivedArtifactsRequest,
    ListDerivedArtifactsResponse,
)
from workspace.project.v1.history_pb2 import MetadataRecordType
from workspace.project.v1.project_pb2 import Project

from project_svc.access.gate import invalid_state
from project_svc.documents.changes import (
    DocumentAccess,
    DocumentChanges,
    Edit,
    actor_of_call,
    require_usable,
    wrong_state,
)
from project_svc.documents.files import (
    Holds,
    arrived_file,
    file_of_upload,
    never_holds,
    not_found,
    require_same,
    settled_otherwise,
)
from project_svc.documents.rows import (
    DERIVED,
    DOCUMENT,
    METADATA,
    check_struct,
    document_key,
    document_pk,
    metadata_record,
    status_of,
)
from project_svc.scans import scan
from services.model.errors import Reason, WorkspaceError
from services.model.indexes import Index
from services.model.names import validate_document_name
from services.model.permissions import VIEW, WRITE
from services.model.times import to_timestamp
from services.records.deciding import deciding
from services.records.mutation import Mutation
from services.records.record import Activity, Record, Write
from services.records.store import RecordStore
from services.rpc.context import current_call
from services.rpc.page_tokens import page_size

__all__ = ["DerivedArtifacts", "artifact_state", "find_artifact"]

_AWAITING = DerivedArtifactStatus.DERIVED_ARTIFACT_STATUS_AWAITING_FILE
_SCANNING = DerivedArtifactStatus.DERIVED_ARTIFACT_STATUS_SCANNING
_AVAILABLE = DerivedArtifactStatus.DERIVED_ARTIFACT_STATUS_AVAILABLE
_SUPERSEDED = DerivedArtifactStatus.DERIVED_ARTIFACT_STATUS_SUPERSEDED
_PURGED = DerivedArtifactStatus.DERIVED_ARTIFACT_STATUS_PURGED
_RELEASE = FileDisposition.FILE_DISPOSITION_AVAILABLE
_HOLD = FileDisposition.FILE_DISPOSITION_HOLD
_REJECT = FileDisposition.FILE_DISPOSITION_REJECTED
_ARRIVED = FileDisposition.FILE_DISPOSITION_ARRIVED
_LIFECYCLE = MetadataRecordType.METADATA_RECORD_TYPE_LIFECYCLE
_ATTRIBUTES_BYTES = 16 * 1024
_GONE = (DocumentStatus.DOCUMENT_STATUS_TRASHED, DocumentStatus.DOCUMENT_STATUS_PURGED)
_NEVER_ENDING = 1_000_000

_Rows = list[Record[DerivedArtifact]]


class DerivedArtifacts:
    """Use cases of derived artifacts."""

    def __init__(self, *, changes: DocumentChanges, holds: Holds = never_holds) -> None:
        self._changes = changes
        self._records = changes.records
        self._holds = holds

    async def create(
        self, request: CreateDerivedArtifactRequest
    ) -> CreateDerivedArtifactResponse:
        """A child that awaits its file. It supersedes the live artifact of its
        kind and name, and the one that is named.

        Raises NOT_FOUND for a named one that is not there, INVALID_STATE when
        that is superseded already or the document cannot be worked on.
        """
        mutation = self._changes.begin(request)
        pk = document_pk(request.document_id)

        async def attempt() -> CreateDerivedArtifactResponse:
            head = await self._records.head(pk)
            seen = await self._changes.require(request.document_id, WRITE)
            if done := await mutation.replay(pk, CreateDerivedArtifactResponse):
                return done
            require_usable(seen.document, seen.access.project)
            artifact = self._new(request, seen, mutation)
            old = await self._superseded(request, artifact.name)
            return await mutation.commit(
                pk,
                [Write(DERIVED, artifact), *(self._ended(row, artifact) for row in old)],
                activity=_activity("artifact.created", artifact, seen.access.project),
                answer=lambda records: CreateDerivedArtifactResponse(
                    artifact=self._changes.shown(records[0])
                ),
                if_head=head,
                still=self._changes.access.still(seen.access, WRITE, resource=seen.resource),
            )

        return await deciding(attempt)

    async def list(self, request: ListDerivedArtifactsRequest) -> ListDerivedArtifactsResponse:
        """Artifacts in order of kind and id."""
        call, tokens = current_call(), self._changes.kernel.page_tokens
        await self._changes.require(request.document_id, VIEW)
        found = await scan(
            self._records,
            DERIVED,
            Index.BASE,
            document_pk(request.document_id),
            prefix=f"DERIVED#{request.kind}#" if request.kind else "DERIVED#",
            limit=page_size(request),
            position=tokens.open(call.method, call.user_id, request, request.page_token),
            weight=lambda r: int(request.include_superseded or r.message.status != _SUPERSEDED),
        )
        answer = ListDerivedArtifactsResponse(artifacts=map(self._changes.shown, found.records))
        if found.next:
            answer.next_page_token = tokens.issue(call.method, call.user_id, request, found.next)
        return answer

    async def attach(self, request: AttachFileRequest) -> AttachFileResponse:
        """AttachFile for an artifact: the same rules, one file for good."""
        mutation = self._changes.begin(request)
        pk = document_pk(request.document_id)

        async def attempt() -> AttachFileResponse:
            record = await find_artifact(self._records, request.document_id, request.artifact_id)
            parent = await self._records.get(DOCUMENT, document_key(request.document_id))
            if record is None or parent is None:
                raise not_found(
                    f"documents/{request.document_id}/artifacts/{request.artifact_id}"
                )
            if done := await mutation.replay(pk, AttachFileResponse):
                return done
            view = await self._changes.access.facts.project(parent.message.project_id)
            if view is None:
                raise not_found(f"projects/{parent.message.project_id}")
            edit = Edit(parent, view.record.message, parent.edit(), mutation, self._changes.now())
            return await self._attach(request, edit, record)

        return await deciding(attempt)

    async def _attach(
        self, request: AttachFileRequest, edit: Edit, record: Record[DerivedArtifact]
    ) -> AttachFileResponse:
        file = arrived_file(request, edit.document.project_id, edit)
        artifact = record.edit()

        def answer(records: Sequence[Record[Any]]) -> AttachFileResponse:
            return AttachFileResponse(
                document=self._changes.shown(edit.record),
                artifact=self._changes.shown(records[0]),
            )

        held = request.disposition == _ARRIVED and await self._holds(edit.document.project_id)
        reason = _settle(artifact, file, request.disposition, hold=held)
        if reason == "artifact_attached" and await self._was_refused(request, file):
            raise settled_otherwise(file.upload_id, "rejected")
        if not reason:
            return await self._changes.unchanged(answer, record)
        if edit.document.status in _GONE:
            raise wrong_state(edit.document)
        artifact.updated_at.CopyFrom(to_timestamp(edit.now))
        artifact.updated_by = current_call().user_id or artifact.updated_by
        try:
            return await edit.mutation.commit(
                record.key.pk,
                [Write(DERIVED, artifact, base=record), _history(edit, artifact, reason, file)],
                activity=_activity(reason.replace("_", ".", 1), artifact, edit.project),
                answer=answer,
            )
        except WorkspaceError as error:
            if error.reason != Reason.ERROR_REASON_ETAG_MISMATCH:
                raise
            raise WorkspaceError(
                Reason.ERROR_REASON_CONFLICTING_WRITE,
                f"artifacts/{artifact.artifact_id} is changing; repeat the call",
                retry_after=0.1,
            ) from error

    async def _was_refused(self, request: AttachFileRequest, file: FileInfo) -> bool:
        found = await file_of_upload(
            self._records, request.document_id, file.upload_id, "artifact_"
        )
        return found is not None and found[0] == "artifact_rejected"

    async def _superseded(
        self, request: CreateDerivedArtifactRequest, name: str
    ) -> _Rows:
        old: _Rows = []
        if request.supersedes:
            named = await find_artifact(self._records, request.document_id, request.supersedes)
            if named is None:
                raise not_found(f"documents/{request.document_id}/artifacts/{request.supersedes}")
            if named.message.status in (_SUPERSEDED, _PURGED):
                raise artifact_state(named.message, "name the artifact that is live")
            old.append(named)
        found = await scan(
            self._records,
            DERIVED,
            Index.BASE,
            document_pk(request.document_id),
            prefix=f"DERIVED#{request.kind}#",
            limit=_NEVER_ENDING,
            budget=_NEVER_ENDING,
            weight=lambda r: int(
                r.message.name == name and r.message.status not in (_SUPERSEDED, _PURGED)
            ),
        )
        return old + [r for r in found.records if r.message.artifact_id != request.supersedes]

    def _ended(self, record: Record[DerivedArtifact], by: DerivedArtifact) -> Write[Any]:
        artifact = record.edit()
        artifact.status = _SUPERSEDED
        artifact.superseded_by = by.artifact_id
        artifact.updated_at.CopyFrom(by.created_at)
        artifact.updated_by = by.created_by
        return Write(DERIVED, artifact, base=record)

    def _new(
        self, request: CreateDerivedArtifactRequest, seen: DocumentAccess, mutation: Mutation
    ) -> DerivedArtifact:
        now = to_timestamp(self._changes.now())
        document, user_id = seen.document, seen.access.user_id
        artifact = DerivedArtifact(
            artifact_id=mutation.new_id("f"),
            document_id=document.document_id,
            project_id=document.project_id,
            kind=request.kind,
            name=validate_document_name("name", request.name),
            status=_AWAITING,
            source_file_revision=request.source_file_revision or document.file.file_revision,
            generator=request.generator,
            created_by=user_id,
            created_at=now,
            updated_by=user_id,
            updated_at=now,
        )
        if request.HasField("attributes"):
            check_struct("attributes", request.attributes, most=_ATTRIBUTES_BYTES)
            artifact.attributes.CopyFrom(request.attributes)
        return artifact


async def find_artifact(
    records: RecordStore, document_id: str, artifact_id: str
) -> Record[DerivedArtifact] | None:
    """An artifact by its id: the kind is in the key, the caller does not know it."""
    found = await scan(
        records,
        DERIVED,
        Index.BASE,
        document_pk(document_id),
        prefix="DERIVED#",
        limit=1,
        budget=_NEVER_ENDING,
        weight=lambda r: int(r.message.artifact_id == artifact_id),
    )
    return found.records[0] if found.records else None


def artifact_state(artifact: DerivedArtifact, remedy: str) -> WorkspaceError:
    """INVALID_STATE of an artifact."""
    return invalid_state(f"artifacts/{artifact.artifact_id}", status_of(artifact), remedy)


def _settle(
    artifact: DerivedArtifact,
    file: FileInfo,
    disposition: FileDisposition.ValueType,
    *,
    hold: bool,
) -> str:
    """Edit the artifact; the reason for history ('' when nothing is to do)."""
    file.file_revision = 1
    if artifact.HasField("file"):
        if artifact.file.upload_id != file.upload_id:
            raise artifact_state(artifact, "it has its file; create a new artifact")
        require_same(artifact.file, file)
        if disposition not in (_RELEASE, _ARRIVED):
            raise settled_otherwise(file.upload_id, "available")
        return ""
    if artifact.HasField("pending_file"):
        return _settle_held(artifact, file, disposition)
    if artifact.status == _PURGED:
        raise artifact_state(artifact, "create a new artifact")
    if disposition == _REJECT:
        return "artifact_rejected"
    live = artifact.status != _SUPERSEDED
    if disposition == _HOLD or hold:
        artifact.pending_file.CopyFrom(file)
        artifact.status = _SCANNING if live else _SUPERSEDED
        return "artifact_held"
    artifact.file.CopyFrom(file)
    artifact.status = _AVAILABLE if live else _SUPERSEDED
    return "artifact_attached"


def _settle_held(
    artifact: DerivedArtifact, file: FileInfo, disposition: FileDisposition.ValueType
) -> str:
    held = artifact.pending_file
    if held.upload_id != file.upload_id:
        raise artifact_state(artifact, "wait until its file is released")
    require_same(held, file)
    if disposition in (_HOLD, _ARRIVED):
        return ""
    live = artifact.status != _SUPERSEDED
    if disposition == _RELEASE:
        artifact.file.CopyFrom(held)
    artifact.ClearField("pending_file")
    if live:
        artifact.status = _AVAILABLE if disposition == _RELEASE else _AWAITING
    return "artifact_released" if disposition == _RELEASE else "artifact_rejected"


def _history(edit: Edit, artifact: DerivedArtifact, reason: str, file: FileInfo) -> Write[Any]:
    """A lifecycle record of the artifact's file; it holds no snapshot of the
    document, which did not change."""
    record = metadata_record(
        _LIFECYCLE,
        record_id=edit.mutation.new_id("m"),
        project_id=edit.document.project_id,
        document_id=edit.document.document_id,
        now=edit.now,
        actor=actor_of_call(),
        reason=reason,
        note=f"{artifact.kind} {artifact.name} ({artifact.artifact_id})",
        file=file,
    )
    return Write(METADATA, record)


def _activity(event: str, artifact: DerivedArtifact, project: Project) -> Activity:
    return Activity(
        event,
        f"documents/{artifact.document_id}/artifacts/{artifact.artifact_id}",
        account_id=project.account_id,
        project_id=project.project_id,
    )
