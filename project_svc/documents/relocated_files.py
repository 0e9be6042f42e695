"""Where the files of a project are, and moving the key of one to another home.

Storage relocates objects after a project moved; this is the other half: what
records name, and the conditional write that has them name the copy. History is
append-only, so the switch appends a lifecycle record with the file at its new
key; the newest record of a file says where it is. Two keys are of one file when
they differ in their home only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from workspace.identity.v1.membership_pb2 import MembershipFact
from workspace.project.v1.document_pb2 import (
    DerivedArtifact,
    DerivedArtifactStatus,
    Document,
    DocumentStatus,
    FileInfo,
)
from workspace.project.v1.document_service_pb2 import (
    ListProjectFilesRequest,
    ListProjectFilesResponse,
    MoveFileKeyRequest,
    MoveFileKeyResponse,
    ProjectFile,
)
from workspace.project.v1.history_pb2 import MetadataRecord, MetadataRecordType
from workspace.project.v1.project_pb2 import Project

from project_svc.access.facts import ProjectView, project_pk
from project_svc.documents.changes import DocumentChanges, actor_of_call
from project_svc.documents.files import not_found
from project_svc.documents.revisions import CURRENT_FILE_REASONS, RELOCATED_FILE
from project_svc.documents.rows import (
    DERIVED,
    DOCUMENT,
    METADATA,
    activity_on,
    copy_home,
    document_key,
    document_pk,
    metadata_record,
    take_snapshot,
)
from services.model.errors import invalid_field
from services.model.indexes import Index
from services.model.paths import home_of, homeless, parse_storage_key, prefix_of
from services.model.times import to_timestamp
from services.records.deciding import deciding
from services.records.mutation import Mutation
from services.records.record import Record, Write
from services.rpc.context import current_call
from services.rpc.page_tokens import page_size

__all__ = ["RelocatedFiles"]

_LIFECYCLE = MetadataRecordType.METADATA_RECORD_TYPE_LIFECYCLE
_PURGED = DocumentStatus.DOCUMENT_STATUS_PURGED
_LIVE_ARTIFACTS = (
    DerivedArtifactStatus.DERIVED_ARTIFACT_STATUS_AVAILABLE,
    DerivedArtifactStatus.DERIVED_ARTIFACT_STATUS_SCANNING,
)
_OTHER, _ARTIFACT = "relocated_other", "relocated_artifact"
_SERVED = CURRENT_FILE_REASONS | {RELOCATED_FILE}
_ROWS = 500


@dataclass(slots=True)
class _Known:
    """A file as the newest record has it. `served`: it is or was the current
    file of its document; `promised`: its bytes must be there."""

    file: FileInfo
    served: bool = False
    promised: bool = False


@dataclass(slots=True)
class _Files:
    """A document, its artifacts and its files by key without home."""

    document: Record[Document]
    artifacts: list[Record[DerivedArtifact]] = field(default_factory=list)
    known: dict[str, _Known] = field(default_factory=dict)

    def note(self, file: FileInfo, *, served: bool, promised: bool) -> None:
        if file.storage_key:
            name = homeless(file.storage_key)
            before = self.known.get(name)
            served = served or (before is not None and before.served)
            self.known[name] = _Known(file, served, promised)


class RelocatedFiles:
    """Use cases of ListProjectFiles and MoveFileKey; storage alone asks."""

    def __init__(self, *, changes: DocumentChanges) -> None:
        self._changes = changes
        self._records = changes.records

    async def of_project(self, request: ListProjectFilesRequest) -> ListProjectFilesResponse:
        """The files of one page of documents, each once and where it is now."""
        view = await self._changes.access.facts.project(request.project_id)
        if view is None:
            raise not_found(f"projects/{request.project_id}")
        project = view.record.message
        home = home_of(account_id=project.account_id, workspace_id=project.workspace_id)
        answer = ListProjectFilesResponse(
            storage_prefix=prefix_of(home, project.project_id), held=await self._held(view)
        )
        for record in await self._page(request, answer):
            answer.files.extend(_listed(await self._files(record)))
        return answer

    async def move(self, request: MoveFileKeyRequest) -> MoveFileKeyResponse:
        """Switch one key, under the head of the document's partition."""
        _require_same_file(request)
        pk = document_pk(request.document_id)
        mutation = self._changes.begin(request)

        async def attempt() -> MoveFileKeyResponse:
            head = await self._records.head(pk)
            record = await self._records.get(DOCUMENT, document_key(request.document_id))
            if record is None:
                raise not_found(f"documents/{request.document_id}")
            if done := await mutation.replay(pk, MoveFileKeyResponse):
                return done
            view = await self._changes.access.facts.project(record.message.project_id)
            if view is None:
                raise not_found(f"projects/{record.message.project_id}")
            files = await self._files(record)
            known = _require_known(files, request)
            if known.file.storage_key == request.new_storage_key:
                return await self._changes.unchanged(lambda _: MoveFileKeyResponse(), record)
            project = view.record.message
            return await mutation.commit(
                pk,
                self._writes(files, known, project, request, mutation),
                activity=activity_on("document.file_relocated", record.message, project),
                answer=lambda _: MoveFileKeyResponse(moved=True),
                if_head=head,
            )

        return await deciding(attempt)

    async def _page(
        self, request: ListProjectFilesRequest, answer: ListProjectFilesResponse
    ) -> list[Record[Document]]:
        if request.document_id:
            record = await self._records.get(DOCUMENT, document_key(request.document_id))
            ours = record is not None and record.message.project_id == request.project_id
            return [record] if record is not None and ours else []
        call, tokens = current_call(), self._changes.kernel.page_tokens
        asker = call.user_id or f"service:{call.service}"
        after = tokens.open(call.method, asker, request, request.page_token) or None
        page = await self._records.query(
            DOCUMENT, Index.PROJECT, project_pk(request.project_id),
            prefix="ARTIFACT#", limit=page_size(request), after=after,
        )
        if page.next is not None:
            answer.next_page_token = tokens.issue(call.method, asker, request, page.next)
        return list(page.records)

    async def _held(self, view: ProjectView) -> str:
        """What is under a legal hold. The account's is a fact about anybody."""
        project = view.record.message
        if project.legal_hold:
            return f"projects/{project.project_id}"
        home = project.account_id or project.workspace_id
        user = await self._changes.access.facts.user(project.created_by or home, [home])
        fact: MembershipFact = user.raw[home]
        kind = "accounts" if project.account_id else "workspaces"
        return f"{kind}/{home}" if fact.legal_hold else ""

    async def _files(self, record: Record[Document]) -> _Files:
        files = _Files(record)
        if record.message.status == _PURGED:
            return files
        async for row in self._rows(METADATA, record, "METADATA#"):
            _note_history(files, row.message)
        document = record.message
        if document.HasField("file"):
            files.note(document.file, served=True, promised=True)
        if document.HasField("pending_file"):
            files.note(document.pending_file, served=False, promised=True)
        async for artifact in self._rows(DERIVED, record, "DERIVED#"):
            files.artifacts.append(artifact)
            live = artifact.message.status in _LIVE_ARTIFACTS
            for name in ("file", "pending_file"):
                if artifact.message.HasField(name):
                    file = getattr(artifact.message, name)
                    files.note(file, served=False, promised=live)
        return files

    async def _rows(self, family: Any, record: Record[Document], prefix: str) -> Any:
        after: str | None = None
        while True:
            page = await self._records.query(
                family, Index.BASE, record.key.pk, prefix=prefix, limit=_ROWS, after=after
            )
            for row in page.records:
                yield row
            after = page.next
            if after is None:
                return

    def _writes(
        self,
        files: _Files,
        known: _Known,
        project: Project,
        request: MoveFileKeyRequest,
        mutation: Mutation,
    ) -> list[Write[Any]]:
        """The document or artifact that names the key, and the history of it."""
        writes: list[Write[Any]] = []
        document, now = files.document.edit(), self._changes.after(files.document)
        if _switch(document, request):
            copy_home(document, project)
            # History is in the order of the changes, whatever the clocks of nodes say:
            # what comes next has to be later than this.
            document.updated_at.CopyFrom(to_timestamp(now))
            if document.file.storage_key == request.new_storage_key:
                document.storage_key = request.new_storage_key
            writes.append(Write(DOCUMENT, document, base=files.document))
        for row in files.artifacts:
            artifact = row.edit()
            if _switch(artifact, request):
                writes.append(Write(DERIVED, artifact, base=row))
        history = self._history(
            document, known, request, mutation, now=now, changed=bool(writes)
        )
        return [*writes, Write(METADATA, history)]

    def _history(
        self,
        document: Document,
        known: _Known,
        request: MoveFileKeyRequest,
        mutation: Mutation,
        *,
        now: datetime,
        changed: bool,
    ) -> MetadataRecord:
        file = FileInfo()
        file.CopyFrom(known.file)
        file.storage_key = request.new_storage_key
        members: Mapping[str, Any] = {
            "record_id": mutation.new_id("m"),
            "now": now,
            "actor": actor_of_call(),
            "reason": _reason(known, request),
            "note": f"was {request.storage_key}",
            "file": file,
        }
        if changed and not parse_storage_key(request.storage_key).artifact_id:
            return take_snapshot(_LIFECYCLE, document, **members)
        return metadata_record(
            _LIFECYCLE,
            project_id=document.project_id,
            document_id=document.document_id,
            **members,
        )


