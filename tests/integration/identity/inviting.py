"""Scenes with invitations: an account of ann with bob in it, and projects."""

from __future__ import annotations

import time
from typing import Any

import pytest
from workspace.common.v1 import permission_pb2 as perm
from workspace.identity.v1 import invitation_pb2 as iv
from workspace.identity.v1 import invitation_service_pb2 as ivs
from workspace.identity.v1.invitation_service_pb2_grpc import InvitationServiceStub
from workspace.identity.v1.user_pb2 import User, UserStatus
from workspace.project.v1 import grant_pb2 as gr
from workspace.project.v1 import grant_service_pb2 as gs
from workspace.project.v1 import permission_service_pb2 as pms
from workspace.project.v1 import project_service_pb2 as prs
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceStub
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from services.events.due import DueWork
from services.model.families import FAMILIES
from services.model.ids import user_id
from services.records.port import Key
from services.records.record import Activity, Write
from services.rpc.context import peek_call
from tests.integration.identity.people import ANN, BOB, CAT, DAN, EDITOR, MEMBER, VIEWER, People

VIEW, COMMENT, WRITE = perm.PERMISSION_VIEW, perm.PERMISSION_COMMENT, perm.PERMISSION_WRITE
MANAGE, OWN = perm.PERMISSION_MANAGE_ACCESS, perm.PERMISSION_OWNER
PENDING = iv.INVITATION_STATUS_PENDING
CLAIMED = iv.INVITATION_STATUS_CLAIMED
ACCEPTED = iv.INVITATION_STATUS_ACCEPTED
DECLINED = iv.INVITATION_STATUS_DECLINED
REVOKED_ = iv.INVITATION_STATUS_REVOKED
EXPIRED = iv.INVITATION_STATUS_EXPIRED
Terms = iv.InvitationTerms
TO_EDITORS = Terms(account_role=EDITOR)
TO_VIEWERS = Terms(account_role=VIEWER)
TO_MEMBERS = Terms(team_role=MEMBER)
TO_READERS = Terms(permissions=[VIEW])


class Scene(People):
    """See the module. ann owns the account, bob is an editor in it."""

    async def enter(self) -> None:
        self.ann, self.bob, self.cat, self.dan = await self.sign_in(ANN, BOB, CAT, DAN)
        self.account_id = await self.account(ANN, bob=EDITOR)

    def invitations(self, email: str) -> Any:
        return self.ws.stub(InvitationServiceStub, as_=email)

    def grants(self, email: str) -> Any:
        return self.ws.stub(GrantServiceStub, as_=email)

    async def invite(self, by: str = ANN, **fields: Any) -> Any:
        if not {"account_id", "team_id", "project_id"} & fields.keys():
            fields["account_id"] = self.account_id
        if "account_id" in fields:
            fields.setdefault("terms", TO_VIEWERS)
        addressed = {"email", "anyone_with_link", "grantee_team_id", "grantee_account_id"}
        if not addressed & fields.keys():
            fields["email"] = CAT
        return await self.invitations(by).CreateInvitation(ivs.CreateInvitationRequest(**fields))

    async def accept(self, as_: str, token: str, **more: Any) -> Any:
        return await self.invitations(as_).AcceptInvitation(
            ivs.AcceptInvitationRequest(token=token, **more)
        )

    async def read(self, invitation_id: str) -> iv.Invitation:
        """As it is stored."""
        key = FAMILIES["invitation"].key_of(iv.Invitation(invitation_id=invitation_id))
        found = await self.ws.records.get(FAMILIES["invitation"], Key(*key))
        assert found is not None
        return found.edit()

    async def project(self, by: str = ANN, **fields: Any) -> str:
        request = prs.CreateProjectRequest(
            **{"name": "Bridge", "account_id": self.account_id, "restricted": True} | fields
        )
        made = await self.ws.stub(ProjectServiceStub, as_=by).CreateProject(request)
        return str(made.project.project_id)

    async def give(
        self, project_id: str, to: str, *permissions: int, by: str = ANN, **more: Any
    ) -> Any:
        request = gs.CreateGrantRequest(
            project_id=project_id, target_type=gr.GRANT_TARGET_TYPE_USER,
            target_id=await self.ws.sign_in(to), permissions=permissions, **more,
        )
        return (await self.grants(by).CreateGrant(request)).grant

    async def live_grants(self, project_id: str, target_id: str) -> list[gr.Grant]:
        listed = await self.grants(ANN).ListGrants(gs.ListGrantsRequest(project_id=project_id))
        return [grant for grant in listed.grants if grant.target_id == target_id]

    async def allowed(self, email: str, project_id: str, permission: int = VIEW) -> bool:
        stub = self.ws.stub(PermissionServiceStub, as_=email)
        answer = await stub.CheckPermission(
            pms.CheckPermissionRequest(project_id=project_id, permission=permission)
        )
        return bool(answer.allowed)

    async def outsider(self, email: str, *, verified: bool = True, subject: str = "s1") -> str:
        """A user of another provider with this address."""
        issuer = "https://idp.example"
        user = User(
            user_id=user_id(issuer, subject), issuer=issuer, subject=subject, email=email,
            email_verified=verified, status=UserStatus.USER_STATUS_ACTIVE, name="Guest",
        )
        await self.ws.records.commit(
            f"USER#{user.user_id}", [Write(FAMILIES["user"], user)],
            activity=Activity("user.created", f"users/{user.user_id}"),
        )
        return user.user_id

    async def edit(self, family: str, message: Any, **values: Any) -> None:
        """Change a record behind the services' back."""
        kind = FAMILIES[family]
        base = await self.ws.records.get(kind, Key(*kind.key_of(message)))
        assert base is not None
        changed = base.edit()
        for name, value in values.items():
            if hasattr(value, "CopyFrom"):
                getattr(changed, name).CopyFrom(value)
            else:
                setattr(changed, name, value)
        await self.ws.records.commit(
            base.key.pk, [Write(kind, changed, base)], activity=Activity("test.edited", "tests/1")
        )

    async def expire(self, invitation_id: str) -> None:
        """As if its time had passed."""
        message = iv.Invitation(invitation_id=invitation_id)
        ended = await self.read(invitation_id)
        ended.expires_at.FromSeconds(int(time.time()) - 1)
        await self.edit("invitation", message, expires_at=ended.expires_at)

    async def sweep(self) -> int:
        """Run what is due within the next minute."""
        modules = self.ws.process.modules
        handlers = {kind: do for module in modules for kind, do in module.due.items()}
        return await DueWork(self.ws.records, now=lambda: time.time() + 60).run(handlers)


class Crash(Exception):
    """The process dies here."""


def crash_after(monkeypatch: pytest.MonkeyPatch, records: Any, commits: int) -> None:
    """The first `commits` commits of calls happen; after the last of them none does.
    What the process does by itself goes on and is not counted."""
    commit, left = records.commit, [commits]

    async def dying(*args: Any, **kwargs: Any) -> Any:
        if peek_call() is None:
            return await commit(*args, **kwargs)
        if left[0] == 0:
            raise Crash
        left[0] -= 1
        return await commit(*args, **kwargs)

    monkeypatch.setattr(records, "commit", dying)
