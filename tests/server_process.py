"""A workspace in a process of its own, to be stopped, killed and started again.

    async with ServerProcess.start(tmp_path / "data") as server:
        channel = server.channel(token)
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
from workspace.identity.v1.identity_service_pb2 import (
    IssueLocalTokenRequest,
    NormalizeIdentityRequest,
)
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from tests.harness import BearerChannel
from tests.hygiene.log_watch import plant

ROOT = Path(__file__).parents[1]
_PROGRAM = """
import asyncio, json, sys
from services.config import load_settings
from services.processes.workspace import WorkspaceProcess
from services.telemetry.logs import configure_logging

async def main():
    configure_logging()
    process = WorkspaceProcess(load_settings(**json.loads(sys.argv[1])))
    await process.start()
    print(json.dumps({"grpc": process.grpc_address, "http": process.http_url}), flush=True)
    return await process.run()

sys.exit(asyncio.run(main()))
"""


class ServerProcess:
    """A running server; `grpc` and `http` are its addresses."""

    def __init__(self, process: asyncio.subprocess.Process, data_dir: Path) -> None:
        self.process = process
        self.data_dir = data_dir
        self.grpc = ""
        self.http = ""
        self._channels: list[grpc.aio.Channel] = []

    @classmethod
    @asynccontextmanager
    async def start(
        cls, data_dir: Path, *, prelude: str = "", **settings: Any
    ) -> AsyncIterator[ServerProcess]:
        """Start on free ports. `prelude` is Python that runs first, in there:
        where a test puts a fault. Whatever still runs at the end is killed."""
        given = {"data_dir": str(data_dir), "grpc_port": 0, "http_port": 0} | settings
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", prelude + _PROGRAM, json.dumps(given)),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": _python_path()},
            cwd=data_dir.parent,
        )
        server = cls(process, data_dir)
        try:
            addresses = json.loads(await server.line())
            server.grpc, server.http = addresses["grpc"], addresses["http"]
            yield server
        finally:
            for channel in server._channels:
                await channel.close()
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def line(self) -> str:
        """The next line that the process prints; '' when it has ended."""
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            return (await self.process.stdout.readline()).decode()

    async def kill(self) -> None:
        """kill -9, and wait for the end."""
        self.process.kill()
        assert await self.process.wait() == -signal.SIGKILL

    async def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.process.terminate()
        async with asyncio.timeout(60):
            return await self.process.wait()

    def channel(self, token: str = "") -> BearerChannel:
        channel = grpc.aio.insecure_channel(self.grpc)
        self._channels.append(channel)
        return BearerChannel(channel, token)

    async def token(self, email: str) -> str:
        """A local token; the user is made by `sign_in`."""
        secret = plant((self.data_dir / "keys" / "local.secret").read_text().strip())
        request = IssueLocalTokenRequest(email=email, name=email, local_secret=secret)
        issued = await IdentityServiceStub(self.channel()).IssueLocalToken(request)
        return str(issued.access_token)

    async def sign_in(self, email: str) -> str:
        """A token of a user who exists from now on."""
        token = await self.token(email)
        request = NormalizeIdentityRequest(request_id=str(uuid.uuid4()))
        await IdentityServiceStub(self.channel(token)).NormalizeIdentity(request)
        return token


def _python_path() -> str:
    ours = [str(ROOT), str(ROOT / "protos" / "gen" / "python")]
    return os.pathsep.join([*ours, *filter(None, [os.environ.get("PYTHONPATH", "")])])
