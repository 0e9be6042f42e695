"""Typed links: stored at their source, a document or project, read from both ends.

Incoming links are found through `link_index.py`, which proposes sources; a link
is answered when its source is read, has it, and may be viewed. Pages are
complete and resumable; a call looks at 2,000 candidates at most.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
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
from workspace.project.v1.project_pb2 import Project, ProjectStatus

from project_svc.access.answers import touched
from project_svc.access.facts import project_key, project_pk
from project_svc.access.gate import ProjectAccess, require_active
from project_svc.documents.changes import CallersEdit, DocumentChanges, require_present
from project_svc.documents.link_index import LinkIndex, LinkRow
from project_svc.documents.rows import DOCUMENT, document_key
from project_svc.projects.changes import activity_of
from project_svc.scans import MOST_EXAMINED
from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES
from services.model.names import validate_id
from services.model.permissions import VIEW, WRITE
from services.records.deciding import deciding
from services.records.mutation import Decorate, require_etag
from services.records.record import Write
from services.rpc.context import current_call
from services.rpc.page_tokens import page_size

__all__ = ["MOST_LINKS", "Links"]

MOST_LINKS = 200
_PROJECT = FAMILIES["project"]
_CURATED = MetadataRecordType.METADATA_RECORD_TYPE_CURATED
_OUTGOING = LinkDirection.LINK_DIRECTION_OUTGOING
_INCOMING = LinkDirection.LINK_DIRECTION_INCOMING
_GONE = (DocumentStatus.DOCUMENT_STATUS_TRASHED, DocumentStatus.DOCUMENT_STATUS_PURGED)
_SHOWN = (ProjectStatus.PROJECT_STATUS_ACTIVE, ProjectStatus.PROJECT_STATUS_ARCHIVED)
_CANDIDATES = 200

_Key = tuple[str, str, str]
_Entries = list[LinkEntry]
_Skip = list[str]
_Position = tuple[str, str, _Skip]
_Request = LinkObjectsRequest | UnlinkObjectsRequest


class Links:
    """Use cases of links."""

    def __init__(self, *, changes: DocumentChanges, index: LinkIndex) -> None:
        self._changes = changes
        self._index = index

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
        """`position` is the sort key of the last candidate that is done; `skip`
        the link after which a page was cut off inside of the one that follows."""
        limit, examined = page_size(request), 0
        entries: _Entries = []
        while True:
            rows, more = await self._index.sources(
                request.kind, request.id, after=position, limit=_CANDIDATES
            )
            sources = await self._verified(request, rows)
            for row in rows:
                for entry in _incoming_of(sources.get(row.sk), request):
                    if list(_key(entry.link)) <= skip:
                        continue
                    if len(entries) >= limit:
                        return entries, ("in", position, skip)
                    entries.append(entry)
                    skip = list(_key(entry.link))
                position, skip = row.sk, []
            examined += len(rows)
            if not more:
                return entries, None
            if examined >= MOST_EXAMINED:
                return entries, ("in", position, [])

    async def _verified(
        self, request: ListLinksRequest, rows: Sequence[LinkRow]
    ) -> dict[str, Document | Project]:
        """Sources that link here and that the caller may view, by the sort key
        of their row."""
        live = [row for row in rows if not row.item.deleted]
        keys = [document_key(row.source_id) for row in live if row.kind == "document"]
        found = await self._changes.records.batch_get(DOCUMENT, keys) if keys else []
        documents = {r.message.document_id: r.message for r in found if r is not None}
        projects = {row.source_id for row in live if row.kind == "project"}
        projects |= {document.project_id for document in documents.values()}
        held = await self._changes.access.of_each(current_call().user_id, projects)
        verified: dict[str, Document | Project] = {}
        for row in live:
            document = documents.get(row.source_id) if row.kind == "document" else None
            access = held.get(document.project_id if document else row.source_id)
            if isinstance(access, Exception):
                raise access
            source: Document | Project | None = document
            if row.kind == "project" and access is not None:
                source = access.project
            if source is None or not _links_to(source, request):
                await self._index.stale(row)
            elif access is not None and _is_shown(access):
                verified[row.sk] = source
        return verified

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
            await self._index.propose(change.before, _added(change.before, change.document))
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
            await self._index.propose(project, _added(found.project, project))
            touched(project, user_id=found.user_id, now=self._changes.now())
            return await mutation.commit(
                pk,
                [Write(_PROJECT, project, base=found.record)],
                activity=activity_of(f"project.{reason}", project),
                answer=lambda records: answer(links=records[0].message.links),
                if_head=found.head,
                still=self._changes.access.still(found, WRITE),
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


def _links_to(source: Document | Project, request: ListLinksRequest) -> list[ObjectLink]:
    return [link for link in source.links if (link.kind, link.id) == (request.kind, request.id)]


def _incoming_of(
    source: Document | Project | None, request: ListLinksRequest
) -> list[LinkEntry]:
    if source is None or (isinstance(source, Document) and source.status in _GONE):
        return []
    links = _links_to(source, request)
    wanted = [link for link in links if request.relation in ("", link.relation)]
    return [_entry(source, link) for link in sorted(wanted, key=_key)]


def _is_shown(access: ProjectAccess) -> bool:
    return VIEW in access.permissions and access.project.status in _SHOWN


def _added(before: Document | Project, after: Document | Project) -> list[ObjectLink]:
    known = set(map(_key, before.links))
    return [link for link in after.links if _key(link) not in known]


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
