"""What a project would be after a change that is only tried.

The change itself runs, up to its commit (services/records/trial): preview and
change share every rule and every refusal. Its writes say what comes of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from google.protobuf.field_mask_pb2 import FieldMask
from workspace.identity.v1.identity_service_pb2 import TryMembershipChangeRequest
from workspace.identity.v1.membership_change_pb2 import ProposedMembershipChange
from workspace.project.v1.grant_pb2 import Grant, GrantStatus, GrantTargetType
from workspace.project.v1.grant_service_pb2 import PreviewAccessChangeRequest
from workspace.project.v1.project_pb2 import Project
from workspace.project.v1.project_service_pb2 import UpdateProjectRequest

from project_svc.access.facts import ProjectView, UserView, grant_facts
from project_svc.grants.grants import Grants
from project_svc.grants.member_grants import MemberGrants
from project_svc.previews.membership_changes import MembershipChange, membership_change
from project_svc.projects.assignment import Assignments
from project_svc.projects.projects import Projects
from services.model.errors import invalid_field
from services.model.permissions import Facts, GrantFacts, ProjectFacts, scopes_of
from services.records.record import Write
from services.records.trial import tried

if TYPE_CHECKING:  # the generated class exists for type checkers only
    from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceAsyncStub

__all__ = ["AfterChange", "ChangeTrials"]

_ACTIVE = GrantStatus.GRANT_STATUS_ACTIVE
_USER = GrantTargetType.GRANT_TARGET_TYPE_USER


@dataclass(frozen=True, slots=True)
class AfterChange:
    """The project as it would be. `grants` are those in force then, `ended` the
    grants of `membership.user_id` that a removal takes; `named`: users whom the
    change names."""

    view: ProjectView
    project: ProjectFacts
    grants: tuple[GrantFacts, ...]
    membership: MembershipChange | None = None
    named: frozenset[str] = field(default_factory=frozenset)

    @property
    def scopes(self) -> tuple[frozenset[str], frozenset[str]]:
        """Accounts and teams that a decision before or after needs."""
        accounts, teams = scopes_of(self.project, self.grants)
        return accounts | self.view.accounts, teams | self.view.teams

    def before(self, user_id: str, user: UserView) -> Facts:
        return self.view.facts(user_id, user)

    def after(self, user_id: str, user: UserView) -> Facts:
        facts = replace(
            self.before(user_id, user), project=self.project, grants=self.grants
        )
        change = self.membership
        return change.applied(facts) if change and change.concerns(user_id) else facts


class ChangeTrials:
    """Tries changes. `grants`, `assignments` and `projects` stand on a trial
    kernel; `of_members` on any."""

    def __init__(
        self,
        *,
        grants: Grants,
        assignments: Assignments,
        projects: Projects,
        of_members: MemberGrants,
        identity: IdentityServiceAsyncStub,
    ) -> None:
        self._grants = grants
        self._assignments = assignments
        self._projects = projects
        self._of_members = of_members
        self._identity = identity

    async def of_request(
        self, view: ProjectView, request: PreviewAccessChangeRequest
    ) -> AfterChange:
        """Raises what the change would raise, INVALID_FIELD for another project."""
        kind = request.WhichOneof("change")
        if kind == "membership_change":
            change = await self.membership(request.membership_change)
            return await self.of_membership(view, change)
        _require_same_project(request)
        return _written(view, await tried(self._change(request, kind or "")))

    async def membership(self, change: ProposedMembershipChange) -> MembershipChange | None:
        """What identity decides about a change of memberships."""
        request = TryMembershipChangeRequest(change=change)
        return membership_change(await self._identity.TryMembershipChange(request))

    async def of_membership(
        self, view: ProjectView, change: MembershipChange | None
    ) -> AfterChange:
        """The project after that change; a removal takes the person's own grants."""
        ended: frozenset[str] = frozenset()
        if change is not None and change.removal:
            ended = await self._of_members.ending(view, change.account_id, change.user_id)
        return AfterChange(
            view,
            view.project,
            tuple(grant for grant in view.live if grant.grant_id not in ended),
            membership=change,
            named=frozenset({change.user_id} - {""}) if change else frozenset(),
        )

    def _change(self, request: PreviewAccessChangeRequest, kind: str) -> Awaitable[object]:
        match kind:
            case "create_grant":
                return self._grants.create(request.create_grant)
            case "update_grant":
                return self._grants.update(request.update_grant)
            case "revoke_grant":
                return self._grants.revoke(request.revoke_grant)
            case "assign_project":
                return self._assignments.assign(request.assign_project)
            case _:
                return self._projects.update(
                    UpdateProjectRequest(
                        project=Project(
                            project_id=request.project_id, restricted=request.restricted
                        ),
                        update_mask=FieldMask(paths=["restricted"]),
                    )
                )


def _require_same_project(request: PreviewAccessChangeRequest) -> None:
    kind = request.WhichOneof("change") or ""
    if kind == "restricted":
        return
    change = getattr(request, kind)
    named = change.grant.project_id if kind == "update_grant" else change.project_id
    if named != request.project_id:
        field_name = f"{kind}.grant.project_id" if kind == "update_grant" else f"{kind}.project_id"
        raise invalid_field(field_name, "must be the project_id of the preview")


def _written(view: ProjectView, writes: Sequence[Write[Any]]) -> AfterChange:
    """The project with the rows that a commit would write."""
    project, grants = view.project, {grant.grant_id: grant for grant in view.live}
    named: set[str] = set()
    for write in writes:
        row = write.message
        if isinstance(row, Grant):
            grants.pop(row.grant_id, None)
            if row.status == _ACTIVE:
                grants[row.grant_id] = grant_facts(row)
            if row.target_type == _USER:
                named.add(row.target_id)
        elif isinstance(row, Project):
            project = replace(
                project,
                account_id=row.account_id,
                workspace_id=row.workspace_id,
                restricted=row.restricted,
            )
    return AfterChange(view, project, tuple(grants.values()), named=frozenset(named))
