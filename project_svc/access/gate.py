"""Who may do what on a project: the one gate of every RPC of this service.

Absent and forbidden are the same PERMISSION_DENIED (AIP-211). What the state
of the project forbids is INVALID_STATE, told only to who may see the project.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime

import grpc.aio
from workspace.project.v1.project_pb2 import Project, ProjectStatus

from project_svc.access.facts import FactsReader, ProjectView, UserView
from project_svc.access.token_cut import allows_cut, evaluate_cut, leaves
from services.model.errors import Reason, WorkspaceError, permission_denied
from services.model.ids import NO_ACCOUNT
from services.model.permissions import (
    COMMENT,
    REVIEW,
    VIEW,
    WRITE,
    Effective,
    may_read_suspended,
    permission_names,
)
from services.records.deciding import Still
from services.records.record import Head, Record
from services.rpc.consistency import AS_OF_NOW, Demand
from services.rpc.context import current_call

__all__ = [
    "Access",
    "ProjectAccess",
    "invalid_state",
    "is_gone",
    "require_active",
    "status_word",
]

_ACTIVE = int(ProjectStatus.PROJECT_STATUS_ACTIVE)
_GONE = frozenset(
    [int(ProjectStatus.PROJECT_STATUS_TRASHED), int(ProjectStatus.PROJECT_STATUS_PURGED)]
)
_CHANGES_CONTENT = frozenset([COMMENT, REVIEW, WRITE])


@dataclass(frozen=True, slots=True)
class ProjectAccess:
    """What was decided, and what it rests on.

    `record` is the project; `permissions` all the caller holds, expanded;
    `grant_revision` changes with grants and assignment. Commit to the
    project's partition with `if_head=head`, so that a right that is revoked
    in between fails the write. Memberships lie elsewhere, and so do documents:
    what rests on other partitions is looked at again (`Access.still`).
    """

    user_id: str
    view: ProjectView
    user: UserView
    effective: Effective

    @property
    def record(self) -> Record[Project]:
        return self.view.record

    @property
    def project(self) -> Project:
        """The stored message; never change it."""
        return self.view.record.message

    @property
    def permissions(self) -> frozenset[int]:
        return self.effective.permissions

    @property
    def grant_revision(self) -> str:
        return self.view.grant_revision

    @property
    def head(self) -> Head:
        return self.view.head


class Access:
    """Decides by facts as of now, or as fresh as a `demand` asks. `now` is unix
    seconds."""

    def __init__(self, *, facts: FactsReader, now: Callable[[], float]) -> None:
        self.facts = facts
        self._now = now

    def now(self) -> datetime:
        """Server time, by which grants end."""
        return datetime.fromtimestamp(self._now(), UTC)

    async def check(
        self, user_id: str, project_id: str, permission: int, demand: Demand = AS_OF_NOW
    ) -> bool:
        """Whether the user holds the permission; an absent project is False."""
        view = await self.facts.project(project_id, demand)
        if view is None:
            return await self._absent(user_id, demand)
        facts, _ = await self.facts.facts(view, user_id, demand)
        return allows_cut(facts, permission, self.now())

    async def of(
        self, user_id: str, project_id: str, demand: Demand = AS_OF_NOW
    ) -> ProjectAccess | None:
        """What the user holds on a project; None if there is no such project."""
        view = await self.facts.project(project_id, demand)
        if view is None:
            await self._absent(user_id, demand)
            return None
        facts, user = await self.facts.facts(view, user_id, demand)
        return ProjectAccess(user_id, view, user, evaluate_cut(facts, self.now()))

    async def _absent(self, user_id: str, demand: Demand) -> bool:
        """False, after the reads that a project takes: nobody learns by the time of a
        refusal whether there is one."""
        await self.facts.user(user_id, accounts=(NO_ACCOUNT,), demand=demand)
        return False

    async def of_each(
        self, user_id: str, project_ids: Collection[str]
    ) -> dict[str, ProjectAccess | Exception]:
        """`of` for many projects with one call to identity. An absent project is
        left out; one that cannot be decided now fails alone, with its error."""
        try:
            views = await self.facts.projects(project_ids)
            accounts = frozenset[str]().union(*(view.accounts for view in views.values()))
            teams = frozenset[str]().union(*(view.teams for view in views.values()))
            user = await self.facts.user(user_id, accounts, teams)
        except (WorkspaceError, grpc.aio.AioRpcError):
            alone = {each: await self._tried(user_id, each) for each in project_ids}
            return {each: found for each, found in alone.items() if found is not None}
        now = self.now()
        return {
            each: ProjectAccess(user_id, view, user, evaluate_cut(view.facts(user_id, user), now))
            for each, view in views.items()
        }

    async def _tried(self, user_id: str, project_id: str) -> ProjectAccess | Exception | None:
        try:
            return await self.of(user_id, project_id)
        except (WorkspaceError, grpc.aio.AioRpcError) as error:
            return error

    async def require(
        self,
        project_id: str,
        permission: int,
        *,
        resource: str | None = None,
        active: bool | None = None,
        closed_home: bool = False,
        demand: Demand = AS_OF_NOW,
    ) -> ProjectAccess:
        """The caller's access, or the reason why not.

        `resource` is what the denial names (default: the project). `active`
        demands an active project (default: for comment, review and write; what
        is archived, trashed or purged can be read, not changed). `closed_home`
        lets the owners of a suspended home read: GetProject and export alone.

        Raises PERMISSION_DENIED for absent and forbidden, INVALID_STATE for a
        state that forbids it.
        """
        user_id = current_call().user_id
        found = await self.of(user_id, project_id, demand) if user_id else None
        return self.admit(
            found,
            permission,
            resource=resource or f"projects/{project_id}",
            active=active,
            closed_home=closed_home,
        )

    def admit(
        self,
        found: ProjectAccess | None,
        permission: int,
        *,
        resource: str,
        active: bool | None = None,
        closed_home: bool = False,
    ) -> ProjectAccess:
        """`require` for an access that was read before, by `of` or `of_each`."""
        if found is None or not self._holds(found, permission, closed_home):
            raise permission_denied(permission_names([permission])[0], resource)
        if active if active is not None else permission in _CHANGES_CONTENT:
            require_active(found.project)
        return found

    def still(self, found: ProjectAccess, permission: int, *, resource: str = "") -> Still:
        """The same decision as of the moment it is asked, for a commit that no head of
        the project guards, or whose right may come from a membership."""

        async def decide() -> None:
            self.admit(
                await self.of(found.user_id, found.view.project_id),
                permission,
                resource=resource or f"projects/{found.view.project_id}",
                active=False,
            )

        return decide

    def _holds(self, found: ProjectAccess, permission: int, closed_home: bool) -> bool:
        if permission in found.permissions:
            return True
        facts = found.view.facts(found.user_id, found.user)
        return (
            closed_home
            and permission == VIEW
            and leaves(facts, VIEW)
            and may_read_suspended(facts, self.now())
        )


def status_word(project: Project) -> str:
    """`active`, `archived`, `trashed`, `purged`."""
    return ProjectStatus.Name(project.status).removeprefix("PROJECT_STATUS_").lower()


def invalid_state(resource: str, state: str, remedy: str) -> WorkspaceError:
    """FAILED_PRECONDITION that names the state and what to do about it."""
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE,
        f"{resource} is {state}; {remedy}",
        metadata={"resource": resource, "state": state},
    )


def is_gone(project: Project) -> bool:
    """Whether it is in the trash or purged: its files are at nobody's disposal."""
    return project.status in _GONE


def require_active(project: Project) -> None:
    """Raises INVALID_STATE unless the project is active."""
    if project.status != _ACTIVE:
        remedy = "restore it first" if is_gone(project) else "set it active first"
        raise invalid_state(f"projects/{project.project_id}", status_word(project), remedy)
