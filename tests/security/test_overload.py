"""A server with more to do than it can: slow databases, no descriptors, a busy loop."""

from __future__ import annotations

import asyncio
import time
from asyncio import events
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from workspace.identity.v1.identity_service_pb2 import GetSessionRequest
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from services.records.store import RecordStore
from tests.harness import Workspace
from tests.server_process import ServerProcess

PLACES = 5
FEW_DESCRIPTORS = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (150, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
"""


@pytest.mark.case("A19")
async def test_a_database_that_answers_slowly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, most, slow = 0, 0, asyncio.Event()
    reading = RecordStore.get

    async def get(self: RecordStore, *arguments: Any, **named: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            await slow.wait()
            return await reading(self, *arguments, **named)
        finally:
            running -= 1

    async with Workspace.open(tmp_path, max_concurrent_rpcs=PLACES) as workspace:
        await workspace.sign_in("ann@example.com")
        stub = workspace.socket_stub(IdentityServiceStub, as_="ann@example.com")
        await stub.GetSession(GetSessionRequest(), timeout=30)
        monkeypatch.setattr(RecordStore, "get", get)
        tasks = len(asyncio.all_tasks())
        calls = [asyncio.ensure_future(told(stub)) for _ in range(200)]
        async with asyncio.timeout(60):
            while sum(call.done() for call in calls) < 200 - PLACES:  # noqa: ASYNC110 - refused
                await asyncio.sleep(0.02)
        grown = len(asyncio.all_tasks()) - tasks
        slow.set()
        ended = Counter(await asyncio.gather(*calls))
        assert ended["OK"] == PLACES
        assert set(ended) <= {"OK", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}
        assert 0 < most <= PLACES * 20  # a call reads several records at once
        assert grown < PLACES * 30 + 20
        assert await told(stub) == "OK"


async def told(stub: Any) -> str:
    """How a call ends."""
    try:
        await stub.GetSession(GetSessionRequest(), timeout=60)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


@contextmanager
def longest(seconds: list[float]) -> Iterator[None]:
    """Notes the processor time of what the event loop runs at a time; other processes, which
    take time away, do not count."""
    run = events.Handle._run  # type: ignore[attr-defined]

    def measured(self: Any) -> Any:
        began = time.thread_time()
        try:
            return run(self)
        finally:
            seconds.append(time.thread_time() - began)

    events.Handle._run = measured  # type: ignore[attr-defined]
    try:
        yield
    finally:
        events.Handle._run = run  # type: ignore[attr-defined]


@pytest.mark.case("A20")
async def test_the_loop_is_never_kept_busy(tmp_path: Path) -> None:
    blocked: list[float] = []
    with longest(blocked):  # the control: what keeps it busy is noticed
        until = time.thread_time() + 0.3
        asyncio.get_running_loop().call_soon(lambda: _busy(until))
        await asyncio.sleep(0.01)
    assert max(blocked) >= 0.25
    async with Workspace.open(tmp_path) as workspace:
        await workspace.sign_in("ann@example.com")
        stub = workspace.stub(IdentityServiceStub, as_="ann@example.com")
        many = b'{"name":"' + b"," * 3_000_000 + b'"}'
        values = b'{"name":[' + b"1," * 1_000_000 + b"1]}"
        blocked.clear()
        async with workspace.client("ann@example.com") as client:
            with longest(blocked):
                for body in (many, values):
                    sent = {"content-type": "application/json"}
                    await client.post("/api/accounts", content=body, headers=sent)
                for _ in range(20):
                    await stub.GetSession(GetSessionRequest(), timeout=30)
    assert max(blocked) < 0.25


def _busy(until: float) -> None:
    while time.thread_time() < until:
        pass


@pytest.mark.case("A22")
async def test_more_connections_than_descriptors(tmp_path: Path) -> None:
    async with ServerProcess.start(tmp_path / "data", prelude=FEW_DESCRIPTORS) as server:
        token = await server.sign_in("ann@example.com")
        connected = IdentityServiceStub(server.channel(token))
        host, port = server.http.removeprefix("http://").split(":")
        taken = [await asyncio.open_connection(host, int(port)) for _ in range(250)]
        for _, writer in taken[:20]:
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert await told(connected) == "OK"
        for _, writer in taken:
            writer.close()
        fresh = IdentityServiceStub(server.channel(token))
        async with asyncio.timeout(60):
            while await told(fresh) != "OK" or not await answers(host, int(port)):  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.2)
        assert server.process.returncode is None


async def answers(host: str, port: int) -> bool:
    """Whether a new HTTP connection is served."""
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            line = await reader.readline()
            writer.close()
    except (OSError, TimeoutError):
        return False
    return line == b"HTTP/1.1 200 OK\r\n"
