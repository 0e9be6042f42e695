"""Lists: sizes of pages, walks while others write, what may be looked for."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from workspace.project.v1 import document_service_pb2 as ds
from workspace.project.v1 import project_service_pb2 as ps
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

import services.rpc.page_tokens
from services.rpc.policy import Kind
from tests.contract.served import CONTRACT, ROOT, Rpc
from tests.harness import Workspace
from tests.security.cast import Cast, mail
from tests.security.requests_table import ROWS
from tests.security.test_matrix import caller_id, rule_of
from tests.unit.rpc.interceptor_harness import detail, reason_of, status_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
PAGED = [
    path
    for path, rpc in CONTRACT.items()
    if "page_size" in rpc.request.DESCRIPTOR.fields_by_name
]
"""Every RPC whose answers come in pages."""
_MOST = 3
_BESIDE = {"ListActivityCheckpoints": 1}
"""Rows of a first page beside those that are counted: that of the project itself."""
_MADE = {
    "services/cli/resolve.py": "of a prefix that the program has, in the client",
    "services/model/selection.py": "of patterns that stand above it",
    "services/records/erasure.py": "of escaped addresses",
    "sync_svc/engine/bodies.py": "of escaped text, of templates of our own",
}
"""Where expressions are made, and of what: nobody sends any of it as an expression."""
_EVIL = ("(a+)+$", "(a+)+$" * 30, "%", "_%_%", "[a-z]*", "*", "\\", "a{1000000}", ".*.*.*.*!")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cast(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cast]:
    async with Workspace.open(tmp_path_factory.mktemp("pages")) as ws:
        opened = Cast(ws)
        await opened.enter()
        yield opened


def asking(cast: Cast, rpc: Rpc) -> tuple[grpc.aio.Channel, Any]:
    """Somebody who may, and a request about what is his."""
    row, rule = ROWS[rpc.path], rule_of(cast, rpc)
    known = [role for role in ("owner", "platform") if role in row.may]
    role = "service" if rule.kind is Kind.SERVICE else known[0]
    services = sorted(rule.services)
    channel = cast.channel(role, services[0] if services else "")
    return channel, row.ask(cast.own.seen_by(caller_id(cast, role)))


async def ask(cast: Cast, rpc: Rpc, size: int) -> Message:
    channel, request = asking(cast, rpc)
    request.page_size = size
    return await rpc(channel, request)


def longest(answer: Message) -> int:
    """Rows in the largest list of an answer."""
    lists = [len(value) for field, value in answer.ListFields() if field.is_repeated]
    return max(lists, default=0)


@pytest.mark.case("A08")
@pytest.mark.parametrize("path", PAGED)
async def test_sizes_of_pages(cast: Cast, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rpc = CONTRACT[path]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(cast, rpc, -1)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(caught.value) == "INVALID_FIELD"
    bad = detail(status_of(caught.value), error_details_pb2.BadRequest)
    assert [each.field for each in bad.field_violations] == ["page_size"]
    assert longest(await ask(cast, rpc, 0)) <= services.rpc.page_tokens.DEFAULT_PAGE_SIZE
    monkeypatch.setattr(services.rpc.page_tokens, "MAX_PAGE_SIZE", 1)
    for size in (10**9, 2**31 - 1):
        assert longest(await ask(cast, rpc, size)) <= 1 + _BESIDE.get(rpc.name, 0)


@pytest.mark.case("A08")
async def test_a_walk_while_others_write_meets_all_that_stays_once(cast: Cast) -> None:
    made = await cast.ws.stub(ProjectServiceStub, as_=mail("owner")).CreateProject(
        ps.CreateProjectRequest(name="walked")
    )
    project_id = made.project.project_id
    documents = cast.ws.stub(DocumentServiceStub, as_=mail("owner"))

    async def create(name: str) -> str:
        request = ds.CreateDocumentRequest(project_id=project_id, name=name)
        return str((await documents.CreateDocument(request)).document.document_id)

    stable = [await create(f"s{n:02}") for n in range(30)]
    passing = [await create(f"p{n:02}") for n in range(15)]

    async def write() -> None:
        for number, document_id in enumerate(passing):
            await documents.DeleteDocument(ds.DeleteDocumentRequest(document_id=document_id))
            await create(f"a{number:02}")
            await create(f"z{number:02}")

    seen, writing, token = [], asyncio.ensure_future(write()), ""
    while True:
        page = await documents.ListDocuments(
            ds.ListDocumentsRequest(project_id=project_id, page_size=_MOST, page_token=token)
        )
        seen += [each.document_id for each in page.documents]
        assert len(page.documents) <= _MOST
        token = page.next_page_token
        if not token:
            break
    await writing
    assert len(seen) == len(set(seen))
    assert set(stable) <= set(seen)


def fields(message: Descriptor, met: set[str] | None = None) -> Iterator[FieldDescriptor]:
    """All fields of a message, and of the messages in it."""
    met = set() if met is None else met
    if message.full_name in met:
        return
    met.add(message.full_name)
    for field in message.fields:
        yield field
        if field.message_type is not None:
            yield from fields(field.message_type, met)


@pytest.mark.case("A09")
@pytest.mark.parametrize("path", CONTRACT)
async def test_nothing_counts_rows_to_skip(path: str) -> None:
    rpc = CONTRACT[path]
    skips = re.compile(r"offset|skip(_|$)|start_index|page(_number|_index|$)|from_row")
    named = [field.name for field in fields(rpc.request.DESCRIPTOR) if skips.search(field.name)]
    assert named == []
    if path in PAGED:
        assert "page_token" in rpc.request.DESCRIPTOR.fields_by_name
        assert "next_page_token" in {each.name for each in fields(rpc.response.DESCRIPTOR)}


def sought() -> Iterator[tuple[str, str]]:
    """Fields of requests with text that is looked for."""
    for path, rpc in CONTRACT.items():
        for name in rpc.request.DESCRIPTOR.fields_by_name:
            if name == "query" or name.endswith("_prefix"):
                yield path, name


@pytest.mark.case("A10")
@pytest.mark.parametrize(("path", "field"), sorted(sought()))
async def test_text_to_look_for_is_only_text(cast: Cast, path: str, field: str) -> None:
    """The longest of these fields are paths, of 1,024 characters."""
    rpc = CONTRACT[path]
    for text in (*_EVIL, "ab " * 3500, "a" * 10_240):
        channel, request = asking(cast, rpc)
        setattr(request, field, text)
        async with asyncio.timeout(20):
            code, found = await outcome(rpc(channel, request))
        if code is grpc.StatusCode.OK:
            assert len(text) < 2000
            assert found == 0, f"{text} finds what it is no part of"
        else:
            assert code is grpc.StatusCode.INVALID_ARGUMENT, text[:20]


async def outcome(call: Awaitable[Message]) -> tuple[grpc.StatusCode, int]:
    """How it ended, and how many rows came."""
    try:
        return grpc.StatusCode.OK, longest(await call)
    except grpc.aio.AioRpcError as error:
        return error.code(), 0


def made_expressions() -> Iterator[str]:
    """Where the product makes a regular expression or a glob of something that is no
    constant of its own."""
    folders = ("services", "identity_svc", "project_svc", "storage_svc", "sync_svc")
    for path in sorted(p for folder in folders for p in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and _is_pattern(node) and not _is_constant(node):
                yield f"{path.relative_to(ROOT)}: {ast.unparse(node)}"


def _is_pattern(node: ast.Call) -> bool:
    name = ast.unparse(node.func)
    return bool(node.args) and name.startswith(("re.", "fnmatch.")) and name != "re.escape"


def _is_constant(node: ast.Call) -> bool:
    """Text, or names in capitals."""
    names = {each.id for each in ast.walk(node.args[0]) if isinstance(each, ast.Name)}
    return all(name.isupper() for name in names)


@pytest.mark.case("A10")
async def test_no_expression_is_made_of_what_somebody_sent() -> None:
    assert {each.partition(":")[0] for each in made_expressions()} == _MADE.keys()


async def test_the_search_for_expressions_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "services/bad.py").write_text("re.compile(request.query)\nre.match('a', x)\n")
    monkeypatch.setitem(made_expressions.__globals__, "ROOT", tmp_path)
    assert list(made_expressions()) == ["services/bad.py: re.compile(request.query)"]
