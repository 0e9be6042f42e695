"""How many calls one client may make, over real sockets: users, addresses, gateways."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio
from cryptography import x509
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from workspace.identity.v1.identity_service_pb2 import (
    CreateMachineTokenRequest,
    GetSessionRequest,
    IssueLocalTokenRequest,
)
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.project.v1.project_service_pb2 import CreateProjectRequest
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from services.rpc.rates import CLIENT_HEADER, CallRates
from tests.harness import BearerChannel, Workspace
from tests.unit.rpc.interceptor_harness import (
    KINDS,
    SIGNED_IN,
    Echo,
    detail,
    reason_of,
    status_of,
)
from tests.unit.rpc.test_authentication import Authority

ANN, BOB = "ann@example.com", "bob@example.com"
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
SESSION = "/api/session"


@pytest_asyncio.fixture
async def ws(tmp_path: Path) -> AsyncIterator[Workspace]:
    """A user may make 40 calls at once, an address 20 that are refused."""
    async with Workspace.open(
        tmp_path, user_calls_per_minute=40, address_calls_per_minute=20
    ) as opened:
        yield opened


async def code(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def many(times: int, stub: Any) -> Counter[str]:
    found = [await code(stub.GetSession(GetSessionRequest())) for _ in range(times)]
    return Counter(each.name for each in found)


async def refusal(stub: Any) -> grpc.aio.AioRpcError:
    """The first refusal of calls one after the other."""
    for _ in range(200):
        try:
            await stub.GetSession(GetSessionRequest())
        except grpc.aio.AioRpcError as error:
            if error.code() is EXHAUSTED:
                return error
    raise AssertionError("never refused")


async def with_token(ws: Workspace, token: str) -> Any:
    """A stub on a connection of its own."""
    channel = grpc.aio.insecure_channel(ws.process.grpc_address)
    ws._channels.append(channel)
    return IdentityServiceStub(BearerChannel(channel, token))


@pytest.mark.case("A13")
async def test_a_user_who_calls_too_often_is_told_when_to_come_back(ws: Workspace) -> None:
    for each in (ANN, BOB):
        await ws.sign_in(each)
    ann, bob = (ws.socket_stub(IdentityServiceStub, as_=each) for each in (ANN, BOB))
    error = await refusal(ann)
    assert reason_of(error) == "LIMIT_EXCEEDED"
    wait = detail(status_of(error), error_details_pb2.RetryInfo).retry_delay
    assert 0 < wait.ToTimedelta().total_seconds() <= 1.5
    assert await many(20, bob) == {"OK": 20}
    async with ws.client(as_=ANN) as http:  # the same count, whatever the way
        for _ in range(50):
            answer = await http.get(SESSION)
            if answer.status_code == 429:
                break
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
    await asyncio.sleep(wait.ToTimedelta().total_seconds() + 1.5)
    assert await many(1, ann) == {"OK": 1}


@pytest.mark.case("A13")
async def test_ten_times_too_many_calls_of_one_user_leave_the_others_alone(ws: Workspace) -> None:
    for each in (ANN, BOB):
        await ws.sign_in(each)
    ann, bob = (ws.socket_stub(IdentityServiceStub, as_=each) for each in (ANN, BOB))
    flood, good = await asyncio.gather(many(400, ann), many(30, bob))
    assert good == {"OK": 30}
    assert set(flood) == {"OK", "RESOURCE_EXHAUSTED"}
    assert flood["RESOURCE_EXHAUSTED"] > 300


@pytest.mark.case("A13")
async def test_machine_tokens_count_for_their_user(ws: Workspace) -> None:
    await ws.sign_in(ANN)
    ann = ws.stub(IdentityServiceStub, as_=ANN)
    made = await ann.CreateMachineToken(CreateMachineTokenRequest(name="robot"))
    await refusal(await with_token(ws, made.secret))
    assert await code(ann.GetSession(GetSessionRequest())) is EXHAUSTED


@pytest.mark.case("A13")
async def test_what_services_ask_for_a_user_is_not_counted_again(tmp_path: Path) -> None:
    async with Workspace.open(tmp_path, user_calls_per_minute=6) as ws:
        await ws.sign_in(ANN)  # one call
        projects = ws.socket_stub(ProjectServiceStub, as_=ANN)
        for number in range(5):  # each asks identity, several times
            await projects.CreateProject(CreateProjectRequest(name=f"p{number}"))
        more = [projects.CreateProject(CreateProjectRequest(name=f"m{n}")) for n in range(30)]
        assert EXHAUSTED in [await code(each) for each in more]


@pytest.mark.case("A13", "A14")
@pytest.mark.parametrize("way", ["grpc", "http"])
async def test_bad_tokens_use_up_an_address_and_nobody_is_locked_out(
    ws: Workspace, way: str
) -> None:
    await ws.sign_in(ANN)
    ann = ws.socket_stub(IdentityServiceStub, as_=ANN)
    assert await many(1, ann) == {"OK": 1}
    if way == "grpc":
        refused = await many(60, await with_token(ws, "not-a-token"))
        assert refused["UNAUTHENTICATED"] >= 20
        assert refused["RESOURCE_EXHAUSTED"] >= 20
    else:
        headers = {"authorization": "Bearer not-a-token"}
        async with ws.client() as http:
            codes = Counter(
                [(await http.get(SESSION, headers=headers)).status_code for _ in range(60)]
            )
        assert codes[401] >= 20
        assert codes[429] >= 20
    assert await many(5, ann) == {"OK": 5}  # from the same address
    async with ws.client(as_=ANN) as http:
        assert (await http.get(SESSION)).status_code == 200


@pytest.mark.case("A14")
async def test_the_right_secret_and_probes_pass_at_an_address_without_calls(ws: Workspace) -> None:
    await many(60, await with_token(ws, "not-a-token"))
    wrong = IssueLocalTokenRequest(email=BOB, local_secret="wrong")
    anonymous = await with_token(ws, "")
    found = Counter([(await code(anonymous.IssueLocalToken(wrong))).name for _ in range(30)])
    assert found == {"UNAUTHENTICATED": 10, "RESOURCE_EXHAUSTED": 20}
    right = IssueLocalTokenRequest(email=BOB, local_secret=_secret(ws))
    assert (await anonymous.IssueLocalToken(right)).access_token
    async with grpc.aio.insecure_channel(ws.process.grpc_address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for _ in range(60):
            answer = await health.Check(health_pb2.HealthCheckRequest())
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def _secret(ws: Workspace) -> str:
    return (ws.process.kernel.keys_dir / "local.secret").read_text().strip()


@pytest.mark.case("A13")
async def test_zero_switches_both_off(tmp_path: Path) -> None:
    async with Workspace.open(
        tmp_path, user_calls_per_minute=0, address_calls_per_minute=0
    ) as ws:
        await ws.sign_in(ANN)
        assert await many(60, ws.socket_stub(IdentityServiceStub, as_=ANN)) == {"OK": 60}
        assert await many(60, await with_token(ws, "no")) == {"UNAUTHENTICATED": 60}


@pytest.mark.case("A13")
@pytest.mark.parametrize("kind", [*KINDS, "Writer"])
@pytest.mark.parametrize("local", [False, True], ids=["socket", "in process"])
async def test_calls_of_every_kind_are_counted(
    kind: str, local: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Echo, "local", local)
    async with Echo(rates=CallRates(user_calls=2, address_calls=2)).running() as echo:
        for _ in range(2):
            await echo.call(kind)
        assert await told(echo, kind, SIGNED_IN) == "LIMIT_EXCEEDED"
        bad = [await told(echo, kind, (("authorization", "Bearer bad"),)) for _ in range(3)]
    assert bad[:2] == ["UNAUTHENTICATED"] * 2
    # A call in this process that no client made has no address.
    assert bad[2] == ("UNAUTHENTICATED" if local else "LIMIT_EXCEEDED")
    assert echo.handled == 2


@pytest.mark.case("A13", "A14")
@pytest.mark.parametrize("ours", [True, False], ids=["of the deployment", "of somebody else"])
async def test_a_gateway_proves_that_it_is_one(ours: bool) -> None:
    """Whom it names is counted; who names addresses without proof is counted himself."""
    name, ca = "spiffe://workspace/gateway", Authority()
    server = grpc.ssl_server_credentials(
        [ca.issue("server", x509.DNSName("localhost"))], ca.pem, require_client_auth=True
    )
    shown = x509.UniformResourceIdentifier(name if ours else "spiffe://elsewhere/gateway")
    client = grpc.ssl_channel_credentials(ca.pem, *ca.issue("client", shown))
    echo = Echo(rates=CallRates(address_calls=2, proved=[name]))
    async with echo.running(server_credentials=server, channel_credentials=client):
        for _ in range(2):
            assert await told(echo, "UnaryUnary", _for("198.51.100.7")) == "UNAUTHENTICATED"
        same = await told(echo, "UnaryUnary", _for("198.51.100.7"))
        other = await told(echo, "UnaryUnary", _for("198.51.100.8"))
    assert same == "LIMIT_EXCEEDED"
    assert other == ("UNAUTHENTICATED" if ours else "LIMIT_EXCEEDED")


def _for(client: str) -> tuple[tuple[str, str], ...]:
    return ((CLIENT_HEADER, client), ("authorization", "Bearer bad"))


async def told(echo: Echo, kind: str, metadata: Any) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await echo.call(kind, metadata=metadata)
    return reason_of(caught.value)
