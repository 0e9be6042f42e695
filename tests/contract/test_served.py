"""What a started workspace serves, and that it is what the contract and the policy say."""

from __future__ import annotations

import ast
import re
import urllib.parse
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio

from services.processes.gateway import find_policies, published
from services.rpc.errors import error_info, peer_status
from services.rpc.policy import KERNEL_POLICY, Kind, merge_policies
from services.rpc.registration import contract_methods, registered_methods
from tests.contract.served import CONTRACT, ROOT, Rpc, channel_of
from tests.harness import Workspace

ANN = "ann@example.com"
pytestmark = pytest.mark.asyncio(loop_scope="module")
TRANSPORTS = ("socket", "in-process")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ws(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Workspace]:
    async with Workspace.open(tmp_path_factory.mktemp("served")) as opened:
        await opened.sign_in(ANN)
        yield opened


def served(ws: Workspace) -> list[Rpc]:
    return [CONTRACT[method] for method in ws.process.rpc.methods]


def not_served(ws: Workspace) -> list[Rpc]:
    return [rpc for path, rpc in CONTRACT.items() if path not in ws.process.rpc.methods]


def channel(ws: Workspace, transport: str, *, as_: str = ANN) -> grpc.aio.Channel:
    return channel_of(ws.socket_stub if transport == "socket" else ws.stub, as_=as_)


async def refusal(rpc: Rpc, channel: grpc.aio.Channel) -> grpc.aio.AioRpcError | None:
    """How an empty request fails; None if it does not."""
    try:
        await rpc(channel, rpc.request())
    except grpc.aio.AioRpcError as error:
        return error
    return None


async def test_a_gateway_forwards_what_people_may_call_and_what_is_served(ws: Workspace) -> None:
    """It knows the policies alone; what they name is served, and nothing is left out."""
    policy = merge_policies(*find_policies())
    forwarded = set(published(policy))
    assert forwarded <= set(ws.process.rpc.methods)
    for method in set(ws.process.rpc.methods) - forwarded:
        assert policy[method].kind is Kind.SERVICE, method


async def test_each_rpc_is_registered_once_and_known_to_the_contract(ws: Workspace) -> None:
    methods = ws.process.rpc.methods
    assert [m for m, times in Counter(methods).items() if times > 1] == []
    assert set(methods) <= CONTRACT.keys()
    assert methods, "a workspace without RPCs proves nothing below"


async def test_policy_rows_are_exactly_the_registered_rpcs(ws: Workspace) -> None:
    for module in ws.process.modules:
        registered = [
            method for r in module.registrations for method in registered_methods(r.add, r.servicer)
        ]
        assert sorted(module.policy) == sorted(registered), module.name
    rows = Counter(method for module in ws.process.modules for method in module.policy)
    assert rows.keys() == set(ws.process.rpc.methods)
    assert set(rows.values()) == {1}
    assert not rows.keys() & KERNEL_POLICY.keys()


async def test_only_what_the_servicer_itself_defines_is_registered(ws: Workspace) -> None:
    for module in ws.process.modules:
        for registration in module.registrations:
            own = {
                name
                for base in type(registration.servicer).__mro__
                if not base.__module__.endswith("_pb2_grpc")
                for name in vars(base)
                if name[:1].isupper()
            }
            names = registered_methods(registration.add, registration.servicer)
            assert {name.rpartition("/")[2] for name in names} == own, registration.full_name
            contract = contract_methods(registration.add, registration.servicer)
            assert {method.split("/")[1] for method in contract} == {registration.full_name}


async def test_internal_rpcs_are_for_services_alone(ws: Workspace) -> None:
    policy = {m: rule for module in ws.process.modules for m, rule in module.policy.items()}
    for rpc in served(ws):
        assert rpc.internal == (policy[rpc.path].kind is Kind.SERVICE), rpc.path


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_internal_rpcs_refuse_people_over(ws: Workspace, transport: str) -> None:
    for rpc in filter(lambda rpc: rpc.internal, served(ws)):
        for who in ("", ANN):
            error = await refusal(rpc, channel(ws, transport, as_=who))
            assert error is not None, rpc.path
            assert error.code() is grpc.StatusCode.PERMISSION_DENIED, rpc.path


def example(template: str) -> str:
    """A path of the template; the ids fit the schema."""
    return re.sub(r"\{[^}]*\}", lambda m: urllib.parse.quote("x_" + "q" * 8), template)


async def over_http(ws: Workspace, rpc: Rpc, *, as_: str = ANN) -> Any:
    verb, template = rpc.http
    body: dict[str, Any] = {} if verb in ("GET", "DELETE") else {"json": {}}
    async with (
        ws.client(as_) as client,
        client.stream(verb, example(template), **body) as answer,
    ):
        # A watch that goes through never ends: its first line will do.
        if answer.is_success and rpc.streams:
            await anext(answer.aiter_lines())
        else:
            await answer.aread()
        return answer


async def test_every_rpc_but_the_internal_has_a_gateway_route(ws: Workspace) -> None:
    """Whatever an empty request earns, it is the RPC's answer and not "no such path"."""
    for rpc in served(ws):
        if rpc.internal:
            continue
        answer = await over_http(ws, rpc)
        if answer.status_code in (404, 405, 501):
            reason = answer.json()["details"][0].get("reason", "")
            assert reason == "ERROR_REASON_NOT_FOUND", (rpc.path, answer.text)


async def test_internal_and_unserved_rpcs_are_not_reachable_over_http(ws: Workspace) -> None:
    routes = {rpc.http for rpc in served(ws) if not rpc.internal}
    for rpc in [*filter(lambda rpc: rpc.internal, served(ws)), *not_served(ws)]:
        answer = await over_http(ws, rpc)
        # Another verb of the same path may be served: then it is the verb that is refused.
        elsewhere = rpc.http[1] in {template for _, template in routes}
        assert answer.status_code == (405 if elsewhere else 404), (rpc.path, answer.text)


async def test_everything_in_the_contract_is_served(ws: Workspace) -> None:
    assert [rpc.path for rpc in not_served(ws)] == []


async def test_socket_and_in_process_channel_answer_alike(ws: Workspace) -> None:
    """An empty request, as somebody and as nobody: the same code, reason and text."""
    for rpc in served(ws):
        for who in ("", ANN):
            answers = [await refusal(rpc, channel(ws, t, as_=who)) for t in TRANSPORTS]
            assert said(answers[0]) == said(answers[1]), rpc.path


def said(error: grpc.aio.AioRpcError | None) -> tuple[Any, ...]:
    if error is None:
        return ("OK",)
    status = peer_status(error)
    info = error_info(status) if status is not None else None
    return error.code(), error.details(), info.reason if info else ""


def called_names(folder: Path) -> set[str]:
    """Names of all methods called as `something.Name(...)` in the Python files of a folder."""
    names: set[str] = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                names.add(node.func.attr)
    return names


async def test_every_served_rpc_is_called_by_name_in_a_test(ws: Workspace) -> None:
    """The generic tests call all RPCs; each also needs a test that means it."""
    called = called_names(ROOT / "tests")
    assert [rpc.path for rpc in served(ws) if rpc.name not in called] == []
