"""What is wrong at the start, or goes away for long: readiness says why, the others go on,
and all is well without a restart once it is mended. One deployment for all tests."""

from __future__ import annotations

import asyncio
import shutil
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from psycopg.conninfo import make_conninfo
from workspace.identity.v1.identity_service_pb2 import GetSessionRequest
from workspace.identity.v1.team_service_pb2 import ListTeamsRequest
from workspace.project.v1.project_service_pb2 import CreateProjectRequest, GetProjectRequest
from workspace.storage.v1.storage_service_pb2 import CreateDownloadRequest
from workspace.sync.v1.connection_service_pb2 import ListConnectionsRequest

from services.rpc.errors import error_info, peer_status
from tests.cluster import Cluster, Node
from tests.cluster_certificates import Issuer
from tests.cluster_stores import ObjectServer, Stores
from tests.servers.aws import SECRET_KEY
from tests.servers.ports import free_port
from tests.stack.people import Person, request_id

pytestmark = [pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="module")]
Call = Callable[[], Awaitable[Any]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(
    stores: Stores, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Cluster]:
    async with Cluster.open(tmp_path_factory.mktemp("faults"), stores=stores) as opened:
        yield opened
        assert no_secret(opened)


def no_secret(cluster: Cluster, *more: str) -> bool:
    """Whether nothing of what is secret is in any log."""
    keys = [path.read_bytes() for path in (cluster.folder / "data" / "keys").iterdir()]
    secrets = [SECRET_KEY.encode(), *(text.encode() for text in more), b"PRIVATE KEY", b"eyJ"]
    secrets += [form for key in keys for form in (key.strip(), key.hex().encode())]
    logs = b"".join(path.read_bytes() for path in cluster.folder.glob("*.log"))
    return not [secret for secret in secrets if secret in logs]


def calls_of(person: Person, project_id: str, document_id: str) -> dict[str, Call]:
    """Calls for each service; the session of `identity` shows projects, too."""
    return {
        "identity": lambda: person.identity.GetSession(GetSessionRequest(), timeout=20),
        "teams": lambda: person.teams.ListTeams(ListTeamsRequest(), timeout=20),
        "project": lambda: person.projects.GetProject(
            GetProjectRequest(project_id=project_id), timeout=20
        ),
        "storage": lambda: person.storage.CreateDownload(
            CreateDownloadRequest(document_id=document_id), timeout=20
        ),
        "sync": lambda: person.connections.ListConnections(ListConnectionsRequest(), timeout=20),
    }


async def made_calls(person: Person) -> dict[str, Call]:
    made = await person.projects.CreateProject(
        CreateProjectRequest(name=f"P {uuid.uuid4().hex}", request_id=request_id())
    )
    project_id = made.project.project_id
    return calls_of(person, project_id, await person.upload(project_id, "plan.txt", b"a plan"))


async def unavailable(calls: dict[str, Call]) -> set[str]:
    """The calls that end UNAVAILABLE, each with a reason and the time to wait; the others
    have an answer."""
    found: set[str] = set()
    for name, call in calls.items():
        try:
            await call()
        except grpc.aio.AioRpcError as error:
            assert_repeatable(error)
            found.add(name)
    return found


async def recovered(calls: dict[str, Call]) -> None:
    """Connections come back by themselves."""
    async with asyncio.timeout(60):
        while await unavailable(calls):  # noqa: ASYNC110 - another is polled
            await asyncio.sleep(0.1)


def assert_repeatable(error: grpc.aio.AioRpcError) -> None:
    assert error.code() is grpc.StatusCode.UNAVAILABLE, error
    status = peer_status(error)
    assert status is not None, error
    info = error_info(status)
    assert info is not None
    assert info.reason == "ERROR_REASON_BACKEND_UNAVAILABLE"
    assert any(each.TypeName() == "google.rpc.RetryInfo" for each in status.details)


NEEDED = {
    "identity": {"identity", "teams", "project", "storage", "sync"},  # memberships are there
    "project": {"identity", "project", "storage"},
    "storage": {"storage"},
    "sync": {"sync"},
}
"""By the service that is down: the calls (of `calls_of`) that need it."""


@pytest.mark.case("S06")
async def test_a_service_that_is_down_costs_the_calls_that_need_it(cluster: Cluster) -> None:
    calls = await made_calls(await Person.enter(cluster, "ann@example.com"))
    assert await unavailable(calls) == set()
    found: dict[str, set[str]] = {}
    for target in NEEDED:
        node = cluster.one(target)
        await node.stop(signal.SIGKILL)
        found[target] = await unavailable(calls)
        others = [each for each in cluster.all_nodes if each is not node]
        assert {await each.status() for each in others} == {"SERVING"}
        await node.start()
        await node.ready()
        await recovered(calls)
    assert found == NEEDED


@asynccontextmanager
async def broken(node: Node, environment: dict[str, str]) -> AsyncIterator[Node]:
    """The process, started with these settings instead of its own, and back afterwards."""
    kept = dict(node.environment)
    await node.stop()
    node.environment |= environment
    await node.start()
    try:
        yield node
    finally:
        await node.stop(signal.SIGKILL)
        node.environment = kept
        await node.start()
        await node.ready()


async def says(node: Node, *words: str) -> None:
    """Not ready, alive, and the words are in its log."""
    for word in words:
        await node.says(word)
    await node.until("NOT_SERVING")
    assert await node.status("liveness") == "SERVING"


async def test_what_is_missing_is_named_one_after_the_other(
    cluster: Cluster, stores: Stores
) -> None:
    """One process, started with nearly everything wrong; each thing is mended as it waits."""
    calls = await made_calls(await Person.enter(cluster, "bob@example.com"))
    certificates, objects = Issuer(cluster.certificates), ObjectServer()
    shown = cluster.certificates / "storage" / "tls.crt"
    shown.unlink()
    password = f"secret{uuid.uuid4().hex}"
    dsn = await asyncio.to_thread(stores.guarded_database, password)
    environment = {
        "WM_DATA_DIR": str(cluster.folder / "elsewhere"), "WM_MIGRATE_AT_START": "off",
        "WM_RECORDS_DSN": make_conninfo(dsn, password="wrong" + password, connect_timeout="3"),
        "WM_AWS_S3_ENDPOINT": objects.url,
    }  # fmt: skip
    keys = cluster.folder / "elsewhere" / "keys"
    async with broken(cluster.one("storage"), environment) as node:
        await says(node, "keys lacks instance.key, ", "`wm keys new`")
        assert list(keys.glob("*")) == []  # it makes none of its own
        shutil.copytree(cluster.folder / "data" / "keys", keys, dirs_exist_ok=True)
        await says(node, "password")
        assert await unavailable(calls) == {"storage"}
        await asyncio.to_thread(stores.set_password, dsn, "wrong" + password)
        await says(node, "wm migrate")
        await cluster.wm("migrate", environment=environment)
        await says(node, "s3:ListBucket failed (EndpointConnectionError): nothing answers")
        await asyncio.to_thread(objects.start, cluster.environment["WM_AWS_S3_BUCKET"])
        await says(node, f"{shown}: No such file or directory; make it")
        certificates.issue("storage", age=20)
        await says(node, f"{shown}: expired at")
        certificates.issue("storage", name="sync")
        await says(node, "lacks the name spiffe://workspace/storage")
        certificates.issue("storage")
        await node.ready()
        await asyncio.to_thread(objects.stop)
        await says(node, "waiting for objects")
    assert await unavailable(calls) == set()
    assert no_secret(cluster, password)


async def test_a_peer_is_named_until_it_shows_who_it_is(cluster: Cluster) -> None:
    """Down, of another host, of a foreign authority; then as it should be, and both go on."""
    calls = await made_calls(await Person.enter(cluster, "cid@example.com"))
    project, storage = cluster.one("project"), cluster.one("storage")
    certificates = Issuer(cluster.certificates)
    await asyncio.gather(project.stop(), storage.stop())
    storage.log.unlink()
    await storage.start()
    where = f"project at dns:///localhost:{project.grpc} is not reached: "
    await says(storage, where)
    assert await unavailable(calls) == NEEDED["project"]
    for wrong in ({"host": "elsewhere.example"}, {"foreign": True}):
        await asyncio.gather(project.stop(), storage.stop())
        certificates.issue("project", **wrong)
        storage.log.unlink()
        await asyncio.gather(project.start(), storage.start())
        await says(storage, where)
    certificates.issue("project")
    await asyncio.gather(project.ready(), storage.ready())
    await recovered(calls)


async def test_keys_that_are_nowhere(cluster: Cluster) -> None:
    environment = {
        "WM_KEYS_SECRET": "secretsmanager:nowhere", "WM_DATA_DIR": str(cluster.folder / "fresh"),
        "WM_AWS_ENDPOINT": f"http://127.0.0.1:{free_port()}",
    }  # fmt: skip
    async with broken(cluster.one("sync"), environment) as node:
        await says(node, "WM_KEYS_SECRET", "nothing answers")
        assert await cluster.one("gateway").status() == "SERVING"
    assert not list(cluster.folder.glob("fresh/keys/*"))  # nobody made others meanwhile
