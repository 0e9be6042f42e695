"""What is taken away through one replica ends on every other.

With the next fully consistent check and with the token of the change it is so at once, at
minimum latency within five seconds, whatever becomes of those who tell the caches. One
process among the replicas has its followers and the bound taken out: what the tests look
for is found there.
"""

from __future__ import annotations

import asyncio
import signal
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.project.v1 import project_service_pb2 as ps
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from tests.cluster import Node
from tests.integration.cluster.revoking import (
    FULLY,
    KINDS,
    LATENCY,
    Asked,
    Right,
    World,
    as_fresh_as,
    ask_for,
)
from tests.replicas import Replicas

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

MOST = 5.0
"""Seconds (design, "Freshness of permission decisions")."""
REPLICAS, ROUNDS = 4, 3
MUTANT = """
import asyncio, math
from project_svc.access import fact_cache, freshness

async def nothing(self):
    await asyncio.Event().wait()

fact_cache.MOST_STALE_SECONDS = math.inf
freshness.MembershipFollower.run = freshness.ViewFollower.run = nothing
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Four replicas and the mutant; a third process of identity, of which the others do
    not know, makes the changes."""
    folder = tmp_path_factory.mktemp("replicas")
    async with Replicas.open(folder, project=REPLICAS + 1, identity=3, start=False) as replicas:
        (folder / "mutant").mkdir()
        (folder / "mutant" / "sitecustomize.py").write_text(MUTANT)
        replicas.nodes["project"][-1].environment["PYTHONPATH"] = str(folder / "mutant")
        await replicas.start()
        yield await World.make(replicas)


@pytest.fixture
def nodes(world: World) -> Sequence[Node]:
    """The replicas, without the mutant."""
    return world.replicas.nodes["project"][:REPLICAS]


@pytest.fixture
def mutant(world: World) -> Node:
    return world.replicas.nodes["project"][REPLICAS]


@pytest_asyncio.fixture(loop_scope="module")
async def right(world: World, request: pytest.FixtureRequest) -> AsyncIterator[Right]:
    """bob has it; he has it again after the test."""
    right = KINDS[request.param](world)
    await right.give()
    yield right
    if not await right.allowed(world.first, FULLY):
        await right.give()


every_kind = pytest.mark.parametrize("right", KINDS, indirect=True)
a_team = pytest.mark.parametrize("right", ["team member"], indirect=True)


@every_kind
async def test_the_next_fully_consistent_check_knows(right: Right, nodes: Sequence[Node]) -> None:
    for turn in range(ROUNDS):
        await right.warm(nodes)
        token = await right.take()
        # A fully consistent answer is kept, so each replica is asked one question first.
        levels = [(FULLY, as_fresh_as(token))[(n + turn) % 2] for n in range(REPLICAS)]
        found = await asyncio.gather(*map(right.allowed, nodes, levels))
        assert found == [False] * REPLICAS
        await right.give()


@every_kind
async def test_five_seconds_later_nobody_says_yes_at_minimum_latency(
    right: Right, nodes: Sequence[Node], record_property: Callable[[str, object], None]
) -> None:
    lags: list[float] = []
    for _ in range(ROUNDS):
        await right.warm(nodes)
        await right.take()
        since = time.monotonic()
        asked = await _all(right, nodes, since, MOST + 2, quiet=0.5)
        lags += [each.last_yes for each in asked]
        assert all(each.settled for each in asked)
        await right.give()
    record_property("lags", [round(lag, 3) for lag in lags])
    assert max(lags) <= MOST


@every_kind
async def test_a_replica_that_hears_nothing_is_found_out(right: Right, mutant: Node) -> None:
    await right.warm([mutant])
    await right.take()
    asked = await ask_for(right, mutant, time.monotonic(), MOST + 1)
    assert asked.last_yes > MOST
    assert not await right.allowed(mutant, FULLY)


@a_team
async def test_a_warm_replica_asks_nobody(
    world: World, right: Right, nodes: Sequence[Node]
) -> None:
    """What else would the caches be tested for?"""
    until, before = time.monotonic() + 30, -1
    while (reads := await _reads(world)) != before:  # the feed still tells of bob's arrival
        assert time.monotonic() < until
        before = reads
        for _ in range(10):
            await right.warm(nodes)
    await asyncio.gather(*(right.allowed(node, FULLY) for node in nodes))
    assert await _reads(world) == before + REPLICAS


@a_team
async def test_lists_and_gates_know_at_once(
    world: World, right: Right, nodes: Sequence[Node]
) -> None:
    """What is no question about permissions asks for facts of now."""

    async def listed(node: Node) -> bool:
        stub = world.stub(ProjectServiceStub, node, as_="bob")
        answer = await stub.ListProjects(ps.ListProjectsRequest(page_size=500), timeout=20)
        return right.project_id in [project.project_id for project in answer.projects]

    async def shown(node: Node) -> bool:
        stub = world.stub(ProjectServiceStub, node, as_="bob")
        request = ps.GetProjectRequest(project_id=right.project_id)
        return await _code(stub.GetProject(request, timeout=20)) is grpc.StatusCode.OK

    for look in (listed, shown):
        await right.warm(nodes)
        assert await asyncio.gather(*map(look, nodes)) == [True] * REPLICAS
        await right.take()
        assert await asyncio.gather(*map(look, nodes)) == [False] * REPLICAS
        await right.give()


