"""Paths, names and headers over real sockets: what a client spells, and what it gets.

A whole process, its gateway and its data plane; every request is written byte by byte.
"""

from __future__ import annotations

import hashlib
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from workspace.project.v1 import document_service_pb2 as ds
from workspace.project.v1.project_service_pb2 import CreateProjectRequest, ListProjectsRequest
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.storage.v1 import storage_service_pb2 as pb

from services.http.server import HttpServer, bind_http
from services.rpc.tls import ServerTls
from tests.chosen_records import needs_data_plane
from tests.harness import Workspace
from tests.integration.gateway_app import serving
from tests.integration.storage.people import ANN, EVE, Desk, refused, request_id
from tests.integration.test_gateway_server import write_certificate

pytestmark = pytest.mark.asyncio(loop_scope="module")
SAFE = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
SANDBOX = {**SAFE, "content-security-policy": "sandbox; default-src 'none'"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    async with Workspace.open(tmp_path_factory.mktemp("wire"), metrics_port=0) as ws:
        for email in (ANN, EVE):
            await ws.sign_in(email)
        opened = Desk(ws)
        opened.project_id = await opened.new_project()
        yield opened


@dataclass
class Answer:
    """`headers` by name in lower case; a name that comes twice is listed in `twice`."""

    status: int
    headers: dict[str, str]
    twice: list[str]
    body: bytes

    @property
    def field(self) -> str:
        (detail, *_) = json.loads(self.body)["details"]
        return str(detail["metadata"].get("field", ""))


async def ask(url: str, target: str, *, method: str = "GET", **headers: str) -> Answer:
    """One request whose target is sent as it is."""
    transport = httpx.AsyncHTTPTransport(trust_env=False)
    request = httpx.Request(
        method, url, headers=headers, extensions={"target": target.encode()}
    )
    async with transport:
        answer = await transport.handle_async_request(request)
        body = await answer.aread()
    names = [name.decode().lower() for name, _ in answer.headers.raw]
    twice = [name for name in SAFE if names.count(name) > 1]
    return Answer(answer.status_code, dict(answer.headers), twice, body)


def bearer(desk: Desk, who: str = ANN) -> dict[str, str]:
    return {"authorization": f"Bearer {desk.ws.token(who)}"}


def escaped(text: str, times: int = 1) -> str:
    """Each character as `%xx`, and that once more."""
    for _ in range(times):
        text = "".join(f"%{byte:02x}" for byte in text.encode())
    return text


@pytest.mark.case("K03")
async def test_the_gateway_decodes_a_path_once(desk: Desk) -> None:
    once = f"/api/projects/{escaped(desk.project_id)}"
    assert (await ask(desk.ws.http, once, **bearer(desk))).status == 200
    for part in (escaped(desk.project_id, 2), desk.project_id.replace("p_", "p%255F")):
        answer = await ask(desk.ws.http, f"/api/projects/{part}", **bearer(desk))
        assert (answer.status, answer.field) == (400, "project_id"), part


NOT_AN_ID = [
    "%2e%2e", "%2e%2e%2f", "..%2f", "..", ".", "%252e%252e", "%25252e", "%c0%ae%c0%ae", "%u002e",
    "%e0%80%ae", "%ff", "%", "%zz", "%2e%2e%5c", "%00", "%0d%0a", "x%3FversionId=1", "x%23y",
    "x;y=1", "x%3By", "%e2%80%ae", "%ef%bc%8f",
]  # fmt: skip


@pytest.mark.case("K03", "K04")
async def test_what_decodes_to_something_else_is_no_id(desk: Desk) -> None:
    for part in NOT_AN_ID:
        for target in (f"/api/projects/{part}", f"/api/projects/{part}/grants"):
            answer = await ask(desk.ws.http, target, **bearer(desk))
            assert answer.status in (400, 404), target
            assert desk.project_id.encode() not in answer.body


@pytest.mark.case("K02", "K04")
async def test_a_path_leads_to_one_method_however_it_is_spelled(desk: Desk) -> None:
    """No spelling of a path is judged as one thing and served as another."""
    project = f"/api/projects/{desk.project_id}"
    assert (await ask(desk.ws.http, project)).status == 401
    for target in (
        f"/healthz/..{project}", f"/openapi.json/../..{project}", f"/{project}", f"{project}/",
        f"/healthz%2f..{project}", f"/%61pi/projects/{desk.project_id}", f"{project}?",
        f"/./{project[1:]}", f"/data/objects/../..{project}", f"{project};v=1", f"{project}#x",
        f"http://elsewhere.example{project}",
    ):  # fmt: skip
        answer = await ask(desk.ws.http, target)
        assert answer.status in (400, 401, 403, 404), target
        assert b"Files" not in answer.body
    unknown = await ask(desk.ws.http, f"{project}?versionId=1", **bearer(desk))
    assert (unknown.status, unknown.field) == (400, "versionId")


async def download(desk: Desk, name: str, data: bytes = b"bytes", **fields: Any) -> str:
    """The URL of a new document's file."""
    document_id = await desk.document(name)
    await desk.uploaded(document_id, data, filename=name, **fields)
    request = pb.CreateDownloadRequest(document_id=document_id)
    return str((await desk.storage().CreateDownload(request)).transfer.url)


@needs_data_plane
@pytest.mark.case("K03", "K04")
async def test_the_data_plane_decodes_nothing(desk: Desk) -> None:
    url = httpx.URL(await download(desk, "100% of a;b#c.txt"))
    path, query = url.raw_path.decode().split("?", 1)
    assert (await ask(str(url), f"{path}?{query}")).status == 200
    key = path.removeprefix("/data/objects/")
    head, _, last = key.rpartition("/")
    for spelled in (
        f"{head}/{escaped(last)}", f"{head}%2f{last}", f"{head}//{last}", f"./{key}",
        f"{head}/x/../{last}", f"{head}/%2e%2e/raw/{last}", f"{head}/%252e%252e/raw/{last}",
        f"{head}/..%2fraw/{last}", f"{head}/%c0%ae%c0%ae/raw/{last}", f"{key}%00", f"{key}/",
        f"{head}/{last.replace('a', '%61')}", f"{key};v=1", f"{key}%3FversionId=1", key.upper(),
    ):  # fmt: skip
        answer = await ask(str(url), f"/data/objects/{spelled}?{query}")
        assert answer.status in (400, 403, 404), spelled
        assert b"bytes" not in answer.body
    for changed in (f"{query}&versionId=1", f"versionId=1&{query}", query.replace("=", "%3D", 1)):
        assert (await ask(str(url), f"{path}?{changed}")).status == 403


NAMES = ["../../etc/x", "..%2f..%2fx", "%2e%2e", "a\r\nSet-Cookie: x=1", "a\x00.txt", 'a"b"', "a/b"]


@pytest.mark.case("K01", "K03", "K05", "K06", "K07", "K08", "F01")
async def test_names_in_a_body_are_not_decoded_and_not_mended(desk: Desk) -> None:
    path = f"/api/projects/{desk.project_id}/documents"
    async with desk.ws.client(ANN) as client:
        for name in NAMES:
            answer = await client.post(path, json={"name": name})
            assert answer.status_code == 400, name
            assert "name" in answer.text
        for folder in ("/x", "x/", "a//b", "C:/x", "C:x", "\\\\server\\share", "~", "a/../b"):
            body = {"name": "f", "relative_path": folder}
            answer = await client.post(path, json=body)
            assert (answer.status_code, "relative_path" in answer.text) == (400, True), folder


SHOWN = [
    ("plain.txt", 'attachment; filename="plain.txt"'),
    ("Über.txt", "attachment; filename=\"Uber.txt\"; filename*=UTF-8''%C3%9Cber.txt"),
    ("a;b=1.txt", "attachment; filename=\"a_b=1.txt\"; filename*=UTF-8''a%3Bb%3D1.txt"),
    ("100%.html", "attachment; filename=\"100_.html\"; filename*=UTF-8''100%25.html"),
    ("日本.svg", "attachment; filename=\"__.svg\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC.svg"),
]


@needs_data_plane
@pytest.mark.case("F01")
@pytest.mark.parametrize(("name", "header"), SHOWN, ids=[name for name, _ in SHOWN])
async def test_the_name_of_a_download_is_one_header(desk: Desk, name: str, header: str) -> None:
    url = await download(desk, name)
    answer = await ask(url, httpx.URL(url).raw_path.decode())
    assert answer.headers["content-disposition"] == header


@needs_data_plane
@pytest.mark.case("F02", "F03", "F04")
@pytest.mark.parametrize(
    ("name", "declared", "data", "shown"),
    [
        ("a.html", "text/html", b"<script>1</script>", "application/octet-stream"),
        ("a.svg", "image/svg+xml", b"<svg onload='1'/>", "application/octet-stream"),
        ("a.js", "text/javascript", b"alert(1)", "application/octet-stream"),
        ("a.pdf", "application/pdf", b"%PDF-1.7", "application/pdf"),
        ("lie.png", "image/png", b"<html><script>1</script>", "image/png"),
        ("a.csv", "text/csv", b"=cmd|'/c calc'!A1,+1,-1,@x,\t=1\r\n", "text/csv"),
    ],
)
async def test_nothing_that_somebody_uploaded_runs(
    desk: Desk, name: str, declared: str, data: bytes, shown: str
) -> None:
    """Whatever the bytes are and whatever they are said to be."""
    url = await download(desk, name, data, content_type=declared)
    answer = await ask(url, httpx.URL(url).raw_path.decode())
    assert (answer.status, answer.body) == (200, data)
    assert answer.headers["content-type"] == shown
    assert answer.headers["content-disposition"].startswith("attachment; ")
    assert answer.headers.items() >= SANDBOX.items()
    assert answer.twice == []


@needs_data_plane
@pytest.mark.case("F02")
async def test_every_answer_has_the_safe_headers(desk: Desk) -> None:
    project, metrics = f"/api/projects/{desk.project_id}", desk.ws.process.metrics_port
    for target, status in (
        (project, 200), ("/", 200), ("/healthz", 200), ("/readyz", 200), ("/openapi.json", 200),
        ("/api/projects/p_none", 403), ("/api/projects/..", 400), ("/nowhere", 404),
        ("/api/projects?page_size=x", 400),
    ):  # fmt: skip
        answer = await ask(desk.ws.http, target, **bearer(desk))
        assert (answer.status, answer.twice) == (status, []), target
        assert answer.headers.items() >= SAFE.items(), target
        assert "strict-transport-security" not in answer.headers
    for method, target, status in (
        ("GET", project, 401), ("DELETE", "/healthz", 405), ("PATCH", "/api/projects", 405),
        ("OPTIONS", project, 405), ("HEAD", "/healthz", 200),
    ):  # fmt: skip
        answer = await ask(desk.ws.http, target, method=method)
        assert (answer.status, answer.headers.items() >= SAFE.items()) == (status, True), target
    for target, status in (("/data/objects/x?token=y", 403), ("/data/objects/x", 403)):
        answer = await ask(desk.ws.http, target)
        assert (answer.status, answer.twice) == (status, [])
        assert answer.headers.items() >= SANDBOX.items()
    for target in ("/metrics", "/healthz", "/nowhere"):
        answer = await ask(f"http://127.0.0.1:{metrics}", target)
        assert answer.headers.items() >= SAFE.items(), target


@pytest.mark.case("F02")
async def test_answers_outside_of_any_application_have_them_too() -> None:
    async def defect(_: Request) -> Response:
        raise ZeroDivisionError

    async with serving(extra_routes=[Route("/defect", defect)]) as app:
        for head, status in (
            (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", b"431"),
            (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", b"400"),
            (b"nonsense\r\n\r\n", b"400"),
            (b"GET /defect HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"500"),
        ):
            answer = (await app.raw(head)).lower()
            assert answer.split(b" ")[1] == status, head[:40]
            for name, value in SAFE.items():
                assert answer.count(f"{name}: {value}".encode()) == 1, (status, name)


@pytest.mark.case("F02")
async def test_who_came_over_tls_stays_there(tmp_path: Path) -> None:
    async def hello(_: Request) -> Response:
        return PlainTextResponse("hello", headers={"Referrer-Policy": "same-origin"})

    tls = ServerTls(cert_file=tmp_path / "tls.crt", key_file=tmp_path / "tls.key")
    trust: ssl.SSLContext = write_certificate(tls)
    sock, url = bind_http("127.0.0.1", 0, tls=tls)
    server = HttpServer(Route("/", hello).app, sock, tls=tls)
    await server.start()
    try:
        async with httpx.AsyncClient(base_url=url, verify=trust, trust_env=False) as client:
            for host, stays in (
                ("127.0.0.1", True), ("docs.example.org:8443", True), ("localhost", False),
                ("localhost:8443", False), ("dev.localhost", False),
            ):  # fmt: skip
                headers = (await client.get("/", headers={"host": host})).headers
                assert headers.get("strict-transport-security") == (
                    "max-age=31536000" if stays else None
                )
                assert headers["referrer-policy"] == "same-origin", "the application's own stays"
    finally:
        await server.stop(grace=0)


@pytest.mark.case("F04")
async def test_no_answer_is_a_table_for_spreadsheets(desk: Desk) -> None:
    """Names that a spreadsheet would run are text in JSON; nobody is served CSV."""
    cell = "=HYPERLINK(\"http://x\",'y')"
    stub: Any = desk.ws.stub(ProjectServiceStub, as_=ANN)
    for name in (cell, "+1", "-1", "@x"):
        await stub.CreateProject(CreateProjectRequest(name=name, request_id=request_id()))
    for accept in ("text/csv", "application/vnd.ms-excel", "*/*"):
        answer = await ask(desk.ws.http, "/api/projects", **bearer(desk), accept=accept)
        assert answer.headers["content-type"] == "application/json"
        assert cell in {each["name"] for each in json.loads(answer.body)["projects"]}


@pytest.mark.case("F05", "K22")
async def test_a_name_that_looks_alike_is_another_project(desk: Desk) -> None:
    """Cyrillic letters for Latin ones: allowed, and of no use to who wants in."""
    ids = {}
    for who, name in ((ANN, "Payroll"), (EVE, "Pаyrоll")):  # noqa: RUF001 - that is the case
        stub: Any = desk.ws.stub(ProjectServiceStub, as_=who)
        made = await stub.CreateProject(CreateProjectRequest(name=name, request_id=request_id()))
        ids[who] = made.project.project_id
    assert ids[ANN] != ids[EVE]
    theirs: Any = desk.documents(EVE)
    for folder in ("", f"accounts/a/projects/{ids[ANN]}", f"../../{ids[ANN]}"):
        call = theirs.CreateDocument(
            ds.CreateDocumentRequest(project_id=ids[ANN], name="x", relative_path=folder)
        )
        assert (await refused(call)).reason in ("PERMISSION_DENIED", "INVALID_FIELD")
    listed = await stub.ListProjects(ListProjectsRequest())
    assert ids[ANN] not in {each.project_id for each in listed.projects}


@pytest.mark.case("K22", "K23")
async def test_a_key_of_another_project_in_a_field_opens_nothing(desk: Desk) -> None:
    document_id = await desk.document("mine.txt")
    await desk.uploaded(document_id, b"mine")
    key = (await desk.read(document_id)).file.storage_key
    eve: Any = desk.storage(EVE)
    for call in (
        eve.DeleteObject(pb.DeleteObjectRequest(storage_key=key)),
        eve.DeleteObject(pb.DeleteObjectRequest(storage_key=key.replace("mine", "other"))),
        eve.CreateDownload(pb.CreateDownloadRequest(document_id=document_id)),
    ):
        assert (await refused(call)).reason == "PERMISSION_DENIED"
    for field in (key, f"{document_id}/../x", document_id + "\x00", key.rpartition("/")[0]):
        bad = await refused(eve.CreateDownload(pb.CreateDownloadRequest(document_id=field)))
        assert bad.reason == "INVALID_FIELD"
    digest = hashlib.sha256(b"mine").hexdigest()
    assert (await desk.read(document_id)).file.sha256 == digest
