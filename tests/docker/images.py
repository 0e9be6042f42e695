"""The images that tests run: the product's own, and the stores beside it.

`python -m tests.docker.images` builds them all. The base of all of them is the official image
where it can be pulled; elsewhere root makes one of Debian's packages, once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import ssl
import subprocess
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from tests.docker.engine import ROOT, Engine, NoEngine, engine
from tests.servers import tools

__all__ = ["NAMES", "NEVER_IN_A_LAYER", "VERSION", "Images", "build_all", "build_workspace"]

_OFFICIAL = "python:3.11-slim-bookworm"
_BASE = "workspace-test/base"
_SUITE = "bookworm"
_INCLUDED = "python3.11,python3-pip,ca-certificates"
_LEFT_OUT = (
    "var/cache/apt/archives/*.deb", "var/cache/apt/*.bin", "var/lib/apt/lists/*",
    "var/log/*.log", "usr/share/doc/*", "usr/share/man/*", "usr/share/locale/*",
)  # fmt: skip
_FILES = Path(__file__).parent / "base"
_CACHE = "8GB"
NEVER_IN_A_LAYER = "workspace-test: what the build is told in secret"
"""A line of every secret that the builds of the tests are given."""


@dataclass(frozen=True, slots=True)
class Images:
    """Names of images, with their tags. `sbom` is the file of the workspace's image."""

    workspace: str
    postgres: str
    objects: str
    base: str
    sbom: Path


def _version() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return str(project["version"])


VERSION = _version()
NAMES = {
    "workspace": f"workspace-test/workspace:{VERSION}",
    "postgres": "workspace-test/postgres:15",
    "objects": "workspace-test/versitygw:1.7.0",
}
"""Role of the image -> its name; a name of the tests, so that no user's image is replaced."""


def build_all(docker: Engine) -> Images:
    """Build what changed since the last time; several processes take turns."""
    with (ROOT / ".tools" / "images.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        base = _base(docker)
        sbom = build_workspace(docker, base=base)
        _build_postgres(docker, base)
        _build_objects(docker, base)
        docker.run("builder", "prune", "--force", "--keep-storage", _CACHE)
    return Images(**NAMES, base=base, sbom=sbom)


def build_workspace(
    docker: Engine, *, base: str, name: str = NAMES["workspace"], target: str = ""
) -> Path:
    """Build it as a user does; the file of its bill of materials."""
    sbom = ROOT / "build" / f"{name.replace('/', '-').replace(':', '-')}.cdx.json"
    with tempfile.TemporaryDirectory(prefix="secrets-") as folder:
        environment = {
            **docker.environment, **_secrets(Path(folder)), "BASE_IMAGE": base,
            "SBOM": str(sbom), "TARGET": target,
        }  # fmt: skip
        done = subprocess.run(
            [str(ROOT / "deploy" / "docker" / "build.sh"), name], env=environment,
            capture_output=True, text=True, check=False, timeout=1800,
        )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-6000:]}"
    return sbom


def _secrets(folder: Path) -> dict[str, str]:
    """What this machine says of registries, with a line in it that is looked for later."""
    index = os.environ.get("PIP_INDEX_URL", "")
    lines = ["[global]", f"# {NEVER_IN_A_LAYER}", f"index-url = {index}" if index else ""]
    (folder / "pip.conf").write_text("\n".join(lines) + "\n")
    given = {"PIP_CONFIG_FILE": str(folder / "pip.conf")}
    authorities = os.environ.get("PIP_CERT") or ssl.get_default_verify_paths().cafile
    if authorities:
        text = Path(authorities).read_text()
        (folder / "ca.pem").write_text(f"# {NEVER_IN_A_LAYER}\n{text}")
        given["PIP_CERT"] = str(folder / "ca.pem")
    return given


def _base(docker: Engine) -> str:
    """The name of the image that all others begin with."""
    key = hashlib.sha256(f"{_SUITE} {_INCLUDED} {_LEFT_OUT}".encode()).hexdigest()[:12]
    made = f"{_BASE}:{_SUITE}-{key}"
    for name in (_OFFICIAL, made):
        if docker.run("image", "inspect", name, check=False).returncode == 0:
            return name
    if docker.run("pull", "--quiet", _OFFICIAL, check=False, seconds=300).returncode == 0:
        return _OFFICIAL
    if shutil.which("debootstrap") is None:
        raise NoEngine("docker: no base can be pulled, and there is no debootstrap to make one")
    with tempfile.TemporaryDirectory(dir=ROOT / ".tools", prefix="base-") as folder:
        _run("debootstrap", "--variant=minbase", f"--include={_INCLUDED}", _SUITE, folder)
        _packed(docker, Path(folder), made)
    return made


def _packed(docker: Engine, folder: Path, name: str) -> None:
    """Import the folder without what apt can fetch again and without manuals."""
    archive = folder.with_suffix(".tar")
    excluded = [f"--exclude=./{each}" for each in _LEFT_OUT]
    try:
        _run("tar", "-cf", str(archive), *excluded, "--directory", str(folder), ".")
        docker.run("import", str(archive), name)
    finally:
        archive.unlink(missing_ok=True)


def _build_postgres(docker: Engine, base: str) -> None:
    """PostgreSQL of the base's Debian, with the contract of the official image."""
    docker.run(
        "build", "--build-arg", f"BASE_IMAGE={base}", "-t", NAMES["postgres"],
        "-f", str(_FILES / "postgres.Dockerfile"), str(_FILES),
    )  # fmt: skip


def _build_objects(docker: Engine, base: str) -> None:
    """The S3 server of the other tests, with the contract of its official image."""
    if not tools.HAS_GO:
        raise NoEngine("docker: the image of versitygw needs Go")
    with tempfile.TemporaryDirectory(prefix="objects-") as folder:
        for file in (tools.versitygw(), _FILES / "objects.sh", _FILES / "objects.Dockerfile"):
            shutil.copy2(file, folder)
        docker.run(
            "build", "--build-arg", f"BASE_IMAGE={base}", "-t", NAMES["objects"],
            "-f", f"{folder}/objects.Dockerfile", folder,
        )  # fmt: skip


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, f"{command[0]}: {done.stdout[-1500:]}{done.stderr[-1500:]}"


if __name__ == "__main__":
    with engine() as running:
        build_all(running)
        print(*NAMES.values(), sep="\n")
