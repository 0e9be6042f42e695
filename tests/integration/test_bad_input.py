"""Bad input through both doors: the documented reason, the field, and no effect."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import httpx
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import team_service_pb2 as tms
from workspace.project.v1 import document_service_pb2 as ds
from workspace.project.v1 import project_service_pb2 as ps

from services.rpc.errors import error_info, peer_status
from tests.contract.served import CONTRACT, Rpc
from tests.harness import Workspace
from tests.security.cast import Cast, Things, mail
from tests.security.requests_table import ROWS

pytestmark = pytest.mark.asyncio(loop_scope="module")
PEOPLE_CALL = {
    path: CONTRACT[path] for path in ROWS if path in CONTRACT and not CONTRACT[path].internal
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cast(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cast]:
    async with Workspace.open(tmp_path_factory.mktemp("bad-input")) as ws:
        opened = Cast(ws)
        await opened.enter()
        yield opened


class Refused:
    """The reason, the fields that are named, and the text."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        status = peer_status(error)
        info = error_info(status) if status is not None else None
        assert status is not None
        assert info is not None, error
        self.reason = info.reason.removeprefix("ERROR_REASON_")
        self.fields = {info.metadata.get("field", "")}
        for detail in status.details:
            bad = error_details_pb2.BadRequest()
            if detail.Unpack(bad):
                self.fields |= {violation.field for violation in bad.field_violations}


async def refused(cast: Cast, rpc: Rpc, request: Message, role: str = "owner") -> Refused:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rpc(cast.channel(role), request)
    return Refused(caught.value)


def ask(cast: Cast, rpc: Rpc) -> Any:
    row = ROWS[rpc.path]
    things = cast.own.seen_by(cast.id("owner"))
    return (row.about_self or row.ask)(things)


def having(field: str) -> list[str]:
    return [p for p, rpc in PEOPLE_CALL.items() if field in rpc.request.DESCRIPTOR.fields_by_name]


def rpc_named(name: str) -> Rpc:
    [rpc] = [rpc for rpc in PEOPLE_CALL.values() if rpc.name == name]
    return rpc


# Page sizes and tokens


@pytest.mark.case("Z08")
@pytest.mark.parametrize("path", having("page_token"))
async def test_page_tokens_that_nobody_issued(cast: Cast, path: str) -> None:
    rpc = PEOPLE_CALL[path]
    role = "platform" if rpc.name in ("ListAllAccounts", "ListNodes") else "owner"
    for token in ("x", "AAAA", "not/base64", "é", "A" * 200, "0" * 43 + "="):
        request = ask(cast, rpc)
        request.page_token = token
        answer = await refused(cast, rpc, request, role)
        assert answer.reason == "INVALID_PAGE_TOKEN", token
        assert "page_token" in answer.fields


@pytest.mark.parametrize("path", having("page_size"))
async def test_negative_page_sizes(cast: Cast, path: str) -> None:
    rpc = PEOPLE_CALL[path]
    request = ask(cast, rpc)
    request.page_size = -1
    answer = await refused(cast, rpc, request)
    assert answer.reason == "INVALID_FIELD"
    assert "page_size" in answer.fields


@pytest.mark.case("Z08")
@pytest.mark.parametrize("name", ["ListAccountMembers", "ListUsers", "ListTeamMembers"])
async def test_a_page_token_is_for_its_caller_arguments_and_method(cast: Cast, name: str) -> None:
    rpc = rpc_named(name)
    request = ask(cast, rpc)
    request.page_size = 1
    first: Any = await rpc(cast.channel("owner"), request)
    assert first.next_page_token
    request.page_token = first.next_page_token
    assert (await refused(cast, rpc, request, "viewer")).reason == "INVALID_PAGE_TOKEN"
    await rpc(cast.channel("owner"), request)  # to the one it was made for it is good
    request.status = 1
    assert (await refused(cast, rpc, request)).reason == "INVALID_PAGE_TOKEN"
    other: Any = ask(cast, rpc_named("ListAccounts"))
    other.page_token = first.next_page_token
    answer = await refused(cast, rpc_named("ListAccounts"), other)
    assert answer.reason == "INVALID_PAGE_TOKEN"


# Masks


