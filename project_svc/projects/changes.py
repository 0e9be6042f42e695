"""A change of a project's own row: authorise, replay, decide, commit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from google.protobuf.message import Message
from workspace.project.v1.project_pb2 import Project

from project_svc.access.answers import project_message, touched
from project_svc.access.facts import project_pk
from project_svc.access.gate import Access, ProjectAccess
from services.kernel import Kernel
from services.model.families import FAMILIES
from services.model.permissions import VIEW
from services.records.deciding import deciding
from services.records.mutation import Mutation, require_etag
from services.records.record import Activity, Record, Write
from services.rpc.context import current_call

__all__ = ["ProjectChanges", "activity_of"]

_PROJECT = FAMILIES["project"]


class _Answer(Protocol):
    def __call__(self, *, project: Project) -> Any: ...


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
        mutation = self.begin(request)
        pk = project_pk(project_id)
        make: Any = kind

        async def attempt() -> R:
            found = await authorise()
            if done := await mutation.replay(pk, make):
                return done  # type: ignore[no-any-return]
            require_etag(found.record, etag, f"projects/{project_id}")
            project = found.record.edit()
            await decide(found, project)
            if project == found.project:
                return self._unchanged(make, found)  # type: ignore[no-any-return]
            touched(project, user_id=found.user_id, now=self._access.now())
            return await mutation.commit(  # type: ignore[no-any-return]
                pk,
                [Write(_PROJECT, project, base=found.record)],
                activity=activity_of(event, project),
                answer=lambda records: _answered(make, found, records[0]),
                if_head=found.head,
                still=authorise,
            )

        return await deciding(attempt)

    def begin(self, request: Message) -> Mutation:
        """A mutating call that answers a project."""
        return self._kernel.mutations.begin(request, decorate=self._decorate)

    async def _decorate(self, answer: Any) -> None:
        """A project that was read again for a replay: with what the caller may
        do, or the id alone for who may not view it (any more)."""
        project: Project = answer.project
        found = await self._access.of(current_call().user_id, project.project_id)
        if found is not None and VIEW in found.permissions:
            project.CopyFrom(project_message(found.record, found.permissions))
        else:
            project.CopyFrom(Project(project_id=project.project_id))

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
