"""The composed stack of deploy/compose, started of local images for tests.

    with Stack.open(docker, images, folder) as stack:
        stack.up(project=2)
        async with Published.of(stack) as deployment: ...
"""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from tests.docker.compose import compose_environment
from tests.docker.engine import ROOT, Engine
from tests.docker.images import Images
from tests.servers.ports import free_port
from tests.stack.deployment import Deployment

__all__ = ["FOLDER", "SERVICES", "Published", "Stack"]

FOLDER = ROOT / "deploy" / "compose"
SERVICES = ("identity", "project", "storage", "sync")
_KEYS = "/var/lib/workspace/keys"
_TRUST = "/etc/workspace/trust/ca.crt"
_WAIT = 240
_PATIENCE = 180.0


class Stack:
    """One project of compose; make it with `open`."""

    def __init__(
        self, docker: Engine, environment: Mapping[str, str], file: str, *, folder: Path
    ) -> None:
        self.docker = docker
        self.environment = environment
        self.folder = folder
        self._file = file

    @classmethod
    @contextmanager
    def open(
        cls, docker: Engine, images: Images, folder: Path, *, file: str = "compose.yaml",
        **environment: str,
    ) -> Iterator[Stack]:
        """Nothing runs yet; in the end nothing is left of it."""
        given = {
            **compose_environment(docker), "WM_IMAGE": images.workspace,
            "POSTGRES_IMAGE": images.postgres, "OBJECTS_IMAGE": images.objects,
            "COMPOSE_PROJECT_NAME": f"workspace-test-{uuid.uuid4().hex[:8]}",
            "COMPOSE_FILE": str(FOLDER / file), "COMPOSE_ANSI": "never",
            "WM_HTTPS_PORT": str(free_port()), "WM_GRPC_PORT": str(free_port()),
            "WM_SECRETS": str(folder / "secrets"), "WM_HEALTH_INTERVAL": "4s", **environment,
        }  # fmt: skip
        stack = cls(docker, given, file, folder=folder)
        try:
            yield stack
        finally:
            stack.compose("--profile", "tools", "down", "--volumes", "--timeout", "5")

    @property
    def http(self) -> str:
        return f"https://localhost:{self.environment['WM_HTTPS_PORT']}"

    @property
    def grpc(self) -> str:
        return f"localhost:{self.environment['WM_GRPC_PORT']}"

    def up(self, **replicas: int) -> None:
        """As start.sh does, and wait until all of it is ready."""
        scale = [f"--scale={name}={count}" for name, count in replicas.items()]
        program = str(FOLDER / "start.sh")
        done = subprocess.run(
            [program, *scale], env={**_clean(self.docker.environment), **self.environment},
            capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stderr[-3000:]}\n{self.log()[-6000:]}"

    def compose(
        self, *arguments: str, check: bool = True, stdin: str | None = None, seconds: float = 400
    ) -> subprocess.CompletedProcess[str]:
        """`docker compose ARGUMENTS`."""
        return self.docker.run(
            "compose", *arguments, check=check, stdin=stdin, seconds=seconds,
            environment=self.environment,
        )  # fmt: skip

    def containers(self, *services: str, all_of_them: bool = False) -> list[str]:
        """Ids of the running containers of services, or of all."""
        options = ["--all"] if all_of_them else []
        return self.compose("ps", "--quiet", *options, *services).stdout.split()

    def inspect(self, container: str) -> Any:
        return json.loads(self.docker.output("inspect", container))[0]

    def wm(self, *arguments: str) -> str:
        """As an operator: `docker compose run --rm wm ARGUMENTS`."""
        return self.compose("run", "--rm", "--no-deps", "-T", "wm", *arguments).stdout

    def log(self, *services: str) -> str:
        told = self.compose("logs", "--no-color", *services, check=False)
        return told.stdout + told.stderr

    def local_secret(self) -> str:
        return self.compose("exec", "-T", "identity", "cat", f"{_KEYS}/local.secret").stdout.strip()

    def authority(self) -> Path:
        """The file of the authority that clients trust, as README.md says to get it."""
        file = self.folder / "ca.crt"
        if not file.exists():
            self.compose("cp", "gateway:/etc/workspace/certificate/ca.crt", str(file))
        return file

    def sql(self, text: str, database: str = "workspace") -> str:
        """As the superuser of the database."""
        command = ("psql", "-v", "ON_ERROR_STOP=1", "-At", "-U", "postgres", database)
        return self.compose("exec", "-T", "postgres", *command, stdin=text).stdout.strip()

    def restart(self, container: str) -> None:
        """SIGTERM, and again: one replica, not all as `docker compose restart`."""
        self.docker.run("restart", "--time", "30", container)

    def cut_off(self, container: str) -> list[str]:
        """Take it off all its networks, whose names are for `reconnect`."""
        networks = list(self.inspect(container)["NetworkSettings"]["Networks"])
        for name in networks:
            self.docker.run("network", "disconnect", name, container)
        return networks

    def reconnect(self, container: str, networks: Sequence[str]) -> None:
        """Heal it: with the name by which others look it up, perhaps at another address."""
        service = self.inspect(container)["Config"]["Labels"]["com.docker.compose.service"]
        for name in networks:
            self.docker.run("network", "connect", "--alias", service, name, container)

    def wait_ready(self, *containers: str) -> None:
        """Until each says SERVING; a failure shows its log."""
        for container in containers:
            self.wait_for(
                lambda container=container: (  # type: ignore[misc]
                    self.docker.run("exec", container, "wm", "health", check=False).returncode == 0
                ),
                container,
            )

    def wait_for(self, holds: Callable[[], bool], container: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not holds():
            if time.monotonic() > deadline:
                told = self.docker.run("logs", "--tail", "30", container, check=False)
                raise AssertionError(f"{container}: {told.stdout}{told.stderr}")
            time.sleep(0.5)


class Published(Deployment):
    """The stack as clients see it."""

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        self.stack = stack
        self._secret = stack.local_secret()
        self._authority = stack.authority()

    @classmethod
    @asynccontextmanager
    async def of(cls, stack: Stack) -> AsyncIterator[Published]:
        """With channels of the running loop, closed in the end."""
        published = cls(stack)
        try:
            yield published
        finally:
            await published.close_channels()

    @property
    def http(self) -> str:
        return self.stack.http

    @property
    def grpc_target(self) -> str:
        return self.stack.grpc

    @property
    def authority(self) -> Path:
        return self._authority

    def local_secret(self) -> str:
        return self._secret

    def connection_settings(self) -> dict[str, str]:
        """Another database of the same server, whose user needs no password, and a folder in
        the memory of the container."""
        name = f"surface_{uuid.uuid4().hex[:8]}"
        self.stack.sql(f"CREATE ROLE {name} LOGIN; ")
        self.stack.sql(f"CREATE DATABASE {name} OWNER {name}")
        rule = f"1ihostssl {name} {name} all trust"
        self.stack.compose(
            "exec", "-T", "postgres", "sh", "-c", f'sed -i "{rule}" "$PGDATA/pg_hba.conf"'
        )
        self.stack.sql("SELECT pg_reload_conf()")
        return {
            "host": "postgres", "database": name, "user": name, "sslmode": "verify-full",
            "sslrootcert": _TRUST, "folder": f"/tmp/{name}",
        }  # fmt: skip


def _clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Without settings of whoever runs the tests."""
    return {name: value for name, value in environment.items() if not name.startswith("WM_")}
