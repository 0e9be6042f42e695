"""The image of the workspace: what is in it, what is not, and how it behaves as a process."""

from __future__ import annotations

import json
import os
import re
import socket
import tarfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from services.cli.exit_codes import ExitCode
from services.cli.main import run
from tests.docker.engine import ROOT, Engine
from tests.docker.images import NEVER_IN_A_LAYER, VERSION, Images, build_workspace

_HARDENED = (
    "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL",
    "--security-opt", "no-new-privileges",
)  # fmt: skip
_QUICK_HEALTH = ("--health-interval", "1s", "--health-start-period", "1s", "--health-retries", "2")
_PATIENCE = 120.0
_LOOK_AROUND = """
import glob, importlib.metadata, json, os, shutil, subprocess, sys
import importlib.util as known

def modules(python):
    names = "pip setuptools wheel ensurepip pkg_resources _distutils_hack".split()
    program = f"import importlib.util as u; print(*(n for n in {names} if u.find_spec(n)))"
    return subprocess.run([python, "-c", program], capture_output=True, text=True).stdout.split()

tools = "pip pip3 pip3.11 easy_install wheel uv gcc g++ cc c++ c99 clang ld as make cmake rustc go"
debian = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Abbrev}|${Package}|${Version}\\n"],
                        capture_output=True, text=True, check=True).stdout
json.dump({
    "ids": [os.getuid(), os.getgid(), os.getgroups()],
    "tools": [name for name in tools.split() if shutil.which(name)],
    "modules": {p: modules(p) for p in (sys.executable, *bases) if os.path.exists(p)},
    "caches": [f for g in caches for f in glob.glob(g)],
    "distributions": sorted(
        [d.metadata["Name"], d.version] for d in importlib.metadata.distributions()
    ),
    "debian": [line.split("|")[1:] for line in debian.splitlines() if line.startswith("ii")],
    "sbom": open("/usr/share/workspace/sbom.cdx.json").read(),
    "writable": [d for d in ("/", "/opt/workspace", "/etc", "/usr") if os.access(d, os.W_OK)],
}, sys.stdout)
"""
_CACHES = (
    "/var/lib/apt/lists/*", "/var/cache/apt/archives/*.deb", "/var/cache/apt/*.bin",
    "/root/.cache", "/tmp/*", "/build", "/run/secrets", "/opt/tools", "/opt/project",
    "/usr/share/python-wheels/*.whl",
)  # fmt: skip
_LEFT_BY_BUILDS = ("tmp/", "build/", "root/.cache", "run/secrets", "opt/tools", "opt/project")
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\r?\n[A-Za-z0-9+/=]{48}")
_BASES = ("/usr/bin/python3", "/usr/local/bin/python3")


class Container:
    """A container that is there until `remove`."""

    def __init__(self, docker: Engine, image: str, *options: str) -> None:
        self.docker = docker
        self.name = f"workspace-test-{uuid.uuid4().hex[:12]}"
        docker.run("run", "--detach", "--name", self.name, *options, image)

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            self.docker.output("inspect", "--format", "{{json .State}}", self.name)
        )
        return found

    def health(self) -> str:
        return str(self.state()["Health"]["Status"])

    def log(self) -> str:
        told = self.docker.run("logs", self.name)
        return told.stdout + told.stderr

    def port(self, inside: int) -> str:
        """Where a published port is reached."""
        return self.docker.output("port", self.name, str(inside)).splitlines()[0]

    def becomes(self, wanted: Callable[[], bool]) -> None:
        """Wait for it; a failure shows the container's log."""
        deadline = time.monotonic() + _PATIENCE
        while not wanted():
            assert time.monotonic() < deadline, f"{self.state()}\n{self.log()[-6000:]}"
            time.sleep(0.3)

    def remove(self) -> None:
        self.docker.run("rm", "--force", "--volumes", self.name)


Start = Callable[..., Container]


