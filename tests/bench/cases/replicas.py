"""Two and four replicas of project_svc by one: what a further pod adds.

Each replica has the processor time of a small pod (cgroup quota) and its own ghz, so that
neither the machine nor the load is what ends the growth. PostgreSQL (without fsync), two
processes of identity and the clients are not limited; calls are over mutual TLS.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1.account_service_pb2 import CreateAccountRequest
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.identity.v1.team_service_pb2 import CreateTeamRequest
from workspace.identity.v1.team_service_pb2_grpc import TeamServiceStub
from workspace.project.v1.project_service_pb2 import CreateProjectRequest
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from tests.bench.case import Bench
from tests.bench.cases.aws_stores import MISSING_GO, servers
from tests.bench.cpu_quota import CpuQuota, missing, quotas, seconds_used
from tests.bench.figures import Figure, Goal, Result, interleave
from tests.bench.load import GhzLoad, protoset
from tests.chosen_records import chosen_server, stop_server
from tests.cluster import Node
from tests.replicas import Replicas

TITLE = "Replicas of project_svc with 0.15 processors each, by one of them"
_CORES = 0.15
_MOST = 4
_SECONDS = 8
_CALLERS = 16
_PROJECTS = 8
_CHECK = "/workspace.project.v1.PermissionService/CheckPermission"
_CREATE = "/workspace.project.v1.DocumentService/CreateDocument"
_GOALS = {2: 1.7, 4: 3.0}


@dataclass
class _Work:
    """A method and what is sent to it; each replica has projects of its own."""

    name: str
    method: str
    fields: Mapping[str, Any]

    def requests(self, projects: Sequence[str]) -> list[dict[str, Any]]:
        return [{"project_id": project, **self.fields} for project in projects]


_VIEW = {"permission": Permission.PERMISSION_VIEW}
_WORKS = (
    _Work("CheckPermission", _CHECK, _VIEW),
    _Work(
        "CheckPermission, fully consistent", _CHECK,
        {**_VIEW, "consistency": {"fully_consistent": True}},
    ),
    # ghz fills the name in.
    _Work("CreateDocument", _CREATE, {"name": "{{.RequestNumber}} {{newUUID}}"}),
)  # fmt: skip


@dataclass
class _World:
    replicas: Replicas
    ghz: str
    folder: Path
    free: CpuQuota
    token: str = ""
    projects: list[list[str]] = field(default_factory=list)
    client_seconds: float = 0.0
    wall_seconds: float = 0.0

    @property
    def nodes(self) -> list[Node]:
        return self.replicas.nodes["project"]

    def rate(self, work: _Work, count: int) -> float:
        """Answers per second of so many replicas at once, all of them OK."""
        used, began = _client_seconds(), time.perf_counter()
        running = [self._start(work, number) for number in range(count)]
        reports = [_report(each) for each in running]
        self.client_seconds += _client_seconds() - used
        self.wall_seconds += time.perf_counter() - began
        return sum(reports)

    def _start(self, work: _Work, number: int) -> subprocess.Popen[str]:
        certificates = self.replicas.certificates
        files = {
            "protoset": protoset(work.method),
            "data": json.dumps(work.requests(self.projects[number])).encode(),
            "metadata": json.dumps({"authorization": f"Bearer {self.token}"}).encode(),
        }
        names = {name: self.folder / f"{name}-{number}" for name in files}
        for name, content in files.items():
            names[name].touch(0o600)
            names[name].write_bytes(content)
        process = subprocess.Popen(
            [
                self.ghz, "--format=json", f"--call={work.method.removeprefix('/')}",
                f"--protoset={names['protoset']}", f"--data-file={names['data']}",
                f"--metadata-file={names['metadata']}", f"--concurrency={_CALLERS}",
                "--connections=2", f"--duration={_SECONDS}s", "--duration-stop=wait",
                f"--cacert={certificates / 'ca.crt'}", "--cname=localhost",
                f"--cert={certificates / 'gateway' / 'tls.crt'}",
                f"--key={certificates / 'gateway' / 'tls.key'}",
                f"127.0.0.1:{self.nodes[number].grpc}",
            ],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.free.add(process.pid)
        return process


def run(bench: Bench) -> Result:
    """Calls per second of 1, 2 and 4 replicas, 16 callers for each."""
    why = MISSING_GO or bench.no_ghz or missing()
    if why or not isinstance(bench.load, GhzLoad):
        return Result(skipped=[why])
    with ExitStack() as stack:
        limited = stack.enter_context(quotas(_MOST, cores=_CORES))
        [free] = stack.enter_context(quotas(1, cores=None))
        stack.enter_context(servers())
        stack.callback(stop_server)
        free.add(_postmaster())  # before it has children
        world = stack.enter_context(_world(bench, bench.load.program, free))
        for node, group in zip(world.nodes, limited, strict=True):
            group.add(_pid(node))
        for node in world.replicas.nodes["identity"]:
            free.add(_pid(node))
        return _measured(bench, world, limited)


def _measured(bench: Bench, world: _World, limited: Sequence[CpuQuota]) -> Result:
    figures: list[Figure] = []
    notes: dict[str, str] = {}
    for work in _WORKS:
        used = _used(world)
        taken = interleave(
            bench.rounds,
            {str(count): _side(world, work, count) for count in (1, *_GOALS)},
        )
        calls = sum(map(sum, taken.values())) * _SECONDS * (bench.rounds + 1) / bench.rounds
        costs = {name: (after - used[name]) / calls for name, after in _used(world).items()}
        notes[work.name] = "processor time a call: " + ", ".join(
            f"{name} {cost * 1000:.2f} ms" for name, cost in costs.items()
        )
        figures += [
            Figure(
                f"{work.name}: {count} replicas", "calls/s", "1 replica", taken[str(count)],
                taken["1"], goal=Goal("ratio", at_least=goal),
            )
            for count, goal in _GOALS.items()
        ]  # fmt: skip
    notes["clients"] = f"{world.client_seconds / world.wall_seconds:.2f} processors"
    throttled = [group.throttled() for group in limited]
    notes["throttled periods"] = ", ".join(f"{share:.0%}" for share in throttled)
    return Result(figures, notes=notes)


def _side(world: _World, work: _Work, count: int) -> Any:
    return lambda: world.rate(work, count)


@contextmanager
def _world(bench: Bench, ghz: str, free: CpuQuota) -> Iterator[_World]:
    """Running processes, and a person with projects."""
    with asyncio.Runner() as runner:
        opened = _opened(bench, ghz, free)
        world = runner.run(opened.__aenter__())
        try:
            yield world
        finally:
            runner.run(opened.__aexit__(None, None, None))


@asynccontextmanager
async def _opened(bench: Bench, ghz: str, free: CpuQuota) -> AsyncIterator[_World]:
    environment = {"WM_LOG_FORMAT": "json", "WM_LOG_LEVEL": "info"}
    async with Replicas.open(bench.folder, project=_MOST, environment=environment) as replicas:
        world = _World(replicas, ghz, bench.folder, free)
        world.token = await replicas.sign_in("ann@example.com")
        account_id, team_id = await _home(replicas, world.token)
        for number in range(_MOST):
            stub = ProjectServiceStub(replicas.channel(world.token, node=world.nodes[number]))
            made = [
                await stub.CreateProject(
                    CreateProjectRequest(
                        name=f"bench {uuid.uuid4().hex}", account_id=account_id, team_id=team_id
                    )
                )
                for _ in range(_PROJECTS)
            ]
            world.projects.append([each.project.project_id for each in made])
        yield world


async def _home(replicas: Replicas, token: str) -> tuple[str, str]:
    """An account and a team there: a check has to know about both."""
    channel = replicas.channel(token)
    account = await AccountServiceStub(channel).CreateAccount(
        CreateAccountRequest(name="bench", type="company")
    )
    account_id = account.account.account_id
    team = await TeamServiceStub(channel).CreateTeam(
        CreateTeamRequest(account_id=account_id, name="bench")
    )
    return account_id, team.team.team_id


def _report(process: subprocess.Popen[str]) -> float:
    """Answers per second. Raises RuntimeError when one is not OK."""
    told, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"ghz failed: {errors[-500:]}")
    report = json.loads(told)
    if set(report["statusCodeDistribution"]) != {"OK"}:
        raise RuntimeError(f"not every answer is OK: {report['statusCodeDistribution']}")
    return float(report["rps"])


def _used(world: _World) -> dict[str, float]:
    """Processor seconds so far, by what the processes are."""
    return {
        target: sum(seconds_used(_pid(node)) for node in world.replicas.nodes[target])
        for target in ("project", "identity", "storage")
    }


def _client_seconds() -> float:
    """Of clients that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _postmaster() -> int:
    with psycopg.connect(chosen_server().uri) as connection:
        [(folder,)] = connection.execute("SHOW data_directory").fetchall()
    return int((Path(folder) / "postmaster.pid").read_text().split()[0])


def _pid(node: Node) -> int:
    assert node.process is not None
    return node.process.pid
