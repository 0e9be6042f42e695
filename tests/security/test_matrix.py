"""Every served RPC, called by everybody, about own, foreign and missing things (Z01)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf import text_format
from google.protobuf.message import Message
from grpc import StatusCode as Code

from services.rpc.errors import error_info, peer_status
from services.rpc.policy import KERNEL_POLICY, Kind, Rule
from tests.contract.served import CONTRACT, Rpc
from tests.harness import Workspace
from tests.security.cast import MISSING, ROLES, SIGNED_IN, Cast, Things, neutral
from tests.security.requests_table import ROWS, Row, may_know

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.case("Z01")]
_VOLATILE = re.compile(r'(etag|token|seconds|nanos)[a-z_]*: ("[^"]*"|\d+)')


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cast(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cast]:
    async with Workspace.open(tmp_path_factory.mktemp("matrix")) as ws:
        opened = Cast(ws)
        await opened.enter()
        yield opened


class Answer:
    """What came back: the code, and all that could tell one thing from another."""

    def __init__(self, code: Code, said: str) -> None:
        self.code = code
        self.said = said


async def call(cast: Cast, rpc: Rpc, role: str, request: Message, things: Things) -> Answer:
    services = sorted(rule_of(cast, rpc).services)
    channel = cast.channel(role, services[0] if services else "project_svc")
    for _ in range(300):
        try:
            response = await rpc(channel, request)
            break
        except grpc.aio.AioRpcError as error:
            details = _details(error)
            if "ERROR_REASON_RUN_ACTIVE" not in details:
                return Answer(error.code(), neutral(details, things))
        await asyncio.sleep(0.1)  # a run of an earlier row goes on by itself; it ends soon
    else:
        raise AssertionError(f"{rpc.path}: the run never ended")
    text = _VOLATILE.sub("", text_format.MessageToString(response, as_one_line=True))
    return Answer(Code.OK, neutral(text, things))


def _details(error: grpc.aio.AioRpcError) -> str:
    status = peer_status(error)
    assert status is not None, f"not an error of ours: {error}"
    info = error_info(status)
    assert info is not None
    return f"{info.reason} {sorted(info.metadata.items())} {status.message}"


def rule_of(cast: Cast, rpc: Rpc) -> Rule:
    for module in cast.ws.process.modules:
        if rpc.path in module.policy:
            return module.policy[rpc.path]
    return KERNEL_POLICY[rpc.path]


def caller_id(cast: Cast, role: str) -> str:
    return cast.id(role) if role in (*SIGNED_IN, "disabled") else ""


async def test_every_served_rpc_has_a_row_and_no_other(cast: Cast) -> None:
    assert ROWS.keys() == cast.served


@pytest.mark.parametrize("path", ROWS)
async def test_own_things(cast: Cast, path: str) -> None:
    rpc, row = CONTRACT[path], ROWS[path]
    changes = rpc.mutates and bool(row.may)  # what nothing changes is there for all rows
    files = names_files(row, cast.own)
    rule, wrong = rule_of(cast, rpc), []
    things = await cast.make("owner", files=files) if changes else cast.own
    for role in ROLES:
        answer = await call(cast, rpc, role, row.ask(things.seen_by(caller_id(cast, role))), things)
        expected = row.own(role, rule)
        if answer.code is not expected:
            wrong.append(f"{role}: {answer.code.name}, not {expected.name}: {answer.said}")
        if answer.code is Code.OK and changes:
            await _afresh(cast, path)
            if row.may.intersection(ROLES[ROLES.index(role) + 1 :]):
                things = await cast.make("owner", files=files)
    assert wrong == []


def names_files(row: Row, things: Things) -> bool:
    """Whether the request names a document, or what is of one: to make them takes longest."""
    names = ("conflict_id", "upload_id", "storage_key", "announced_key", "document_id",
             "empty_document_id", "trashed_document_id")  # fmt: skip
    without = replace(things, **{name: getattr(MISSING, name) for name in names})
    return bool(row.ask(things) != row.ask(without))


async def _afresh(cast: Cast, path: str) -> None:
    """Undo what the next calls would stumble over."""
    if path.endswith(("/DisableUser", "/RevokeSessions")):
        from workspace.identity.v1.identity_service_pb2 import EnableUserRequest

        rpc = CONTRACT["/workspace.identity.v1.IdentityService/EnableUser"]
        await rpc(cast.channel("platform"), EnableUserRequest(user_id=cast.id("member")))


@pytest.mark.case("K22")
@pytest.mark.parametrize("path", [path for path, row in ROWS.items() if row.elsewhere])
async def test_foreign_and_missing_things(cast: Cast, path: str) -> None:
    """Refused alike, to the letter: nobody learns what exists."""
    rpc, row = CONTRACT[path], ROWS[path]
    rule = rule_of(cast, rpc)
    wrong = []
    for role in ROLES:
        me = caller_id(cast, role)
        answers = []
        for things in (cast.foreign, MISSING):
            answer = await call(cast, rpc, role, row.ask(things.seen_by(me)), things)
            expected = row.other(role, rule, missing=things is MISSING)
            if answer.code is not expected:
                wrong.append(f"{role}: {answer.code.name}, not {expected.name}: {answer.said}")
            answers.append(answer)
        if not exempt(row, role, rule) and answers[0].said != answers[1].said:
            wrong.append(f"{role} can tell: {answers[0].said} != {answers[1].said}")
    assert wrong == []


def exempt(row: Row, role: str, rule: Rule) -> bool:
    return may_know(role, rule) and (role == "service" or row.knowing is not None)


@pytest.mark.parametrize("path", [path for path, row in ROWS.items() if row.about_self])
@pytest.mark.parametrize("role", SIGNED_IN)
async def test_about_oneself(cast: Cast, path: str, role: str) -> None:
    ask: Any = ROWS[path].about_self
    things = cast.own.seen_by(cast.id(role))
    answer = await call(cast, CONTRACT[path], role, ask(things), things)
    assert answer.code is Code.OK, answer.said


@pytest.mark.case("S04")
async def test_no_service_but_the_named_ones(cast: Cast) -> None:
    """A service identity that the row does not name is like none."""
    for path in ROWS:
        rpc, rule = CONTRACT[path], rule_of(cast, CONTRACT[path])
        if rule.kind is Kind.PUBLIC:
            continue
        channel = cast.channel("service", "unknown_svc")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rpc(channel, ROWS[path].ask(cast.own))
        expected = DENIED_TO[rule.kind]
        assert caught.value.code() is expected, path


DENIED_TO = {
    Kind.SERVICE: Code.PERMISSION_DENIED,
    Kind.USER: Code.UNAUTHENTICATED,
    Kind.USER_OR_SERVICE: Code.UNAUTHENTICATED,
}


async def test_the_matrix_sees_a_difference(cast: Cast) -> None:
    """The control: an answer that names what exists is told apart from one that cannot."""
    rpc = CONTRACT["/workspace.project.v1.ProjectService/GetProject"]
    row = ROWS[rpc.path]
    own = await call(cast, rpc, "owner", row.ask(cast.own), cast.own)
    missing = await call(cast, rpc, "owner", row.ask(MISSING), MISSING)
    assert (own.code, own.said) != (missing.code, missing.said)
