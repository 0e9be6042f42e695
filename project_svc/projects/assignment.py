"""Moving a project to a workspace, team or account (model.md, Homes, assignment).

One commit in the project's partition: the row, and the grants it revokes and
adds. The copies of home and team on documents follow from the event
`project.assigned`; nothing about permission ever depends on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workspace.identity.v1.account_pb2 import AccountCapability
from workspace.project.v1.grant_pb2 import Grant, GrantSource, GrantStatus, GrantTargetType
from workspace.project.v1.project_pb2 import Project
from workspace.project.v1.project_service_pb2 import AssignProjectRequest, AssignProjectResponse

from project_svc.access.answers import project_message, touched
from project_svc.access.facts import project_pk
from project_svc.access.gate import Access, ProjectAccess, require_active
from project_svc.grants.rules import assignment_permissions, end_grant
from project_svc.projects.changes import ProjectChanges, activity_of
from project_svc.projects.holds import require_no_hold
from project_svc.projects.homes import Home, Homes, Team, home_of, require_classification, team_of
from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError, invalid_field
from services.model.families import FAMILIES
from services.model.permissions import OWNER
from services.model.times import to_timestamp
from services.records.deciding import deciding
from services.records.mutation import Mutation, require_etag
from services.records.record import Record, Write

__all__ = ["Assignments"]

_PROJECT, _GRANT = FAMILIES["project"], FAMILIES["project_grant"]
_MOST_REVOKED = 88  # of 90 writes: the row and one new grant besides
_TEAM = GrantTargetType.GRANT_TARGET_TYPE_TEAM
_ACCOUNT = GrantTargetType.GRANT_TARGET_TYPE_ACCOUNT
_ASSIGNMENT = GrantSource.GRANT_SOURCE_ASSIGNMENT


@dataclass(frozen=True, slots=True)
class _Target:
    """Where the project goes: exactly one home, and a team or none."""

    account_id: str
    workspace_id: str
    team_id: str = ""

    @property
    def home_id(self) -> str:
        return self.account_id or self.workspace_id


class Assignments:
    """The use case of AssignProject."""

    def __init__(self, *, kernel: Kernel, access: Access, homes: Homes) -> None:
        self._kernel = kernel
        self._access = access
        self._homes = homes
        self._changes = ProjectChanges(kernel=kernel, access=access)

    async def assign(self, request: AssignProjectRequest) -> AssignProjectResponse:
        """Move the project. Needs `owner`, `manage_account` of an account that
        it leaves and `create_project` of a home that it enters."""
        mutation = self._changes.begin(request)
        return await deciding(lambda: self._attempt(mutation, request))

    async def _attempt(
        self, mutation: Mutation, request: AssignProjectRequest
    ) -> AssignProjectResponse:
        found = await self._access.require(request.project_id, OWNER)
        pk = project_pk(request.project_id)
        # The replay is asked for first: after the move the caller need not hold
        # anything in the home that was left.
        if done := await mutation.replay(pk, AssignProjectResponse):
            return done
        require_etag(found.record, request.etag, f"projects/{request.project_id}")
        require_active(found.project)
        target = await self._target(found, request)
        await self._may_move(found, target)
        revoked = _revoked(found, target, request)
        project = self._moved(found, target, request)
        added = self._team_grant(found, target, request, mutation.new_id("g"), revoked)
        writes: list[Write[Any]] = [Write(_PROJECT, project, base=found.record)]
        writes += [Write(_GRANT, self._ended(g, found), base=g) for g in revoked]
        writes += [Write(_GRANT, grant) for grant in added]
        return await mutation.commit(
            pk,
            writes,
            activity=activity_of("project.assigned", project),
            answer=lambda records: _answer(found, records, len(revoked)),
            if_head=found.head,
            still=lambda: self._still(request.project_id, target),
        )

    async def _still(self, project_id: str, target: _Target) -> None:
        """Once more what memberships of both homes allow: they lie elsewhere."""
        await self._may_move(await self._access.require(project_id, OWNER), target)

    def _ended(self, record: Record[Grant], found: ProjectAccess) -> Grant:
        grant = record.edit()
        end_grant(grant, user_id=found.user_id, now=self._access.now())
        return grant

    async def _target(self, found: ProjectAccess, request: AssignProjectRequest) -> _Target:
        match request.WhichOneof("target"):
            case "workspace_id":
                return _Target("", request.workspace_id)
            case "account_id":
                return _Target(request.account_id, "")
            case _:
                return await self._team_target(found, request.team_id)

    async def _team_target(self, found: ProjectAccess, team_id: str) -> _Target:
        team = await self._homes.team(found.user_id, team_id)
        project = found.project
        team.require_seen(within=_is_home(team, project))
        team.require_active()
        if team.standalone:
            return _Target(project.account_id, project.workspace_id, team_id)
        return _Target(team.account_id, team.workspace_id, team_id)

    async def _may_move(self, found: ProjectAccess, target: _Target) -> None:
        project, user_id = found.project, found.user_id
        if target.home_id == (project.account_id or project.workspace_id):
            return
        if project.account_id:
            fact = found.user.raw[project.account_id]
            source = home_of(project.account_id, fact, personal=False)
            source.require(AccountCapability.ACCOUNT_CAPABILITY_MANAGE_ACCOUNT)
            source.require_active()
        personal = not target.account_id
        entered: Home = await self._homes.home(user_id, target.home_id, personal=personal)
        entered.require(AccountCapability.ACCOUNT_CAPABILITY_CREATE_PROJECT)
        entered.require_active()
        require_classification(project.data_classification, entered)
        # A hold is lifted by the account that set it: it cannot be evaded by a move.
        require_no_hold(found)

    def _moved(
        self, found: ProjectAccess, target: _Target, request: AssignProjectRequest
    ) -> Project:
        project = found.record.edit()
        entering = bool(target.account_id) and target.account_id != project.account_id
        project.account_id = target.account_id
        project.workspace_id = target.workspace_id
        project.team_id = target.team_id
        if request.HasField("restricted"):
            project.restricted = request.restricted
        elif entering:
            # The fallback would open the project to the whole account.
            project.restricted = True
        touched(project, user_id=found.user_id, now=self._access.now())
        return project

    def _team_grant(
        self,
        found: ProjectAccess,
        target: _Target,
        request: AssignProjectRequest,
        grant_id: str,
        revoked: Sequence[Record[Grant]],
    ) -> list[Grant]:
        kept = [g for g in _assignment_grants(found, target.team_id) if g not in revoked]
        if not target.team_id or kept:
            return []
        now = to_timestamp(self._access.now())
        return [
            Grant(
                grant_id=grant_id,
                project_id=found.view.project_id,
                target_type=_TEAM,
                target_id=target.team_id,
                permissions=assignment_permissions(request.team_permissions, found.permissions),
                source=_ASSIGNMENT,
                status=GrantStatus.GRANT_STATUS_ACTIVE,
                created_by=found.user_id,
                created_at=now,
                updated_by=found.user_id,
                updated_at=now,
            )
        ]


def _is_home(team: Team, project: Project) -> bool:
    if project.account_id:
        return team.account_id == project.account_id
    return bool(project.workspace_id) and team.workspace_id == project.workspace_id


def _active_grants(found: ProjectAccess) -> list[Record[Grant]]:
    active = GrantStatus.GRANT_STATUS_ACTIVE
    return [grant for grant in found.view.grants if grant.message.status == active]


def _assignment_grants(found: ProjectAccess, team_id: str) -> list[Record[Grant]]:
    return [
        grant
        for grant in _active_grants(found)
        if grant.message.source == _ASSIGNMENT and grant.message.target_id == team_id
    ]


def _revoked(
    found: ProjectAccess, target: _Target, request: AssignProjectRequest
) -> list[Record[Grant]]:
    """Grants of the assignment that is left, and outside of a move within one
    account those to the source account and its teams, but for `keep_grants`."""
    source = found.project.account_id
    leaving = bool(source) and target.account_id != source
    of_source = [g for g in _active_grants(found) if _is_of(found, g.message, source)]
    keepable = {g.message.grant_id for g in of_source if leaving}
    unknown = sorted(set(request.keep_grants) - keepable)
    if unknown:
        raise invalid_field(
            "keep_grants", f"'{unknown[0]}' is no grant that this move would revoke; remove it"
        )
    revoked = [
        grant
        for grant in _active_grants(found)
        if _leaves_team(found, grant.message, target, request)
        or (grant.message.grant_id in keepable - set(request.keep_grants))
    ]
    if len(revoked) > _MOST_REVOKED:
        raise WorkspaceError(
            Reason.ERROR_REASON_LIMIT_EXCEEDED,
            f"the move would revoke {len(revoked)} grants, at most {_MOST_REVOKED} in one "
            "commit; revoke some of them first",
            metadata={"limit": "revoked_grants", "maximum": str(_MOST_REVOKED)},
        )
    return revoked


def _leaves_team(
    found: ProjectAccess, grant: Grant, target: _Target, request: AssignProjectRequest
) -> bool:
    """Whether this is the grant of an assignment that ends or is given anew."""
    if grant.source != _ASSIGNMENT:
        return False
    if grant.target_id != target.team_id:
        return True
    asked = assignment_permissions(request.team_permissions, found.permissions)
    return bool(request.team_permissions) and set(asked) != set(grant.permissions)


def _is_of(found: ProjectAccess, grant: Grant, account_id: str) -> bool:
    """Whether the grant is to the account or one of its teams, by direct gift."""
    if grant.source == _ASSIGNMENT:
        return False
    if grant.target_type == _ACCOUNT:
        return grant.target_id == account_id
    if grant.target_type != _TEAM:
        return False
    return team_of(grant.target_id, found.user.raw[grant.target_id]).account_id == account_id


def _answer(
    found: ProjectAccess, records: Sequence[Record[Grant]], revoked: int
) -> AssignProjectResponse:
    return AssignProjectResponse(
        project=project_message(records[0], found.permissions),  # type: ignore[arg-type]
        added_grants=[record.shown() for record in records[1 + revoked :]],
        revoked_grant_ids=[record.message.grant_id for record in records[1 : 1 + revoked]],
    )