@pytest.fixture
def start(docker: Engine, images: Images) -> Iterator[Start]:
    """Starts containers of the image, hardened; they are removed in the end."""
    started: list[Container] = []

    def one(*options: str) -> Container:
        data = ("--volume", "/var/lib/workspace")
        found = Container(docker, images.workspace, *_HARDENED, *_QUICK_HEALTH, *data, *options)
        started.append(found)
        return found

    yield one
    for each in started:
        each.remove()


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """`wm certs`, readable for the user of the container and nobody else, where root can."""
    folder = tmp_path / "certs"
    assert run(["certs", str(folder), "--name", "localhost"]) == 0
    for path in (folder, *folder.rglob("*")):
        if os.geteuid() == 0:
            os.chown(path, 10001, 10001)
        else:
            path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def with_tls(certificates: Path) -> tuple[str, ...]:
    return (
        "--volume", f"{certificates / 'gateway'}:/etc/workspace/tls:ro",
        "--env", "WM_TLS_CERTIFICATE=/etc/workspace/tls/tls.crt",
        "--env", "WM_TLS_KEY=/etc/workspace/tls/tls.key",
        "--publish", "127.0.0.1::50051",
    )  # fmt: skip


@pytest.fixture(scope="module")
def inside(docker: Engine, images: Images) -> dict[str, Any]:
    """What a process in the container finds."""
    program = f"bases, caches = {_BASES!r}, {_CACHES!r}\n{_LOOK_AROUND}"
    told = docker.run(
        "run", "--rm", "--interactive", *_HARDENED, "--entrypoint", "python", images.workspace,
        "-", stdin=program,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(told.stdout)
    return found


def test_it_says_its_version(docker: Engine, images: Images) -> None:
    assert docker.output("run", "--rm", *_HARDENED, images.workspace, "--version") == VERSION


def test_nobody_is_root_and_nothing_of_it_can_be_written(inside: dict[str, Any]) -> None:
    assert inside["ids"] == [10001, 10001, [10001]]
    assert inside["writable"] == []


def test_nothing_that_installs_or_compiles_is_in_it(inside: dict[str, Any]) -> None:
    assert inside["tools"] == []
    assert len(inside["modules"]) >= 2  # that of the venv, and the one below it
    assert not any(inside["modules"].values()), inside["modules"]
    assert inside["caches"] == []


@pytest.mark.case("Y05")
def test_the_bill_of_materials_lists_what_is_installed_and_nothing_else(
    inside: dict[str, Any], images: Images
) -> None:
    bill = json.loads(inside["sbom"])
    assert bill["specVersion"] == "1.6"
    root = bill["metadata"]["component"]
    listed = [(each["name"], each["version"]) for each in of_kind(bill, "pypi")]
    assert (root["name"], root["version"]) == ("workspace-management", VERSION)
    assert sorted([*listed, (root["name"], VERSION)]) == [
        (name, version) for name, version in inside["distributions"]
    ]
    assert len(listed) > 50
    debian = [[each["name"], each["version"]] for each in of_kind(bill, "deb")]
    assert sorted(debian) == sorted(inside["debian"])
    assert [each["name"] for each in of_kind(bill, "generic")] == ["python"]
    assert images.sbom.read_text() == inside["sbom"]  # the file that `make images` leaves


def test_the_bill_of_materials_is_the_same_each_time(
    inside: dict[str, Any], docker: Engine, images: Images
) -> None:
    bill = json.loads(inside["sbom"])
    assert "serialNumber" not in bill
    assert "timestamp" not in bill["metadata"]
    assert str(ROOT) not in inside["sbom"]
    again = build_workspace(docker, base=images.base, name=images.workspace)
    assert again.read_text() == inside["sbom"]


def of_kind(bill: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [each for each in bill["components"] if each["purl"].startswith(f"pkg:{kind}/")]


def test_its_configuration_is_what_orchestrators_expect(docker: Engine, images: Images) -> None:
    found = configuration(docker, images.workspace)
    assert found["User"] == "10001:10001"
    assert found["Entrypoint"] == ["wm"]
    assert found["Cmd"] == ["serve"]
    assert found["StopSignal"] == "SIGTERM"
    assert found["Healthcheck"]["Test"] == ["CMD", "wm", "health"]
    labels = found["Labels"]
    assert labels["org.opencontainers.image.version"] == VERSION
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert len(labels["org.opencontainers.image.revision"].removesuffix("-dirty")) == 40
    assert "WM_TARGETS=" in found["Env"]


def test_a_target_is_a_default_of_the_same_layers(docker: Engine, images: Images) -> None:
    whole, one = "workspace-test/whole:target", "workspace-test/identity:target"
    build_workspace(docker, base=images.base, name=whole)
    build_workspace(docker, base=images.base, name=one, target="identity")
    try:
        assert "WM_TARGETS=identity" in configuration(docker, one)["Env"]
        assert layers(docker, one) == layers(docker, whole)
    finally:
        docker.run("rmi", whole, one)


def configuration(docker: Engine, image: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        docker.output("image", "inspect", "--format", "{{json .Config}}", image)
    )
    return found


def layers(docker: Engine, image: str) -> str:
    return docker.output("image", "inspect", "--format", "{{json .RootFS.Layers}}", image)


@pytest.mark.case("Y06")
def test_no_layer_and_no_history_holds_a_secret_or_a_path_of_the_build(
    docker: Engine, images: Images, tmp_path: Path
) -> None:
    archive = tmp_path / "image.tar"
    docker.run("save", "--output", str(archive), images.workspace)
    looked_at = 0
    with tarfile.open(archive) as outer:
        for member in outer:
            content = outer.extractfile(member)
            if content is not None:
                looked_at += look_through(content, member.name)
    assert looked_at > 5000  # files of the layers, not the layers alone
    history = docker.output("history", "--no-trunc", images.workspace)
    assert "strip.sh" in history
    for secret in (NEVER_IN_A_LAYER, str(ROOT), os.environ.get("PIP_INDEX_URL") or "a\0"):
        assert secret not in history


def look_through(content: IO[bytes], name: str) -> int:
    """How many files are in a layer (or 1: it is none); each without what must not be told."""
    try:
        layer = tarfile.open(fileobj=content)  # noqa: SIM115 - closed below
    except tarfile.ReadError:
        content.seek(0)
        assert_clean(content.read(), name)
        return 1
    with layer:
        files = [member for member in layer if member.isfile()]
        for member in files:
            found = layer.extractfile(member)
            assert found is not None
            assert not member.name.removeprefix("./").startswith(_LEFT_BY_BUILDS), member.name
            assert_clean(found.read(), member.name)
    return len(files)


def assert_clean(content: bytes, name: str) -> None:
    for told in (NEVER_IN_A_LAYER.encode(), f"{ROOT}/".encode()):
        assert told not in content, f"{told!r} is in {name}"
    if not content.startswith(b"\x7fELF"):  # GnuTLS holds one that it tests itself with
        assert not _PRIVATE_KEY.search(content), f"there is a private key in {name}"


def test_a_whole_workspace_becomes_healthy_and_ends_with_0(
    start: Start, certificates: Path
) -> None:
    container = start(*with_tls(certificates))
    container.becomes(lambda: container.health() == "healthy")
    trusted = (certificates / "ca.crt").read_bytes()
    host, port = container.port(50051).rsplit(":", 1)
    channel = grpc.secure_channel(
        f"{host}:{port}", grpc.ssl_channel_credentials(trusted),
        options=[("grpc.ssl_target_name_override", "localhost")],
    )  # fmt: skip
    with channel:
        asked: Any = HealthStub(channel)  # type: ignore[no-untyped-call]
        answer = asked.Check(HealthCheckRequest(), timeout=30)
    assert answer.status == HealthCheckResponse.SERVING
    container.docker.run("stop", "--time", "60", container.name)
    assert container.state()["ExitCode"] == 0, container.log()[-4000:]


def test_one_that_drains_is_unhealthy(start: Start, certificates: Path) -> None:
    container = start(*with_tls(certificates), "--env", "WM_DRAIN_DELAY=60")
    container.becomes(lambda: container.health() == "healthy")
    container.docker.run("kill", "--signal", "SIGTERM", container.name)
    container.becomes(lambda: container.health() == "unhealthy")
    assert container.state()["Running"]


def test_one_without_certificates_ends_and_names_the_settings(start: Start) -> None:
    container = start()
    container.becomes(lambda: not container.state()["Running"])
    assert container.state()["ExitCode"] == ExitCode.USAGE
    assert "WM_TLS_CERTIFICATE" in container.log()


def test_one_whose_certificate_is_not_there_yet_waits_says_why_and_still_stops(
    start: Start, certificates: Path
) -> None:
    (certificates / "gateway" / "tls.crt").unlink()
    container = start(*with_tls(certificates))
    container.becomes(lambda: "tls.crt" in container.log())
    container.becomes(lambda: container.health() == "unhealthy")
    assert container.state()["Running"]
    assert container.log().count("tls.crt") == 1  # once, however often it looks
    container.docker.run("stop", "--time", "60", container.name)
    assert container.state()["ExitCode"] == 0, container.log()[-4000:]


def test_a_certificate_that_comes_later_makes_it_healthy(
    start: Start, certificates: Path
) -> None:
    here, aside = certificates / "gateway" / "tls.crt", certificates / "tls.crt"
    here.rename(aside)
    container = start(*with_tls(certificates))
    container.becomes(lambda: container.health() == "unhealthy")
    aside.rename(here)
    container.becomes(lambda: container.health() == "healthy")


def test_two_containers_share_one_data_folder_only_one_after_the_other(
    start: Start, certificates: Path, docker: Engine
) -> None:
    volume = f"workspace-test-{uuid.uuid4().hex[:12]}"
    docker.run("volume", "create", volume)
    try:
        mounted = ("--mount", f"type=volume,source={volume},target=/var/lib/workspace")
        first = start_on(docker, start, certificates, mounted)
        secret = docker.output("exec", first.name, "cat", "/var/lib/workspace/keys/local.secret")
        docker.run("stop", "--time", "60", first.name)
        second = start_on(docker, start, certificates, mounted)
        again = docker.output("exec", second.name, "cat", "/var/lib/workspace/keys/local.secret")
        assert secret == again != ""
        second.remove()
        first.remove()
    finally:
        docker.run("volume", "rm", volume)


def start_on(
    docker: Engine, start: Start, certificates: Path, mounted: tuple[str, ...]
) -> Container:
    container = start(*with_tls(certificates), *mounted)
    container.becomes(lambda: container.health() == "healthy")
    return container


def test_postgresql_takes_its_settings_from_the_environment_and_asks_for_the_password(
    docker: Engine, images: Images, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("a secret")
    password.chmod(0o644)
    tmp_path.chmod(0o755)
    postgres = Container(
        docker, images.postgres, "--volume", f"{password}:/run/password:ro", "--env",
        "POSTGRES_PASSWORD_FILE=/run/password", "--env", "POSTGRES_USER=workspace", "--env",
        "POSTGRES_DB=records",
    )  # fmt: skip
    try:
        query = (
            postgres.name, "psql", "--host", address_of(docker, postgres), "--username",
            "workspace", "--dbname", "records", "-Atc", "SELECT 1",
        )  # fmt: skip
        right = ("exec", "--env", "PGPASSWORD=a secret", *query)
        postgres.becomes(lambda: docker.run(*right, check=False).stdout == "1\n")
        wrong = docker.run("exec", "--env", "PGPASSWORD=another", *query, check=False)
        assert "password authentication failed" in wrong.stderr
    finally:
        postgres.remove()


def test_the_s3_store_takes_its_settings_from_the_environment(
    docker: Engine, images: Images
) -> None:
    objects = Container(
        docker, images.objects, "--env", "ROOT_ACCESS_KEY=workspace", "--env",
        "ROOT_SECRET_KEY=not-a-secret", "--env", "VGW_BACKEND=posix", "--env",
        "VGW_BACKEND_ARG=/tmp", "--publish", "127.0.0.1::7070",
    )  # fmt: skip
    try:
        host, port = objects.port(7070).rsplit(":", 1)
        objects.becomes(lambda: b"AccessDenied" in answer_of(host, int(port)))
    finally:
        objects.remove()


def address_of(docker: Engine, container: Container) -> str:
    return docker.output(
        "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
        container.name,
    )  # fmt: skip


def answer_of(host: str, port: int) -> bytes:
    """What an unsigned request gets; b'' while nobody listens."""
    try:
        with socket.create_connection((host, port), 5) as sock:
            sock.sendall(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            return b"".join(iter(lambda: sock.recv(65536), b""))
    except OSError:
        return b""
