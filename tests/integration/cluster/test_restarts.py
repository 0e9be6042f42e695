"""Processes and stores that come and go under load: nothing acknowledged is lost, clients
see UNAVAILABLE at most, and go on. One deployment with two of each service for all tests."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1.invitation_pb2 import InvitationTerms
from workspace.identity.v1.invitation_service_pb2 import CreateInvitationRequest
from workspace.identity.v1.invitation_service_pb2_grpc import InvitationServiceStub
from workspace.project.v1.document_service_pb2 import CreateDocumentRequest
from workspace.project.v1.project_service_pb2 import CreateProjectRequest

from services.processes.targets import SERVICES
from tests.cluster import Cluster, Node
from tests.cluster_stores import Stores
from tests.stack.load import Load, following, holds, under_load
from tests.stack.people import Person, request_id

pytestmark = [pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="module")]
UNAVAILABLE = {"UNAVAILABLE"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pairs(stores: Stores, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """Two of each, and one gateway."""
    twice = dict.fromkeys(("identity", "project", "storage", "sync", "relay"), 2)
    folder = tmp_path_factory.mktemp("pairs")
    async with Cluster.open(
        folder, stores=stores, environment={"WM_MAIL": "folder"}, **twice
    ) as cluster:
        yield cluster


async def writers(cluster: Cluster) -> list[Person]:
    names = [f"writer-{uuid.uuid4().hex[:8]}@example.com" for _ in range(3)]
    return [await Person.enter(cluster, name) for name in names]


async def nothing_lost(load: Load, allowed: set[str] = UNAVAILABLE) -> None:
    assert await load.lost() == []
    assert set(load.failures) <= allowed, load.failures


async def restart(*nodes: Node) -> None:
    for node in nodes:
        await node.start()
    await asyncio.gather(*(node.ready() for node in nodes))


async def test_a_rolling_restart_costs_clients_nothing(pairs: Cluster) -> None:
    """The streams end, too, and go on elsewhere with their token: each event once."""
    people = await writers(pairs)
    ann = people[0]
    made = await ann.projects.CreateProject(
        CreateProjectRequest(name=f"P {uuid.uuid4().hex}", request_id=request_id())
    )
    documents: set[str] = set()
    async with under_load(people) as load, following(ann, made.project.project_id) as follower:
        for number in (0, 1):  # the same one of every service at once
            for node in [pairs.nodes[target][number] for target in sorted(SERVICES)]:
                request = CreateDocumentRequest(
                    project_id=made.project.project_id, name=f"{node.name}.txt",
                    request_id=request_id(),
                )  # fmt: skip
                said = await ann.documents.CreateDocument(request, timeout=20)
                documents.add(said.document.document_id)
                assert await node.stop() == 0
                await load.until(5)
            await restart(*(pairs.nodes[target][number] for target in SERVICES))
        await load.until(10)
        await follower.until_created(documents)
    assert {follower.created[document_id] for document_id in documents} == {1}
    assert set(follower.ends) == UNAVAILABLE
    await nothing_lost(load)


@pytest.mark.case("A23")
async def test_kill_9_of_each(pairs: Cluster) -> None:
    async with under_load(await writers(pairs)) as load:
        victims = [pairs.nodes[target][1] for target in sorted({*SERVICES, "relay"})]
        for node in victims:
            assert await node.stop(signal.SIGKILL) == -signal.SIGKILL
            await load.until(10)
        await restart(*victims)
    await nothing_lost(load)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_the_only_gateway_is_restarted(pairs: Cluster, number: signal.Signals) -> None:
    node = pairs.one("gateway")
    async with under_load(await writers(pairs)) as load:
        assert await node.stop(number) == (0 if number is signal.SIGTERM else -number)
        await restart(node)
    await nothing_lost(load)


async def test_the_database_is_restarted(pairs: Cluster, stores: Stores) -> None:
    async with under_load(await writers(pairs)) as load:
        await asyncio.to_thread(stores.stop_database)
        down = sum(load.failures.values())
        await holds(lambda: sum(load.failures.values()) >= down + 6)
        await pairs.one("project").until("NOT_SERVING")
        assert await pairs.one("project").status("liveness") == "SERVING"
        await asyncio.to_thread(stores.start_database)
        await load.until(10)
        await asyncio.gather(*(node.ready() for node in pairs.all_nodes))
    await nothing_lost(load)


async def test_the_object_store_is_restarted(pairs: Cluster, stores: Stores) -> None:
    """What needs no file goes on; what does is UNAVAILABLE until it is back."""
    people = await writers(pairs)
    ann = people[0]
    made = await ann.projects.CreateProject(
        CreateProjectRequest(name=f"P {uuid.uuid4().hex}", request_id=request_id())
    )
    kept = await ann.upload(made.project.project_id, "kept.bin", b"kept")
    async with under_load(people) as load:
        await asyncio.to_thread(stores.objects.stop)
        await load.until(20)
        await pairs.one("storage").until("NOT_SERVING")
        await asyncio.to_thread(stores.objects.start)
        await asyncio.gather(*(node.ready() for node in pairs.all_nodes))
        assert await ann.download(kept) == b"kept"
    assert not load.failures
    await nothing_lost(load)


async def test_a_process_that_hangs_costs_deadlines(pairs: Cluster) -> None:
    """Its connections stay, so calls to it end at their deadline (10 s), until the pings
    of keepalive have no answer. The other replica goes on meanwhile."""
    hanging = pairs.nodes["project"][1]
    async with under_load(await writers(pairs)) as load:
        hanging.signal(signal.SIGSTOP)
        try:
            await load.until(30)
        finally:
            hanging.signal(signal.SIGCONT)
        await load.until(20)
    await hanging.ready()
    await nothing_lost(load, UNAVAILABLE | {"DEADLINE_EXCEEDED"})


async def test_what_relays_do_waits_for_them_and_is_done_once(pairs: Cluster) -> None:
    relays, mail = pairs.nodes["relay"], pairs.folder / "data" / "mail"
    await asyncio.gather(*(node.stop(signal.SIGKILL) for node in relays))
    before = mails(mail)
    async with under_load(await writers(pairs)) as load:  # nobody needs a relay to write
        invited = await invite(load.people[0], 12)
    await nothing_lost(load, set())
    assert mails(mail) == before
    await restart(*relays)
    await holds(lambda: len(mails(mail) - before) >= len(invited))
    texts = "".join((mail / name).read_text() for name in mails(mail) - before)
    assert {texts.count(f"To: {address}") for address in invited} == {1}


def mails(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.eml")}


async def invite(person: Person, count: int) -> list[str]:
    """Addresses of people who are invited to a new project."""
    made = await person.projects.CreateProject(
        CreateProjectRequest(name=f"P {uuid.uuid4().hex}", request_id=request_id())
    )
    invitations = InvitationServiceStub(person.at.channel(person.token))
    addresses = [f"guest-{uuid.uuid4().hex[:8]}@example.com" for _ in range(count)]
    terms = InvitationTerms(permissions=[Permission.PERMISSION_VIEW])
    for email in addresses:
        request = CreateInvitationRequest(
            project_id=made.project.project_id, email=email, terms=terms, request_id=request_id()
        )
        await invitations.CreateInvitation(request, timeout=20)
    return addresses
