"""Permission questions among many projects, by the same among few.

100,000 restricted projects of one account, 1,000 of them shared with bob, who
asks; beside it a workspace with just 1,000. WM_BENCH_FULL=1 makes it 1,000,000.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import empty_pb2
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1.account_service_pb2 import CreateAccountRequest
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.project.v1 import permission_service_pb2 as pb
from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceStub

from tests.bench.bulk import add_projects, project_id
from tests.bench.case import Bench
from tests.bench.figures import Figure, Goal, Result, interleave
from tests.bench.load import Call, PythonLoad
from tests.bench.null_service import METHOD
from tests.bench.people import Person, signed_in
from tests.bench.servers import Server, workspace

TITLE = "Permission checks and lists among 100,000 projects, by those among 1,000"
_FEW = 1_000
_VISIBLE = 1_000
_PAGE = 500
_PAGES = 10
_CHECKS = 300
_WARM = 50
_SEQUENTIAL = 300
_FLAT = 1.2
_FILE = "workspace.sqlite"


@dataclass(frozen=True, slots=True)
class _World:
    """A running workspace with `count` projects; bob is signed in."""

    server: Server
    token: str
    count: int

    def visible(self, number: int) -> str:
        """The id of a project that bob may view."""
        return project_id(number % _VISIBLE * (self.count // _VISIBLE))


def run(bench: Bench) -> Result:
    """Milliseconds a page of 500, and microseconds a check (median of one
    caller): of projects asked about again, and asked about for the first time."""
    many = 1_000_000 if os.environ.get("WM_BENCH_FULL") == "1" else 100_000
    with ExitStack() as stack:
        small, large = (stack.enter_context(_world(bench.folder, n)) for n in (_FEW, many))
        first = asyncio.run(_page_seconds(large, 1)) * 1000
        cold = interleave(
            bench.rounds,
            {"small": _cold(small), "large": _cold(large)},
            warm_up=False,
        )
        warm = interleave(
            bench.rounds,
            {name: _checking(world, 0, _WARM) for name, world in _sides(small, large)},
        )
        pages = interleave(
            bench.rounds,
            {
                "null": lambda: 1000 / PythonLoad().rate(_null(large)),
                "page": lambda: asyncio.run(_page_seconds(large, _PAGES)) * 1000,
            },
        )
    flat = Goal("ratio", at_least=round(1 / _FLAT, 3))
    few, lots = f"among {_FEW:,}", f"among {many:,}"
    figures = [
        Figure(
            f"ListAccessibleProjects, page of {_PAGE} {lots}", "ms", "one null RPC",
            pages["page"], pages["null"], more_is_better=False,
            goal=Goal("value", at_most=15),
        ),
        Figure(
            f"CheckPermission {lots}, again", "us", few, warm["large"], warm["small"],
            more_is_better=False, goal=flat,
        ),
        Figure(
            f"CheckPermission {lots}, first time", "us", few, cold["large"], cold["small"],
            more_is_better=False, goal=flat,
        ),
    ]
    return Result(figures, notes={"first page after the start, ms": f"{first:.1f}"})


@contextmanager
def _world(folder: Path, count: int) -> Iterator[_World]:
    """People first, then their projects into the closed file, then the server again."""
    name = f"with-{count}"
    with workspace(folder, name) as server:
        owner, bob, account_id = asyncio.run(_people(server))
        file = server.data_dir / _FILE
    add_projects(
        file, count, owner=owner, account_id=account_id, shared_with=bob,
        every=count // _VISIBLE,
    )
    with workspace(folder, name) as server:
        yield _World(server, asyncio.run(_token(server)), count)


async def _people(server: Server) -> tuple[str, str, str]:
    async with signed_in(server, "ann@example.com", "bob@example.com") as (ann, bob):
        account = await ann.stub(AccountServiceStub).CreateAccount(
            CreateAccountRequest(name="bench", type="company")
        )
        return ann.user_id, bob.user_id, str(account.account.account_id)


async def _token(server: Server) -> str:
    async with signed_in(server, "bob@example.com") as (bob,):
        return bob.token


def _sides(small: _World, large: _World) -> Sequence[tuple[str, _World]]:
    return [("small", small), ("large", large)]


def _null(world: _World) -> Call:
    return Call(world.server.grpc, METHOD, empty_pb2.Empty(), _SEQUENTIAL, 1, world.token)


def _cold(world: _World) -> Callable[[], float]:
    """Each call asks about the next projects, so that none is known before."""
    at = iter(range(_PAGE, _VISIBLE * 100, _CHECKS // 10))

    def measure() -> float:
        start = next(at)
        return asyncio.run(_check_us(world, range(start, start + _CHECKS // 10)))

    return measure


def _checking(world: _World, start: int, projects: int) -> Callable[[], float]:
    numbers = [start + number % projects for number in range(_CHECKS)]
    return lambda: asyncio.run(_check_us(world, numbers))


async def _check_us(world: _World, numbers: Sequence[int]) -> float:
    async with signed_in(world.server, "bob@example.com") as (bob,):
        check = bob.stub(PermissionServiceStub).CheckPermission
        await check(_question("p_absent"))  # the connection is not what is measured
        taken = [await _timed(check, _question(world.visible(number))) for number in numbers]
    return statistics.median(taken) * 1e6


async def _timed(check: Any, request: pb.CheckPermissionRequest) -> float:
    began = time.perf_counter()
    answer = await check(request)
    taken = time.perf_counter() - began
    if not answer.allowed:
        raise RuntimeError("the world of the benchmark is wrong: bob may not view the project")
    return taken


def _question(of: str) -> pb.CheckPermissionRequest:
    return pb.CheckPermissionRequest(project_id=of, permission=Permission.PERMISSION_VIEW)


async def _page_seconds(world: _World, pages: int) -> float:
    """Median of the first page, asked for again and again."""
    async with signed_in(world.server, "bob@example.com") as (bob,):
        taken = [await _page(bob) for _ in range(pages)]
    return statistics.median(taken)


async def _page(bob: Person) -> float:
    listed = bob.stub(PermissionServiceStub).ListAccessibleProjects
    began = time.perf_counter()
    page = await listed(pb.ListAccessibleProjectsRequest(page_size=_PAGE))
    taken = time.perf_counter() - began
    if len(page.projects) != _PAGE or not page.next_page_token:
        raise RuntimeError(f"the world of the benchmark is wrong: {len(page.projects)} projects")
    return taken
