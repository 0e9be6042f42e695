"""What ends the URLs that were signed for bob before it: one class for each way to lose a right."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1 import account_pb2 as ac
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1 import team_pb2 as tm
from workspace.identity.v1 import team_service_pb2 as tms
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.identity.v1.team_service_pb2_grpc import TeamServiceStub
from workspace.project.v1 import document_service_pb2 as ds
from workspace.project.v1 import grant_pb2 as gr
from workspace.project.v1 import grant_service_pb2 as gs
from workspace.project.v1 import project_service_pb2 as ps
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.storage.v1 import storage_service_pb2 as ss
from workspace.storage.v1.transfer_pb2 import Transfer

from tests.integration.storage.people import ANN, EVE, Desk, request_id

__all__ = ["DATA", "LOSSES", "Loss"]

DATA = b"for bob's eyes only\n" * 50
_GRANT_SECONDS = 8.0
"""Enough to sign both URLs on a busy machine."""


class Loss:
    """An account of ann with a restricted project, where bob (another one each time) may
    write. `download` and `upload` are his URLs. `keeps_reading`: the first goes on."""

    restricted = True
    keeps_reading = False

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.bob = f"bob-{type(self).__name__.lower()}@example.com"
        self.bob_id = self.account_id = ""
        self.documents: list[str] = []

    async def give(self) -> tuple[Transfer, Transfer]:
        """bob's URLs, of a document with a file and of one without."""
        desk = self.desk
        self.bob_id = await desk.ws.sign_in(self.bob)
        made = await self.accounts.CreateAccount(
            acs.CreateAccountRequest(name=type(self).__name__, type="client_org")
        )
        self.account_id = made.account.account_id
        project = await self.projects.CreateProject(
            ps.CreateProjectRequest(
                name="Plans", account_id=self.account_id, restricted=self.restricted
            )
        )
        desk.project_id = self.project_id = project.project.project_id
        self.documents = [await desk.document("a.pdf"), await desk.document("b.pdf")]
        await desk.uploaded(self.documents[0], DATA)
        await self.share()
        download = await self.download()
        announced = await desk.announce(self.documents[1], DATA, who=self.bob, filename="b.pdf")
        return download, announced.transfer

    async def download(self, who: str = "") -> Transfer:
        """A URL of the first document, for bob or somebody else."""
        request = ss.CreateDownloadRequest(document_id=self.documents[0])
        answer = await self.desk.storage(who or self.bob).CreateDownload(request)
        return answer.transfer  # type: ignore[no-any-return]

    async def share(self) -> None:
        """bob may write."""
        await self.grant()

    @abstractmethod
    async def take(self) -> None:
        """He may not any more."""

    async def grant(self, target_id: str = "", **fields: Any) -> str:
        kinds = gr.GrantTargetType
        made = await self.grants.CreateGrant(
            gs.CreateGrantRequest(
                project_id=self.project_id,
                target_type=kinds.GRANT_TARGET_TYPE_TEAM if target_id
                else kinds.GRANT_TARGET_TYPE_USER,
                target_id=target_id or self.bob_id,
                permissions=[Permission.PERMISSION_WRITE],
                **fields,
            )
        )  # fmt: skip
        return str(made.grant.grant_id)

    async def join(self, role: ac.AccountRole.ValueType) -> None:
        request = acs.AddAccountMemberRequest(
            account_id=self.account_id, user_id=self.bob_id, role=role
        )
        await self.accounts.AddAccountMember(request)

    @property
    def accounts(self) -> Any:
        return self.desk.ws.stub(AccountServiceStub, as_=ANN)

    @property
    def teams(self) -> Any:
        return self.desk.ws.stub(TeamServiceStub, as_=ANN)

    @property
    def projects(self) -> Any:
        return self.desk.ws.stub(ProjectServiceStub, as_=ANN)

    @property
    def grants(self) -> Any:
        return self.desk.ws.stub(GrantServiceStub, as_=ANN)


class MemberRemoved(Loss):
    restricted = False

    async def share(self) -> None:
        await self.join(ac.ACCOUNT_ROLE_EDITOR)

    async def take(self) -> None:
        await self.accounts.RemoveAccountMember(
            acs.RemoveAccountMemberRequest(account_id=self.account_id, user_id=self.bob_id)
        )


class RoleLowered(MemberRemoved):
    keeps_reading = True

    async def take(self) -> None:
        member = ac.AccountMember(
            account_id=self.account_id, user_id=self.bob_id, role=ac.ACCOUNT_ROLE_VIEWER
        )
        await self.accounts.UpdateAccountMember(
            acs.UpdateAccountMemberRequest(member=member, update_mask=FieldMask(paths=["role"]))
        )


class TeamLeft(Loss):
    async def share(self) -> None:
        await self.join(ac.ACCOUNT_ROLE_VIEWER)
        made = await self.teams.CreateTeam(
            tms.CreateTeamRequest(account_id=self.account_id, name="Crew")
        )
        self.team_id = made.team.team_id
        await self.teams.AddTeamMember(
            tms.AddTeamMemberRequest(
                team_id=self.team_id, user_id=self.bob_id, role=tm.TEAM_ROLE_MEMBER
            )
        )
        await self.grant(self.team_id)

    async def take(self) -> None:
        await self.teams.RemoveTeamMember(
            tms.RemoveTeamMemberRequest(team_id=self.team_id, user_id=self.bob_id)
        )


class AccountSuspended(Loss):
    async def take(self) -> None:
        stub: Any = self.desk.ws.stub(AccountServiceStub, as_=EVE)
        await stub.SetAccountStatus(
            acs.SetAccountStatusRequest(
                account_id=self.account_id, status=ac.ACCOUNT_STATUS_SUSPENDED, reason="unpaid"
            )
        )


class UserDisabled(Loss):
    async def take(self) -> None:
        stub: Any = self.desk.ws.stub(IdentityServiceStub, as_=EVE)
        await stub.DisableUser(ids.DisableUserRequest(user_id=self.bob_id, reason="left"))


class GrantRevoked(Loss):
    async def share(self) -> None:
        self.grant_id = await self.grant()

    async def take(self) -> None:
        request = gs.RevokeGrantRequest(project_id=self.project_id, grant_id=self.grant_id)
        await self.grants.RevokeGrant(request)


class GrantExpired(Loss):
    async def share(self) -> None:
        self.ends = self.desk.ws.process.kernel.now() + _GRANT_SECONDS
        ends = Timestamp()
        ends.FromNanoseconds(int(self.ends * 1e9))
        await self.grant(expires_at=ends)

    async def take(self) -> None:
        while self.desk.ws.process.kernel.now() <= self.ends:  # noqa: ASYNC110 - it ends by itself
            await asyncio.sleep(0.05)


class DocumentTrashed(Loss):
    async def take(self) -> None:
        for each in self.documents:
            await self.desk.documents().DeleteDocument(
                ds.DeleteDocumentRequest(document_id=each, request_id=request_id())
            )


class ProjectTrashed(Loss):
    async def take(self) -> None:
        await self.projects.DeleteProject(ps.DeleteProjectRequest(project_id=self.project_id))

    async def give_back(self) -> None:
        await self.projects.RestoreProject(ps.RestoreProjectRequest(project_id=self.project_id))


# In the order of the cases R01, R02, ...
LOSSES: dict[str, type[Loss]] = {
    each.__name__: each
    for each in (
        MemberRemoved, RoleLowered, TeamLeft, AccountSuspended, UserDisabled, GrantRevoked,
        GrantExpired, DocumentTrashed, ProjectTrashed,
    )
}  # fmt: skip
