"""A change of a project's own row: authorise, replay, decide, commit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from google.protobuf.message import Message
from workspace.project.v1.project_pb2 import Project

from project_svc.access import Access, ProjectAccess
from project_svc.answers import is_cut, project_message, storable, touched
from project_svc.facts import project_pk
from services.kernel import Kernel
from services.model.families import FAMILIES
from services.model.permissions import VIEW
from services.records.deciding import deciding
from services.records.mutation import require_etag
from services.records.record import Activity, Record, Write
from services.rpc.context import current_call

__all__ = ["ProjectChanges", "activity_of"]

_PROJECT = FAMILIES["project"]


class _Answer(Protocol):
    def __call__(self, *, project: Project) -> Any: ...


M = TypeVar("M", bound=Message)
R = TypeVar("R")
Decide = Callable[[ProjectAccess, Project], Awaitable[None]]


class ProjectChanges:
    """Runs changes of one project row under its head, so that a right that is
    revoked between check and write fails the write."""

    def __init__(self, *, kernel: Kernel, access: Access) -> None:
        self._kernel = kernel
        self._access = access

    async def run(
        self,
        request: Any,
        kind: type[R],
        *,
        project_id: str,
        etag: str,
        event: str,
        authorise: Callable[[], Awaitable[ProjectAccess]],
        decide: Decide,
    ) -> R:
        """`decide` edits the copy it is given, or raises. An edit that changes
        nothing writes nothing. Raises ETAG_MISMATCH for an outdated etag."""
        mutation = self._kernel.mutations.begin(request)
        pk = project_pk(project_id)
        make: Any = kind

        async def attempt() -> R:
            found = await authorise()
            if done := await mutation.replay(pk, make):
                return await self.whole(done)  # type: ignore[no-any-return]
            require_etag(found.record, etag, f"projects/{project_id}")
            project = found.record.edit()
            await decide(found, project)
            if project == found.project:
                return self._unchanged(make, found)  # type: ignore[no-any-return]
            touched(project, user_id=found.user_id, now=self._access.now())
            answer = await mutation.commit(
                pk,
                [Write(_PROJECT, project, base=found.record)],
                activity=activity_of(event, project),
                answer=lambda records: storable(_answered(make, found, records[0])),
                if_head=found.head,
            )
            return await self.whole(answer)  # type: ignore[no-any-return]

        return await deciding(attempt)

    async def whole(self, answer: M) -> M:
        """The answer with its project; one that was too large for the request
        row is read again, as it is now."""
        project: Project = answer.project  # type: ignore[attr-defined]
        if is_cut(project):
            found = await self._access.of(current_call().user_id, project.project_id)
            if found is not None and VIEW in found.permissions:
                project.CopyFrom(project_message(found.record, found.permissions))
        return answer

    def _unchanged(self, make: Any, found: ProjectAccess) -> Any:
        answer = _answered(make, found, found.record)
        answer.consistency_token = self._kernel.consistency.issue(
            found.head.pk, found.head.pseq, int(self._kernel.now() * 1000)
        )
        return answer


def _answered(make: _Answer, found: ProjectAccess, record: Record[Project]) -> Any:
    return make(project=project_message(record, found.permissions))


def activity_of(event: str, project: Project, resource: str = "") -> Activity:
    """The audit entry of a change of this project."""
    return Activity(
        event,
        resource or f"projects/{project.project_id}",
        account_id=project.account_id,
        project_id=project.project_id,
    )
