"""The composed stack: the suite through its published ports, what people do with it, and what
it keeps apart."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.docker.engine import ROOT, Engine
from tests.docker.images import Images
from tests.docker.stack import FOLDER, SERVICES, Published, Stack
from tests.stack.people import Person
from tests.stack.suite import *  # noqa: F403
from tests.stack.suite import address, project_of

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(1800)]

_PROCESSES = (*SERVICES, "relay", "gateway")
_STORY = ROOT / "docs" / "guides" / "clients"
_REACH = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close()
except OSError as error:
    sys.exit(f"not reached: {type(error).__name__}")
"""


@pytest.fixture(scope="module")
def stack(
    docker: Engine, images: Images, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    with Stack.open(docker, images, tmp_path_factory.mktemp("stack")) as composed:
        composed.up()
        yield composed


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(stack: Stack) -> AsyncIterator[Published]:
    async with Published.of(stack) as published:
        yield published


async def run_on_the_host(*command: str, **variables: str) -> str:
    """A program of this machine, as somebody's at the published ports; what it prints."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WM_")}
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, *command], env=clean | variables,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_the_story_of_clients_is_told(deployment: Published, stack: Stack) -> None:
    tokens = [await deployment.sign_in(f"{name}@example.com") for name in ("alice", "bob")]
    told = await run_on_the_host(
        str(_STORY / "python" / "story.py"), WM_SERVER=stack.grpc, WM_TOKEN=tokens[0],
        WM_OTHER_TOKEN=tokens[1], WM_CA=str(stack.authority()),
        PYTHONPATH=str(ROOT / "protos" / "gen" / "python"),
    )  # fmt: skip
    assert told == (_STORY / "story.txt").read_text()


async def test_wm_of_the_host_signs_in_puts_and_gets(stack: Stack, tmp_path: Path) -> None:
    """As README.md says: with the secret of the stack, and its authority."""
    (tmp_path / "keys").mkdir(mode=0o700)
    (tmp_path / "keys" / "local.secret").write_text(stack.local_secret())
    (tmp_path / "plan.txt").write_text("a plan")
    there = ["-m", "services.cli.main", "--server", f"https://{stack.grpc}"]
    there += ["--ca", str(stack.authority()), "--data", str(tmp_path)]
    variables = {
        "WM_CONFIG_DIR": str(tmp_path / "config"), "PYTHONPATH": f"{ROOT}:{ROOT}/protos/gen/python"
    }  # fmt: skip
    email = address("host")
    assert "Signed in" in await run_on_the_host(*there, "login", "--as", email, **variables)
    await run_on_the_host(*there, "projects", "create", "Plans", **variables)
    file = str(tmp_path / "plan.txt")
    await run_on_the_host(*there, "put", file, "--project", "Plans", **variables)
    got = await run_on_the_host(*there, "get", "Plans:plan.txt", "-o", "-", **variables)
    assert got == "a plan"


async def test_an_operator_has_wm_beside_the_processes(stack: Stack) -> None:
    email = address("operator")
    assert "Signed in" in await asyncio.to_thread(stack.wm, "login", "--as", email)
    assert email in await asyncio.to_thread(stack.wm, "whoami")
    assert "Healthy" in await asyncio.to_thread(stack.wm, "doctor")


@pytest.fixture
def for_backups(tmp_path: Path) -> Path:
    """As README.md says: the user of the container may write there."""
    folder = tmp_path / "backup"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


async def test_a_backup_is_written_while_it_serves(stack: Stack, for_backups: Path) -> None:
    options = ("run", "--rm", "--no-deps", "-T", "--volume", f"{for_backups}:/backup")
    await asyncio.to_thread(stack.compose, *options, "wm", "backup", "/backup/today")
    stack.docker.run(
        "run", "--rm", "--volume", f"{for_backups}:/backup", "--entrypoint", "test",
        stack.environment["WM_IMAGE"], "-s", "/backup/today/backup.json",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("cloud", "comes", "goes"),
    [("aws", {"dynamodb", "table"}, {"postgres", "migrate"}),
     ("azure", {"azure", "azurite"}, {"postgres", "migrate", "objects", "bucket"})],
)  # fmt: skip
async def test_files_of_clouds_take_the_place_of_stores(
    stack: Stack, cloud: str, comes: set[str], goes: set[str]
) -> None:
    def services(*files: str) -> dict[str, Any]:
        named = [part for file in files for part in ("-f", str(FOLDER / file))]
        asked = stack.compose(*named, "config", "--format", "json").stdout
        return dict(json.loads(asked)["services"])

    before, after = services("compose.yaml"), services("compose.yaml", f"compose.{cloud}.yaml")
    assert set(after) == set(before) - goes | comes
    for name, service in after.items():
        assert not set(service.get("depends_on", {})) & goes, name
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


async def test_only_the_gateway_is_published_and_on_this_machine_alone(stack: Stack) -> None:
    published = {}
    for container in stack.containers():
        found = stack.inspect(container)
        bindings = [each for each in found["NetworkSettings"]["Ports"].values() if each]
        if bindings:
            published[service_of(found)] = sorted(
                (each["HostIp"], each["HostPort"]) for binding in bindings for each in binding
            )
    ports = (stack.environment["WM_HTTPS_PORT"], stack.environment["WM_GRPC_PORT"])
    assert published == {"gateway": sorted(("127.0.0.1", port) for port in ports)}


def service_of(container: dict[str, Any]) -> str:
    return str(container["Config"]["Labels"]["com.docker.compose.service"])


async def test_every_container_is_closed_in(stack: Stack) -> None:
    seen = set()
    for container in stack.containers():
        found = stack.inspect(container)
        seen.add(service_of(found))
        host = found["HostConfig"]
        assert host["ReadonlyRootfs"], seen
        assert host["CapDrop"] == ["ALL"], seen
        assert not host["CapAdd"], seen
        assert not host["Privileged"], seen
        assert "no-new-privileges:true" in host["SecurityOpt"], seen
        assert host["PidsLimit"] == 256, seen
        assert stack.docker.output("exec", container, "id", "-u") != "0", seen
        tried = stack.docker.run("exec", container, "touch", "/a-file", check=False)
        assert tried.returncode != 0, seen
    assert seen == {*_PROCESSES, "postgres", "objects"}


async def test_networks_are_apart(stack: Stack) -> None:
    def reaches(service: str, host: str, port: int) -> bool:
        command = ("exec", "-T", service, "python", "-", host, str(port))
        done = stack.compose(*command, check=False, stdin=_REACH)
        assert done.returncode == 0 or "not reached" in done.stderr, done.stderr
        return done.returncode == 0

    (postgres,) = stack.containers("postgres")
    networks = stack.inspect(postgres)["NetworkSettings"]["Networks"]
    assert len(networks) == 1
    (database,) = (each["IPAddress"] for each in networks.values())
    assert reaches("identity", database, 5432)
    assert reaches("project", "objects", 7070)
    assert reaches("gateway", "project", 50051)
    assert not reaches("gateway", "postgres", 5432)
    assert not reaches("gateway", database, 5432)
    assert not reaches("gateway", "relay", 50052)  # probes answer their own container alone


async def test_a_process_has_its_own_certificate_and_the_gateway_no_secret(stack: Stack) -> None:
    for target in (*SERVICES, "gateway"):
        (container,) = stack.containers(target)
        mounts = stack.inspect(container)["Mounts"]
        named = {each["Name"].partition("_")[2] for each in mounts if each["Type"] == "volume"}
        keys = set() if target == "gateway" else {"keys", "trust"}
        assert named == keys | {f"certificate-{target}"}
        secrets = {each["Destination"] for each in mounts if "secrets" in each["Destination"]}
        wanted = () if target == "gateway" else ("objects_credentials", "service_dsn")
        assert secrets == {f"/run/secrets/{name}" for name in wanted}


async def test_nothing_secret_is_told(deployment: Published, stack: Stack) -> None:
    email = address("quiet")
    person = await Person.enter(deployment, email)
    project_id = await project_of(person)
    document_id = await person.upload(project_id, "plan.txt", b"a plan")
    assert await person.download(document_id) == b"a plan"
    secrets = [*secrets_of(stack), stack.local_secret(), "PRIVATE KEY"]
    assert len(secrets) == 9
    inspected = stack.docker.output("inspect", *stack.containers(all_of_them=True))
    log = stack.log()
    assert "readiness: ready" in log
    for text in (*secrets, person.token, "X-Amz-Signature", email):
        assert text not in inspected
        assert text not in log


def secrets_of(stack: Stack) -> list[str]:
    """The words in the files of secrets.sh."""
    files = Path(stack.environment["WM_SECRETS"]).iterdir()
    return [file.read_text().strip().rpartition(" ")[2] for file in files]


async def test_the_user_of_the_processes_changes_no_tables(stack: Stack) -> None:
    owners = stack.sql("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
    assert owners == "wm_owner"
    asked = "SELECT has_schema_privilege('wm_service', 'public', 'CREATE')"
    assert stack.sql(asked) == "f"
    asked = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
    assert stack.sql(asked + "WHERE usename = 'wm_service'") == "t"


async def test_starting_again_changes_nothing(stack: Stack) -> None:
    before, authority = stack.containers(*_PROCESSES), stack.authority().read_text()
    started = [stack.inspect(each)["State"]["StartedAt"] for each in before]
    await asyncio.to_thread(stack.up)
    assert stack.containers(*_PROCESSES) == before
    assert [stack.inspect(each)["State"]["StartedAt"] for each in before] == started
    stack.authority().unlink()
    assert stack.authority().read_text() == authority


async def test_a_replica_that_is_added_gets_its_share(
    deployment: Published, stack: Stack
) -> None:
    """Clients find it when a connection ends, which WM_MAX_CONNECTION_AGE says."""
    await asyncio.to_thread(stack.up, project=2)
    assert len(stack.containers("project")) == 2
    person = await Person.enter(deployment, address("ann"))
    assert await project_of(person)
    await asyncio.to_thread(stack.up, project=1)
    assert await project_of(person)
