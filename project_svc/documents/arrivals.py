"""What follows when documents and projects came or changed by sync.

Documents: the copies of their project's home, the claim of their place, and due work:
what another node trashed is purged here, too, should nobody have done it a day after
its time, and of what it purged the bytes go here. Projects: the copies on all of
their documents, in whatever order both came, and the same due work.

Words and links follow by themselves (`indexing.py`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from workspace.project.v1.document_pb2 import Document, DocumentStatus
from workspace.project.v1.project_pb2 import Project, ProjectStatus

from project_svc.access.facts import project_key
from project_svc.documents.denormalised import Denormalised
from project_svc.documents.names import PlaceClaims
from project_svc.documents.purge import DOCUMENT_PURGE
from project_svc.documents.rows import DOCUMENT, document_key
from project_svc.documents.shared_places import SharedPlaces
from project_svc.projects.purge import PROJECT_PURGE
from services.events.due import DueHandler
from services.events.following import Follower, came_from_elsewhere
from services.kernel import Kernel
from services.model.families import FAMILIES
from services.model.times import from_timestamp
from services.records.port import Item
from services.records.record import Record

__all__ = ["DOCUMENT_ARRIVED", "PROJECT_ARRIVED", "Arrivals"]

DOCUMENT_ARRIVED: Final = "document.arrived"
PROJECT_ARRIVED: Final = "project.arrived"
"""Kinds of due work; the subject is the id."""

_PROJECT = FAMILIES["project"]
_LATE_SECONDS: Final = 24 * 3600
"""Who trashed it comes first; two purges of one thing only make more history."""
_MISSING_SECONDS: Final = 3600.0
_MOST_HOMES: Final = 10_000


class Arrivals:
    """See the module. `follower` runs in the background, `due` is its due work."""

    def __init__(self, kernel: Kernel) -> None:
        records = kernel.records
        self._kernel = kernel
        self._records = records
        self._copies = Denormalised(records)
        self._places = SharedPlaces(
            records=records, claims=PlaceClaims(records=records, now=kernel.now), now=kernel.now
        )
        self._homes: OrderedDict[str, tuple[str, str, str]] = OrderedDict()
        self.due: Mapping[str, DueHandler] = {
            DOCUMENT_ARRIVED: self.document, PROJECT_ARRIVED: self.project,
        }
        self.follower = Follower(
            kernel, name="project_svc", subjects=self._subjects, handlers=self.due
        )

    async def document(self, document_id: str) -> float | None:
        """Look at a document; idempotent."""
        record: Record[Document] | None = await self._records.get(
            DOCUMENT, document_key(document_id)
        )
        again = await self._places.settle(document_id)
        if record is None:
            return again
        project = await self._records.get(_PROJECT, project_key(record.message.project_id))
        await self._retain(record.message)
        if project is None:  # the copies come with it; what is due waits for it
            return self._kernel.now() + _MISSING_SECONDS
        await self._copies.rewrite(record, project.message)
        return again

    async def project(self, project_id: str) -> float | None:
        """Look at a project, and at the copies on its documents if its home is another
        one than when this process last did."""
        record: Record[Project] | None = await self._records.get(
            _PROJECT, project_key(project_id)
        )
        if record is None:
            return None
        project = record.message
        home = (project.account_id, project.team_id, project.workspace_id)
        if self._homes.get(project_id) != home:
            await self._copies.refresh(project_id)
            self._remember(project_id, home)
        if project.status == ProjectStatus.PROJECT_STATUS_PURGED:
            await self._kernel.due.schedule(PROJECT_PURGE, project_id, self._kernel.now())
        elif project.status == ProjectStatus.PROJECT_STATUS_TRASHED:
            await self._late(PROJECT_PURGE, project_id, project)
        return None

    def _subjects(self, items: Sequence[Item]) -> Iterable[tuple[str, str]]:
        actor = self._records.actor
        for item in items:
            if item.family == DOCUMENT.name and came_from_elsewhere(item, actor):
                yield DOCUMENT_ARRIVED, item.key.pk.removeprefix("DOCUMENT#")
            elif item.family == _PROJECT.name and came_from_elsewhere(item, actor):
                yield PROJECT_ARRIVED, item.key.pk.removeprefix("PROJECT#")

    async def _retain(self, document: Document) -> None:
        if document.status == DocumentStatus.DOCUMENT_STATUS_PURGED:
            now = self._kernel.now()
            await self._kernel.due.schedule(DOCUMENT_PURGE, document.document_id, now)
        elif document.status == DocumentStatus.DOCUMENT_STATUS_TRASHED:
            await self._late(DOCUMENT_PURGE, document.document_id, document)

    async def _late(self, kind: str, subject: str, trashed: Document | Project) -> None:
        if trashed.HasField("purge_after"):
            at = from_timestamp(trashed.purge_after).timestamp() + _LATE_SECONDS
            await self._kernel.due.schedule(kind, subject, at)

    def _remember(self, project_id: str, home: tuple[str, str, str]) -> None:
        self._homes[project_id] = home
        self._homes.move_to_end(project_id)
        while len(self._homes) > _MOST_HOMES:
            self._homes.popitem(last=False)
