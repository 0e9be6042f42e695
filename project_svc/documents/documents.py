"""Documents: create, read, change, archive.

CreateDocument is the saga of `document_names.py`: the claim of the place, then
one commit of the document with its first lifecycle record. Both are found again
by a repeat of the call, since the document's id derives from the request.
"""

from __future__ import annotations

import mimetypes
from typing import Any, TypeVar

from google.protobuf.message import Message
from workspace.common.v1.classification_pb2 import Classification
from workspace.project.v1.document_pb2 import Document, DocumentStatus, FileInfo
from workspace.project.v1.document_service_pb2 import (
    ArchiveDocumentRequest,
    ArchiveDocumentResponse,
    CreateDocumentRequest,
    CreateDocumentResponse,
    GetDocumentRequest,
    GetDocumentResponse,
    UpdateDocumentRequest,
    UpdateDocumentResponse,
)
from workspace.project.v1.history_pb2 import MetadataRecord, MetadataRecordType

from project_svc.access.gate import ProjectAccess, require_active
from project_svc.documents.changes import CallersEdit, DocumentChanges, require_status
from project_svc.documents.link_index import LinkIndex
from project_svc.documents.names import PlaceClaims, place_of, taken
from project_svc.documents.rows import (
    DOCUMENT,
    METADATA,
    RAW_METADATA_BYTES,
    activity_on,
    check_source_date,
    check_struct,
    copy_home,
    document_key,
    document_pk,
    take_snapshot,
)
from services.model.errors import Reason, WorkspaceError
from services.model.names import (
    split_extension,
    validate_document_name,
    validate_relative_path,
)
from services.model.permissions import OWNER, VIEW, WRITE
from services.model.times import from_timestamp, to_timestamp
from services.records.mutation import Mutation
from services.records.record import Record, Write
from services.rpc.field_masks import apply_mask

__all__ = ["CLIENT_SET", "Documents", "classification_word", "extension_of", "media_type_of"]

M = TypeVar("M", bound=Message)

CLIENT_SET = frozenset(
    [
        "title",
        "document_type",
        "classification",
        "source_date",
        "issuing_body",
        "geographic_scope",
        "revision",
        "project_role",
        "data_object_type",
        "metadata_confidence",
        "extraction_summary",
        "metadata_sources",
        "metadata_fallback_pathways",
        "raw_metadata",
        "concept_tags",
        "standard_relevance",
        "project_data_elements",
        "related_object_ids",
    ]
)
"""Fields of a document that UpdateDocument changes."""

_SERVER_SET = frozenset(Document.DESCRIPTOR.fields_by_name) - CLIENT_SET
_AWAITING = DocumentStatus.DOCUMENT_STATUS_AWAITING_FILE
_AVAILABLE = DocumentStatus.DOCUMENT_STATUS_AVAILABLE
_ARCHIVED = DocumentStatus.DOCUMENT_STATUS_ARCHIVED
_CURATED = MetadataRecordType.METADATA_RECORD_TYPE_CURATED
_LIFECYCLE = MetadataRecordType.METADATA_RECORD_TYPE_LIFECYCLE
_CREATE_ATTEMPTS = 5