@pytest.mark.case("Z11")
@pytest.mark.parametrize("path", having("update_mask"))
async def test_masks_that_name_what_the_server_sets_or_nothing(cast: Cast, path: str) -> None:
    rpc = PEOPLE_CALL[path]
    for name in ("created_at", "created_by", "etag", "nonsense", "name.first", "Name"):
        request = ask(cast, rpc)
        request.update_mask.paths[:] = [name]
        answer = await refused(cast, rpc, request)
        assert answer.reason == "INVALID_MASK", name
        assert any(name in field for field in answer.fields), (name, answer.fields)


# Request ids


@pytest.mark.parametrize("path", having("request_id"))
async def test_request_ids_that_are_no_uuid(cast: Cast, path: str) -> None:
    rpc = PEOPLE_CALL[path]
    for text in ("1", "not-a-uuid", "0" * 32, "é" * 36):
        request = ask(cast, rpc)
        request.request_id = text
        answer = await refused(cast, rpc, request)
        assert (answer.reason, "request_id" in answer.fields) == ("INVALID_FIELD", True), text


def variants(t: Things) -> dict[str, tuple[Message, Message]]:
    """Two payloads of one call each, for the same place."""
    return {
        "CreateAccount": (
            acs.CreateAccountRequest(name="One", type="client_org"),
            acs.CreateAccountRequest(name="Two", type="client_org"),
        ),
        "CreateTeam": (
            tms.CreateTeamRequest(account_id=t.account_id, name="One"),
            tms.CreateTeamRequest(account_id=t.account_id, name="Two"),
        ),
        "CreateProject": (
            ps.CreateProjectRequest(account_id=t.account_id, name="One"),
            ps.CreateProjectRequest(name="One"),
        ),
        "CreateDocument": (
            ds.CreateDocumentRequest(project_id=t.project_id, name="one.txt"),
            ds.CreateDocumentRequest(project_id=t.project_id, name="two.txt"),
        ),
        "SetProjectStatus": (
            ps.SetProjectStatusRequest(project_id=t.project_id, status=2),
            ps.SetProjectStatusRequest(project_id=t.project_id, status=1),
        ),
    }


@pytest.mark.parametrize(
    "name", ["CreateAccount", "CreateTeam", "CreateProject", "CreateDocument", "SetProjectStatus"]
)
async def test_a_request_id_with_another_payload(cast: Cast, name: str) -> None:
    rpc, request_id = rpc_named(name), str(uuid.uuid4())
    first: Any
    second: Any
    first, second = variants(await cast.make("owner"))[name]
    first.request_id = second.request_id = request_id
    done: Any = await rpc(cast.channel("owner"), first)
    answer = await refused(cast, rpc, second)
    assert (answer.reason, answer.fields) == ("REQUEST_ID_REUSED", {"request_id"})
    again: Any = await rpc(cast.channel("owner"), first)
    for each in (done, again):
        each.ClearField("consistency_token")  # made anew: it says how fresh a read must be
    assert again == done


# Names and ids


BAD_NAMES = ["a\x00b", "a\nb", "a\x1b[2Jb", "a\x7f", "a\u202egpj.exe", "a\u200bb", "\ufeffa", " "]


@pytest.mark.case("K08", "K10")
@pytest.mark.parametrize("name", ["CreateAccount", "CreateTeam", "CreateProject", "CreateDocument"])
async def test_names_with_characters_that_cannot_be_seen(cast: Cast, name: str) -> None:
    rpc = rpc_named(name)
    for bad in BAD_NAMES:
        request: Any = variants(cast.own)[name][0]
        request.name = bad
        answer = await refused(cast, rpc, request)
        assert answer.reason == "INVALID_FIELD", repr(bad)
        assert any(field.endswith("name") for field in answer.fields), answer.fields


@pytest.mark.case("K01", "K05", "K07")
@pytest.mark.parametrize("bad", ["a/b", "a\\b", "..", ".", "/etc/passwd", "x" * 201])
async def test_document_names_that_are_paths(cast: Cast, bad: str) -> None:
    request = ds.CreateDocumentRequest(project_id=cast.own.project_id, name=bad)
    answer = await refused(cast, rpc_named("CreateDocument"), request)
    assert (answer.reason, "name" in answer.fields) == ("INVALID_FIELD", True)


@pytest.mark.case("K01", "K05", "K07", "K08")
@pytest.mark.parametrize("bad", ["/abs", "../up", "a/../b", "a//b", "a/\x00", "a/./b", "a\\b"])
async def test_document_folders_that_lead_elsewhere(cast: Cast, bad: str) -> None:
    request = ds.CreateDocumentRequest(
        project_id=cast.own.project_id, name="a.txt", relative_path=bad
    )
    answer = await refused(cast, rpc_named("CreateDocument"), request)
    assert (answer.reason, "relative_path" in answer.fields) == ("INVALID_FIELD", True)


