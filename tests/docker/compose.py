"""`docker compose` for tests: that of the machine, else one that is built once with Go.

`python -m tests.docker.compose` makes it. It becomes a plugin of the engine's CLI.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Mapping

from tests.docker.engine import ROOT, Engine, NoEngine

__all__ = ["compose_environment"]

_MODULE = "github.com/docker/compose/v2"
_VERSION = "v2.40.3"
_FOLDER = ROOT / ".tools" / f"compose-{_VERSION.removeprefix('v')}"
_PLUGIN = _FOLDER / "config" / "cli-plugins" / "docker-compose"
_GO = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
_BUILD_SECONDS = 1800


def compose_environment(docker: Engine) -> Mapping[str, str]:
    """What `docker compose` needs in its environment, beside that of the engine. Raises
    NoEngine where there is none and Go to build it is missing."""
    if _works(docker, {}):
        return {}
    _built()
    environment = {"DOCKER_CONFIG": str(_FOLDER / "config")}
    if not _works(docker, environment):
        raise NoEngine(f"docker: its CLI does not take {_PLUGIN.name} {_VERSION} as a plugin")
    return environment


def _works(docker: Engine, environment: Mapping[str, str]) -> bool:
    asked = docker.run(
        "compose", "version", "--short", check=False, seconds=60, environment=environment
    )
    return asked.returncode == 0 and asked.stdout.strip().removeprefix("v") >= "2.24"


def _built() -> None:
    """A module with `exclude` lines cannot be installed by its name: it is built in a copy,
    with the checksums that its go.sum has."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    with (_FOLDER / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _PLUGIN.exists():
            return
        if _GO is None:
            raise NoEngine("docker: there is no `docker compose`, and it needs Go to be built")
        told = json.loads(_run([_GO, "mod", "download", "-json", f"{_MODULE}@{_VERSION}"]))
        source = _FOLDER / "source"
        shutil.rmtree(source, ignore_errors=True)
        shutil.copytree(told["Dir"], source, copy_function=shutil.copyfile)
        for folder in (source, *filter(os.path.isdir, source.rglob("*"))):
            folder.chmod(0o755)  # the cache of modules is read-only
        linked = f"-s -w -X {_MODULE}/internal.Version={_VERSION}"
        target = _FOLDER / "docker-compose"
        build = [_GO, "build", "-trimpath", "-ldflags", linked, "-o", str(target), "./cmd"]
        _run(build, folder=str(source))
        shutil.rmtree(source)
        _PLUGIN.parent.mkdir(parents=True, exist_ok=True)
        target.rename(_PLUGIN)


def _run(command: list[str], *, folder: str | None = None) -> str:
    environment = {**os.environ, "GOFLAGS": "-mod=readonly", "CGO_ENABLED": "0"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False,
        timeout=_BUILD_SECONDS,
    )  # fmt: skip
    if done.returncode != 0:
        raise NoEngine(f"docker: {' '.join(command[:3])} failed: {done.stderr[-1500:]}")
    return done.stdout


if __name__ == "__main__":
    _built()
