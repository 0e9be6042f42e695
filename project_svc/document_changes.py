"""Reading a document for the caller, and changing it: authorise, replay, decide, commit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from google.protobuf.message import Message
from workspace.project.v1.document_pb2 import Document, DocumentStatus

from project_svc.access import Access, ProjectAccess, invalid_state, require_active
from project_svc.document_rows import (
    DOCUMENT,
    activity_on,
    copy_home,
    document_key,
    document_pk,
    shown,
    status_of,
)
from project_svc.large_answers import storable, whole
from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError, permission_denied
from services.model.permissions import permission_names
from services.model.times import to_timestamp
from services.records.deciding import deciding
from services.records.mutation import Mutation, require_etag
from services.records.record import Head, Record, Write
from services.rpc.context import current_call

__all__ = [
    "DocumentAccess",
    "DocumentChanges",
    "actor_of_call",
    "require_status",
    "wrong_state",
]

M = TypeVar("M", bound=Message)

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

    def require_usable(self, *, archived: bool = False) -> None:
        """Raises INVALID_STATE in the trash, purged or (unless `archived`)
        archived, and unless the project is active."""
        require_active(self.access.project)
        refused: tuple[DocumentStatus.ValueType, ...] = _GONE
        if not archived:
            refused = (*_GONE, DocumentStatus.DOCUMENT_STATUS_ARCHIVED)
        if self.document.status in refused:
            raise wrong_state(self.document)


Decide = Callable[[DocumentAccess, Document, Mutation], Awaitable[Sequence[Write[Any]]]]
"""Edits the copy that it is given and returns what else the commit writes."""


class DocumentChanges:
    """Reads and changes documents of the caller."""

    def __init__(self, *, kernel: Kernel, access: Access) -> None:
        self.kernel = kernel
        self.access = access
        self.records = kernel.records
        self.provider = kernel.settings.provider

    def now(self) -> datetime:
        return self.access.now()

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
        if record is None:
            raise permission_denied(permission_names([permission])[0], resource)
        found = await self.access.require(
            record.message.project_id, permission, resource=resource, active=False
        )
        return DocumentAccess(record, found)

    async def replay(self, mutation: Mutation, request: Any, pk: str, answer: type[M]) -> M | None:
        """What this call answered before. A request id that the server made
        cannot have come before."""
        if not request.request_id:
            return None
        done = await mutation.replay(pk, answer)
        return done and await whole(self.records, done, self.provider)

    async def commit(
        self,
        mutation: Mutation,
        pk: str,
        writes: Sequence[Write[Any]],
        *,
        activity: Any,
        answer: Callable[[Sequence[Record[Any]]], M],
        if_head: Head | None = None,
    ) -> M:
        """Commit; an answer that is too large for the request row is stored as keys."""
        done = await mutation.commit(
            pk,
            writes,
            activity=activity,
            answer=lambda records: storable(answer(records)),
            if_head=if_head,
        )
        return await whole(self.records, done, self.provider)

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
    ) -> M:
        """Change one document. An edit that changes nothing writes nothing.

        Raises ETAG_MISMATCH for an outdated etag of the caller; a concurrent
        change is met by deciding anew.
        """
        document_id = document_id or request.document_id
        mutation, pk = self.kernel.mutations.begin(request), document_pk(document_id)
        make: Any = build or (lambda records: answer(document=self.shown(records[0])))  # type: ignore[call-arg]

        async def attempt() -> M:
            seen = await self.require(document_id, permission)
            if done := await self.replay(mutation, request, pk, answer):
                return done
            require_etag(seen.record, request.etag if etag is None else etag, seen.resource)
            document = seen.record.edit()
            more = await decide(seen, document, mutation)
            if not more and document == seen.document:
                return await self._unchanged(make, seen.record, pk)
            self.touch(document, seen.access)
            return await self._write(mutation, pk, seen, document, more, event, make)

        return await deciding(attempt)

    def touch(self, document: Document, found: ProjectAccess) -> None:
        """Note who changed it and when; refresh the copies of its home."""
        copy_home(document, found.project)
        document.updated_at.CopyFrom(to_timestamp(self.now()))
        document.updated_by = found.user_id

    async def _write(
        self,
        mutation: Mutation,
        pk: str,
        seen: DocumentAccess,
        document: Document,
        more: Sequence[Write[Any]],
        event: str,
        make: Callable[[Sequence[Record[Any]]], M],
    ) -> M:
        try:
            return await self.commit(
                mutation,
                pk,
                [Write(DOCUMENT, document, base=seen.record), *more],
                activity=activity_on(event, document, seen.access.project),
                answer=make,
            )
        except WorkspaceError as error:
            if error.reason != Reason.ERROR_REASON_ETAG_MISMATCH:
                raise
            # The row changed after it was read: `deciding` reads it again.
            raise WorkspaceError(
                Reason.ERROR_REASON_CONFLICTING_WRITE,
                f"{seen.resource} is changing faster than it can be read; repeat the call",
                retry_after=0.1,
            ) from error

    async def _unchanged(
        self, make: Callable[[Sequence[Record[Any]]], M], record: Record[Any], pk: str
    ) -> M:
        answer: Any = make([record])
        head = await self.records.head(pk)
        answer.consistency_token = self.kernel.consistency.issue(
            pk, head.pseq, int(self.kernel.now() * 1000)
        )
        return answer  # type: ignore[no-any-return]


def wrong_state(document: Document) -> WorkspaceError:
    """INVALID_STATE of a document, with the remedy."""
    return invalid_state(
        f"documents/{document.document_id}", status_of(document), _REMEDIES[document.status]
    )


def require_status(document: Document, *allowed: DocumentStatus.ValueType) -> None:
    """Raises INVALID_STATE unless the document is in one of these states."""
    if document.status not in allowed:
        raise wrong_state(document)


def actor_of_call() -> str:
    """Who acts, as history names it."""
    call = current_call()
    return call.user_id or f"service:{call.service}"
