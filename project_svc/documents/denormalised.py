"""Copies of account, team and workspace on documents, after a project moved.

The copies serve lists of other services and decide nothing. They are local to a
surface, so the rewrite is no new version of the document: stamp, etag and
history stay, only the row and its index entries change, on condition that the
row is the one that was read. A due row that is there before the project moves
has the work done again if a crash cuts it off.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from workspace.project.v1.document_pb2 import Document
from workspace.project.v1.project_pb2 import Project
from workspace.project.v1.project_service_pb2 import AssignProjectRequest, AssignProjectResponse

from project_svc.access.facts import project_key, project_pk
from project_svc.documents.rows import DOCUMENT, copy_home
from project_svc.projects.assignment import Assignments
from services.kernel import Kernel
from services.model.families import FAMILIES
from services.model.indexes import Index
from services.records.codec import dump, encode
from services.records.port import ConditionFailed, Match, Put
from services.records.record import Record
from services.records.store import RecordStore
from services.rpc.context import set_current_call

__all__ = ["DENORMALISED", "Denormalised", "RefreshingAssignments"]

DENORMALISED = "project.copies"
"""Kind of due work; the subject is the project id."""

_PROJECT = FAMILIES["project"]
_PAGE = 200
_GUARD_SECONDS = 60.0
_log = logging.getLogger("workspace.project.denormalised")


class Denormalised:
    """Rewrites the copies of one project's documents; callable again at any time."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records

    async def run(self, project_id: str) -> None:
        """Due work: `refresh`, some time after the project may have moved."""
        await self.refresh(project_id)

    async def refresh(self, project_id: str) -> int:
        """Bring every document's copies up to date; answers how many changed.
        A document that changes meanwhile is left to its writer, who refreshes
        them too."""
        changed, after = 0, None
        while True:
            project = await self._records.get(_PROJECT, project_key(project_id))
            if project is None:
                return changed
            page = await self._records.query(
                DOCUMENT,
                Index.PROJECT,
                project_pk(project_id),
                prefix="ARTIFACT#",
                limit=_PAGE,
                after=after,
            )
            for record in page.records:
                changed += await self.rewrite(record, project.message)
            after = page.next
            if after is None:
                return changed

    async def rewrite(self, record: Record[Document], project: Project) -> int:
        """Bring the copies of one document up to date; 1 if that was to be done and is."""
        document = record.edit()
        copy_home(document, project)
        if document == record.message:
            return 0
        item = record.item
        body = encode(DOCUMENT, document, json.loads(item.body))
        put = Put(
            item.key,
            Match(item.token),
            item.family,
            dump(body),
            item.stamp,
            expires_at=item.expires_at,
            indexes=DOCUMENT.index_entries(document),
        )
        try:
            await self._records.put_row(put)
        except ConditionFailed:
            return 0
        return 1


class RefreshingAssignments(Assignments):
    """AssignProject that has the copies follow in the background."""

    def __init__(self, *, denormalised: Denormalised, kernel: Kernel, **parts: Any) -> None:
        super().__init__(kernel=kernel, **parts)
        self._due = kernel.due
        self._now = kernel.now
        self._denormalised = denormalised
        self._running: set[asyncio.Task[None]] = set()

    async def assign(self, request: AssignProjectRequest) -> AssignProjectResponse:
        """See Assignments. The due row is looked at when the move has happened
        or never will, whatever became of this process."""
        at = self._now() + _GUARD_SECONDS
        await self._due.schedule(DENORMALISED, request.project_id, at)
        answer = await super().assign(request)
        task = asyncio.get_running_loop().create_task(self._follow(request.project_id))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return answer

    async def _follow(self, project_id: str) -> None:
        set_current_call(None)
        try:
            await self._denormalised.refresh(project_id)
        except Exception:
            _log.exception("copies of %s are not up to date", f"projects/{project_id}")
