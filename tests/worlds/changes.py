"""Random changes of a world: straight into the store, and by the people in it."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc.aio
from google.protobuf.field_mask_pb2 import FieldMask
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1 import team_service_pb2 as tms
from workspace.identity.v1.account_pb2 import AccountMember
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.identity.v1.membership_change_pb2 import DisableUserChange, ProposedMembershipChange
from workspace.identity.v1.team_pb2 import TeamMember
from workspace.identity.v1.team_service_pb2_grpc import TeamServiceStub
from workspace.project.v1 import grant_service_pb2 as gs
from workspace.project.v1 import project_service_pb2 as ps
from workspace.project.v1.grant_pb2 import Grant
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.project_pb2 import Project
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from services.model.families import FAMILIES
from services.model.indexes import Index
from services.records.port import Key
from tests.harness import Workspace
from tests.worlds import making, oracle
from tests.worlds.making import Cast, commit
from tests.worlds.oracle import World

__all__ = ["Change", "direct_change", "person_change"]



async def direct_change(
    ws: Workspace, cast: Cast, rng: random.Random, *, of: str = ""
) -> tuple[str, str]:
    """One row other than before; what it was, and the token of the commit. `of`:
    'memberships' or 'projects' alone."""
    kinds = {
        "memberships": [
            _user, _account, _account_member, _account_member, _team, _team_member, _team_member
        ],
        "projects": [_grant, _grant, _new_grant, _project],
    }  # fmt: skip
    while True:
        kind = rng.choice(kinds[of] if of else [*kinds["memberships"], *kinds["projects"]])
        changed = await kind(ws, cast, rng)
        if changed is not None:
            pk, row = changed
            return f"{kind.__name__} {row}", await commit(ws, pk, [row])


async def _read(ws: Workspace, family: str, pk: str, sk: str = "") -> Any:
    record = await ws.records.get(FAMILIES[family], Key(pk, sk or pk))
    return record.edit() if record else None


async def _user(ws: Workspace, cast: Cast, rng: random.Random) -> Any:
    pk = f"USER#{rng.choice(cast.users)}"
    row = await _read(ws, "user", pk)
    row.status = making.user_status(rng)
    return pk, row


async def _account(ws: Workspace, cast: Cast, rng: random.Random) -> Any:
    pk = f"ACCOUNT#{rng.choice([*cast.accounts, *cast.accounts, rng.choice(cast.workspaces)])}"
    row = await _read(ws, "account", pk)
    if row is None:
        return None
    row.status = making.account_status(rng)
    return pk, row


async def _account_member(ws: Workspace, cast: Cast, rng: random.Random) -> Any:
    account_id, user = rng.choice(cast.accounts), rng.choice(cast.users)
    pk = f"ACCOUNT#{account_id}"
    row = await _read(ws, "account_member", pk, f"MEMBER#{user}")
    row = row or AccountMember(account_id=account_id, user_id=user)
    row.status, row.role = making.member_status(rng), making.role(rng, cast.strange)
    return pk, row


async def _team(ws: Workspace, cast: Cast, rng: random.Random) -> Any:
    pk = f"TEAM#{rng.choice(cast.teams)}"
    row = await _read(ws, "team", pk)
    row.status = making.team_status(rng)
    return pk, row


async def _team_member(ws: Workspace, cast: Cast, rng: random.Random) -> Any:
    team_id, user = rng.choice(cast.teams), rng.choice(cast.users)
    pk = f"TEAM#{team_id}"
    row = await _read(ws, "team_member", pk, f"MEMBER#{user}")
    row = row or TeamMember(team_id=team_id, user_id=user, role=2)
    row.status = making.member_status(rng)
    row.guest = rng.random() < 0.4
    return pk, row


async def _grant(ws: Workspace, cast: Cast, rng: random.Random) -> Any:
    """Another grant under the id of one that is there."""
    project_id = rng.choice(cast.projects)
    pk = f"PROJECT#{project_id}"
    page = await ws.records.query(FAMILIES["project_grant"], Index.BASE, pk, prefix="GRANT#")
    if not page.records:
        return None
    old = rng.choice(page.records).message
    new = making.random_grant(rng, cast, project_id, old.grant_id)
    if rng.random() < 0.5:
        new.target_type, new.target_id = old.target_type, old.target_id
    return pk, new


async def _new_grant(ws: Workspace, cast: Cast, rng: random.Random) -> Any:
    project_id, grant_id = rng.choice(cast.projects), f"g_{rng.getrandbits(48):012x}"
    return f"PROJECT#{project_id}", making.random_grant(rng, cast, project_id, grant_id)


async def _project(ws: Workspace, cast: Cast, rng: random.Random) -> Any:
    pk = f"PROJECT#{rng.choice(cast.projects)}"
    row = await _read(ws, "project", pk)
    if rng.random() < 0.5:
        row.restricted = not row.restricted
    elif rng.random() < 0.7:
        row.account_id, row.workspace_id = rng.choice(cast.accounts), ""
    else:
        row.account_id, row.workspace_id = "", rng.choice(cast.workspaces)
    return pk, row


# --- by people, through RPCs


@dataclass
class Change:
    """A request as somebody makes it. `kind` is its name in the previews;
    `project_id`: the one project that it is a change of ('': memberships)."""

    kind: str
    actor: str
    request: Any
    project_id: str = ""
    user_id: str = ""

    async def make(self, ws: Workspace, cast: Cast) -> str:
        """Make it; the refusal's status code and reason, '' if it was made."""
        service, method = CALLS[self.kind]
        request = self.request
        if self.kind == "disable_user":
            request = ids.DisableUserRequest(user_id=request.user_id)
        stub = ws.stub(service, as_=cast.people[self.actor])
        return await refusal(getattr(stub, method)(request))

    def access_preview(self, project_id: str) -> gs.PreviewAccessChangeRequest:
        request = gs.PreviewAccessChangeRequest(project_id=project_id)
        if not self.project_id:
            request.membership_change.CopyFrom(self.proposed())
        elif self.kind == "restricted":
            request.restricted = self.request.project.restricted
        else:
            getattr(request, self.kind).CopyFrom(self.request)
        return request

    def proposed(self) -> ProposedMembershipChange:
        return ProposedMembershipChange(**{self.kind: self.request})


