"""A server, or `wm`, of a release's source tree, at a moment that the caller names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub

from tests.upgrade.client import Person

__all__ = ["HERE", "Server", "python_path", "serve", "wm"]

HERE = Path(__file__).parents[2]
"""The tree of this release."""

# Retention, invitations and URLs go by the clock, and a fixture grows old: who opens it
# does so in a process whose clock is put back before anything of ours is loaded.
_CLOCK = """
import sys, time
behind = float(sys.argv.pop(1))
unshifted, unshifted_ns = time.time, time.time_ns
time.time = lambda: unshifted() - behind
time.time_ns = lambda: unshifted_ns() - int(behind * 1e9)
"""
_SERVE = """
import asyncio, json
from services.config import load_settings
try:
    from services.processes.workspace import WorkspaceProcess
except ImportError:  # releases before containers
    from services.process import WorkspaceProcess

async def main():
    process = WorkspaceProcess(load_settings(**json.loads(sys.argv[1])))
    await process.start()
    print(json.dumps({"grpc": process.grpc_address, "http": process.http_url}), flush=True)
    return await process.run()

sys.exit(asyncio.run(main()))
"""
_WM = """
from services.cli.main import main
main(sys.argv[1:])
"""


class Server:
    """A running server: who signs in at it, and its addresses."""

    def __init__(self, grpc: str, keys: Path) -> None:
        self._grpc = grpc
        self._keys = keys
        self._people: dict[str, Person] = {}

    @property
    def secret(self) -> str:
        return (self._keys / "local.secret").read_text().strip()

    def person(self, email: str) -> Person:
        """Somebody who signs in when first asked for."""
        if email not in self._people:
            self._people[email] = Person(self._grpc, email, secret=self.secret)
        return self._people[email]

    def wait(self) -> None:
        """Until it answers: from then on SIGTERM ends it in order."""
        with grpc.insecure_channel(self._grpc) as channel:
            HealthStub(channel).Check(HealthCheckRequest(), timeout=60)

    def close(self) -> None:
        for person in self._people.values():
            person.close()


@contextmanager
def serve(
    data: Path, *, tree: Path = HERE, behind: float = 0.0, **settings: Any
) -> Iterator[Server]:
    """Serve a data folder; its clock is `behind` seconds behind. It ends in order."""
    given = {"data_dir": str(data), "grpc_port": 0, "http_port": 0, "local_realm": "upgrade"}
    given["webhook_networks"] = "192.0.2.0/24"  # an address of documentation (RFC 5737)
    process = subprocess.Popen(
        [sys.executable, "-c", _CLOCK + _SERVE, str(behind), json.dumps(given | settings)],
        stdout=subprocess.PIPE, env=_environment(tree), cwd=data.parent, text=True,
    )
    assert process.stdout is not None
    server = None
    try:
        line = process.stdout.readline()
        assert line, "the server did not start"
        server = Server(json.loads(line)["grpc"], data / "keys")
        server.wait()
        yield server
        process.terminate()
        assert process.wait(60) == 0
    finally:
        if server is not None:
            server.close()
        if process.poll() is None:
            process.kill()
        process.communicate()


def wm(
    data: Path, *arguments: str, tree: Path = HERE, behind: float = 0.0, **settings: Any
) -> subprocess.CompletedProcess[str]:
    """Run `wm` on a data folder."""
    named = {f"WM_{name.upper()}": str(value) for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, "-c", _CLOCK + _WM, str(behind), "--data", str(data), *arguments],
        env=_environment(tree) | named, cwd=data.parent, capture_output=True, text=True,
        timeout=120, check=False,
    )


def python_path(tree: Path = HERE) -> str:
    """Where the modules of a tree are."""
    return os.pathsep.join([str(tree), str(tree / "protos" / "gen" / "python")])


def _environment(tree: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WM_")}
    return kept | {"PYTHONPATH": python_path(tree)}
