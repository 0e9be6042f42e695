"""Typed links: stored at their source, a document or project, read from both ends.

Incoming links are found by looking through what the caller may view: a link of
a source that he may not see does not exist for him, so no index could answer
without the same decisions. Pages are complete and resumable.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from workspace.project.v1.document_pb2 import Document, DocumentStatus
from workspace.project.v1.document_service_pb2 import (
    LinkObjectsRequest,
    LinkObjectsResponse,
    ListLinksRequest,
    ListLinksResponse,
    UnlinkObjectsRequest,
    UnlinkObjectsResponse,
)
from workspace.project.v1.history_pb2 import MetadataRecordType
from workspace.project.v1.link_pb2 import LinkDirection, LinkEntry, ObjectLink
from workspace.project.v1.project_pb2 import Project

from project_svc.access import require_active
from project_svc.answers import touched
from project_svc.changes import activity_of
from project_svc.document_changes import CallersEdit, DocumentChanges, require_present
from project_svc.document_lists import DocumentLists, Scope
from project_svc.document_rows import DOCUMENT, document_key
from project_svc.facts import project_key, project_pk
from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES
from services.model.names import validate_id
from services.model.permissions import VIEW, WRITE
from services.records.deciding import deciding
from services.records.mutation import Decorate, require_etag
from services.records.record import Record, Write
from services.rpc.context import current_call
from services.rpc.page_tokens import page_size

__all__ = ["MOST_LINKS", "Links"]

MOST_LINKS = 200
_PROJECT = FAMILIES["project"]
_CURATED = MetadataRecordType.METADATA_RECORD_TYPE_CURATED
_OUTGOING = LinkDirection.LINK_DIRECTION_OUTGOING
_INCOMING = LinkDirection.LINK_DIRECTION_INCOMING
_GONE = (DocumentStatus.DOCUMENT_STATUS_TRASHED, DocumentStatus.DOCUMENT_STATUS_PURGED)

_Key = tuple[str, str, str]
_Entries = list[LinkEntry]
_Skip = list[str]
_Position = tuple[str, str, _Skip]
_Request = LinkObjectsRequest | UnlinkObjectsRequest


class Links:
    """Use cases of links."""

    def __init__(self, *, changes: DocumentChanges, lists: DocumentLists) -> None:
        self._changes = changes
        self._lists = lists

    async def link(self, request: LinkObjectsRequest) -> LinkObjectsResponse:
        """Add links; those that are there stay. Raises LIMIT_EXCEEDED over 200."""

        def edit(source: Document | Project) -> None:
            known = set(map(_key, source.links))
            for link in request.links:
                if _key(link) not in known:
                    known.add(_key(link))
                    source.links.append(link)
            if len(source.links) > MOST_LINKS:
                raise _too_many(len(source.links))

        done: LinkObjectsResponse = await self._change(
            request, LinkObjectsResponse, "linked", edit
        )
        return done

    async def unlink(self, request: UnlinkObjectsRequest) -> UnlinkObjectsResponse:
        """Remove links; one that is not there is no error."""
        removed = set(map(_key, request.links))

        def edit(source: Document | Project) -> None:
            kept = [link for link in source.links if _key(link) not in removed]
            del source.links[:]
            source.links.extend(kept)

        done: UnlinkObjectsResponse = await self._change(
            request, UnlinkObjectsResponse, "unlinked", edit
        )
        return done

    async def list(self, request: ListLinksRequest) -> ListLinksResponse:
        """Outgoing links, then incoming ones."""
        call, tokens = current_call(), self._changes.kernel.page_tokens
        where = tokens.open(call.method, call.user_id, request, request.page_token)
        start: _Position = ("in" if request.direction == _INCOMING else "out", "", [])
        stage, position, skip = json.loads(where) if where else start
        following: _Position | None
        if stage == "out":
            entries, following = await self._outgoing(request, skip, page_size(request))
            if not following and request.direction != _OUTGOING:
                following = ("in", "", [])
                if not entries:
                    entries, following = await self._incoming(request, "", [])
        else:
            entries, following = await self._incoming(request, position, skip)
        answer = ListLinksResponse(links=entries)
        if following:
            answer.next_page_token = tokens.issue(
                call.method, call.user_id, request, json.dumps(following, separators=(",", ":"))
            )
        return answer

    async def _outgoing(
        self, request: ListLinksRequest, skip: _Skip, limit: int
    ) -> tuple[_Entries, _Position | None]:
        source = await self._visible_source(request)
        if source is None:
            return [], None
        links = sorted(source.links, key=_key)
        wanted = [
            link
            for link in links
            if request.relation in ("", link.relation) and list(_key(link)) > skip
        ]
        entries = [_entry(source, link) for link in wanted[:limit]]
        if len(wanted) <= limit:
            return entries, None
        return entries, ("out", "", list(_key(wanted[limit - 1])))

    async def _visible_source(self, request: ListLinksRequest) -> Document | Project | None:
        project_id, document = request.id, None
        if request.kind == "document":
            document = await self._document(request.id)
            if document is None:
                return None
            project_id = document.project_id
        elif request.kind != "project":
            return None
        try:
            found = await self._changes.access.require(project_id, VIEW)
        except WorkspaceError as error:
            if error.reason != Reason.ERROR_REASON_PERMISSION_DENIED:
                raise
            return None
        return document or found.project

    async def _document(self, document_id: str) -> Document | None:
        try:
            key = document_key(validate_id("id", document_id))
        except WorkspaceError:
            return None
        record = await self._changes.records.get(DOCUMENT, key)
        return record.message if record else None

    async def _incoming(
        self, request: ListLinksRequest, position: str, skip: _Skip
    ) -> tuple[_Entries, _Position | None]:
        """`skip` is the source and link after which a page was cut off inside
        of one source, which then is the first of the next page."""
        limit = page_size(request)

        def weight(record: Record[Any]) -> int:
            return len(_pointing(record.message, request))

        found = await self._lists.across(Scope(), position, limit, weight, weight)
        entries: list[LinkEntry] = []
        for record in found.records:
            for link in _pointing(record.message, request):
                entry = _entry(record.message, link)
                if [entry.source_id] != skip[:1] or list(_key(link)) > skip[1:]:
                    entries.append(entry)
        if len(entries) > limit:
            last = entries[limit - 1]
            return entries[:limit], ("in", position, [last.source_id, *_key(last.link)])
        return entries, ("in", found.next, []) if found.next else None

    async def _change(
        self,
        request: _Request,
        answer: type[Any],
        reason: str,
        edit: Callable[[Document | Project], None],
    ) -> Any:
        async def decorate(done: Any) -> None:
            """They were too many for the request row: as they are now."""
            done.links.extend((await self._source(request)).links)

        if request.WhichOneof("source") == "document_id":
            return await self._change_document(request, answer, reason, edit, decorate)
        return await self._change_project(request, answer, reason, edit, decorate)

    async def _change_document(
        self,
        request: _Request,
        answer: type[Any],
        reason: str,
        edit: Callable[[Document | Project], None],
        decorate: Decorate,
    ) -> Any:
        async def decide(change: CallersEdit) -> list[Write[Any]]:
            require_present(change.before, change.project)
            edit(change.document)
            if change.document == change.before:
                return []
            return [change.snapshot(_CURATED, reason)]

        return await self._changes.run(
            request,
            answer,
            permission=WRITE,
            event=f"document.{reason}",
            decide=decide,
            build=lambda records: answer(links=records[0].message.links),
            decorate=decorate,
        )

    async def _change_project(
        self,
        request: _Request,
        answer: type[Any],
        reason: str,
        edit: Callable[[Document | Project], None],
        decorate: Decorate,
    ) -> Any:
        mutation = self._changes.begin(request, decorate=decorate)
        pk = project_pk(request.project_id)

        async def attempt() -> Any:
            found = await self._changes.access.require(request.project_id, WRITE, active=False)
            if done := await mutation.replay(pk, answer):
                return done
            require_etag(found.record, request.etag, f"projects/{request.project_id}")
            require_active(found.project)
            project = found.record.edit()
            edit(project)
            if project == found.project:
                return await self._changes.unchanged(
                    lambda records: answer(links=records[0].message.links), found.record
                )
            touched(project, user_id=found.user_id, now=self._changes.now())
            return await mutation.commit(
                pk,
                [Write(_PROJECT, project, base=found.record)],
                activity=activity_of(f"project.{reason}", project),
                answer=lambda records: answer(links=records[0].message.links),
                if_head=found.head,
            )

        return await deciding(attempt)

    async def _source(self, request: _Request) -> Document | Project:
        """The source as it is; the caller's right was checked by the change."""
        if request.WhichOneof("source") == "document_id":
            record = await self._changes.records.get(DOCUMENT, document_key(request.document_id))
        else:
            key = project_key(request.project_id)
            record = await self._changes.records.get(_PROJECT, key)
        return record.message if record else Document()


def _pointing(source: Document | Project, request: ListLinksRequest) -> list[ObjectLink]:
    if isinstance(source, Document) and source.status in _GONE:
        return []
    links = [
        link
        for link in source.links
        if (link.kind, link.id) == (request.kind, request.id)
        and request.relation in ("", link.relation)
    ]
    return sorted(links, key=_key)


def _entry(source: Document | Project, link: ObjectLink) -> LinkEntry:
    if isinstance(source, Document):
        return LinkEntry(source_kind="document", source_id=source.document_id, link=link)
    return LinkEntry(source_kind="project", source_id=source.project_id, link=link)


def _key(link: ObjectLink) -> _Key:
    return link.kind, link.id, link.relation


def _too_many(count: int) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_LIMIT_EXCEEDED,
        f"links: {count} links, at most {MOST_LINKS}; remove some with UnlinkObjects",
        metadata={"limit": "links", "maximum": str(MOST_LINKS)},
    )
