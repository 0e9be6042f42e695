"""A right ends between the check of a write and its commit (Z21).

The writes that no head guards: what decided them lies in other partitions than what they
change. Each is stopped right before its commit, its right is taken away, and it goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio
from workspace.identity.v1 import team_service_pb2 as tms
from workspace.project.v1 import document_service_pb2 as ds
from workspace.project.v1 import grant_service_pb2 as gs
from workspace.project.v1 import history_service_pb2 as hs
from workspace.project.v1 import project_service_pb2 as ps
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.history_pb2 import WriteEventKind
from workspace.project.v1.history_service_pb2_grpc import HistoryServiceStub
from workspace.storage.v1 import storage_service_pb2 as ss
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub
from workspace.sync.v1 import connection_pb2 as co
from workspace.sync.v1 import connection_service_pb2 as css
from workspace.sync.v1.connection_service_pb2_grpc import ConnectionServiceStub

from services.rpc.context import peek_call
from tests.chosen_records import plain_client
from tests.harness import Workspace
from tests.integration.identity.people import (
    ACCOUNT_ADMIN,
    ADMINISTRATOR,
    ANN,
    CAT,
    EDITOR,
    MEMBER,
    OWNER,
    new_request_id,
)
from tests.integration.project.scene import (
    COMMENT,
    FAY,
    MANAGE,
    USER,
    VIEW,
    WRITE,
    Scene,
    written_since,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.case("Z21")]

HOOK = "https://93.184.215.14/hook"
DATA = b"late"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with Workspace.open(tmp_path_factory.mktemp("late")) as ws:
        yield await Scene(ws).make()


def new_document(scene: Scene) -> ds.CreateDocumentRequest:
    return ds.CreateDocumentRequest(project_id=scene.project_id, name=f"{new_request_id()}.txt")


async def document(scene: Scene) -> str:
    stub: Any = scene.ws.stub(DocumentServiceStub, as_=ANN)
    made = await stub.CreateDocument(new_document(scene))
    return str(made.document.document_id)


# How fay comes to her right, which ends when the returned call is made.

End = Callable[[], Awaitable[Any]]


async def by_grant(scene: Scene, right: int) -> End:
    given = await scene.grant(ANN, USER, scene.ids[FAY], right)
    request = gs.RevokeGrantRequest(project_id=scene.project_id, grant_id=given.grant_id)
    return lambda: scene.grants(ANN).RevokeGrant(request)


async def by_membership(scene: Scene, role: int) -> End:
    await scene.add_member(ANN, scene.account_id, FAY, role)
    return lambda: scene.remove(ANN, scene.account_id, FAY)


# What she does with it. Each makes what it needs first, and answers the call to make.


async def create_document(scene: Scene) -> Awaitable[Any]:
    stub: Any = scene.ws.stub(DocumentServiceStub, as_=FAY)
    return stub.CreateDocument(new_document(scene))  # type: ignore[no-any-return]


async def update_document(scene: Scene) -> Awaitable[Any]:
    stub: Any = scene.ws.stub(DocumentServiceStub, as_=FAY)
    request = ds.UpdateDocumentRequest(update_mask={"paths": ["title"]})  # type: ignore[arg-type]
    request.document.document_id, request.document.title = await document(scene), "Late"
    return stub.UpdateDocument(request)  # type: ignore[no-any-return]


async def add_artifact(scene: Scene) -> Awaitable[Any]:
    stub: Any = scene.ws.stub(DocumentServiceStub, as_=FAY)
    return stub.CreateDerivedArtifact(  # type: ignore[no-any-return]
        ds.CreateDerivedArtifactRequest(
            document_id=await document(scene), kind="preview", name="late.png"
        )
    )


async def write_note(scene: Scene) -> Awaitable[Any]:
    stub: Any = scene.ws.stub(HistoryServiceStub, as_=FAY)
    return stub.CreateWriteEvent(  # type: ignore[no-any-return]
        hs.CreateWriteEventRequest(
            document_id=await document(scene), kind=WriteEventKind.WRITE_EVENT_KIND_NOTE,
            text="late",
        )
    )


async def announce_file(scene: Scene) -> Awaitable[Any]:
    stub: Any = scene.ws.stub(StorageServiceStub, as_=FAY)
    return stub.CreateUpload(upload_of(await document(scene)))  # type: ignore[no-any-return]


def upload_of(document_id: str) -> ss.CreateUploadRequest:
    return ss.CreateUploadRequest(
        document_id=document_id, filename="late.txt", size_bytes=len(DATA),
        content_type="text/plain", sha256=hashlib.sha256(DATA).hexdigest(),
    )


async def complete_file(scene: Scene) -> Awaitable[Any]:
    stub: Any = scene.ws.stub(StorageServiceStub, as_=FAY)
    made = await stub.CreateUpload(upload_of(await document(scene)))
    sent = made.transfer
    async with plain_client() as client:
        done = await client.request(
            sent.method, sent.url, content=DATA, headers=dict(sent.headers)
        )
    assert done.is_success, done.text
    return stub.CompleteUpload(  # type: ignore[no-any-return]
        ss.CompleteUploadRequest(upload_id=made.upload.upload_id)
    )


async def create_webhook(scene: Scene) -> Awaitable[Any]:
    stub: Any = scene.ws.stub(HistoryServiceStub, as_=FAY)
    request = hs.CreateWebhookRequest(project_id=scene.project_id, url=HOOK)
    return stub.CreateWebhook(request)  # type: ignore[no-any-return]


async def create_account_webhook(scene: Scene) -> Awaitable[Any]:
    stub: Any = scene.ws.stub(HistoryServiceStub, as_=FAY)
    request = hs.CreateWebhookRequest(account_id=scene.account_id, url=HOOK)
    return stub.CreateWebhook(request)  # type: ignore[no-any-return]


async def delete_webhook(scene: Scene) -> Awaitable[Any]:
    owner: Any = scene.ws.stub(HistoryServiceStub, as_=ANN)
    made = await owner.CreateWebhook(
        hs.CreateWebhookRequest(project_id=scene.project_id, url=HOOK)
    )
    stub: Any = scene.ws.stub(HistoryServiceStub, as_=FAY)
    request = hs.DeleteWebhookRequest(webhook_id=made.webhook.webhook_id)
    return stub.DeleteWebhook(request)  # type: ignore[no-any-return]


async def create_project(scene: Scene) -> Awaitable[Any]:
    return scene.projects(FAY).CreateProject(  # type: ignore[no-any-return]
        ps.CreateProjectRequest(name="Late", account_id=scene.account_id)
    )


async def rename_project(scene: Scene) -> Awaitable[Any]:
    request = ps.UpdateProjectRequest(update_mask={"paths": ["name"]})  # type: ignore[arg-type]
    request.project.project_id, request.project.name = scene.project_id, new_request_id()
    return scene.projects(FAY).UpdateProject(request)  # type: ignore[no-any-return]


async def give_a_grant(scene: Scene) -> Awaitable[Any]:
    await scene.ws.sign_in(CAT)
    return scene.grants(FAY).CreateGrant(  # type: ignore[no-any-return]
        gs.CreateGrantRequest(
            project_id=scene.project_id, target_type=USER, target_id=scene.ids[CAT],
            permissions=[VIEW],
        )
    )


async def create_team(scene: Scene) -> Awaitable[Any]:
    request = tms.CreateTeamRequest(account_id=scene.account_id, name="Late")
    return scene.teams(FAY).CreateTeam(request)  # type: ignore[no-any-return]


async def add_to_team(scene: Scene) -> Awaitable[Any]:
    """As an administrator of the account, with no place in the team."""
    team_id = await scene.team(ANN, account_id=scene.account_id)
    request = tms.AddTeamMemberRequest(
        team_id=team_id, user_id=scene.ids[CAT], role=MEMBER, guest=True
    )
    return scene.teams(FAY).AddTeamMember(request)  # type: ignore[no-any-return]


async def rename_team(scene: Scene) -> Awaitable[Any]:
    """As an administrator of the account, with no place in the team."""
    team_id = await scene.team(ANN, account_id=scene.account_id)
    request = tms.UpdateTeamRequest(update_mask={"paths": ["name"]})  # type: ignore[arg-type]
    request.team.team_id, request.team.name = team_id, "Late"
    return scene.teams(FAY).UpdateTeam(request)  # type: ignore[no-any-return]


async def bring_a_project(scene: Scene) -> Awaitable[Any]:
    """Her own, which she goes on owning, into the account."""
    made = await scene.projects(FAY).CreateProject(ps.CreateProjectRequest(name=new_request_id()))
    request = ps.AssignProjectRequest(
        project_id=made.project.project_id, account_id=scene.account_id
    )
    return scene.projects(FAY).AssignProject(request)  # type: ignore[no-any-return]


async def connect(scene: Scene) -> Awaitable[Any]:
    stub: Any = scene.ws.stub(ConnectionServiceStub, as_=FAY)
    scope = co.SyncScope(
        type=co.SYNC_SCOPE_TYPE_ACCOUNTS, account_ids=[scene.account_id]
    )
    manifest = co.Connection(provider="local", settings={"folder": "late"}, scope=scope)
    return stub.CreateConnection(  # type: ignore[no-any-return]
        css.CreateConnectionRequest(connection=manifest)
    )


@dataclass(frozen=True)
class Late:
    """A write, how its right comes and goes, and the partitions of its commit."""

    write: Callable[[Scene], Awaitable[Awaitable[Any]]]
    given: Callable[[Scene, int], Awaitable[End]]
    right: int
    partition: str


LATE = {
    "document created": Late(create_document, by_grant, WRITE, "DOCUMENT#"),
    "document created by a member": Late(create_document, by_membership, EDITOR, "DOCUMENT#"),
    "document updated": Late(update_document, by_grant, WRITE, "DOCUMENT#"),
    "document updated by a member": Late(update_document, by_membership, EDITOR, "DOCUMENT#"),
    "artifact added": Late(add_artifact, by_grant, WRITE, "DOCUMENT#"),
    "note written": Late(write_note, by_grant, COMMENT, "DOCUMENT#"),
    "file announced": Late(announce_file, by_grant, WRITE, "UPLOAD#"),
    "file completed": Late(complete_file, by_grant, WRITE, "UPLOAD#"),
    "webhook created": Late(create_webhook, by_grant, MANAGE, "PROJECT#"),
    "webhook created by a member": Late(create_webhook, by_membership, ADMINISTRATOR, "PROJECT#"),
    "webhook of the account": Late(
        create_account_webhook, by_membership, ACCOUNT_ADMIN, "ACCOUNT#"
    ),
    "webhook deleted": Late(delete_webhook, by_grant, MANAGE, "PROJECT#"),
    "webhook deleted by a member": Late(delete_webhook, by_membership, ADMINISTRATOR, "PROJECT#"),
    "project in an account": Late(create_project, by_membership, EDITOR, "PROJECT#"),
    "project renamed by a member": Late(rename_project, by_membership, EDITOR, "PROJECT#"),
    "grant by a member": Late(give_a_grant, by_membership, ADMINISTRATOR, "PROJECT#"),
    "team": Late(create_team, by_membership, ACCOUNT_ADMIN, "TEAM#"),
    "team member": Late(add_to_team, by_membership, ACCOUNT_ADMIN, "TEAM#"),
    "team renamed": Late(rename_team, by_membership, ACCOUNT_ADMIN, "TEAM#"),
    "project brought into an account": Late(bring_a_project, by_membership, EDITOR, "PROJECT#"),
    "connection": Late(connect, by_membership, OWNER, "CONNECTION#"),
}


@pytest.mark.parametrize("name", LATE)
async def test_a_right_that_ends_before_the_commit_fails_the_write(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    late = LATE[name]
    end = await late.given(scene, late.right)
    write = await late.write(scene)
    commit, cursor = scene.ws.records.commit, ""

    async def paused(pk: str, *args: Any, **more: Any) -> Any:
        nonlocal cursor
        call = peek_call()
        hers = call is not None and call.user_id == scene.ids[FAY]
        if hers and pk.startswith(late.partition) and not cursor:
            cursor = "taken away"
            await end()
            cursor = await scene.ws.records.tail()
        return await commit(pk, *args, **more)

    with monkeypatch.context() as patched:
        patched.setattr(scene.ws.records, "commit", paused)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await write
    if not cursor:
        await end()
    assert cursor, "it came to the commit"
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert [key for key in await written_since(scene.ws, cursor) if is_of(late, key)] == []


def is_of(late: Late, key: Any) -> bool:
    return bool(key.pk.startswith(late.partition))


@pytest.mark.parametrize("name", LATE)
async def test_with_the_right_it_goes_through(scene: Scene, name: str) -> None:
    """The control: nothing but the right decides."""
    late = LATE[name]
    end = await late.given(scene, late.right)
    try:
        await (await late.write(scene))
    finally:
        await end()
