"""Reading a document for the caller, and changing it: authorise, replay, decide, commit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from google.protobuf.message import Message
from workspace.project.v1.document_pb2 import Document, DocumentStatus, FileInfo
from workspace.project.v1.history_pb2 import MetadataRecordType
from workspace.project.v1.project_pb2 import Project

from project_svc.access.gate import Access, ProjectAccess, invalid_state, require_active
from project_svc.documents.rows import (
    DOCUMENT,
    METADATA,
    activity_on,
    copy_home,
    document_key,
    document_pk,
    fill_provider,
    shown,
    status_of,
    take_snapshot,
)
from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError, permission_denied
from services.model.ids import NO_PROJECT
from services.model.permissions import permission_names
from services.model.times import from_timestamp, to_timestamp
from services.records.deciding import Still, deciding
from services.records.mutation import Decorate, Mutation, require_etag
from services.records.record import Record, Write
from services.rpc.context import current_call

__all__ = [
    "CallersEdit",
    "DocumentAccess",
    "DocumentChanges",
    "Edit",
    "actor_of_call",
    "require_present",
    "require_status",
    "require_usable",
    "wrong_state",
]

M = TypeVar("M", bound=Message)

_TICK = timedelta(microseconds=1)
_GONE = (DocumentStatus.DOCUMENT_STATUS_TRASHED, DocumentStatus.DOCUMENT_STATUS_PURGED)
_REMEDIES = {
    DocumentStatus.DOCUMENT_STATUS_AWAITING_FILE: "upload its file first",
    DocumentStatus.DOCUMENT_STATUS_SCANNING: "wait until its file is released",
    DocumentStatus.DOCUMENT_STATUS_AVAILABLE: "nothing is to do",
    DocumentStatus.DOCUMENT_STATUS_ARCHIVED: "take it out of the archive first",
    DocumentStatus.DOCUMENT_STATUS_TRASHED: "restore it first",
    DocumentStatus.DOCUMENT_STATUS_PURGED: "its content is gone for good",
}


@dataclass(frozen=True, slots=True)
class DocumentAccess:
    """A document as it was read, and what the caller may do on its project."""

    record: Record[Document]
    access: ProjectAccess

    @property
    def document(self) -> Document:
        """The stored message; never change it."""
        return self.record.message

    @property
    def resource(self) -> str:
        return f"documents/{self.document.document_id}"


@dataclass(frozen=True, slots=True)
class Edit:
    """One attempt to change a document. `document` is the copy to edit, `now`
    the time of everything that the commit writes."""

    record: Record[Document]
    project: Project
    document: Document
    mutation: Mutation
    now: datetime

    @property
    def before(self) -> Document:
        """The stored message; never change it."""
        return self.record.message

    def touch(self) -> None:
        """Note who changed it and when; refresh the copies of its home."""
        copy_home(self.document, self.project)
        self.document.updated_at.CopyFrom(to_timestamp(self.now))
        self.document.updated_by = current_call().user_id or self.document.updated_by

    def snapshot(
        self,
        kind: MetadataRecordType.ValueType,
        reason: str,
        *,
        note: str = "",
        file: FileInfo | None = None,
    ) -> Write[Any]:
        """The metadata record of the document as edited."""
        self.touch()
        record = take_snapshot(
            kind,
            self.document,
            record_id=self.mutation.new_id("m"),
            now=self.now,
            actor=actor_of_call(),
            reason=reason,
            note=note,
            file=file,
        )
        return Write(METADATA, record)


@dataclass(frozen=True, slots=True)
class CallersEdit(Edit):
    """An edit for a caller whose right was checked; `still` checks it again."""

    access: ProjectAccess
    still: Still

    def require_usable(self) -> None:
        """Raises INVALID_STATE unless the document can be worked on."""
        require_usable(self.before, self.project)


Decide = Callable[[CallersEdit], Awaitable[Sequence[Write[Any]]]]
"""Edits the document and returns what else the commit writes."""


class DocumentChanges:
    """Reads and changes documents of the caller."""

    def __init__(self, *, kernel: Kernel, access: Access) -> None:
        self.kernel = kernel
        self.access = access
        self.records = kernel.records
        self.provider = kernel.settings.provider

    def now(self) -> datetime:
        return self.access.now()

    def after(self, record: Record[Document]) -> datetime:
        """Now, but later than the document's last change, whatever the clocks of
        this and other nodes do: history is in the order of the changes."""
        last = from_timestamp(record.message.updated_at)
        return max(self.now(), last + _TICK)

    def shown(self, record: Record[Any]) -> Any:
        """A record for an answer."""
        return shown(record, self.provider)

    async def require(self, document_id: str, permission: int) -> DocumentAccess:
        """The document, if the caller has the permission on its project.

        Raises PERMISSION_DENIED for absent and forbidden. The states of
        document and project are left to `require_usable`.
        """
        resource = f"documents/{document_id}"
        record = await self.records.get(DOCUMENT, document_key(document_id))
        project_id = record.message.project_id if record else NO_PROJECT
        found = await self.access.require(
            project_id, permission, resource=resource, active=False
        )
        if record is None:
            raise permission_denied(permission_names([permission])[0], resource)
        return DocumentAccess(record, found)

    def begin(self, request: Any, *, decorate: Decorate | None = None) -> Mutation:
        """A mutating call about documents and what belongs to them."""
        return self.kernel.mutations.begin(request, decorate=decorate or self.decorate)

    async def decorate(self, answer: Message) -> None:
        """What records lack that were read again for a replay."""
        for _, part in answer.ListFields():
            if isinstance(part, Message):
                fill_provider(part, self.provider)

    async def run(
        self,
        request: Any,
        answer: type[M],
        *,
        permission: int,
        event: str,
        decide: Decide,
        document_id: str = "",
        etag: str | None = None,
        build: Callable[[Sequence[Record[Any]]], M] | None = None,
        decorate: Decorate | None = None,
    ) -> M:
        """Change one document. An edit that changes nothing writes nothing.

        Raises ETAG_MISMATCH for an outdated etag of the caller; a concurrent
        change is met by deciding anew.
        """
        document_id = document_id or request.document_id
        mutation, pk = self.begin(request, decorate=decorate), document_pk(document_id)
        make: Any = build or (lambda records: answer(document=self.shown(records[0])))

        async def attempt() -> M:
            seen = await self.require(document_id, permission)
            if done := await mutation.replay(pk, answer):
                return done
            require_etag(seen.record, request.etag if etag is None else etag, seen.resource)
            edit = CallersEdit(
                seen.record,
                seen.access.project,
                seen.record.edit(),
                mutation,
                self.after(seen.record),
                access=seen.access,
                still=self.access.still(seen.access, permission, resource=seen.resource),
            )
            more = await decide(edit)
            if not more and edit.document == edit.before:
                return await self.unchanged(make, seen.record)
            edit.touch()
            return await self.write(edit, more, event, make)

        return await deciding(attempt)

    async def write(
        self,
        edit: Edit,
        more: Sequence[Write[Any]],
        event: str,
        make: Callable[[Sequence[Record[Any]]], M],
    ) -> M:
        """Commit the edited document and `more`. A row that changed after it
        was read is CONFLICTING_WRITE: `deciding` reads it again."""
        try:
            return await edit.mutation.commit(
                document_pk(edit.document.document_id),
                [Write(DOCUMENT, edit.document, base=edit.record), *more],
                activity=activity_on(event, edit.document, edit.project),
                answer=make,
                still=edit.still if isinstance(edit, CallersEdit) else None,
            )
        except WorkspaceError as error:
            if error.reason != Reason.ERROR_REASON_ETAG_MISMATCH:
                raise
            raise WorkspaceError(
                Reason.ERROR_REASON_CONFLICTING_WRITE,
                f"documents/{edit.document.document_id} is changing faster than it can be read; "
                "repeat the call",
                retry_after=0.1,
            ) from error

    async def unchanged(self, make: Callable[[Sequence[Record[Any]]], M], record: Record[Any]) -> M:
        """The answer of a change that was there already."""
        answer: Any = make([record])
        head = await self.records.head(record.key.pk)
        answer.consistency_token = self.kernel.consistency.issue(
            head.pk, head.pseq, int(self.kernel.now() * 1000)
        )
        return answer  # type: ignore[no-any-return]


def wrong_state(document: Document) -> WorkspaceError:
    """INVALID_STATE of a document, with the remedy."""
    return invalid_state(
        f"documents/{document.document_id}", status_of(document), _REMEDIES[document.status]
    )


def require_usable(document: Document, project: Project) -> None:
    """Raises INVALID_STATE for a document that is archived, in the trash or
    purged, and unless its project is active."""
    require_active(project)
    if document.status in (*_GONE, DocumentStatus.DOCUMENT_STATUS_ARCHIVED):
        raise wrong_state(document)


def require_present(document: Document, project: Project) -> None:
    """The same, but an archived document will do."""
    require_active(project)
    if document.status in _GONE:
        raise wrong_state(document)


def require_status(document: Document, *allowed: DocumentStatus.ValueType) -> None:
    """Raises INVALID_STATE unless the document is in one of these states."""
    if document.status not in allowed:
        raise wrong_state(document)


def actor_of_call() -> str:
    """Who acts, as history names it."""
    call = current_call()
    return call.user_id or f"service:{call.service}"