@pytest.mark.case("T54")
async def test_who_may_not_come_in_is_refused_with_the_next_call(
    world: World, nodes: Sequence[Node]
) -> None:
    """Tokens and people are looked at with each call, whatever is in the caches."""
    right = KINDS["account member"](world)
    await right.give()
    identity = world.stub(IdentityServiceStub, world.writer, as_="bob")
    made = await identity.CreateMachineToken(ids.CreateMachineTokenRequest(name="ci"), timeout=20)
    token_id = made.machine_token.token_id

    async def codes(token: str) -> set[grpc.StatusCode]:
        stubs = [world.stub(ProjectServiceStub, node, token=token) for node in nodes]
        request = ps.GetProjectRequest(project_id=right.project_id)
        return set(await asyncio.gather(*(_code(s.GetProject(request, timeout=20)) for s in stubs)))

    session = world.tokens["bob"]
    assert await codes(made.secret) == await codes(session) == {grpc.StatusCode.OK}
    await identity.RevokeMachineToken(ids.RevokeMachineTokenRequest(token_id=token_id), timeout=20)
    assert await codes(made.secret) == {grpc.StatusCode.UNAUTHENTICATED}
    await identity.RevokeSessions(ids.RevokeSessionsRequest(user_id=world.users["bob"]), timeout=20)
    assert await codes(session) == {grpc.StatusCode.UNAUTHENTICATED}
    again = await world.sign_in("bob")
    assert await codes(again) == {grpc.StatusCode.OK}
    enabled = KINDS["user"](world)
    await enabled.give()
    await enabled.take()
    assert await codes(again) == {grpc.StatusCode.PERMISSION_DENIED}
    await enabled.give()
    assert await codes(again) == {grpc.StatusCode.UNAUTHENTICATED}
    assert await codes(world.tokens["bob"]) == {grpc.StatusCode.OK}


@a_team
async def test_when_nobody_tells_the_caches_they_fall_silent(
    world: World, right: Right, nodes: Sequence[Node], mutant: Node
) -> None:
    """Both processes of identity hang: the replicas know nothing, and say so."""
    everybody = [*nodes, mutant]
    await right.warm(everybody)
    with _hanging(world.replicas.nodes["identity"][:2]):
        await right.take()
        since = time.monotonic()
        *asked, blind = await _all(right, everybody, since, MOST + 2, timeout=1)
    assert max(each.last_yes for each in asked) <= MOST
    assert all(each.failures and not each.noes for each in asked)
    assert blind.last_yes > MOST, "what the bound is for"
    await asyncio.gather(*(_says_no(right, node) for node in nodes))


@a_team
async def test_one_of_two_processes_of_identity_hangs(
    world: World, right: Right, nodes: Sequence[Node]
) -> None:
    """Its followers leave it for the other one, and caches answer again."""
    await right.warm(nodes)
    with _hanging(world.replicas.nodes["identity"][:1]):
        await right.take()
        since = time.monotonic()
        asked = await _all(right, nodes, since, MOST + 30, timeout=1, quiet=2)
        assert max(each.last_yes for each in asked) <= MOST
        # Without a stream every second read would be one of the process that hangs.
        assert all(each.settled for each in asked)


@a_team
async def test_processes_of_identity_that_are_replaced(
    world: World, right: Right, nodes: Sequence[Node]
) -> None:
    """bob leaves while nobody listens; the resumed streams tell of it."""
    await right.warm(nodes)
    pair = world.replicas.nodes["identity"][:2]
    for node in pair:
        await node.stop(signal.SIGKILL)
    await right.take()
    since = time.monotonic()
    for node in pair:
        await node.start()
    asked = await _all(right, nodes, since, MOST + 2, timeout=1)
    await asyncio.gather(*(node.ready() for node in pair))
    assert max(each.last_yes for each in asked) <= MOST
    await asyncio.gather(*(_says_no(right, node) for node in nodes))


async def _all(
    right: Right, nodes: Sequence[Node], since: float, seconds: float, **more: Any
) -> list[Asked]:
    return await asyncio.gather(*(ask_for(right, node, since, seconds, **more) for node in nodes))


async def _says_no(right: Right, node: Node) -> None:
    """It answers again, and what it says is right."""
    async with asyncio.timeout(60):
        while True:
            try:
                assert not await right.allowed(node, LATENCY)
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.1)
            else:
                return


async def _code(call: Awaitable[Any]) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def _reads(world: World) -> int:
    """How often the processes of identity were asked for memberships."""
    found = [await asyncio.to_thread(_counted, node) for node in world.replicas.nodes["identity"]]
    return sum(found)


def _counted(node: Node) -> int:
    url = f"http://127.0.0.1:{node.metrics}/metrics"
    with urllib.request.urlopen(url, timeout=20) as answer:
        text = answer.read().decode()
    return sum(
        int(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "workspace_rpc_started_total"
        and sample.labels["method"].endswith("/BatchGetMemberships")
    )


@contextmanager
def _hanging(nodes: Sequence[Node]) -> Iterator[None]:
    """They neither answer nor go away."""
    for node in nodes:
        assert node.process is not None
        node.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for node in nodes:
            assert node.process is not None
            node.process.send_signal(signal.SIGCONT)
