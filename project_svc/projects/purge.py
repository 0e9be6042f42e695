"""Purging projects: by an owner, and by retention.

1. The project becomes a stub: one commit under its head, which a legal hold that
   is set meanwhile defeats.
2. Each of its documents gets due work (`purge.py`), which finds the project
   purged and does the rest. Grants and history stay.

The due row of step 2 is there before step 1; its handler does both.
"""

from __future__ import annotations

from workspace.project.v1.document_pb2 import DocumentStatus
from workspace.project.v1.project_pb2 import Project, ProjectStatus
from workspace.project.v1.project_service_pb2 import PurgeProjectRequest, PurgeProjectResponse

from project_svc.access.facts import project_pk
from project_svc.access.gate import Access, ProjectAccess, invalid_state, status_word
from project_svc.documents.purge import DOCUMENT_PURGE, GUARD_SECONDS, HELD_SECONDS
from project_svc.documents.rows import DOCUMENT
from project_svc.projects.changes import ProjectChanges, activity_of
from project_svc.projects.holds import (
    has_open_conflict,
    is_held,
    postponed,
    require_no_conflict,
    require_no_hold,
    require_retained,
)
from services.kernel import Kernel
from services.model.families import FAMILIES
from services.model.indexes import Index
from services.model.permissions import OWNER
from services.model.times import from_timestamp, to_timestamp
from services.records.record import Write

__all__ = ["PROJECT_PURGE", "ProjectPurge"]

PROJECT_PURGE = "project.purge"
"""Kind of due work; the subject is the project id."""

_PROJECT = FAMILIES["project"]
_TRASHED = ProjectStatus.PROJECT_STATUS_TRASHED
_PURGED = ProjectStatus.PROJECT_STATUS_PURGED
_DOCUMENT_PURGED = DocumentStatus.DOCUMENT_STATUS_PURGED
_PAGE = 200
_CONTENT = ("description", "links", "status_before_trash")


class ProjectPurge:
    """The use case of PurgeProject, and the due work of both steps."""

    def __init__(self, *, kernel: Kernel, access: Access) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._access = access
        self._changes = ProjectChanges(kernel=kernel, access=access)

    async def purge(self, request: PurgeProjectRequest) -> PurgeProjectResponse:
        """The project as a stub; its documents follow within seconds. Raises
        INVALID_STATE unless it is in the trash and while a conflict of sync is
        open, HELD under a hold or before `purge_after`."""

        async def decide(found: ProjectAccess, project: Project) -> None:
            resource = f"projects/{project.project_id}"
            if project.status != _TRASHED:
                raise invalid_state(
                    resource, status_word(project), "only what is in the trash is purged"
                )
            require_no_hold(found)
            require_retained(resource, project.purge_after, self._access.now())
            await require_no_conflict(self._records, project.project_id, resource)
            await self._soon(project.project_id, GUARD_SECONDS)
            _empty(project)

        answer = await self._changes.run(
            request,
            PurgeProjectResponse,
            project_id=request.project_id,
            etag=request.etag,
            event="project.purged",
            authorise=lambda: self._access.require(request.project_id, OWNER),
            decide=decide,
        )
        await self._soon(request.project_id)
        return answer

    async def run(self, project_id: str) -> float | None:
        """Due work: both steps, as far as they are to be done now. Answers when
        to look again (unix seconds)."""
        view = await self._access.facts.project(project_id)
        if view is None:
            return None
        project = view.record.message
        found = await self._access.of(project.trashed_by or project.created_by, project_id)
        if found is None:
            return None
        if found.project.status != _PURGED:
            again = await self._not_yet(found)
            if again is not None:
                return again or None
            await self._end(found)
        await self._documents(project_id)
        return None

    async def _not_yet(self, found: ProjectAccess) -> float | None:
        """None: end it now. 0: not at all. Else when to look again."""
        project, now = found.project, self._kernel.now()
        # Without an end of its retention, as a merge may show it, nothing ends.
        if project.status != _TRASHED or not project.HasField("purge_after"):
            return 0.0
        until = from_timestamp(project.purge_after).timestamp()
        if until > now:
            return until
        if is_held(found):
            return now + HELD_SECONDS
        if await has_open_conflict(self._records, project.project_id):
            return postponed(f"projects/{project.project_id}", now)
        return None

    async def _end(self, found: ProjectAccess) -> None:
        """Step 1 without a caller."""
        project = found.record.edit()
        _empty(project)
        project.updated_at.CopyFrom(to_timestamp(self._access.now()))
        await self._records.commit(
            found.head.pk,
            [Write(_PROJECT, project, base=found.record)],
            activity=activity_of("project.purged", project),
            if_head=found.head,
        )

    async def _documents(self, project_id: str) -> None:
        """Step 2: each document looks after itself, holds included."""
        after: str | None = None
        while True:
            page = await self._records.query(
                DOCUMENT,
                Index.PROJECT,
                project_pk(project_id),
                prefix="ARTIFACT#",
                limit=_PAGE,
                after=after,
            )
            for record in page.records:
                if record.message.status != _DOCUMENT_PURGED:
                    await self._kernel.due.schedule(
                        DOCUMENT_PURGE, record.message.document_id, self._kernel.now()
                    )
            if page.next is None:
                return
            after = page.next

    async def _soon(self, project_id: str, seconds: float = 0.0) -> None:
        await self._kernel.due.schedule(PROJECT_PURGE, project_id, self._kernel.now() + seconds)


def _empty(project: Project) -> None:
    """What stays of a purged project: its name, home, state, and who and when."""
    for name in _CONTENT:
        project.ClearField(name)  # type: ignore[arg-type]
    project.status = _PURGED
