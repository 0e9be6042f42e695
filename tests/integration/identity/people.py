"""Who does what in these tests: stubs by person, and expected refusals."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc.aio
import pytest
from workspace.common.v1.error_reason_pb2 import ErrorReason
from workspace.identity.v1 import account_pb2 as ac
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1 import team_pb2 as tm
from workspace.identity.v1 import team_service_pb2 as tms
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.identity.v1.preference_service_pb2_grpc import PreferenceServiceStub
from workspace.identity.v1.team_service_pb2_grpc import TeamServiceStub

from services.rpc.errors import CODES, error_info, peer_status
from tests.harness import Workspace

ANN, BOB, CAT, DAN = (f"{name}@example.com" for name in ("ann", "bob", "cat", "dan"))
OWNER = ac.ACCOUNT_ROLE_OWNER
ACCOUNT_ADMIN = ac.ACCOUNT_ROLE_ACCOUNT_ADMIN
ADMINISTRATOR = ac.ACCOUNT_ROLE_ADMINISTRATOR
EDITOR = ac.ACCOUNT_ROLE_EDITOR
VIEWER = ac.ACCOUNT_ROLE_VIEWER
ACTIVE = ac.MEMBER_STATUS_ACTIVE
SUSPENDED = ac.MEMBER_STATUS_SUSPENDED
REMOVED = ac.MEMBER_STATUS_REMOVED
ADMIN, MEMBER = tm.TEAM_ROLE_ADMIN, tm.TEAM_ROLE_MEMBER


@contextmanager
def refused(reason: str) -> Iterator[None]:
    """The call inside fails with this reason and with its one status code."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield
    assert reason_of(caught.value) == reason, caught.value.details()
    assert caught.value.code() == CODES[ErrorReason.Value(f"ERROR_REASON_{reason}")]


def reason_of(error: BaseException) -> str:
    assert isinstance(error, grpc.aio.AioRpcError), repr(error)
    status = peer_status(error)
    assert status is not None, error
    info = error_info(status)
    assert info is not None
    return info.reason.removeprefix("ERROR_REASON_")


def new_request_id() -> str:
    return str(uuid.uuid4())


class People:
    """Signed-in people and shortcuts for setting scenes."""

    def __init__(self, ws: Workspace) -> None:
        self.ws = ws

    async def sign_in(self, *emails: str) -> list[str]:
        return [await self.ws.sign_in(email) for email in emails]

    def identity(self, email: str) -> Any:
        return self.ws.stub(IdentityServiceStub, as_=email)

    def accounts(self, email: str) -> Any:
        return self.ws.stub(AccountServiceStub, as_=email)

    def teams(self, email: str) -> Any:
        return self.ws.stub(TeamServiceStub, as_=email)

    def preferences(self, email: str) -> Any:
        return self.ws.stub(PreferenceServiceStub, as_=email)

    def as_service(self, service: str = "project_svc") -> Any:
        return self.ws.service_stub(IdentityServiceStub, service=service)

    @property
    def secret(self) -> str:
        return (self.ws.process.kernel.keys_dir / "local.secret").read_text().strip()

    async def bootstrap(self, email: str) -> None:
        await self.identity(email).BootstrapPlatformAdmin(
            ids.BootstrapPlatformAdminRequest(bootstrap_secret=self.secret)
        )

    async def account(self, owner: str, **members: int) -> str:
        """An account of `owner`; `bob=EDITOR` adds members by role."""
        made = await self.accounts(owner).CreateAccount(
            acs.CreateAccountRequest(name="Acme", type="client_org")
        )
        for name, role in members.items():
            await self.add_member(owner, made.account.account_id, f"{name}@example.com", role)
        return made.account.account_id

    async def add_member(self, by: str, account_id: str, email: str, role: int) -> None:
        user_id = await self.ws.sign_in(email)
        await self.accounts(by).AddAccountMember(
            acs.AddAccountMemberRequest(account_id=account_id, user_id=user_id, role=role)
        )

    async def member(
        self, by: str, account_id: str, email: str, mask: str, **values: Any
    ) -> ac.AccountMember:
        user_id = await self.ws.sign_in(email)
        request = acs.UpdateAccountMemberRequest(
            member=ac.AccountMember(account_id=account_id, user_id=user_id, **values)
        )
        request.update_mask.paths.extend(mask.split(","))
        return (await self.accounts(by).UpdateAccountMember(request)).member

    async def remove(self, by: str, account_id: str, email: str, **more: Any) -> Any:
        user_id = await self.ws.sign_in(email)
        return await self.accounts(by).RemoveAccountMember(
            acs.RemoveAccountMemberRequest(account_id=account_id, user_id=user_id, **more)
        )

    async def team(self, by: str, *, account_id: str = "", **more: Any) -> str:
        """A team of an account, or else of the personal workspace of `by`."""
        home: dict[str, str] = {"account_id": account_id}
        if not account_id:
            session = await self.identity(by).GetSession(ids.GetSessionRequest())
            home = {"workspace_id": session.session.user.personal_workspace_id}
        request = tms.CreateTeamRequest(**{"name": "Crew", **home, **more})
        return (await self.teams(by).CreateTeam(request)).team.team_id

    async def add_to_team(self, by: str, team_id: str, email: str, role: int, **more: Any) -> Any:
        user_id = await self.ws.sign_in(email)
        return await self.teams(by).AddTeamMember(
            tms.AddTeamMemberRequest(team_id=team_id, user_id=user_id, role=role, **more)
        )

    async def team_member(
        self, by: str, team_id: str, email: str, mask: str, **values: Any
    ) -> tm.TeamMember:
        user_id = await self.ws.sign_in(email)
        request = tms.UpdateTeamMemberRequest(
            member=tm.TeamMember(team_id=team_id, user_id=user_id, **values)
        )
        request.update_mask.paths.extend(mask.split(","))
        return (await self.teams(by).UpdateTeamMember(request)).member

    async def remove_from_team(self, by: str, team_id: str, email: str) -> Any:
        user_id = await self.ws.sign_in(email)
        return await self.teams(by).RemoveTeamMember(
            tms.RemoveTeamMemberRequest(team_id=team_id, user_id=user_id)
        )

    async def fact(self, email: str, **scope: str) -> Any:
        user_id = await self.ws.sign_in(email)
        request = ids.BatchGetMembershipsRequest(user_id=user_id)
        request.scopes.add(**scope)
        return (await self.as_service().BatchGetMemberships(request)).results[0].fact