def _note_history(files: _Files, message: MetadataRecord) -> None:
    if message.record_type == _LIFECYCLE and message.HasField("file"):
        if parse_storage_key(message.file.storage_key).document_id != message.document_id:
            return  # a copy's first record names the file of the document it was copied from
        served = message.reason in _SERVED
        files.note(message.file, served=served, promised=False)


def _listed(files: _Files) -> list[ProjectFile]:
    return [
        ProjectFile(
            document_id=files.document.message.document_id,
            artifact_id=parse_storage_key(known.file.storage_key).artifact_id,
            file=known.file,
            promised=known.promised,
        )
        for known in files.known.values()
    ]


def _switch(message: Any, request: MoveFileKeyRequest) -> bool:
    """Name the copy wherever `message` named the old key."""
    changed = False
    for name in ("file", "pending_file"):
        if message.HasField(name) and getattr(message, name).storage_key == request.storage_key:
            getattr(message, name).storage_key = request.new_storage_key
            changed = True
    return changed


def _reason(known: _Known, request: MoveFileKeyRequest) -> str:
    if parse_storage_key(request.storage_key).artifact_id:
        return _ARTIFACT
    return RELOCATED_FILE if known.served else _OTHER


def _require_same_file(request: MoveFileKeyRequest) -> None:
    old, new = parse_storage_key(request.storage_key), parse_storage_key(request.new_storage_key)
    if old.document_id != request.document_id:
        raise invalid_field("storage_key", "is of another document")
    if old.rehomed(new.home) != new or old == new:
        raise invalid_field("new_storage_key", "must differ from storage_key in the home alone")


def _require_known(files: _Files, request: MoveFileKeyRequest) -> _Known:
    known = files.known.get(homeless(request.storage_key))
    keys = (request.storage_key, request.new_storage_key)
    if known is None or known.file.storage_key not in keys or known.file.sha256 != request.sha256:
        raise not_found(f"documents/{request.document_id}/files")
    return known
