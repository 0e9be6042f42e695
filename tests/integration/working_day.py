"""A day at work in one process, whatever its records, files and people are: the whole
selection of a cloud, through gRPC and HTTP."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import pytest
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1 import invitation_service_pb2 as ivs
from workspace.identity.v1 import team_service_pb2 as tms
from workspace.identity.v1.account_pb2 import AccountRole
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.identity.v1.invitation_pb2 import InvitationTerms as Terms
from workspace.identity.v1.invitation_service_pb2_grpc import InvitationServiceStub
from workspace.identity.v1.team_pb2 import TeamRole
from workspace.identity.v1.team_service_pb2_grpc import TeamServiceStub
from workspace.project.v1 import document_service_pb2 as dcs
from workspace.project.v1 import grant_service_pb2 as gs
from workspace.project.v1 import project_service_pb2 as prs
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.grant_pb2 import GrantTargetType
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from tests.cognito_pool import CognitoPool
from tests.entra_tenant import EntraTenant
from tests.harness import BearerChannel, Workspace
from tests.servers.faulty import Fault, Faulty

__all__ = [
    "INVITED", "Deployment", "opened", "records_go_on_without", "work_with_files",
    "work_with_people",
]  # fmt: skip

DATA = b"the bytes of a plan\n" * 5000
INVITED = "dan@corp.test"
_PEOPLE = ("ann", "bob", "cat")


class Deployment:
    """One process, and the ID tokens of its people."""

    def __init__(
        self, ws: Workspace, issuer: CognitoPool | EntraTenant, channel: grpc.aio.Channel
    ) -> None:
        self.ws = ws
        self.bearers = {who: issuer.id_token(who) for who in _PEOPLE}
        self._channel = channel

    def stub(self, stub: Any, who: str) -> Any:
        return stub(BearerChannel(self._channel, self.bearers[who]))

    async def sign_in(self, who: str) -> str:
        request = ids.NormalizeIdentityRequest()
        user = (await self.stub(IdentityServiceStub, who).NormalizeIdentity(request)).user
        return str(user.user_id)

    def client(self, who: str) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {self.bearers[who]}"}
        return httpx.AsyncClient(base_url=self.ws.http, headers=headers, timeout=60)


@asynccontextmanager
async def opened(
    issuer: CognitoPool | EntraTenant, folder: Path, **settings: Any
) -> AsyncIterator[Deployment]:
    """A process whose people are those of the issuer."""
    async with AsyncExitStack() as stack:
        stack.enter_context(issuer.serving())
        trust = issuer.settings(token_use="id")
        ws = await stack.enter_async_context(Workspace.open(folder, **(settings | trust)))
        channel = grpc.aio.insecure_channel(ws.process.grpc_address)
        yield Deployment(ws, issuer, await stack.enter_async_context(channel))


async def work_with_people(it: Deployment) -> str:
    """An account with a team, a project in it (its id is the answer), a grant, an invitation:
    each is listed as soon as it is there."""
    ann, bob = [await it.sign_in(who) for who in ("ann", "bob")]
    accounts, teams = it.stub(AccountServiceStub, "ann"), it.stub(TeamServiceStub, "ann")
    made = await accounts.CreateAccount(acs.CreateAccountRequest(name="Firm", type="client_org"))
    account_id = made.account.account_id
    listed = await accounts.ListAccounts(acs.ListAccountsRequest(type="client_org"))
    assert [each.account_id for each in listed.accounts] == [account_id]
    await accounts.AddAccountMember(acs.AddAccountMemberRequest(
        account_id=account_id, email="bob@corp.test", role=AccountRole.ACCOUNT_ROLE_VIEWER
    ))  # fmt: skip
    team = await teams.CreateTeam(tms.CreateTeamRequest(account_id=account_id, name="Crew"))
    team_id = team.team.team_id
    await teams.AddTeamMember(tms.AddTeamMemberRequest(
        team_id=team_id, user_id=bob, role=TeamRole.TEAM_ROLE_MEMBER
    ))  # fmt: skip
    bobs = await it.stub(TeamServiceStub, "bob").ListTeams(tms.ListTeamsRequest())
    assert team_id in [each.team_id for each in bobs.teams]
    project = await it.stub(ProjectServiceStub, "ann").CreateProject(
        prs.CreateProjectRequest(name="Bridge", account_id=account_id, restricted=True)
    )
    project_id = str(project.project.project_id)
    await it.stub(GrantServiceStub, "ann").CreateGrant(gs.CreateGrantRequest(
        project_id=project_id, target_type=GrantTargetType.GRANT_TARGET_TYPE_TEAM,
        target_id=team_id, permissions=[Permission.PERMISSION_VIEW],
    ))  # fmt: skip
    async with it.client("bob") as client:
        seen = (await client.get("/api/projects")).json()["projects"]
    assert [each["project_id"] for each in seen] == [project_id]
    await _invite(it, account_id)
    # A team that was made after Bob had left is none of his: no old right revives.
    await accounts.RemoveAccountMember(
        acs.RemoveAccountMemberRequest(account_id=account_id, user_id=bob)
    )
    left = await it.stub(TeamServiceStub, "bob").ListTeams(tms.ListTeamsRequest())
    assert team_id not in [each.team_id for each in left.teams]
    assert ann != bob
    return project_id


async def _invite(it: Deployment, account_id: str) -> None:
    """One waits for an address at a time."""
    stub = it.stub(InvitationServiceStub, "ann")
    request = ivs.CreateInvitationRequest(
        account_id=account_id, email=INVITED,
        terms=Terms(account_role=AccountRole.ACCOUNT_ROLE_VIEWER),
    )
    await stub.CreateInvitation(request)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.CreateInvitation(request)
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS


async def work_with_files(
    it: Deployment, project_id: str, plain: httpx.AsyncClient, served_at: str
) -> None:
    """A file goes up and down by URLs that the store itself serves."""
    stub = it.stub(DocumentServiceStub, "ann")
    made = await stub.CreateDocument(
        dcs.CreateDocumentRequest(project_id=project_id, name="plan.pdf")
    )
    document_id = made.document.document_id
    listed = await stub.ListDocuments(dcs.ListDocumentsRequest(project_id=project_id))
    assert [each.document_id for each in listed.documents] == [document_id]
    async with it.client("ann") as api, plain:
        body = {
            "filename": "plan.pdf", "content_type": "application/pdf",
            "size_bytes": str(len(DATA)), "sha256": hashlib.sha256(DATA).hexdigest(),
        }  # fmt: skip
        answer = (await api.post(f"/api/documents/{document_id}/uploads", json=body)).json()
        transfer, upload_id = answer["transfer"], answer["upload"]["upload_id"]
        assert transfer["url"].startswith(served_at)
        sent = await plain.put(transfer["url"], content=DATA, headers=transfer["headers"])
        assert sent.is_success
        done = (await api.post(f"/api/uploads/{upload_id}:complete", json={})).json()
        assert done["file"]["status"] == "FILE_STATUS_AVAILABLE"
        asked = await api.post("/api/downloads", json={"document_id": document_id})
        url = asked.json()["transfer"]["url"]
        assert url.startswith(served_at)
        assert (await plain.get(url)).content == DATA


async def records_go_on_without(it: Deployment, slow: Faulty) -> None:
    """Asserts that many calls that wait for the store of files, which falls silent, stop no
    records."""
    await it.sign_in("ann")
    slow.plan = lambda _asked: Fault.SILENT_AFTER
    waiting = [
        asyncio.create_task(it.ws.process.kernel.objects.head(f"none/{number}"))
        for number in range(40)
    ]
    while len(slow.asked) < 8:  # noqa: ASYNC110 - they are on their way
        await asyncio.sleep(0.05)
    stub = it.stub(ProjectServiceStub, "ann")
    made = [
        stub.CreateProject(prs.CreateProjectRequest(name=f"Bridge {number}"))
        for number in range(8)
    ]
    assert len({each.project.project_id for each in await asyncio.gather(*made)}) == 8
    assert not any(each.done() for each in waiting)
    slow.plan = lambda _asked: None
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
