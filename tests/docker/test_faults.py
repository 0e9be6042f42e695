"""What is done to the composed stack under load: nothing acknowledged is lost, clients see
UNAVAILABLE alone, and go on by the published retry policy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from tests.docker.engine import Engine
from tests.docker.images import Images
from tests.docker.stack import SERVICES, Published, Stack
from tests.docker.transfers import Transfers, with_transfers
from tests.stack.load import Load, under_load
from tests.stack.people import Person
from tests.stack.suite import address, project_of

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(1800)]

_PAIRS = dict.fromkeys(SERVICES, 2)
_WRITERS = 2
_CALL_SECONDS = 30.0
"""A machine that runs all of it at once is slow."""


@pytest.fixture(autouse=True)
def patient_writers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.stack.load._SECONDS", _CALL_SECONDS)


@pytest.fixture(scope="module")
def stack(
    docker: Engine, images: Images, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Two replicas of every service."""
    with Stack.open(docker, images, tmp_path_factory.mktemp("pairs")) as composed:
        composed.up(**_PAIRS)
        yield composed


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(stack: Stack) -> AsyncIterator[Published]:
    async with Published.of(stack) as published:
        yield published


@asynccontextmanager
async def at_work(
    deployment: Published, *, also: frozenset[str] = frozenset()
) -> AsyncIterator[tuple[Load, Transfers]]:
    """Writers and an uploader at work inside of the block; afterwards all that was
    acknowledged is there, and nobody saw anything but UNAVAILABLE (and `also`)."""
    people = [await Person.enter(deployment, address("writer")) for _ in range(_WRITERS + 1)]
    *writers, uploader = people
    project_id = await project_of(uploader)
    async with under_load(writers) as load, with_transfers(uploader, project_id) as transfers:
        yield load, transfers
    assert await load.lost() == []
    assert await transfers.lost() == []
    assert set(load.failures) <= {"UNAVAILABLE", *also}, load.failures
    assert set(transfers.failures) <= {"UNAVAILABLE", "HTTP 503", *also}, transfers.failures


async def off_loop(do: Callable[..., Any], *arguments: str) -> Any:
    """The engine is waited for in a thread: the load goes on."""
    return await asyncio.to_thread(do, *arguments)


async def test_each_service_is_stopped_and_started(deployment: Published, stack: Stack) -> None:
    """All of its replicas at once."""
    async with at_work(deployment) as (load, _):
        for service in (*SERVICES, "relay", "gateway"):
            await off_loop(stack.compose, "stop", service)
            if service in ("sync", "relay"):  # nobody who writes waits for these
                await load.until(10)
            await off_loop(stack.compose, "start", service)
            await off_loop(stack.wait_ready, *await off_loop(stack.containers, service))
            await load.until(10)


async def test_the_stores_are_killed_and_started(deployment: Published, stack: Stack) -> None:
    async with at_work(deployment) as (load, transfers):
        await off_loop(stack.compose, "kill", "objects")
        await load.until(5)  # what needs no files goes on
        await off_loop(stack.compose, "start", "objects")
        await transfers.until(2)
        await off_loop(stack.compose, "kill", "postgres")
        await off_loop(stack.compose, "start", "postgres")
        await load.until(10)
        await transfers.until(2)


async def test_every_service_is_restarted_one_replica_after_the_other(
    deployment: Published, stack: Stack
) -> None:
    """First one of each, then the other of each, then the gateway, of which there is one."""
    pairs = [await off_loop(stack.containers, service) for service in SERVICES]
    assert [len(pair) for pair in pairs] == [2] * len(SERVICES)
    gateway = await off_loop(stack.containers, "gateway")
    async with at_work(deployment) as (load, _):
        for turn in (*zip(*pairs, strict=True), gateway):
            await asyncio.gather(*(off_loop(stack.restart, container) for container in turn))
            await off_loop(stack.wait_ready, *turn)
            await load.until(10)


@pytest.mark.parametrize("service", ["identity", "project"])
async def test_a_replica_is_cut_off_and_comes_back(
    deployment: Published, stack: Stack, service: str
) -> None:
    """Packets to it and from it are dropped, without a word to anybody: calls that were
    with it find out about as late as their limit between services (10 s) is. The other
    replica answers in its place."""
    (one, _) = await off_loop(stack.containers, service)
    async with at_work(deployment, also=frozenset({"DEADLINE_EXCEEDED"})) as (load, _):
        networks = await off_loop(stack.cut_off, one)
        await load.until(20)
        await off_loop(stack.reconnect, one, networks)
        await off_loop(stack.wait_ready, one)
        await load.until(10)
