"""Projects: create, read, change, archive."""

from __future__ import annotations

from dataclasses import dataclass

from workspace.common.v1.classification_pb2 import Classification
from workspace.common.v1.permission_pb2 import Permission
from workspace.common.v1.visibility_pb2 import Visibility
from workspace.identity.v1.account_pb2 import AccountCapability
from workspace.project.v1.grant_pb2 import Grant, GrantSource, GrantStatus, GrantTargetType
from workspace.project.v1.project_pb2 import Project, ProjectStatus
from workspace.project.v1.project_service_pb2 import (
    CreateProjectRequest,
    CreateProjectResponse,
    GetProjectRequest,
    GetProjectResponse,
    SetProjectStatusRequest,
    SetProjectStatusResponse,
    UpdateProjectRequest,
    UpdateProjectResponse,
)

from project_svc.access.answers import project_message
from project_svc.access.facts import project_pk
from project_svc.access.gate import (
    Access,
    ProjectAccess,
    invalid_state,
    require_active,
    status_word,
)
from project_svc.grants.rules import assignment_permissions, second_grant_id
from project_svc.projects.changes import ProjectChanges, activity_of
from project_svc.projects.homes import Home, Homes, Team
from services.kernel import Kernel
from services.model.errors import permission_denied
from services.model.families import FAMILIES
from services.model.names import validate_name
from services.model.permissions import ALL, OWNER, VIEW, WRITE
from services.model.times import to_timestamp
from services.records.record import Write
from services.rpc.context import current_call
from services.rpc.field_masks import apply_mask

__all__ = ["Projects"]

_PROJECT, _GRANT = FAMILIES["project"], FAMILIES["project_grant"]
_CREATE = AccountCapability.ACCOUNT_CAPABILITY_CREATE_PROJECT
_CLIENT_SET = {
    "name",
    "description",
    "visibility",
    "billing_scope",
    "restricted",
    "data_classification",
}
_SERVER_SET = frozenset(Project.DESCRIPTOR.fields_by_name) - _CLIENT_SET
_OWNERS_ONLY = {"restricted", "data_classification"}
_SETTABLE = (ProjectStatus.PROJECT_STATUS_ACTIVE, ProjectStatus.PROJECT_STATUS_ARCHIVED)


@dataclass(frozen=True, slots=True)
class _Defaults:
    restricted: bool
    visibility: Visibility.ValueType
    classification: Classification.ValueType


