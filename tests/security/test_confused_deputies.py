"""Storage asks the project service what a person may do, and nobody gets in between them.

A whole process with its real services; what stands between the two is a test's doing. The
certificates are those of a real authority, over real sockets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1.account_service_pb2 import CreateAccountRequest
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.identity.v1.identity_service_pb2 import GetSessionRequest
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.project.v1 import document_service_pb2 as ds
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.permission_service_pb2 import (
    CheckPermissionRequest,
    GetEffectivePermissionsRequest,
)
from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceStub
from workspace.project.v1.project_pb2 import Project
from workspace.project.v1.project_service_pb2 import CreateProjectRequest, GetProjectRequest
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.storage.v1 import storage_service_pb2 as pb
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub

import storage_svc.module
import storage_svc.revocation
from project_svc.access.facts import FactsReader
from services.model.errors import Reason, WorkspaceError
from storage_svc import bound
from storage_svc.gate import ProjectGate
from tests.chosen_records import needs_data_plane
from tests.harness import Workspace
from tests.integration.storage.people import ANN, BOB, EVE, Desk, get, put, refused, request_id
from tests.unit.rpc.peer_certificates import Peer, TestAuthority, method, raw, server_tls, serving

DATA = b"what only ann may read\n" * 20
VIEW, OWNER = Permission.PERMISSION_VIEW, Permission.PERMISSION_OWNER


class MixedUp:
    """Identity as the project service sees it; `change` is what becomes of its answers."""

    def __init__(self) -> None:
        self.change: Callable[[Any, Any], Any] | None = None

    def between(self, identity: Any) -> Any:
        mixed = self

        class Stub:
            def __getattr__(self, name: str) -> Any:
                return getattr(identity, name)

            async def BatchGetMemberships(self, request: Any) -> Any:  # noqa: N802
                answer = await identity.BatchGetMemberships(request)
                return answer if mixed.change is None else await mixed.change(request, answer)

        return Stub()


class Between:
    """Stubs of the project service; `change` is what becomes of its answers, `decisions`
    those about files as they were, `dead` is asked instead."""

    def __init__(self) -> None:
        self.change: Callable[[Any], Any] | None = None
        self.decisions: list[Any] = []
        self.dead: grpc.aio.Channel | None = None

    def gate(self, peers: Any) -> ProjectGate:
        channel = peers("project", asking="storage_svc")
        return ProjectGate(
            documents=_Stub(self, DocumentServiceStub, channel),  # type: ignore[arg-type]
            permissions=_Stub(self, PermissionServiceStub, channel),  # type: ignore[arg-type]
            projects=_Stub(self, ProjectServiceStub, channel),  # type: ignore[arg-type]
        )


class _Stub:
    def __init__(self, between: Between, made: Any, channel: Any) -> None:
        self._between, self._made, self._real = between, made, made(channel)

    def __getattr__(self, name: str) -> Any:
        between = self._between

        async def ask(request: Any) -> Any:
            dead = between.dead
            stub = self._real if dead is None else self._made(dead)
            answer = await getattr(stub, name)(request)
            if isinstance(answer, ds.AuthorizeFileResponse):
                kept = type(answer)()
                kept.CopyFrom(answer)
                between.decisions.append(kept)
            changed = answer if between.change is None else between.change(answer)
            return await changed if asyncio.iscoroutine(changed) else changed

        return ask


@pytest.fixture
async def between(monkeypatch: pytest.MonkeyPatch) -> Between:
    made = Between()
    monkeypatch.setattr(storage_svc.module, "build_gate", made.gate)
    return made


@pytest.fixture
async def desk(tmp_path: Path, between: Between) -> AsyncIterator[Desk]:
    async with Workspace.open(tmp_path) as ws:
        for email in (ANN, BOB, EVE):
            await ws.sign_in(email)
        opened = Desk(ws)
        opened.project_id = await opened.new_project()
        yield opened


def download(document_id: str) -> pb.CreateDownloadRequest:
    return pb.CreateDownloadRequest(document_id=document_id)


@pytest.mark.case("S01")
async def test_a_service_alone_gets_no_url(desk: Desk) -> None:
    document_id = await desk.document()
    await desk.uploaded(document_id, DATA)
    for service in ("identity_svc", "project_svc", "storage_svc", "sync_svc"):
        alone: Any = desk.ws.service_stub(StorageServiceStub, service=service)
        for call in (
            alone.CreateDownload(download(document_id)),
            alone.BatchCreateDownloads(pb.BatchCreateDownloadsRequest(document_ids=[document_id])),
            alone.GetObjectInfo(pb.GetObjectInfoRequest(document_id=document_id)),
            alone.ListUploads(pb.ListUploadsRequest(project_id=desk.project_id)),
            alone.RevokeTransfers(pb.RevokeTransfersRequest(project_id=desk.project_id)),
        ):
            assert (await refused(call)).code is grpc.StatusCode.UNAUTHENTICATED
    assert (await desk.storage().CreateDownload(download(document_id))).transfer.url


@pytest.mark.case("S02")
async def test_a_token_alone_gets_no_connection(tmp_path: Path) -> None:
    authority, peer = TestAuthority(tmp_path), Peer()
    for name in ("storage", "project"):
        authority.issue(name)
    token = (("authorization", "Bearer of-a-person"),)
    async with serving(server_tls(tmp_path / "storage"), peer=peer) as target:
        for show, code in (((), "UNAVAILABLE"), (("tls.key", "tls.crt"), "OK")):
            credentials = raw(tmp_path / "project", show=show)
            async with grpc.aio.secure_channel(target, credentials) as channel:
                call = method(channel)(StringValue(), metadata=token, timeout=20)
                assert (await call.code()).name == code
                assert len(peer.connections) == (code == "OK")


NAMES = ("x-user-id", "user_id", "x-forwarded-user", "x-workspace-user", "workspace_user",
         "remote-user", "x-goog-authenticated-user-email", "x-ms-client-principal-id")  # fmt: skip


@pytest.mark.case("S03")
async def test_the_token_alone_says_who_calls(desk: Desk) -> None:
    ann, eve = await desk.ws.sign_in(ANN), await desk.ws.sign_in(EVE)
    sent = tuple((name, value) for name in NAMES for value in (ann, ANN))
    stub: Any = desk.ws.socket_stub(IdentityServiceStub, as_=EVE)
    session = (await stub.GetSession(GetSessionRequest(), metadata=sent)).session
    assert session.user.user_id == eve
    async with desk.ws.client(EVE) as client:
        for name, value in sent:
            if "_" not in name:
                answer = await client.get("/api/session", headers={name: value})
                assert answer.json()["session"]["user"]["user_id"] == eve
        query = await client.get("/api/session", params={"user_id": ann})
        assert query.status_code == 400
    asking: Any = desk.ws.socket_stub(PermissionServiceStub, as_=EVE)
    about_ann = CheckPermissionRequest(
        project_id=desk.project_id, permission=VIEW, user_id=ann
    )
    assert (await refused(asking.CheckPermission(about_ann))).reason == "PERMISSION_DENIED"


@pytest.mark.case("S04")
async def test_what_a_service_does_for_a_person_is_his(desk: Desk) -> None:
    """Storage hands the file over with its own identity; the record names the person."""
    await desk.grant(BOB, Permission.PERMISSION_WRITE)
    document_id = await desk.document()
    made = await desk.sent(document_id, DATA, who=BOB)
    await desk.complete(made.upload_id, who=BOB)
    file = (await desk.read(document_id)).file
    assert file.uploaded_by == await desk.ws.sign_in(BOB)


def other_document(answer: Any, other: Any) -> Any:
    return other


def other_person(answer: Any, other: Any) -> Any:
    answer.user_id = "u_other"
    return answer


def other_file(answer: Any, other: Any) -> Any:
    answer.file.CopyFrom(other.file)
    return answer


def other_folder(answer: Any, other: Any) -> Any:
    answer.storage_prefix = other.storage_prefix
    return answer


def an_artifact(answer: Any, other: Any) -> Any:
    answer.artifact.artifact_id = "r_1"
    return answer


def nothing(answer: Any, other: Any) -> Any:
    return type(answer)()


SWAPS = [other_document, other_person, other_file, other_folder, an_artifact, nothing]


@pytest.mark.case("S07")
async def test_a_decision_about_another_file_is_none(
    desk: Desk, between: Between, caplog: pytest.LogCaptureFixture
) -> None:
    mine, other = await desk.document("mine.txt"), await desk.document("other.txt")
    for each in (mine, other):
        await desk.uploaded(each, DATA + each.encode())
    await desk.storage().CreateDownload(download(other))
    decision = between.decisions[-1]
    stub = desk.storage()
    for swap in SWAPS:
        between.change = lambda answer, swap=swap: swap(answer, decision)
        caplog.clear()
        for call in (
            stub.CreateDownload(download(mine)),
            stub.GetObjectInfo(pb.GetObjectInfoRequest(document_id=mine)),
        ):
            no = await refused(call)
            assert (no.code.name, no.reason) == ("UNAVAILABLE", "BACKEND_UNAVAILABLE"), swap
            assert other not in no.message
        assert "answered about another" in caplog.text
    between.change = None
    assert (await get((await stub.CreateDownload(download(mine))).transfer)).is_success


@pytest.mark.case("S07")
async def test_nor_is_one_about_another_upload(desk: Desk, between: Between) -> None:
    mine, other = await desk.document("mine.txt"), await desk.document("other.txt")
    await desk.announce(other, DATA)
    decision = between.decisions[-1]
    for swap in (other_document, other_person, other_folder, nothing):
        between.change = lambda answer, swap=swap: swap(answer, decision)
        assert (await refused(desk.announce(mine, DATA))).reason == "BACKEND_UNAVAILABLE"
    between.change = None
    answer = await desk.storage().ListUploads(pb.ListUploadsRequest(project_id=desk.project_id))
    assert {each.document_id for each in answer.uploads} == {other}


def reversed_(answer: Any) -> Any:
    return ds.BatchAuthorizeFilesResponse(results=reversed(answer.results))


def shorter(answer: Any) -> Any:
    return ds.BatchAuthorizeFilesResponse(results=answer.results[:1])


def swapped(answer: Any) -> Any:
    first, second = answer.results
    kept = type(first.decision)()
    kept.CopyFrom(first.decision)
    first.decision.CopyFrom(second.decision)
    second.decision.CopyFrom(kept)
    return answer


def undecided(answer: Any) -> Any:
    answer.results[0].ClearField("decision")
    return answer


@pytest.mark.case("S07")
async def test_a_list_of_decisions_is_in_the_order_asked(desk: Desk, between: Between) -> None:
    ids = [await desk.document(name) for name in ("a.txt", "b.txt")]
    for each in ids:
        await desk.uploaded(each, DATA)
    request = pb.BatchCreateDownloadsRequest(document_ids=ids)
    for between.change in (reversed_, shorter, swapped, undecided):
        no = await refused(desk.storage().BatchCreateDownloads(request))
        assert no.reason == "BACKEND_UNAVAILABLE"
    between.change = None
    answer = await desk.storage().BatchCreateDownloads(request)
    assert all(each.HasField("download") for each in answer.results)


@pytest.mark.case("S07")
async def test_a_right_of_another_person_or_project_is_none(desk: Desk, between: Between) -> None:
    """Bob is told what Ann holds, and what he holds on a project of his own."""
    asked: Any = desk.ws.stub(PermissionServiceStub, as_=ANN)
    anns = await asked.GetEffectivePermissions(
        GetEffectivePermissionsRequest(project_id=desk.project_id)
    )
    assert OWNER in anns.effective_permissions.permissions
    theirs: Any = desk.ws.stub(PermissionServiceStub, as_=BOB)
    own = await theirs.GetEffectivePermissions(
        GetEffectivePermissionsRequest(project_id=await desk.new_project(BOB))
    )
    revoke = pb.RevokeTransfersRequest(project_id=desk.project_id, request_id=request_id())
    for answer, reason in (
        (anns, "BACKEND_UNAVAILABLE"), (own, "BACKEND_UNAVAILABLE"), (None, "PERMISSION_DENIED"),
    ):  # fmt: skip
        between.change = None if answer is None else lambda _, it=answer: it
        assert (await refused(desk.storage(BOB).RevokeTransfers(revoke))).reason == reason


@needs_data_plane
@pytest.mark.case("S06", "S07")
async def test_a_url_whose_right_nobody_knows_is_refused(
    desk: Desk, between: Between, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_svc.revocation, "CACHE_SECONDS", 0.0)
    document_id = await desk.document()
    await desk.uploaded(document_id, DATA)
    transfer = (await desk.storage().CreateDownload(download(document_id))).transfer
    pending = await desk.announce(await desk.document("b.pdf"), DATA)

    def of_somebody_else(answer: Any) -> Any:
        answer.effective_permissions.user_id += "x"
        return answer

    for change in (of_somebody_else, nothing_at_all):
        between.change = change
        answer = await get(transfer)
        assert (answer.status_code, DATA in answer.content) == (503, False)
        assert (await put(pending.transfer, DATA)).status_code == 503
    between.change = None
    assert (await get(transfer)).content == DATA


def nothing_at_all(answer: Any) -> Any:
    return type(answer)()


async def never(_: Any) -> Any:
    await asyncio.Event().wait()


def calls(desk: Desk, document_id: str, empty: str) -> list[Callable[[float], Any]]:
    """Everything that needs a decision, each with a time limit in seconds."""
    stub = desk.storage()
    upload = pb.CreateUploadRequest(
        document_id=empty, filename="a.txt", content_type="text/plain", size_bytes=3,
        sha256="0" * 64, request_id=request_id(),
    )
    revoke = pb.RevokeTransfersRequest(project_id=desk.project_id, request_id=request_id())
    return [
        lambda limit: stub.CreateDownload(download(document_id), timeout=limit),
        lambda limit: stub.GetObjectInfo(
            pb.GetObjectInfoRequest(document_id=document_id), timeout=limit
        ),
        lambda limit: stub.CreateUpload(upload, timeout=limit),
        lambda limit: stub.RevokeTransfers(revoke, timeout=limit),
    ]


@pytest.mark.case("S06")
async def test_while_nobody_answers_nothing_is_allowed(desk: Desk, between: Between) -> None:
    document_id = await desk.document()
    await desk.uploaded(document_id, DATA)
    began = time.monotonic()
    needing = calls(desk, document_id, await desk.document("empty.txt"))
    between.change = never
    asked = [call(1.0) for call in needing]
    assert {await each.code() for each in asked} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    assert time.monotonic() - began < 30
    between.change = None
    async with grpc.aio.insecure_channel("127.0.0.1:1") as between.dead:
        for call in needing:
            assert (await refused(call(20.0))).code is grpc.StatusCode.UNAVAILABLE
    between.dead = None
    assert (await desk.storage().CreateDownload(download(document_id))).transfer.url


KEY = "accounts/a_1/projects/{}/documents/{}/{}/f.txt"


@pytest.mark.case("S07")
@pytest.mark.parametrize(
    ("prefix", "document_id", "key"),
    [
        ("accounts/a_1/projects/p_2/", "d_1", KEY.format("p_1", "d_1", "raw")),
        ("accounts/a_1/projects/xp_1", "d_1", KEY.format("p_1", "d_1", "raw")),
        ("accounts/a_1/projects/p_1/", "d_2", KEY.format("p_1", "d_2", "raw")),
        ("accounts/a_1/projects/p_1/", "d_1", KEY.format("p_2", "d_1", "raw")),
        ("accounts/a_1/projects/p_1/", "d_1", KEY.format("p_1", "d_2", "raw")),
        ("accounts/a_1/projects/p_1/", "d_1", KEY.format("p_1", "d_1", "derived/r_1")),
        ("accounts/a_1/projects/p_1/", "d_1", "f.txt"),
    ],
)  # fmt: skip
def test_files_of_others_are_not_listed_for_removal(
    prefix: str, document_id: str, key: str
) -> None:
    def listed(prefix: str, document_id: str, key: str) -> ds.ListProjectFilesResponse:
        answer = ds.ListProjectFilesResponse(storage_prefix=prefix)
        answer.files.add(document_id=document_id).file.storage_key = key
        return answer

    good = listed("accounts/a_1/projects/p_1/", "d_1", KEY.format("p_1", "d_1", "raw"))
    bound.require_listed(good, project_id="p_1", document_id="d_1")
    bound.require_listed(good, project_id="p_1", document_id="")
    with pytest.raises(WorkspaceError) as caught:
        bound.require_listed(
            listed(prefix, document_id, key), project_id="p_1", document_id="d_1"
        )
    assert caught.value.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE


@pytest.mark.case("S07")
def test_what_was_attached_and_read_is_what_was_asked_for() -> None:
    answer = ds.AttachFileResponse()
    answer.document.project_id, answer.document.document_id = "p_1", "d_1"
    about = {"project_id": "p_1", "document_id": "d_1", "artifact_id": ""}
    bound.require_attached(answer, **about)
    for name in about:
        with pytest.raises(WorkspaceError):
            bound.require_attached(answer, **{**about, name: "x_1"})
    bound.require_project(Project(project_id="p_1"), "p_1")
    for project in (Project(project_id="p_2"), Project()):
        with pytest.raises(WorkspaceError):
            bound.require_project(project, "p_1")


@pytest.mark.case("S07")
async def test_memberships_of_somebody_else_lend_no_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Identity is asked about Eve and answers about Ann, whose account the project is in."""
    mixed, real = MixedUp(), FactsReader.__init__

    def opened(self: FactsReader, *, identity: Any, **more: Any) -> None:
        real(self, identity=mixed.between(identity), **more)

    monkeypatch.setattr(FactsReader, "__init__", opened)
    async with Workspace.open(tmp_path) as ws:
        ann, _ = [await ws.sign_in(each) for each in (ANN, EVE)]
        accounts: Any = ws.stub(AccountServiceStub, as_=ANN)
        account = await accounts.CreateAccount(CreateAccountRequest(name="A", type="client_org"))
        projects: Any = ws.stub(ProjectServiceStub, as_=ANN)
        made = await projects.CreateProject(
            CreateProjectRequest(name="P", account_id=account.account.account_id)
        )
        identity: Any = ws.service_stub(IdentityServiceStub, service="project_svc")

        async def about_ann(request: Any, _: Any) -> Any:
            request.user_id = ann
            return await identity.BatchGetMemberships(request)

        async def without_results(_: Any, answer: Any) -> Any:
            answer.ClearField("results")
            return answer

        ask = GetProjectRequest(project_id=made.project.project_id)
        eve: Any = ws.stub(ProjectServiceStub, as_=EVE)
        for mixed.change in (about_ann, without_results):
            assert (await refused(eve.GetProject(ask))).reason == "BACKEND_UNAVAILABLE"
        mixed.change = None
        assert (await refused(eve.GetProject(ask))).reason == "PERMISSION_DENIED"
        assert (await projects.GetProject(ask)).project.name == "P"
