"""A manifest sends the server somewhere: never to what answers with credentials of the
machine, never on by a redirect; and what it signs in with is written down nowhere.
"""

from __future__ import annotations

import base64
import logging
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio
from workspace.sync.v1 import connection_pb2 as co
from workspace.sync.v1 import connection_service_pb2 as cs
from workspace.sync.v1 import sync_service_pb2 as ss
from workspace.sync.v1.run_pb2 import SyncDirection
from workspace.sync.v1.sync_service_pb2_grpc import SyncServiceStub

from services.aws.clients import AwsClients
from services.aws.place import AwsPlace
from services.model.errors import WorkspaceError
from services.objects.port import StoreUnavailable
from services.objects.s3 import S3Driver
from sync_svc.connections.hosts import is_host
from sync_svc.connections.reach import Reach
from sync_svc.surfaces.postgres import password_variable
from tests.harness import Workspace
from tests.integration.sync.test_connections import ADMIN, Desk
from tests.servers.buckets import credentials
from tests.unit.objects.azure_blob.azure_answers import Answer, Handler
from tests.unit.sync_svc.connections import test_providers, test_providers_aws
from tests.unit.sync_svc.connections.judging import refused

METADATA = [
    "169.254.169.254", "169.254.170.2", "2852039166", "0xa9fea9fe", "0xA9.0xFE.0xA9.0xFE",
    "0251.0376.0251.0376", "169.254.43518", "169.16689662", "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe", "[::ffff:a9fe:a9fe]", "fd00:ec2::254", "fe80::a9fe:a9fe", "0.0.0.0",
    "::", "0", "127.1", "0177.0.0.1", "2130706433", "224.0.0.1", "ff02::1", "1.2.3.4.",
    "169.254.169.254.", "169。254。169。254", "①⑥⑨.254.169.254", "fe80::1%lo", "",
]  # fmt: skip
SERVERS = ["db.example.org", "localhost", "10.0.0.5", "127.0.0.1", "::1", "fd12:3456::1", "db1",
           "1and1.example", "3.pool.ntp.example", "2001:db8::5"]  # fmt: skip


@pytest.mark.case("S08")
@pytest.mark.parametrize("host", METADATA)
def test_nobody_names_an_address_of_the_machine_itself(tmp_path: Path, host: str) -> None:
    """Not even a platform admin, who may be one for the workspace and not for the machine."""
    assert not is_host(host)
    assert refused(test_providers.postgres(host=host), tmp_path) == "settings.host"
    shown = f"[{host}]" if ":" in host and "[" not in host else host
    for name in ("s3_endpoint", "dynamodb_endpoint"):
        for scheme in ("http", "https"):
            given = test_providers_aws.aws(**{name: f"{scheme}://{shown}:9000"})
            assert refused(given, tmp_path) == f"settings.{name}"


@pytest.mark.case("S08")
@pytest.mark.parametrize("host", SERVERS)
def test_servers_of_data_are_named_as_ever(host: str) -> None:
    assert is_host(host)


@pytest.mark.case("S08")
@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://minio.example.org", "gopher://minio.example.org",
        "http://minio.example.org", "http://10.0.0.5:9000", "//minio.example.org",
        "https://user@minio.example.org", "https://minio.example.org/x", "unix:/run/x",
        "https://minio.example.org#@169.254.169.254", "https:///x",
    ],
)  # fmt: skip
def test_other_schemes_and_plain_text_beyond_this_machine(tmp_path: Path, url: str) -> None:
    given = test_providers_aws.aws(s3_endpoint=url)
    assert refused(given, tmp_path) == "settings.s3_endpoint"


@pytest.mark.case("S08")
@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.5", "localhost", "db.example.org.", "db"])
def test_an_owner_reaches_the_hosts_that_are_listed_and_no_more(host: str) -> None:
    """A list of names is no list of addresses: whatever they are made to lead to, nobody
    but the operator's names are asked for."""
    reach = Reach(["/srv/o", "db.example.org"], anywhere=False)
    reach.check(test_providers.postgres())
    with pytest.raises(WorkspaceError, match="WM_SYNC_PLACES"):
        reach.check(test_providers.postgres(host=host))


