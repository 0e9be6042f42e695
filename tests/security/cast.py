"""The people of the matrix and the things they call about.

An account of `owner` holds a team, an open project and a document; `viewer` and
`editor` are members with just these roles. `foreign` things are of the same
making, but of somebody whom nobody in the cast shares anything with; `missing`
things have well-formed ids that nothing ever had.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1 import account_pb2 as ac
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1 import invitation_pb2 as iv
from workspace.identity.v1 import invitation_service_pb2 as ivs
from workspace.identity.v1 import team_pb2 as tm
from workspace.identity.v1 import team_service_pb2 as tms
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.identity.v1.invitation_service_pb2_grpc import InvitationServiceStub
from workspace.identity.v1.team_service_pb2_grpc import TeamServiceStub
from workspace.project.v1 import document_service_pb2 as ds
from workspace.project.v1 import grant_pb2 as gr
from workspace.project.v1 import grant_service_pb2 as gs
from workspace.project.v1 import history_service_pb2 as hs
from workspace.project.v1 import project_service_pb2 as ps
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.history_service_pb2_grpc import HistoryServiceStub
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.storage.v1 import storage_service_pb2 as ss
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub
from workspace.sync.v1 import connection_pb2 as co
from workspace.sync.v1 import connection_service_pb2 as css
from workspace.sync.v1.connection_service_pb2_grpc import ConnectionServiceStub
from workspace.sync.v1.run_pb2 import Run, RunStatus, SyncDirection

from services.model.canonical import canonical_json, content_digest
from services.model.families import FAMILIES
from services.model.merging.content import content_of
from services.model.versions import State, Version
from services.records.conflict_rows import Found
from services.records.port import Key
from services.records.record import Activity, Write
from services.records.replica import Incoming, Replica
from tests.chosen_records import plain_client
from tests.contract.served import channel_of
from tests.harness import Workspace

BYTES = b"the bytes of the matrix"
NOWHERE = "https://93.184.215.14/hook"
"""Public, and never called: nothing is ever sent there."""
SHA256 = hashlib.sha256(BYTES).hexdigest()
SIGNED_IN = ("stranger", "neighbour", "viewer", "editor", "owner", "platform")
ROLES = ("anonymous", *SIGNED_IN, "disabled", "service")


def mail(name: str) -> str:
    return f"{name}@example.com"


@dataclass(frozen=True)
class Things:
    """Ids to call about. `member` is in account and team, `joiner` in the account
    alone, `newcomer` in neither; nobody of the cast is one of these."""

    account_id: str
    team_id: str
    project_id: str
    trashed_project_id: str
    grant_id: str
    document_id: str
    empty_document_id: str
    trashed_document_id: str
    upload_id: str
    webhook_id: str
    storage_key: str
    announced_key: str
    invitation_id: str
    user_id: str
    member_id: str
    joiner_id: str
    newcomer_id: str
    connection_id: str
    run_id: str
    conflict_id: str
    caller_id: str = ""
    secret: str = ""

    def seen_by(self, caller_id: str) -> Things:
        return replace(self, caller_id=caller_id)


MISSING = Things(
    account_id="a_" + "q" * 26,
    team_id="t_" + "q" * 26,
    project_id="p_" + "q" * 26,
    trashed_project_id="p_" + "z" * 26,
    grant_id="g_" + "q" * 26,
    document_id="d_" + "q" * 26,
    empty_document_id="d_" + "z" * 26,
    trashed_document_id="d_" + "y" * 26,
    upload_id="x_" + "q" * 26,
    webhook_id="h_" + "q" * 26,
    storage_key=f"accounts/a_{'q' * 26}/projects/p_{'q' * 26}/documents/d_{'q' * 26}/raw/a.txt",
    announced_key=f"accounts/a_{'q' * 26}/projects/p_{'q' * 26}/documents/d_{'z' * 26}/raw/a.txt",
    invitation_id="i_" + "q" * 26,
    user_id="u_" + "q" * 26,
    member_id="u_" + "y" * 26,
    joiner_id="u_" + "x" * 26,
    newcomer_id="u_" + "w" * 26,
    connection_id="c_" + "q" * 26,
    run_id="r_" + "q" * 26,
    conflict_id="f" * 64,
)


def neutral(text: str, things: Things) -> str:
    """A text with the ids of `things` replaced by the names of their fields."""
    named = sorted(asdict(things).items(), key=lambda pair: -len(pair[1]))
    for name, value in named:
        if value and name != "caller_id":
            text = text.replace(value, f"<{name}>")
    return text


class Cast:
    """Signs everybody in and makes things, as often as asked."""

    def __init__(self, ws: Workspace) -> None:
        self.ws = ws
        self.served = frozenset(ws.process.rpc.methods)
        self._number = 0

    async def enter(self) -> None:
        """Sign in; make the platform admin; disable whom it takes."""
        for name in (*SIGNED_IN, "disabled", "member", "joiner", "newcomer", "other", "gus"):
            await self.ws.sign_in(mail(name))
        await self._identity("platform").BootstrapPlatformAdmin(
            ids.BootstrapPlatformAdminRequest(bootstrap_secret=self.secret)
        )
        self.own = await self.make("owner")
        await self._account("neighbour", set())
        self.foreign = await self.make("other", member="gus", joiner="gus", newcomer="gus")
        await self._identity("platform").DisableUser(
            ids.DisableUserRequest(user_id=self.id("disabled"))
        )

    @property
    def secret(self) -> str:
        return (self.ws.process.kernel.keys_dir / "local.secret").read_text().strip()

    def id(self, name: str) -> str:
        return self.ws._users[mail(name)]

    def channel(self, role: str, service: str = "") -> grpc.aio.Channel:
        """As a role; `service` names the service identity of the role `service`."""
        if role == "service":
            return channel_of(self.ws.service_stub, service=service)
        return channel_of(self.ws.stub, as_="" if role == "anonymous" else mail(role))

    def _identity(self, name: str) -> Any:
        return self.ws.stub(IdentityServiceStub, as_=mail(name))

    async def make(
        self, owner: str, *, member: str = "member", joiner: str = "joiner",
        newcomer: str = "newcomer", files: bool = True,
    ) -> Things:
        """A fresh account with everything in it; without `files` what is of a document is
        MISSING's."""
        account_id = await self._account(owner, {member, joiner})
        team_id = await self._team(owner, account_id, member)
        project_id = await self._project(owner, account_id)
        trashed = await self._project(owner, account_id)
        projects = self.ws.stub(ProjectServiceStub, as_=mail(owner))
        await projects.DeleteProject(ps.DeleteProjectRequest(project_id=trashed))
        things = replace(
            MISSING,
            account_id=account_id, team_id=team_id, project_id=project_id,
            trashed_project_id=trashed, grant_id=await self._grant(owner, project_id, member),
            user_id=self.id(owner), member_id=self.id(member), joiner_id=self.id(joiner),
            newcomer_id=self.id(newcomer), secret=self.secret,
            invitation_id=await self._invitation(owner, account_id),
        )
        things = replace(things, webhook_id=await self._webhook(owner, project_id))
        things = replace(things, connection_id=await self._connection(owner, account_id))
        things = replace(things, run_id=await self._run(things.connection_id))
        return await self._with_files(owner, things) if files else things

    async def _run(self, connection_id: str) -> str:
        """A run that has ended, without the work."""
        run_id = "r_" + connection_id[2:]
        now = Timestamp()
        now.GetCurrentTime()
        run = Run(
            run_id=run_id, connection_id=connection_id, created_at=now,
            direction=SyncDirection.SYNC_DIRECTION_PUSH, status=RunStatus.RUN_STATUS_SUCCEEDED,
        )
        await self.ws.records.commit(
            f"RUN#{run_id}", [Write(FAMILIES["sync_run"], run)],
            activity=Activity("sync.run_finished", f"runs/{run_id}"),
        )
        return run_id

    async def _account(self, owner: str, members: set[str]) -> str:
        accounts = self.ws.stub(AccountServiceStub, as_=mail(owner))
        made = await accounts.CreateAccount(
            acs.CreateAccountRequest(name="Acme", type="client_org")
        )
        roles = dict.fromkeys(members, ac.ACCOUNT_ROLE_VIEWER)
        if owner == "owner":
            roles |= {"viewer": ac.ACCOUNT_ROLE_VIEWER, "editor": ac.ACCOUNT_ROLE_EDITOR}
            if not self._number:
                roles["disabled"] = ac.ACCOUNT_ROLE_ACCOUNT_ADMIN
        self._number += 1
        for name, role in roles.items():
            await accounts.AddAccountMember(
                acs.AddAccountMemberRequest(
                    account_id=made.account.account_id, user_id=self.id(name), role=role
                )
            )
        return str(made.account.account_id)

    async def _team(self, owner: str, account_id: str, member: str) -> str:
        teams = self.ws.stub(TeamServiceStub, as_=mail(owner))
        made = await teams.CreateTeam(tms.CreateTeamRequest(account_id=account_id, name="Crew"))
        roles = {member: tm.TEAM_ROLE_MEMBER}
        if owner == "owner":
            roles |= {"viewer": tm.TEAM_ROLE_VIEWER, "editor": tm.TEAM_ROLE_MEMBER}
        for name, role in roles.items():
            await teams.AddTeamMember(
                tms.AddTeamMemberRequest(
                    team_id=made.team.team_id, user_id=self.id(name), role=role
                )
            )
        return str(made.team.team_id)

    async def _project(self, owner: str, account_id: str) -> str:
        projects = self.ws.stub(ProjectServiceStub, as_=mail(owner))
        made = await projects.CreateProject(
            ps.CreateProjectRequest(name="Bridge", account_id=account_id, restricted=False)
        )
        return str(made.project.project_id)

    async def _invitation(self, owner: str, account_id: str) -> str:
        invitations = self.ws.stub(InvitationServiceStub, as_=mail(owner))
        made = await invitations.CreateInvitation(
            ivs.CreateInvitationRequest(
                account_id=account_id, email="invited@example.com",
                terms=iv.InvitationTerms(account_role=ac.ACCOUNT_ROLE_VIEWER),
            )
        )
        return str(made.invitation.invitation_id)

    async def _grant(self, owner: str, project_id: str, to: str) -> str:
        grants = self.ws.stub(GrantServiceStub, as_=mail(owner))
        made = await grants.CreateGrant(
            gs.CreateGrantRequest(
                project_id=project_id,
                target_type=gr.GRANT_TARGET_TYPE_USER,
                target_id=self.id(to),
                permissions=[Permission.PERMISSION_VIEW],
            )
        )
        return str(made.grant.grant_id)

    async def _webhook(self, owner: str, project_id: str) -> str:
        history = self.ws.stub(HistoryServiceStub, as_=mail(owner))
        made = await history.CreateWebhook(
            hs.CreateWebhookRequest(
                project_id=project_id, url=NOWHERE, event_types=["nothing.happened"]
            )
        )
        return str(made.webhook.webhook_id)

    async def _connection(self, owner: str, account_id: str) -> str:
        """A folder beside the data folder, for this account alone."""
        connections = self.ws.stub(ConnectionServiceStub, as_=mail(owner))
        scope = co.SyncScope(type=co.SYNC_SCOPE_TYPE_ACCOUNTS, account_ids=[account_id])
        manifest = co.Connection(
            provider="local", settings={"folder": f"disk-{account_id}"}, scope=scope
        )
        made = await connections.CreateConnection(
            css.CreateConnectionRequest(connection=manifest)
        )
        return str(made.connection.connection_id)

    async def _with_files(self, owner: str, things: Things) -> Things:
        """Documents: one with a file, one that awaits it (announced), one in the trash."""
        full, empty, trashed = [
            await self._document(owner, things.project_id, name)
            for name in ("full.txt", "empty.txt", "trashed.txt")
        ]
        documents = self.ws.stub(DocumentServiceStub, as_=mail(owner))
        await documents.DeleteDocument(ds.DeleteDocumentRequest(document_id=trashed))
        key = await self._complete(owner, await self._announce(owner, full))
        pending = (await self._announce(owner, empty)).upload
        return replace(
            things,
            conflict_id=await self._conflict(full),
            document_id=full, empty_document_id=empty, trashed_document_id=trashed,
            upload_id=pending.upload_id, announced_key=pending.storage_key, storage_key=key,
        )

    async def _conflict(self, document_id: str) -> str:
        """Another node gave the document a title meanwhile, and here it got one, too."""
        replica = Replica(self.ws.records)
        key = Key(f"DOCUMENT#{document_id}", f"ARTIFACT#{document_id}")
        (state,) = await replica.states([key])
        assert state is not None
        (mine,) = state.versions.values()
        ours, theirs = (
            self._titled(mine, actor, title)
            for actor, title in ((mine.dot[0], "Ours"), ("nother.1", "Theirs"))
        )
        for version in (ours, theirs):
            clock = {**state.clock, version.dot[0]: version.dot[1]}
            both = State(state.family, clock, {version.dot: version})
            (joined,) = await replica.join(
                key.pk, [Incoming(key, both)], origin="nother", found=Found(1_700_000_000_000)
            )
        return joined.conflict

    @staticmethod
    def _titled(version: Version, actor: str, title: str) -> Version:
        members = {**json.loads(version.body), "title": title}
        dot = (actor, version.vv.get(actor, 0) + 1)
        family = FAMILIES["document"]
        return replace(
            version,
            dot=dot,
            vv={**version.vv, actor: dot[1]},
            fields={**version.fields, "title": dot},
            body=canonical_json(members),
            digest=content_digest(family.name, False, content_of(family, members)),
        )

    async def _document(self, owner: str, project_id: str, name: str) -> str:
        documents = self.ws.stub(DocumentServiceStub, as_=mail(owner))
        request = ds.CreateDocumentRequest(
            project_id=project_id, name=name, document_type="report", mime_type="text/plain"
        )
        return str((await documents.CreateDocument(request)).document.document_id)

    async def _announce(self, owner: str, document_id: str) -> Any:
        storage = self.ws.stub(StorageServiceStub, as_=mail(owner))
        return await storage.CreateUpload(
            ss.CreateUploadRequest(
                document_id=document_id, filename="a.txt", content_type="text/plain",
                size_bytes=len(BYTES), sha256=SHA256,
            )
        )

    async def _complete(self, owner: str, announced: Any) -> str:
        transfer = announced.transfer
        async with plain_client() as client:
            sent = await client.request(
                transfer.method, transfer.url, content=BYTES, headers=dict(transfer.headers)
            )
        assert sent.is_success, sent.text
        storage = self.ws.stub(StorageServiceStub, as_=mail(owner))
        done = await storage.CompleteUpload(
            ss.CompleteUploadRequest(upload_id=announced.upload.upload_id)
        )
        return str(done.storage_key)