class Documents:
    """Use cases of single documents."""

    def __init__(
        self, *, changes: DocumentChanges, claims: PlaceClaims, links: LinkIndex
    ) -> None:
        self._changes = changes
        self._claims = claims
        self._links = links
        # The built-in table alone: the host's own would differ from node to node.
        self._media_types = mimetypes.MimeTypes()

    async def create(self, request: CreateDocumentRequest) -> CreateDocumentResponse:
        """A document that awaits its file.

        Raises ALREADY_EXISTS when its place is taken, INVALID_STATE unless the
        project is active.
        """
        changes = self._changes
        mutation = changes.begin(request)
        found = await changes.access.require(request.project_id, WRITE, active=False)
        document_id = mutation.new_id("d")
        pk = document_pk(document_id)
        if done := await mutation.replay(pk, CreateDocumentResponse):
            return done
        require_active(found.project)
        document = self._new(request, document_id, found)
        return await self.insert(mutation, document, found, CreateDocumentResponse)

    async def insert(
        self,
        mutation: Mutation,
        document: Document,
        found: ProjectAccess,
        kind: type[M],
        *,
        reason: str = "created",
        file: FileInfo | None = None,
    ) -> M:
        """Store a document that is new, with its first lifecycle record. Raises
        ALREADY_EXISTS when its place is taken, PERMISSION_DENIED when the caller's
        right to write to the project (`found`) has ended meanwhile."""
        changes, document_id = self._changes, document.document_id
        await self._links.propose(document, document.links)
        first = take_snapshot(
            _LIFECYCLE,
            document,
            record_id=mutation.new_id("m"),
            now=from_timestamp(document.updated_at),
            actor=document.created_by,
            reason=reason,
            file=file,
        )
        base: Record[Document] | None = None
        for _ in range(_CREATE_ATTEMPTS):
            await self._claims.take(place_of(document), document_id, renew=base is not None)
            try:
                return await self._commit(mutation, document, found, base, first, kind)
            except WorkspaceError as error:
                if error.reason not in (
                    Reason.ERROR_REASON_ALREADY_EXISTS,
                    Reason.ERROR_REASON_ETAG_MISMATCH,
                ):
                    raise
            # Fenced off (a tombstone), or made by this request id before.
            base = await changes.records.get(DOCUMENT, document_key(document_id), deleted=True)
            if base is not None and not base.deleted:
                raise taken(place_of(base.message), document_id)
        raise WorkspaceError(
            Reason.ERROR_REASON_CONFLICTING_WRITE,
            f"name: '{document.name}' is contended; repeat the call",
            retry_after=0.5,
        )

    async def get(self, request: GetDocumentRequest) -> GetDocumentResponse:
        """One document. Every read is fully consistent, so that a consistency
        token asks for nothing more; it is verified all the same."""
        for token in request.consistency.at_least_as_fresh.tokens:
            self._changes.kernel.consistency.verify(token)
        seen = await self._changes.require(request.document_id, VIEW)
        return GetDocumentResponse(document=self._changes.shown(seen.record))

    async def update(self, request: UpdateDocumentRequest) -> UpdateDocumentResponse:
        """Change metadata; the curated record of the new state is in the same commit.

        Raises INVALID_MASK for unknown and server-set fields, INVALID_STATE
        unless it can be changed, CLASSIFICATION_LOWERED without `owner`.
        """
        wanted = request.document

        async def decide(edit: CallersEdit) -> list[Write[Any]]:
            document = edit.document
            paths = apply_mask(document, wanted, request.update_mask, server_set=_SERVER_SET)
            edit.require_usable()
            _check_metadata(document)
            document.classification = (
                document.classification or edit.project.data_classification
            )
            if OWNER not in edit.access.permissions:
                _refuse_lower(edit.before, document)
            if not paths or document == edit.before:
                return []
            return [edit.snapshot(_CURATED, "updated")]

        return await self._changes.run(
            request,
            UpdateDocumentResponse,
            document_id=wanted.document_id,
            etag=wanted.etag,
            permission=WRITE,
            event="document.updated",
            decide=decide,
        )

    async def archive(self, request: ArchiveDocumentRequest) -> ArchiveDocumentResponse:
        """Into the archive or out of it. Raises INVALID_STATE unless it is
        available or archived."""
        status = _AVAILABLE if request.unarchive else _ARCHIVED
        reason = "unarchived" if request.unarchive else "archived"

        async def decide(edit: CallersEdit) -> list[Write[Any]]:
            document = edit.document
            require_active(edit.project)
            require_status(document, _AVAILABLE, _ARCHIVED)
            if document.status == status:
                return []
            document.status = status
            return [edit.snapshot(_LIFECYCLE, reason)]

        return await self._changes.run(
            request,
            ArchiveDocumentResponse,
            permission=WRITE,
            event=f"document.{reason}",
            decide=decide,
        )

    async def _commit(
        self,
        mutation: Mutation,
        document: Document,
        found: ProjectAccess,
        base: Record[Document] | None,
        first: MetadataRecord,
        kind: type[M],
    ) -> M:
        make: Any = kind
        return await mutation.commit(
            document_pk(document.document_id),
            [Write(DOCUMENT, document, base=base), Write(METADATA, first)],
            activity=activity_on("document.created", document, found.project),
            answer=lambda records: make(document=self._changes.shown(records[0])),
            still=self._changes.access.still(found, WRITE),
        )

    def _new(
        self, request: CreateDocumentRequest, document_id: str, found: ProjectAccess
    ) -> Document:
        document = Document()
        for field, value in request.ListFields():
            if field.name in CLIENT_SET or field.name == "links":
                _copy_field(document, field.name, value)
        project, now = found.project, to_timestamp(self._changes.now())
        document.document_id = document_id
        document.project_id = project.project_id
        document.owner_type, document.owner_id = "project", project.project_id
        document.name = validate_document_name("name", request.name)
        document.relative_path = validate_relative_path("relative_path", request.relative_path)
        document.status = _AWAITING
        document.classification = request.classification or project.data_classification
        document.file_extension = extension_of(document.name)
        document.mime_type = request.mime_type or media_type_of(self._media_types, document.name)
        document.created_by = document.updated_by = found.user_id
        document.created_at.CopyFrom(now)
        document.updated_at.CopyFrom(now)
        copy_home(document, project)
        _check_metadata(document)
        return document


def extension_of(name: str) -> str:
    """Lower case, without the dot, at most 32 characters."""
    return split_extension(name)[1][1:].lower()[:32]


def media_type_of(table: mimetypes.MimeTypes, name: str) -> str:
    """By the extension; empty when it is not known."""
    return table.guess_type(f"x.{extension_of(name)}", strict=True)[0] or ""


def _copy_field(document: Document, name: str, value: Any) -> None:
    field = document.DESCRIPTOR.fields_by_name[name]
    if field.is_repeated:
        getattr(document, name).extend(value)
    elif field.message_type is not None:
        getattr(document, name).CopyFrom(value)
    else:
        setattr(document, name, value)


def _check_metadata(document: Document) -> None:
    check_source_date(document.source_date)
    if document.HasField("raw_metadata"):
        check_struct("raw_metadata", document.raw_metadata, most=RAW_METADATA_BYTES)


def _refuse_lower(before: Document, after: Document) -> None:
    if after.classification < before.classification:
        raise WorkspaceError(
            Reason.ERROR_REASON_CLASSIFICATION_LOWERED,
            "classification: only an owner of the project lowers it; ask one",
            metadata={
                "from": classification_word(before.classification),
                "to": classification_word(after.classification),
            },
        )


def classification_word(value: Classification.ValueType) -> str:
    """`public`, `internal`, ... for error metadata."""
    return Classification.Name(value).removeprefix("CLASSIFICATION_").lower()
