"""Ids, fields and doors that go round a check: what an attacker tries with single objects."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.project.v1 import document_service_pb2 as ds
from workspace.project.v1 import grant_service_pb2 as gs
from workspace.project.v1 import project_service_pb2 as ps
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.storage.v1 import storage_service_pb2 as ss
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub

from tests.contract.served import CONTRACT
from tests.harness import Workspace
from tests.security.cast import SIGNED_IN, Cast, mail
from tests.security.requests_table import ROWS

pytestmark = pytest.mark.asyncio(loop_scope="module")
MEMBERS = {"viewer", "editor", "owner"}
WRITERS = {"editor", "owner"}
PRIVATE = re.compile(r"email|secret|password|bearer|hash|storage_key|url|(?<!page_)token")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cast(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cast]:
    async with Workspace.open(tmp_path_factory.mktemp("objects")) as ws:
        opened = Cast(ws)
        await opened.enter()
        yield opened


async def code_of(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


# Z03: a thing of one parent, named below another.


@pytest.mark.case("Z03")
async def test_a_grant_is_of_its_own_project_alone(cast: Cast) -> None:
    """The owner of one project names the grant of another below his own."""
    grants: Any = cast.ws.stub(GrantServiceStub, as_=mail("owner"))
    named = {"project_id": cast.own.project_id, "grant_id": cast.foreign.grant_id}
    update = gs.UpdateGrantRequest(update_mask={"paths": ["note"]})  # type: ignore[arg-type]
    update.grant.project_id, update.grant.grant_id = named["project_id"], named["grant_id"]
    for call in (grants.RevokeGrant(gs.RevokeGrantRequest(**named)), grants.UpdateGrant(update)):
        assert await code_of(call) is grpc.StatusCode.NOT_FOUND
    theirs: Any = cast.ws.stub(GrantServiceStub, as_=mail("other"))
    listed = await theirs.ListGrants(gs.ListGrantsRequest(project_id=cast.foreign.project_id))
    assert cast.foreign.grant_id in {each.grant_id for each in listed.grants}


@pytest.mark.case("Z03")
async def test_an_artifact_is_of_its_own_document_alone(cast: Cast) -> None:
    documents: Any = cast.ws.stub(DocumentServiceStub, as_=mail("other"))
    made = await documents.CreateDerivedArtifact(
        ds.CreateDerivedArtifactRequest(
            document_id=cast.foreign.document_id, kind="preview", name="page.png"
        )
    )
    storage: Any = cast.ws.stub(StorageServiceStub, as_=mail("owner"))
    named = {
        "document_id": cast.own.document_id,
        "artifact_id": made.artifact.artifact_id,
    }
    for call in (
        storage.GetObjectInfo(ss.GetObjectInfoRequest(**named)),
        storage.CreateDownload(ss.CreateDownloadRequest(**named)),
    ):
        assert await code_of(call) is grpc.StatusCode.NOT_FOUND


# Z10


@pytest.mark.case("Z10")
@pytest.mark.parametrize("query", ["%", "_", "*", "%ull%", "f_ll", "f%", "f*l", "?ull", "[f]ull"])
async def test_wildcards_widen_no_search(cast: Cast, query: str) -> None:
    """`full.txt` is found by its words and their beginnings, by nothing else."""
    documents: Any = cast.ws.stub(DocumentServiceStub, as_=mail("owner"))

    async def found(text: str) -> list[str]:
        request = ds.SearchDocumentsRequest(query=text)
        return [each.name for each in (await documents.SearchDocuments(request)).documents]

    assert await found("ful") == ["full.txt"]
    words = re.findall("[a-z]+", query)  # what is left without the signs
    if not words:
        with pytest.raises(grpc.aio.AioRpcError, match="INVALID_ARGUMENT"):
            await found(query)
    else:
        expected = ["full.txt"] if words in (["f"], ["full"]) else []
        assert await found(query) == expected


# Z14

SHOWN: dict[tuple[str, str], set[str]] = {
    ("AccountService/ListAccountMembers", "members.email"): MEMBERS,
    ("DocumentService/GetDocument", "document.file.storage_key"): MEMBERS,
    ("DocumentService/GetDocument", "document.storage_key"): MEMBERS,
    ("DocumentService/GetDocumentAsOf", "document.file.storage_key"): MEMBERS,
    ("DocumentService/GetDocumentAsOf", "document.storage_key"): MEMBERS,
    ("DocumentService/ListDocuments", "documents.file.storage_key"): MEMBERS,
    ("DocumentService/ListDocuments", "documents.storage_key"): MEMBERS,
    ("DocumentService/ListRevisions", "files.storage_key"): MEMBERS,
    ("HistoryService/ListMetadataRecords", "metadata_records.file.storage_key"): MEMBERS,
    ("IdentityService/GetSession", "session.teams.member.email"): MEMBERS,
    ("IdentityService/GetUser", "user.email"): MEMBERS | {"platform"},
    ("IdentityService/GetUser", "user.email_verified"): {"platform"},
    ("IdentityService/ListUsers", "users.email"): MEMBERS,
    ("InvitationService/GetInvitation", "invitation.email"): {"owner"},
    ("InvitationService/ListInvitations", "invitations.email"): {"owner"},
    ("StorageService/BatchCreateDownloads", "results.download.transfer.url"): MEMBERS,
    ("StorageService/CreateDownload", "transfer.url"): MEMBERS,
    ("StorageService/GetObjectInfo", "object.storage_key"): MEMBERS,
    ("StorageService/ListUploadParts", "upload.storage_key"): WRITERS,
    ("StorageService/ListUploads", "uploads.storage_key"): WRITERS,
    ("TeamService/ListTeamMembers", "members.email"): MEMBERS,
}
"""Who is shown which private field by a read. A key of a file is for who may see the file;
an address for who shares the account or team. Nobody is shown a secret again."""

ABOUT_ONESELF = {
    "session.accounts.member.email", "session.user.email", "session.user.email_verified",
    "identity_links.email",
}  # fmt: skip
SEALED = "consistency_token"
"""A position and a time under a key of the deployment."""


def fields_of(message: Message, at: str = "") -> Iterator[str]:
    """Paths of the fields that are filled in."""
    for field, value in message.ListFields():
        inner = field.message_type
        foreign = inner is not None and inner.file.package.startswith("google.")
        if inner is None or foreign or inner.GetOptions().map_entry:
            yield at + field.name
            continue
        for each in value if field.is_repeated else [value]:
            yield from fields_of(each, f"{at}{field.name}.")


@pytest.mark.case("Z14")
async def test_private_fields_are_shown_to_the_listed_roles_alone(cast: Cast) -> None:
    shown: dict[tuple[str, str], set[str]] = defaultdict(set)
    for path, row in ROWS.items():
        rpc = CONTRACT[path]
        if rpc.mutates or rpc.internal or rpc.streams:
            continue
        for role in ("anonymous", *SIGNED_IN):
            request = row.ask(cast.own.seen_by(cast.id(role) if role in SIGNED_IN else ""))
            try:
                answer = await rpc(cast.channel(role), request)
            except grpc.aio.AioRpcError:
                continue
            name = path.removeprefix("/workspace.").split(".", 2)[2]
            for field in fields_of(answer):
                if PRIVATE.search(field) and field not in ABOUT_ONESELF | {SEALED}:
                    shown[name, field].add(role)
    assert shown == SHOWN


# Z15, Z19


@pytest.mark.case("Z15", "Z19")
@pytest.mark.parametrize("role", ["anonymous", "owner", "platform"])
async def test_what_is_internal_has_no_way_in_over_http(cast: Cast, role: str) -> None:
    async with cast.ws.client(as_="" if role == "anonymous" else mail(role)) as client:
        for rpc in CONTRACT.values():
            if rpc.internal:
                template = re.sub(r"\{[^}]*\}", cast.own.project_id, rpc.http[1])
                answer = await client.request(rpc.http[0], template)
                assert answer.status_code in (404, 405), (rpc.path, answer.status_code)
        for path in ("/debug", "/debug/pprof", "/admin", "/channelz", "/internal", "/api", "/api/"):
            assert (await client.get(path)).status_code == 404, path


@pytest.mark.case("Z15")
@pytest.mark.parametrize("role", ["anonymous", "platform"])
@pytest.mark.parametrize(
    "path",
    [
        "/grpc.channelz.v1.Channelz/GetTopChannels",
        "/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus",
    ],
)
async def test_no_debugging_on_the_public_port(cast: Cast, role: str, path: str) -> None:
    token = "" if role == "anonymous" else cast.ws.token(mail(role))
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    async with grpc.aio.insecure_channel(cast.ws.process.grpc_address) as channel:
        call = channel.unary_unary(path)(b"", metadata=metadata, timeout=20)
        assert await code_of(call) is grpc.StatusCode.UNIMPLEMENTED


# Z20


@pytest.mark.case("Z20")
async def test_who_is_new_is_somebody_of_his_own_and_holds_nothing(cast: Cast) -> None:
    known = set(cast.ws._users.values())
    made = [await cast.ws.sign_in(f"new{number}@example.com") for number in range(2)]
    assert len({*made, *known}) == len(known) + 2
    for number in range(2):
        email = f"new{number}@example.com"
        projects: Any = cast.ws.stub(ProjectServiceStub, as_=email)
        assert not (await projects.ListProjects(ps.ListProjectsRequest())).projects
        asked = projects.GetProject(ps.GetProjectRequest(project_id=cast.own.project_id))
        assert await code_of(asked) is grpc.StatusCode.PERMISSION_DENIED
        identity: Any = cast.ws.stub(IdentityServiceStub, as_=email)
        session = (await identity.GetSession(ids.GetSessionRequest())).session
        assert not session.is_platform_admin
        assert [each.account.type for each in session.accounts] == ["personal"]