class Projects:
    """Use cases of single projects."""

    def __init__(self, *, kernel: Kernel, access: Access, homes: Homes) -> None:
        self._kernel = kernel
        self._access = access
        self._homes = homes
        self._changes = ProjectChanges(kernel=kernel, access=access)

    async def create(self, request: CreateProjectRequest) -> CreateProjectResponse:
        """The project, its owner grant and, with a team, the team grant: one commit.

        Raises PERMISSION_DENIED without `create_project` in the home,
        INVALID_STATE for a home or team that is not active or does not fit.
        """
        mutation = self._changes.begin(request)
        user_id = current_call().user_id
        home = await self._home(user_id, request)
        home.require(_CREATE)
        team = await self._homes.team(user_id, request.team_id) if request.team_id else None
        if team is not None:
            team.require_seen(within=_fits(team, home))
        pk = project_pk(mutation.new_id("p"))
        if done := await mutation.replay(pk, CreateProjectResponse):
            return done
        home.require_active()
        if team is not None:
            _require_fit(team, home)
        project = await self._new_project(mutation.new_id("p"), user_id, home, request)
        grants = self._first_grants(project, mutation.new_id("g"), user_id)

        async def still() -> None:
            (await self._home(user_id, request)).require(_CREATE)

        return await mutation.commit(
            pk,
            [Write(_PROJECT, project), *(Write(_GRANT, grant) for grant in grants)],
            activity=activity_of("project.created", project),
            answer=lambda records: CreateProjectResponse(
                project=project_message(records[0], ALL)
            ),
            still=still,
        )

    async def get(self, request: GetProjectRequest) -> GetProjectResponse:
        """One project. Owners of a suspended home may still read it."""
        for token in request.consistency.at_least_as_fresh.tokens:
            self._kernel.consistency.verify(token)
        found = await self._access.require(request.project_id, VIEW, closed_home=True)
        return GetProjectResponse(project=project_message(found.record, found.permissions))

    async def update(self, request: UpdateProjectRequest) -> UpdateProjectResponse:
        """Change fields. Raises INVALID_MASK for unknown and server-set ones."""
        wanted, needed = request.project, WRITE

        async def authorise() -> ProjectAccess:
            return await self._access.require(wanted.project_id, needed, active=False)

        async def decide(found: ProjectAccess, project: Project) -> None:
            nonlocal needed
            paths = apply_mask(project, wanted, request.update_mask, server_set=_SERVER_SET)
            if _OWNERS_ONLY.intersection(paths):
                needed = OWNER  # right before the commit, too
                if OWNER not in found.permissions:
                    raise permission_denied("owner", f"projects/{wanted.project_id}")
            require_active(found.project)
            if "name" in paths:
                project.name = validate_name("name", project.name, before=found.project.name)

        return await self._changes.run(
            request,
            UpdateProjectResponse,
            project_id=wanted.project_id,
            etag=wanted.etag,
            event="project.updated",
            authorise=authorise,
            decide=decide,
        )

    async def set_status(self, request: SetProjectStatusRequest) -> SetProjectStatusResponse:
        """Active or archived. Raises INVALID_STATE in the trash or purged."""

        async def authorise() -> ProjectAccess:
            return await self._access.require(request.project_id, OWNER)

        async def decide(found: ProjectAccess, project: Project) -> None:
            if found.project.status not in _SETTABLE:
                raise invalid_state(
                    f"projects/{request.project_id}",
                    status_word(found.project),
                    "restore it from the trash first",
                )
            project.status = request.status

        archived = request.status == ProjectStatus.PROJECT_STATUS_ARCHIVED
        return await self._changes.run(
            request,
            SetProjectStatusResponse,
            project_id=request.project_id,
            etag=request.etag,
            event="project.archived" if archived else "project.activated",
            authorise=authorise,
            decide=decide,
        )

    async def _home(self, user_id: str, request: CreateProjectRequest) -> Home:
        if request.account_id:
            return await self._homes.home(user_id, request.account_id, personal=False)
        workspace_id = request.workspace_id or await self._homes.personal_workspace(user_id)
        return await self._homes.home(user_id, workspace_id, personal=True)

    async def _new_project(
        self, project_id: str, user_id: str, home: Home, request: CreateProjectRequest
    ) -> Project:
        defaults = await self._defaults(home)
        now = to_timestamp(self._access.now())
        restricted = defaults.restricted
        return Project(
            project_id=project_id,
            name=validate_name("name", request.name),
            description=request.description,
            account_id="" if home.personal else home.home_id,
            workspace_id=home.home_id if home.personal else "",
            team_id=request.team_id,
            restricted=request.restricted if request.HasField("restricted") else restricted,
            status=ProjectStatus.PROJECT_STATUS_ACTIVE,
            visibility=request.visibility or defaults.visibility,
            billing_scope=request.billing_scope,
            data_classification=request.data_classification or defaults.classification,
            created_by=user_id,
            created_at=now,
            updated_by=user_id,
            updated_at=now,
        )

    async def _defaults(self, home: Home) -> _Defaults:
        classification: Classification.ValueType = (
            home.classification or Classification.CLASSIFICATION_INTERNAL  # type: ignore[assignment]
        )
        if home.personal:
            return _Defaults(False, Visibility.VISIBILITY_PRIVATE, classification)
        account = await self._homes.account(home.home_id)
        visibility = account.default_project_visibility or Visibility.VISIBILITY_PRIVATE
        is_open = visibility == Visibility.VISIBILITY_ACCOUNT
        return _Defaults(not is_open, visibility, classification)

    def _first_grants(self, project: Project, grant_id: str, user_id: str) -> list[Grant]:
        owner = Grant(
            grant_id=grant_id,
            project_id=project.project_id,
            target_type=GrantTargetType.GRANT_TARGET_TYPE_USER,
            target_id=user_id,
            permissions=[Permission.PERMISSION_OWNER],
            source=GrantSource.GRANT_SOURCE_OWNER_DEFAULT,
            status=GrantStatus.GRANT_STATUS_ACTIVE,
            created_by=user_id,
            created_at=project.created_at,
            updated_by=user_id,
            updated_at=project.created_at,
        )
        if not project.team_id:
            return [owner]
        team = Grant()
        team.CopyFrom(owner)
        team.grant_id = second_grant_id(grant_id)
        team.target_type = GrantTargetType.GRANT_TARGET_TYPE_TEAM
        team.target_id = project.team_id
        team.source = GrantSource.GRANT_SOURCE_ASSIGNMENT
        del team.permissions[:]
        team.permissions.extend(assignment_permissions((), ALL))
        return [owner, team]


def _fits(team: Team, home: Home) -> bool:
    return (team.workspace_id if home.personal else team.account_id) == home.home_id


def _require_fit(team: Team, home: Home) -> None:
    team.require_active()
    if not team.standalone and not _fits(team, home):
        raise invalid_state(team.resource, "in another home", f"choose a team of {home.resource}")
