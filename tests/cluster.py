"""A deployment of several processes on this machine: PostgreSQL, an S3 server, mutual TLS.

    async with Cluster.open(tmp_path, project=2) as cluster:
        channel = cluster.channel(await cluster.sign_in("ann@example.com"))

Every process is `wm serve --target ...` as an operator starts it; clients come to the
gateway. Certificates are made by `wm certs`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from psycopg.conninfo import conninfo_to_dict

from services.processes.targets import Target
from tests.chosen_records import chosen_server, postgres_of
from tests.cluster_stores import Stores
from tests.harness import BearerChannel
from tests.hygiene.log_watch import follow
from tests.servers import aws
from tests.servers.buckets import new_bucket
from tests.servers.ports import free_port
from tests.stack.deployment import Deployment

__all__ = ["Cluster", "Node"]

_SETTINGS = {"WM_MAIL": "off", "WM_LOG_FORMAT": "text", "WM_DRAIN_GRACE": "5"}


@dataclass
class Node:
    """One process of the deployment; `environment` counts from its next start."""

    target: str
    name: str
    environment: dict[str, str]
    log: Path
    grpc: int = field(default_factory=free_port)
    http: int = field(default_factory=free_port)
    probe: int = field(default_factory=free_port)
    metrics: int = field(default_factory=free_port)
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; it may not be ready yet."""
        ports = {
            "WM_GRPC_PORT": self.grpc, "WM_HTTP_PORT": self.http,
            "WM_PROBE_PORT": self.probe, "WM_METRICS_PORT": self.metrics,
        }  # fmt: skip
        clean = {name: value for name, value in os.environ.items() if not name.startswith("WM_")}
        follow(self.log)
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "services.cli.main", "serve", "--target", self.target),
                stdout=log, stderr=log, cwd=self.log.parent,
                env=clean | {name: str(value) for name, value in ports.items()} | self.environment,
            )  # fmt: skip

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it and wait; the exit code. A process that is not there: 0."""
        if self.process is None or self.process.returncode is not None:
            return 0
        self.process.send_signal(number)
        async with asyncio.timeout(60):
            return await self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP makes it hang, SIGCONT ends that."""
        assert self.process is not None
        self.process.send_signal(number)

    async def status(self, service: str = "") -> str:
        """What its probe port says: SERVING, NOT_SERVING, or '' when nothing answers."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.probe}") as channel:
            request = health_pb2.HealthCheckRequest(service=service)
            try:
                answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)
            except grpc.aio.AioRpcError:
                return ""
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

    async def ready(self, seconds: float = 90) -> None:
        """Wait until it is; fails with the end of its log, at once when it ended."""
        assert self.process is not None
        ended = asyncio.ensure_future(self.process.wait())
        serving = asyncio.ensure_future(self.until("SERVING", seconds))
        try:
            await asyncio.wait((ended, serving), return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                raise AssertionError(f"{self.name} ended:\n{self.said()[-3000:]}")
            await serving
        finally:
            ended.cancel()
            serving.cancel()

    async def until(self, status: str, seconds: float = 90) -> None:
        try:
            async with asyncio.timeout(seconds):
                while await self.status() != status:  # noqa: ASYNC110 - another is polled
                    await asyncio.sleep(0.25)
        except TimeoutError:
            raise AssertionError(f"{self.name} is not {status}:\n{self.said()[-3000:]}") from None

    def said(self) -> str:
        """All that it logged."""
        return self.log.read_text() if self.log.exists() else ""

    async def says(self, text: str, seconds: float = 60) -> None:
        """Wait until its log has `text`."""
        try:
            async with asyncio.timeout(seconds):
                while text not in self.said():  # noqa: ASYNC110 - another is polled
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"{self.name} never said {text!r}:\n{self.said()}") from None


class Cluster(Deployment):
    """See the module. `nodes` are all processes, by target."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        super().__init__()
        self.folder = folder
        self.environment = environment
        self.nodes: dict[str, list[Node]] = {}
        self.certificates = folder / "certs"

    @classmethod
    @asynccontextmanager
    async def open(
        cls, folder: Path, *, start: bool = True, environment: dict[str, str] | None = None,
        stores: Stores | None = None, **replicas: int,
    ) -> AsyncIterator[Cluster]:
        """All six targets, `replicas` of each (1, at most 2 of what others call by name).
        With `start` False nothing runs yet. Without `stores` those of this pytest process."""
        chosen = _own(stores) if stores else await _shared(folder)
        settings = _SETTINGS | chosen | {"WM_DATA_DIR": str(folder / "data")}
        cluster = cls(folder, settings | (environment or {}))
        await cluster.wm("certs", str(cluster.certificates))
        await cluster.wm("keys", "new", str(folder / "data" / "keys"))
        for target in Target:
            count = replicas.get(target, 1)
            cluster.nodes[target] = []
            for number in range(count):
                cluster.nodes[target].append(cluster._node(target, number))
        cluster._introduce()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(cluster.close)
            if start:
                await cluster.start()
            yield cluster

    @property
    def all_nodes(self) -> list[Node]:
        return [node for nodes in self.nodes.values() for node in nodes]

    def one(self, target: str) -> Node:
        """The first process of a target."""
        return self.nodes[target][0]

    @property
    def http(self) -> str:
        """Base URL of the gateway."""
        return f"https://localhost:{self.one('gateway').http}"

    async def start(self) -> None:
        """Everything, and wait until it is ready."""
        for node in self.all_nodes:
            await node.start()
        await asyncio.gather(*(node.ready() for node in self.all_nodes))

    async def close(self) -> None:
        await self.close_channels()
        await asyncio.gather(*(node.stop(signal.SIGKILL) for node in self.all_nodes))

    async def wm(self, *arguments: str, environment: dict[str, str] | None = None) -> str:
        """Run `wm` as an operator, with the settings of the deployment; what it prints."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.cli.main", *arguments),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=self.folder,
            env={**os.environ, **self.environment, **(environment or {})},
        )  # fmt: skip
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        return output.decode()

    @property
    def grpc_target(self) -> str:
        return f"localhost:{self.one('gateway').grpc}"

    @property
    def authority(self) -> Path:
        return self.certificates / "ca.crt"

    def local_secret(self) -> str:
        return (self.folder / "data" / "keys" / "local.secret").read_text().strip()

    def channel(self, token: str = "", *, node: Node | None = None) -> BearerChannel:
        """As a client of the gateway, or of one process, with the gateway's certificate."""
        target = f"localhost:{node.grpc}" if node else self.grpc_target
        folder = self.certificates / "gateway"
        shown = (folder / "tls.key").read_bytes(), (folder / "tls.crt").read_bytes()
        return self.open_channel(target, token, shown)

    def connection_settings(self) -> dict[str, str]:
        """A database and a folder that nobody uses yet."""
        parts = conninfo_to_dict(chosen_server().database())
        return {
            "host": str(parts["host"]), "port": str(parts.get("port") or "5432"),
            "database": str(parts["dbname"]), "user": str(parts["user"]),
            "folder": str(self.folder / f"objects-{uuid.uuid4().hex[:8]}"),
        }  # fmt: skip

    def _node(self, target: str, number: int) -> Node:
        folder = self.certificates / target
        files = {
            "WM_TLS_CERTIFICATE": folder / "tls.crt", "WM_TLS_KEY": folder / "tls.key",
            "WM_PEER_CA": folder / "ca.crt",
        }  # fmt: skip
        if target != Target.GATEWAY:
            files["WM_TLS_CLIENT_CA"] = folder / "ca.crt"
        name = f"{target}-{number}"
        environment = self.environment | {key: str(path) for key, path in files.items()}
        node = Node(target, name, environment, self.folder / f"{name}.log")
        if number:  # `localhost` is two addresses, so one name has two replicas
            node.grpc = self.nodes[target][0].grpc
            node.environment["WM_GRPC_HOST"] = "::1"
        return node

    def _introduce(self) -> None:
        """Tell every process where the others answer, and what clients call them."""
        peers = {
            f"WM_PEER_{target.upper()}": f"dns:///localhost:{nodes[0].grpc}"
            for target, nodes in self.nodes.items()
            if target not in (Target.GATEWAY, Target.RELAY)
        }
        for node in self.all_nodes:
            node.environment |= peers | {"WM_PUBLIC_URL": self.http}


async def _shared(folder: Path) -> dict[str, str]:
    os.environ.update(aws.environment())
    server = await asyncio.to_thread(aws.versitygw)
    return _places(postgres_of(folder)["records_dsn"], new_bucket(server), server.url.rstrip("/"))


def _own(stores: Stores) -> dict[str, str]:
    return _places(stores.database(), stores.bucket, stores.objects.url)


def _places(dsn: str, bucket: str, endpoint: str) -> dict[str, str]:
    return {
        "WM_RECORDS": "postgresql", "WM_RECORDS_DSN": dsn,
        "WM_OBJECTS": "s3", "WM_AWS_REGION": aws.REGION, "WM_AWS_S3_BUCKET": bucket,
        "WM_AWS_S3_ENDPOINT": endpoint, "WM_AWS_S3_PATH_STYLE": "1",
    }  # fmt: skip
