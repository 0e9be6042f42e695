"""Lists of documents: of one project, or of every project that the caller sees.

The scopes account, team and workspace are those of the projects, decided by
strong reads; the copies on documents may lag and are not asked.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from workspace.project.v1.document_pb2 import Document, DocumentStatus
from workspace.project.v1.document_service_pb2 import ListDocumentsRequest, ListDocumentsResponse
from workspace.project.v1.project_pb2 import Project, ProjectStatus

from project_svc.access.candidates import CandidateSource, granted_to, open_projects, projects_of
from project_svc.access.facts import ProjectView, project_pk
from project_svc.access.visible import Memberships, VisibleProjects
from project_svc.documents.changes import DocumentChanges
from project_svc.documents.rows import DOCUMENT
from project_svc.scans import MOST_EXAMINED, Scanned, Weight, scan
from services.model.indexes import Index
from services.model.permissions import VIEW
from services.records.record import Record
from services.rpc.context import current_call
from services.rpc.page_tokens import page_size

__all__ = ["Crossing", "DocumentLists", "Scope"]

_SHOWN = (ProjectStatus.PROJECT_STATUS_ACTIVE, ProjectStatus.PROJECT_STATUS_ARCHIVED)
_NOT_BY_DEFAULT = (
    DocumentStatus.DOCUMENT_STATUS_ARCHIVED,
    DocumentStatus.DOCUMENT_STATUS_TRASHED,
    DocumentStatus.DOCUMENT_STATUS_PURGED,
)
_PROJECTS_AT_ONCE = 25


@dataclass(frozen=True, slots=True)
class Scope:
    """Which of the visible projects; empty means all."""

    account_id: str = ""
    team_id: str = ""
    workspace_id: str = ""

    def holds(self, project: Project) -> bool:
        return (
            project.status in _SHOWN
            and self.account_id in ("", project.account_id)
            and self.team_id in ("", project.team_id)
            and self.workspace_id in ("", project.workspace_id)
        )


@dataclass(slots=True)
class Crossing:
    """Documents found across projects; `next` is the position to go on from,
    '' at the end."""

    records: list[Record[Any]] = field(default_factory=list)
    next: str = ""


class DocumentLists:
    """Use cases of ListDocuments, and the walk across projects."""

    def __init__(self, *, changes: DocumentChanges, visible: VisibleProjects) -> None:
        self._changes = changes
        self._visible = visible
        self._tokens = changes.kernel.page_tokens

    async def list(self, request: ListDocumentsRequest) -> ListDocumentsResponse:
        """Documents in order of id, within projects in order of id."""
        call = current_call()
        position = self._tokens.open(call.method, call.user_id, request, request.page_token)
        weight, limit = _weight(request), page_size(request)
        found: Scanned | Crossing
        if request.project_id:
            await self._changes.access.require(request.project_id, VIEW)
            found = await self.of_project(request.project_id, position, limit, weight)
        else:
            scope = Scope(request.account_id, request.team_id, request.workspace_id)
            found = await self.across(scope, position, limit, weight)
        answer = ListDocumentsResponse(documents=map(self._changes.shown, found.records))
        if found.next:
            answer.next_page_token = self._tokens.issue(
                call.method, call.user_id, request, found.next
            )
        return answer

    async def of_project(
        self,
        project_id: str,
        position: str,
        limit: int,
        weight: Weight | None,
        budget: int = MOST_EXAMINED,
        opens: bool = True,
    ) -> Scanned:
        """Documents of one project; the right to see it is decided before."""
        return await scan(
            self._changes.records,
            DOCUMENT,
            Index.PROJECT,
            project_pk(project_id),
            prefix="ARTIFACT#",
            limit=limit,
            position=position,
            budget=budget,
            weight=weight,
            opens=opens,
        )

    async def across(
        self,
        scope: Scope,
        position: str,
        limit: int,
        weight: Weight | None,
    ) -> Crossing:
        """Documents of the visible projects of the scope.

        The position is (last project that is done, project in work, position
        in it).
        """
        done, current, inner = json.loads(position) if position else ("", "", "")
        out, held, examined = Crossing(), 0, 0
        async for view in self.projects(scope, done):
            project_id = view.project_id
            inside = inner if project_id == current else ""
            found = await self.of_project(
                project_id, inside, limit - held, weight, MOST_EXAMINED - examined, held == 0
            )
            out.records += found.records
            held, examined = held + found.weight, examined + found.examined
            if found.next:
                out.next = _position(done, project_id, found.next)
                return out
            done = project_id
            if held >= limit or examined >= MOST_EXAMINED:
                out.next = _position(done)
                return out
        return out

    async def projects(self, scope: Scope, after: str) -> AsyncIterator[ProjectView]:
        """Visible projects of the scope above the id `after`, in order of id."""
        user_id = current_call().user_id
        members = await self._visible.memberships(user_id)
        sources = _sources(user_id, members, scope)
        while True:
            page = await self._visible.page(
                user_id, members, sources, after=after, limit=_PROJECTS_AT_ONCE, wanted=scope.holds
            )
            for found in page.found:
                yield found.view
            if not page.next:
                return
            after = page.next


def _position(done: str, current: str = "", inner: str = "") -> str:
    return json.dumps([done, current, inner], separators=(",", ":"))


def _sources(user_id: str, members: Memberships, scope: Scope) -> Sequence[CandidateSource]:
    """The smallest sources that hold the whole answer."""
    if scope.team_id in members.teams:
        return projects_of(Index.TEAM, f"TEAM#{scope.team_id}")
    if scope.workspace_id in members.accounts:
        return projects_of(Index.ACCOUNT, f"WORKSPACE#{scope.workspace_id}")
    sources = [granted_to(Index.USER, f"USER#{user_id}")]
    sources += [granted_to(Index.TEAM, f"TEAM#{team}") for team in sorted(members.teams)]
    for account in sorted(members.accounts):
        sources += [granted_to(Index.ACCOUNT, f"ACCOUNT#{account}"), open_projects(account)]
    return sources


def _weight(request: ListDocumentsRequest) -> Weight:
    def weigh(record: Record[Document]) -> int:
        return int(_matches(record.message, request))

    return weigh


def _matches(document: Document, request: ListDocumentsRequest) -> bool:
    if request.status:
        if document.status != request.status:
            return False
    elif document.status in _NOT_BY_DEFAULT:
        return False
    return (
        request.document_type in ("", document.document_type)
        and request.classification in (0, document.classification)
        and (not request.tag or request.tag in document.concept_tags)
        and document.relative_path.startswith(request.relative_path_prefix)
        and document.name.startswith(request.name_prefix)
    )