@pytest.mark.case("K22")
@pytest.mark.parametrize("bad", ["", "../x", "a b", "x" * 65, "p_é", "p_\x00", "-p", "p/q"])
async def test_ids_that_no_id_looks_like(cast: Cast, bad: str) -> None:
    answer = await refused(cast, rpc_named("GetProject"), ps.GetProjectRequest(project_id=bad))
    assert (answer.reason, "project_id" in answer.fields) == ("INVALID_FIELD", True)


# HTTP


async def post(cast: Cast, path: str, text: str | bytes, **headers: str) -> httpx.Response:
    given = {"content-type": "application/json"} | headers
    async with cast.ws.client(mail("owner")) as client:
        return await client.post(path, content=text, headers=given)


def reason(answer: httpx.Response) -> str:
    return str(answer.json()["details"][0]["reason"]).removeprefix("ERROR_REASON_")


@pytest.mark.case("Z12", "Z13")
@pytest.mark.parametrize(
    ("body", "named"),
    [
        ('{"name": "A", "nonsense": 1}', "nonsense"),
        ('{"name": "A", "name": "B"}', "name"),
        ('{"name": "A", "accountId": "a_1", "account_id": "a_2"}', "account"),
        ('{"name": 7}', "name"),
        ('{"name": "A", "restricted": "yes"}', "restricted"),
        ('{"name": "A", "visibility": "VISIBILITY_NONSENSE"}', "visibility"),
        ('{"name": "A", "name\\u0000": "B"}', "name"),
        ('{"name": NaN}', ""),
        ('{"name": "A"} {}', ""),
        ('{"name": "A"', ""),
        ('["A"]', ""),
        ("null", ""),
        ("", ""),
        (b'\xff{"name": "A"}', ""),
        ('{"name": "\\ud800"}', ""),
        ("[" * 10_000, ""),
    ],
)
async def test_json_that_is_not_exactly_a_request(
    cast: Cast, body: str | bytes, named: str
) -> None:
    answer = await post(cast, "/api/projects", body)
    assert answer.status_code == 400, answer.text
    assert reason(answer) == "INVALID_FIELD"
    assert named in answer.text


async def test_other_content_types_are_refused(cast: Cast) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/xml"):
        answer = await post(cast, "/api/projects", '{"name": "A"}', **{"content-type": kind})
        assert answer.status_code in (400, 415), (kind, answer.text)


@pytest.mark.case("Z09", "Z13")
@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("page_size=-1", "page_size"), ("page_size=many", "page_size"),
        ("page_size=1&page_size=2", "page_size"), ("pageSize=1&page_size=1", "page"),
        ("nonsense=1", "nonsense"), ("access_token=secret", "access_token"),
        ("page_token=x", "page_token"), ("status=PROJECT_STATUS_NONSENSE", "status"),
    ],
)  # fmt: skip
async def test_queries_that_are_not_exactly_a_request(
    cast: Cast, query: str, named: str
) -> None:
    async with cast.ws.client(mail("owner")) as client:
        answer = await client.get(f"/api/projects?{query}")
    assert answer.status_code == 400, answer.text
    assert reason(answer) in ("INVALID_FIELD", "INVALID_PAGE_TOKEN")
    assert named in answer.text
    assert "secret" not in answer.text


@pytest.mark.case("K03", "K04")
@pytest.mark.case("Z18")
@pytest.mark.parametrize(
    "part", ["..%2Fx", "p%2Fq", "p%00", "p%20q", "p%252Fq", "%2e%2e", "p;x=1", "p%E2%80%AE", "%ff"]
)
async def test_path_parts_that_are_no_id(cast: Cast, part: str) -> None:
    async with cast.ws.client(mail("owner")) as client:
        url = httpx.URL(cast.ws.http).copy_with(raw_path=f"/api/projects/{part}".encode())
        answer = await client.get(url)
    assert answer.status_code in (400, 404), answer.text
    assert answer.headers["content-type"].startswith("application/json")


async def test_nothing_of_all_this_had_an_effect(cast: Cast) -> None:
    """Last in the file: what was refused made nothing."""
    request = ps.ListProjectsRequest(page_size=500)
    listed: Any = await rpc_named("ListProjects")(cast.channel("owner"), request)
    assert {project.name for project in listed.projects} <= {"Bridge", "One"}
