"""What a caller could restore: trashed projects, trashed documents of live ones.

In order of project id, then of document id. Owners restore, so only projects
that the caller owns are looked at. A call examines at most 2,000 documents.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from workspace.project.v1.document_pb2 import Document, DocumentStatus
from workspace.project.v1.project_pb2 import Project, ProjectStatus
from workspace.project.v1.project_service_pb2 import (
    ListTrashRequest,
    ListTrashResponse,
    TrashItem,
)

from project_svc.access.answers import project_message
from project_svc.access.candidates import granted_to
from project_svc.access.facts import ProjectView
from project_svc.access.gate import Access
from project_svc.access.visible import Found, VisibleProjects
from project_svc.documents.rows import shown
from services.kernel import Kernel
from services.model.families import FAMILIES
from services.model.indexes import Index
from services.model.permissions import OWNER
from services.records.record import Record
from services.rpc.context import current_call
from services.rpc.page_tokens import page_size

__all__ = ["TrashList"]

_DOCUMENT = FAMILIES["document"]
_TRASHED = ProjectStatus.PROJECT_STATUS_TRASHED
_PURGED = ProjectStatus.PROJECT_STATUS_PURGED
_PREFIX = "ARTIFACT#"
# Above the end of an id, below every character that goes on with one.
_AFTER_ID = "!"
_MOST_EXAMINED = 2_000
_ROWS_A_READ = 200
_PROJECTS_A_READ = 50


@dataclass(slots=True)
class _Walk:
    """Where a call stands. `done`: every project up to this id is finished;
    `project_id`, `document_id`: how far it came inside the next one."""

    limit: int
    done: str = ""
    project_id: str = ""
    document_id: str = ""
    items: list[TrashItem] = field(default_factory=list)
    examined: int = 0

    @property
    def full(self) -> bool:
        return len(self.items) >= self.limit or self.examined >= _MOST_EXAMINED

    def position(self) -> str:
        return json.dumps([self.done, self.project_id, self.document_id])

    def finish(self, project_id: str) -> None:
        self.done, self.project_id, self.document_id = project_id, "", ""


class TrashList:
    """The use case of ListTrash."""

    def __init__(self, *, kernel: Kernel, access: Access, visible: VisibleProjects) -> None:
        self._kernel = kernel
        self._access = access
        self._visible = visible

    async def list(self, request: ListTrashRequest) -> ListTrashResponse:
        """One page. Raises PERMISSION_DENIED for a `project_id` that the
        caller does not own."""
        call = current_call()
        opened = self._kernel.page_tokens.open(
            call.method, call.user_id, request, request.page_token
        )
        walk = _Walk(page_size(request), *(json.loads(opened) if opened else ()))
        more = await self._walk(walk, request, call.user_id)
        answer = ListTrashResponse(items=walk.items)
        if more:
            answer.next_page_token = self._kernel.page_tokens.issue(
                call.method, call.user_id, request, walk.position()
            )
        return answer

    async def _walk(self, walk: _Walk, request: ListTrashRequest, user_id: str) -> bool:
        """Fill the page; whether something may be left."""
        async for found in self._owned(walk, request, user_id):
            view = found.view
            if view.record.message.status != _TRASHED:
                await self._documents(walk, view)
            elif not request.project_id:
                project = project_message(view.record, found.effective.permissions)
                walk.items.append(TrashItem(project=project))
                walk.finish(view.project_id)
            if walk.full:
                return True
        return False

    async def _owned(
        self, walk: _Walk, request: ListTrashRequest, user_id: str
    ) -> AsyncIterator[Found]:
        if request.project_id:
            own = await self._access.require(request.project_id, OWNER)
            if walk.done != request.project_id:
                yield Found(own.view, own.effective)
            return
        members = await self._visible.memberships(user_id)
        while True:
            page = await self._visible.page(
                user_id,
                members,
                [granted_to(Index.USER, f"USER#{user_id}")],  # owner grants are for users only
                after=walk.done,
                limit=_PROJECTS_A_READ,
                permission=OWNER,
                wanted=lambda project: _in_scope(project, request),
            )
            for found in page.found:
                yield found
            if not page.next:
                return
            walk.finish(page.next)

    async def _documents(self, walk: _Walk, view: ProjectView) -> None:
        after = walk.document_id if walk.project_id == view.project_id else ""
        walk.project_id, walk.document_id = view.project_id, after
        async for record in self._rows(view.project_id, after):
            walk.document_id = record.message.document_id
            walk.examined += 1
            if record.message.status == DocumentStatus.DOCUMENT_STATUS_TRASHED:
                document = shown(record, self._kernel.settings.provider)
                walk.items.append(TrashItem(document=document))
            if walk.full:
                return
        walk.finish(view.project_id)

    async def _rows(self, project_id: str, after: str) -> AsyncIterator[Record[Document]]:
        """Documents of the project above an id, each by a strong read."""
        position: str | None = None
        while True:
            page = await self._kernel.records.run(
                Index.PROJECT,
                f"PROJECT#{project_id}",
                lower=_PREFIX + after + (_AFTER_ID if after else ""),
                upper=_PREFIX[:-1] + "$",
                limit=_ROWS_A_READ,
                after=position,
            )
            keys = [item.key for item in page.items]
            records = await self._kernel.records.batch_get(_DOCUMENT, keys) if keys else []
            for record in records:
                if record is not None and record.message.project_id == project_id:
                    yield record
            if page.next is None:
                return
            position = page.next


def _in_scope(project: Project, request: ListTrashRequest) -> bool:
    return (
        project.status != _PURGED
        and request.account_id in ("", project.account_id)
        and request.workspace_id in ("", project.workspace_id)
    )
