"""The drivers under test, each with its declared capabilities.

A rig opens a driver and an HTTP client that holds no credentials: only a URL
can authorise it. A new driver is one more row of `DRIVERS`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette

from services.aws.clients import AwsClients
from services.aws.place import AwsPlace
from services.azure.clients import AzureClients
from services.azure.place import AzurePlace
from services.http.dataplane import dataplane_routes
from services.http.object_proxy import ObjectProxy
from services.objects.azure_blob import AzureBlobDriver
from services.objects.filesystem import FilesystemDriver, Syscalls
from services.objects.keyring import Keyring
from services.objects.port import ConstraintKind, ObjectCapabilities, ObjectDriver
from services.objects.s3 import S3Driver
from services.objects.store import ObjectStore
from services.objects.tokens import UrlSigner
from tests.servers import azure, containers, tools
from tests.servers.aws import REGION, moto, versitygw
from tests.servers.buckets import LIVE, credentials, live_bucket, local_clients, new_bucket
from tests.servers.process import Server


class Clock:
    """Unix seconds that tests can move."""

    def __init__(self) -> None:
        self.offset = 0.0

    def __call__(self) -> float:
        return time.time() + self.offset


@dataclass
class Revocations:
    """The answers to `is_revoked`, and every question that was asked."""

    principals: set[str] = field(default_factory=set)
    broken: bool = False
    asked: list[tuple[str, str, int]] = field(default_factory=list)

    async def __call__(self, principal: str, scope: str, revision: int) -> bool:
        self.asked.append((principal, scope, revision))
        if self.broken:
            raise ConnectionError("no answer")
        return principal in self.principals


@dataclass
class Rig:
    """An open driver, the portable store over it, and a client without rights."""

    driver: ObjectDriver
    store: ObjectStore
    client: httpx.AsyncClient


@dataclass
class DataPlaneRig(Rig):
    """A filesystem rig: its own data plane, clock, keys and revocations too."""

    files: FilesystemDriver
    signer: UrlSigner
    keyring: Keyring
    clock: Clock
    revocations: Revocations
    root: Path
    port: int


@asynccontextmanager
async def served(app: Starlette, listener: socket.socket) -> AsyncIterator[None]:
    """A real uvicorn on an open socket, as a task of this loop."""
    config = uvicorn.Config(
        app, http="httptools", lifespan="off", access_log=False, log_level="critical"
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn offers no event
            await asyncio.sleep(0.005)
        yield
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def filesystem_rig(
    folder: Path,
    *,
    calls: Syscalls | None = None,
    max_inflight: int = 64,
    grace_seconds: float = 30.0,
) -> AsyncIterator[DataPlaneRig]:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    clock, revocations = Clock(), Revocations()
    keyring = Keyring.open(folder / "keys")
    signer = UrlSigner(keyring, clock=clock)
    base = f"http://127.0.0.1:{port}"
    files = FilesystemDriver(folder / "objects", signer=signer, public_url=base, calls=calls)
    routes = dataplane_routes(
        files,
        signer,
        is_revoked=revocations,
        max_inflight=max_inflight,
        grace_seconds=grace_seconds,
    )
    async with served(Starlette(routes=routes), listener), httpx.AsyncClient() as client:
        yield DataPlaneRig(
            driver=files,
            store=ObjectStore(files),
            client=client,
            files=files,
            signer=signer,
            keyring=keyring,
            clock=clock,
            revocations=revocations,
            root=folder / "objects",
            port=port,
        )
    await files.close()


@asynccontextmanager
async def s3_rig(server: Callable[[], Server]) -> AsyncIterator[Rig]:
    """A new bucket of a server of the tests."""
    with credentials():
        started = server()
        clients, bucket = local_clients(started), new_bucket(started)
        driver = await S3Driver.open(clients, bucket, path_style=True)
        async with httpx.AsyncClient(trust_env=False) as client:
            yield Rig(driver=driver, store=ObjectStore(driver), client=client)
        await driver.close()


@asynccontextmanager
async def proxied_s3_rig() -> AsyncIterator[Rig]:
    """A new bucket that clients reach through our gateway alone; the driver itself does
    not go there."""
    with credentials():
        started = versitygw()
        bucket, listener = new_bucket(started), socket.create_server(("127.0.0.1", 0))
        public = f"http://127.0.0.1:{listener.getsockname()[1]}"
        origin = started.url.rstrip("/")
        place = AwsPlace(REGION, endpoints={"s3": origin}, public_endpoints={"s3": public})
        driver = await S3Driver.open(AwsClients(place), bucket, path_style=True)
        proxy = ObjectProxy(origin=origin, bucket=bucket)
        async with (
            served(Starlette(routes=proxy.routes), listener),
            httpx.AsyncClient(trust_env=False) as client,
        ):
            yield Rig(driver=driver, store=ObjectStore(driver), client=client)
        await proxy.close()
        await driver.close()


@asynccontextmanager
async def s3_live_rig() -> AsyncIterator[Rig]:
    """A new bucket of the account of the environment."""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or REGION
    with live_bucket(region) as bucket:
        driver = await S3Driver.open(AwsClients(AwsPlace(region)), bucket)
        async with httpx.AsyncClient(timeout=60) as client:
            yield Rig(driver=driver, store=ObjectStore(driver), client=client)
        await driver.close()


@asynccontextmanager
async def azurite_rig() -> AsyncIterator[Rig]:
    """A new container of Azurite."""
    with containers.credentials():
        name = containers.new_container()
        driver = await AzureBlobDriver.open(containers.local_clients(), azure.ACCOUNT, name)
        async with httpx.AsyncClient(trust_env=False, verify=azure.trusted()) as client:
            yield Rig(driver=driver, store=ObjectStore(driver), client=client)
        await driver.close()


@asynccontextmanager
async def azure_live_rig() -> AsyncIterator[Rig]:
    """A new container of the account of the environment."""
    account = os.environ["AZURE_STORAGE_ACCOUNT"]
    async with containers.live_container(account) as name:
        driver = await AzureBlobDriver.open(AzureClients(AzurePlace()), account, name)
        async with httpx.AsyncClient(timeout=60) as client:
            yield Rig(driver=driver, store=ObjectStore(driver), client=client)
        await driver.close()


@dataclass(frozen=True)
class Row:
    """One driver: how to open it, what it must declare, and which cases it
    cannot take part in, by capability of its server, counted: `checks_urls` (a URL
    allows no more than was signed), `keeps_checksums` (a SHA-256 sent by URL is kept),
    `checks_uploads` (an upload in parts belongs to its key, and ends), `ends_part_urls`
    (a part of an upload that was dropped is refused), `tells_head_from_get` (a URL to look
    reads no bytes), `go`, `npm` (its server can be made here)."""

    open: Callable[[Path], AbstractAsyncContextManager[Rig]]
    capabilities: ObjectCapabilities
    checks_urls: bool = True
    keeps_checksums: bool = True
    checks_uploads: bool = True
    ends_part_urls: bool = True
    tells_head_from_get: bool = True
    go: bool = True
    npm: bool = True
    skips: int = 0
    """How many tests leave it out for a capability."""

    def require(self, capability: str) -> None:
        """Leave the case out where the server lacks the capability."""
        if not getattr(self, capability):
            pytest.skip(f"capability: {capability}")


_S3 = ObjectCapabilities(
    enforces=frozenset(ConstraintKind),
    stores_sha256=True,
    max_single_put=100 * 1024 * 1024,
    max_url_seconds=7 * 24 * 3600,
    revocable_urls=False,
)
MOTO = Row(
    open=lambda _: s3_rig(moto), capabilities=_S3, checks_urls=False, keeps_checksums=False,
    checks_uploads=False, ends_part_urls=False, tells_head_from_get=False, skips=7,
)
VERSITYGW = Row(open=lambda _: s3_rig(versitygw), capabilities=_S3, go=tools.HAS_GO)
PROXIED = Row(open=lambda _: proxied_s3_rig(), capabilities=_S3, go=tools.HAS_GO)
S3_LIVE = Row(open=lambda _: s3_live_rig(), capabilities=_S3)

_AZURE = ObjectCapabilities(
    enforces=frozenset({ConstraintKind.CREATE_ONLY}),
    stores_sha256=False,
    max_single_put=100 * 1024 * 1024,
    max_url_seconds=12 * 3600,
    revocable_urls=False,
)
# A staged blob takes blocks until its URLs end; `r` is one permission for GET and HEAD.
AZURITE = Row(
    open=lambda _: azurite_rig(), capabilities=_AZURE, keeps_checksums=False,
    ends_part_urls=False, tells_head_from_get=False, npm=tools.HAS_NPM, skips=2,
)
AZURE_LIVE = Row(
    open=lambda _: azure_live_rig(), capabilities=_AZURE, keeps_checksums=False,
    ends_part_urls=False, tells_head_from_get=False, skips=2,
)

DRIVERS: dict[str, Row] = {
    "filesystem": Row(
        open=filesystem_rig,
        capabilities=ObjectCapabilities(
            enforces=frozenset(ConstraintKind),
            stores_sha256=True,
            max_single_put=100 * 1024 * 1024,
            max_url_seconds=3600,
            revocable_urls=True,
        ),
    ),
    "s3-moto": MOTO,
    "s3-versitygw": VERSITYGW,
    "s3-behind-the-gateway": PROXIED,
    "azure-azurite": AZURITE,
    **({"s3-live": S3_LIVE} if LIVE else {}),
    **({"azure-live": AZURE_LIVE} if containers.LIVE else {}),
}