@contextmanager
def plain_server(answer: Answer) -> Iterator[Any]:
    """Over HTTP: its `url`, and `asked` with method and path of every request."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.say, server.asked = True, lambda *_: answer, []
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.case("S08")
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_bucket_that_moved_is_not_followed(status: int) -> None:
    """The request is signed with the connection's keys, and the answer would be believed."""
    with credentials(), plain_server((200, {}, b"")) as other:
        there = {"location": f"{other.url}/bucket", "x-amz-bucket-region": "us-west-2"}
        with plain_server((status, there, b"")) as server:
            clients = AwsClients(AwsPlace("eu-central-1", endpoints={"s3": server.url}))
            with pytest.raises((StoreUnavailable, WorkspaceError)):
                await listed(clients)
            assert server.asked
        assert other.asked == []


async def listed(clients: AwsClients) -> None:
    driver = await S3Driver.open(clients, "bucket", path_style=True, patience=0)
    try:
        await driver.list("")
    finally:
        await driver.close()


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with Workspace.open(tmp_path) as ws:
        opened = Desk(ws, tmp_path)
        await opened.enter()
        yield opened


_PULL = SyncDirection.SYNC_DIRECTION_PULL
SECRET = "Zq7-only-in-the-environment-41"


def spellings(secret: str) -> list[bytes]:
    """As it is, and as somebody might have written it."""
    plain = secret.encode()
    return [plain, base64.b64encode(plain)[:-4], plain.hex().encode()]


@pytest.mark.case("S10")
async def test_what_a_connection_signs_in_with_is_found_nowhere(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It fails with it in every way: nothing answers, a test, a run; then all is searched."""
    monkeypatch.setenv(password_variable("db"), SECRET)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    manifest = co.Connection(
        connection_id="db", provider="postgres",
        settings={"host": "127.0.0.1", "port": port, "database": "x", "user": "u",
                  "folder": str(desk.folder / "objects")},
    )  # fmt: skip
    said: list[str] = []
    sync: Any = desk.ws.stub(SyncServiceStub, as_=ADMIN)
    with caplog.at_level(logging.DEBUG):
        for call in (
            desk.admin.CreateConnection(cs.CreateConnectionRequest(connection=manifest)),
            desk.admin.TestConnection(cs.TestConnectionRequest(connection_id="db")),
            desk.admin.GetConnection(cs.GetConnectionRequest(connection_id="db")),
            desk.admin.ListConnections(cs.ListConnectionsRequest()),
            sync.PlanSync(ss.PlanSyncRequest(connection_id="db", direction=_PULL)),
            sync.StartSync(ss.StartSyncRequest(connection_id="db", direction=_PULL)),
            sync.CompareSurfaces(ss.CompareSurfacesRequest(connection_id="db")),
            sync.GetSyncStatus(ss.GetSyncStatusRequest(connection_id="db")),
        ):
            try:
                said.append(str(await call))
            except grpc.aio.AioRpcError as error:
                said.append(f"{error.details()}{error.trailing_metadata()}")
    assert "127.0.0.1" in said[0], "the control: what is no secret is found"
    written = [path.read_bytes() for path in desk.folder.rglob("*") if path.is_file()]
    assert any(port.encode() in each for each in written)
    for spelled in spellings(SECRET):
        assert not any(spelled in each for each in written)
        assert spelled.decode() not in "".join(said) + caplog.text


@pytest.mark.case("S10")
async def test_nobody_writes_it_into_a_manifest(desk: Desk) -> None:
    for name, value in (("password", "x1y2z3"), ("host", f"u:{SECRET}@db.example.org")):
        manifest = co.Connection(
            connection_id="db", provider="postgres",
            settings={"host": "h", "database": "x", "user": "u", "folder": "/srv", name: value},
        )  # fmt: skip
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await desk.admin.CreateConnection(cs.CreateConnectionRequest(connection=manifest))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert value not in f"{caught.value.details()}{caught.value.trailing_metadata()}"
    assert not (await desk.admin.ListConnections(cs.ListConnectionsRequest())).connections