CALLS: dict[str, tuple[Any, str]] = {
    "create_grant": (GrantServiceStub, "CreateGrant"),
    "update_grant": (GrantServiceStub, "UpdateGrant"),
    "revoke_grant": (GrantServiceStub, "RevokeGrant"),
    "assign_project": (ProjectServiceStub, "AssignProject"),
    "restricted": (ProjectServiceStub, "UpdateProject"),
    "add_account_member": (AccountServiceStub, "AddAccountMember"),
    "update_account_member": (AccountServiceStub, "UpdateAccountMember"),
    "remove_account_member": (AccountServiceStub, "RemoveAccountMember"),
    "add_team_member": (TeamServiceStub, "AddTeamMember"),
    "update_team_member": (TeamServiceStub, "UpdateTeamMember"),
    "remove_team_member": (TeamServiceStub, "RemoveTeamMember"),
    "set_account_status": (AccountServiceStub, "SetAccountStatus"),
    "archive_team": (TeamServiceStub, "ArchiveTeam"),
    "disable_user": (IdentityServiceStub, "DisableUser"),
}


async def refusal(call: Any) -> str:
    """'' if it went well, else the status code with the details of the error."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name}: {error.details()}"
    return ""


def person_change(rng: random.Random, cast: Cast, world: World) -> Change | None:
    """A change by somebody who can sign in: mostly one who may, sometimes not.
    None: nobody is there."""
    present = [user for user in cast.people if world.users[user] == "active"]
    if not present:
        return None
    return _Choice(rng, cast, world, present).change()


class _Choice:
    def __init__(
        self, rng: random.Random, cast: Cast, world: World, present: Sequence[str]
    ) -> None:
        self.rng, self.cast, self.world, self.present = rng, cast, world, present
        self.now = time.time()

    def change(self) -> Change:
        kind = self.rng.choice(list(CALLS))
        if kind in {"create_grant", "update_grant", "revoke_grant", "assign_project", "restricted"}:
            return self._of_project(kind)
        return self._of_memberships(kind)

    def _someone(self, able: Sequence[str]) -> str:
        return self.rng.choice(able if able and self.rng.random() < 0.85 else self.present)

    def _of_project(self, kind: str) -> Change:
        rng, cast = self.rng, self.cast
        best = "manage_access" if "grant" in kind else "owner"
        able = [
            (project, user)
            for project in cast.projects
            for user in self.present
            if best in oracle.rights(self.world, user, project, self.now)
        ]
        project_id, actor = rng.choice(cast.projects), rng.choice(self.present)
        if able and rng.random() < 0.85:
            project_id, actor = rng.choice(able)
        return Change(kind, actor, getattr(self, f"_{kind}")(project_id), project_id)

    def _create_grant(self, project_id: str) -> Any:
        row = making.random_grant(self.rng, self.cast, project_id, "")
        return gs.CreateGrantRequest(
            project_id=project_id, target_type=row.target_type or 1,
            target_id=row.target_id, permissions=[p for p in row.permissions if p < 7] or [1],
            expires_at=row.expires_at if row.HasField("expires_at") else None,
        )

    def _a_grant(self, project_id: str) -> oracle.Grant:
        grants = self.world.projects[project_id].grants
        return self.rng.choice(grants or [oracle.Grant("g_none", "user", "", frozenset())])

    def _update_grant(self, project_id: str) -> Any:
        row = Grant(project_id=project_id, grant_id=self._a_grant(project_id).grant_id)
        if self.rng.random() < 0.6:
            row.permissions.extend(self.rng.choice(making.RIGHT_SETS))  # type: ignore[arg-type]
            return gs.UpdateGrantRequest(grant=row, update_mask=FieldMask(paths=["permissions"]))
        if self.rng.random() < 0.7:
            days = self.rng.choice([1, 30])
            row.expires_at.CopyFrom(making.timestamp(time.time() + days * making.DAY))
        return gs.UpdateGrantRequest(grant=row, update_mask=FieldMask(paths=["expires_at"]))

    def _revoke_grant(self, project_id: str) -> Any:
        grant_id = self._a_grant(project_id).grant_id
        return gs.RevokeGrantRequest(project_id=project_id, grant_id=grant_id)

    def _assign_project(self, project_id: str) -> Any:
        rng, request = self.rng, ps.AssignProjectRequest(project_id=project_id)
        match rng.choice(["team", "team", "account", "workspace"]):
            case "team":
                request.team_id = rng.choice(self.cast.teams)
            case "account":
                request.account_id = rng.choice(self.cast.accounts)
            case _:
                request.workspace_id = rng.choice(self.cast.workspaces)
        if rng.random() < 0.5:
            request.restricted = rng.random() < 0.5
        return request

    def _restricted(self, project_id: str) -> Any:
        project = Project(
            project_id=project_id, restricted=not self.world.projects[project_id].restricted
        )
        return ps.UpdateProjectRequest(project=project, update_mask=FieldMask(paths=["restricted"]))

    def _of_memberships(self, kind: str) -> Change:
        rng, cast = self.rng, self.cast
        user, request = rng.choice(cast.users), None
        actor = self._someone(())
        if "account" in kind:
            account_id = rng.choice(cast.accounts)
            if kind.startswith(("update", "remove")) and account_id in self.world.accounts:
                user = self._member(self.world.accounts[account_id].members, user)
            actor = self._someone(self._administrators(account_id))
            request = self._account_request(kind, account_id, user)
        elif "team" in kind:
            team_id = rng.choice(cast.teams)
            if kind.startswith(("update", "remove")):
                user = self._member(self.world.teams[team_id].members, user)
            actor = self._someone(self._team_administrators(team_id))
            request = self._team_request(kind, team_id, user)
        else:
            admin = next(iter(cast.people))
            actor = self._someone([admin] if admin in self.present else ())
            request = DisableUserChange(user_id=user)
        alone = kind not in {"set_account_status", "archive_team"}
        return Change(kind, actor, request, user_id=user if alone else "")

    def _member(self, members: Mapping[str, oracle.Member], otherwise: str) -> str:
        return self.rng.choice(list(members)) if self.rng.random() < 0.9 and members else otherwise

    def _administrators(self, account_id: str) -> list[str]:
        if account_id not in self.world.accounts:
            return []
        members = self.world.accounts[account_id].members
        return [
            user
            for user in self.present
            if user in members
            and members[user].status == "active"
            and members[user].role in {"owner", "account_admin"}
        ]

    def _team_administrators(self, team_id: str) -> list[str]:
        team = self.world.teams[team_id]
        able = [
            user
            for user in self.present
            if user in team.members
            and (team.members[user].status, team.members[user].role) == ("active", "admin")
        ]
        return able + self._administrators(team.account_id)

    def _account_request(self, kind: str, account_id: str, user: str) -> Any:
        rng = self.rng
        who: dict[str, Any] = {"account_id": account_id, "user_id": user}
        match kind:
            case "add_account_member":
                return acs.AddAccountMemberRequest(**who, role=rng.choice([1, 2, 3, 4, 5]))
            case "update_account_member":
                member, field = AccountMember(**who), rng.choice(["role", "status"])
                setattr(member, field, rng.choice([1, 2, 3, 4, 5] if field == "role" else [2, 3]))
                mask = FieldMask(paths=[field])
                return acs.UpdateAccountMemberRequest(member=member, update_mask=mask)
            case "remove_account_member":
                return acs.RemoveAccountMemberRequest(**who)
        status: Any = rng.choice([1, 2, 3])
        return acs.SetAccountStatusRequest(account_id=account_id, status=status)

    def _team_request(self, kind: str, team_id: str, user: str) -> Any:
        rng = self.rng
        who: dict[str, Any] = {"team_id": team_id, "user_id": user}
        match kind:
            case "add_team_member":
                guest = rng.random() < 0.4
                return tms.AddTeamMemberRequest(**who, role=rng.choice([1, 2, 3]), guest=guest)
            case "update_team_member":
                member, field = TeamMember(**who), rng.choice(["role", "status"])
                setattr(member, field, rng.choice([1, 2, 3] if field == "role" else [2, 3]))
                mask = FieldMask(paths=[field])
                return tms.UpdateTeamMemberRequest(member=member, update_mask=mask)
            case "remove_team_member":
                return tms.RemoveTeamMemberRequest(**who)
        return tms.ArchiveTeamRequest(team_id=team_id)


