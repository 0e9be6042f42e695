"""How fast good clients are answered while one client abuses the server, and its memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import grpc.aio
from workspace.identity.v1.identity_service_pb2 import GetSessionRequest
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from tests.bench.case import Bench
from tests.bench.figures import Figure, Goal, Result
from tests.bench.people import Person, signed_in
from tests.bench.servers import Server, resident_mib, workspace
from tests.wire_http2 import PING, Wire, data, frame, headers, message, reset

TITLE = "p99 of a good client while another abuses the server, by the p99 without"
_CALLS = 400
_SESSION = b"/workspace.identity.v1.IdentityService/GetSession"
_BOMB = b"/workspace.project.v1.PermissionService/BatchCheckPermissions"
_ELEMENTS = b"\x0a\x00" * (1024 * 1024)
_PAUSE = 0.002
"""Of the abuser, which shares the processors here with the server and the good client (s)."""

Abuse = Callable[[Server], Awaitable[None]]


def run(bench: Bench) -> Result:
    """Milliseconds; each round measures without and with the abuse, one after the other."""
    with workspace(bench.folder) as server:
        return asyncio.run(_run(bench, server))


async def _run(bench: Bench, server: Server) -> Result:
    figures = []
    async with signed_in(server, "good@example.com") as [good]:
        await _p99(good)
        for name, abuse in _ABUSES.items():
            before, quiet, loud = resident_mib(server.pid), [], []
            for _ in range(bench.rounds):
                quiet.append(await _p99(good))
                loud.append(await _during(abuse, server, good))
            figures.append(
                Figure(
                    f"p99 during {name}", "ms", "p99 without", loud, quiet,
                    more_is_better=False, goal=Goal("ratio", at_least=0.5),
                )
            )  # fmt: skip
            grown = max(resident_mib(server.pid) - before, 0.0)
            figures.append(
                Figure(
                    f"memory that {name} took", "MiB", "memory before", [before + grown], [before],
                    more_is_better=False, goal=Goal("value", at_most=before + 100),
                )
            )  # fmt: skip
    return Result(figures)


async def _p99(good: Person) -> float:
    stub, taken = good.stub(IdentityServiceStub), []
    for _ in range(_CALLS):
        began = time.perf_counter()
        await stub.GetSession(GetSessionRequest(), timeout=30)
        taken.append(time.perf_counter() - began)
    return sorted(taken)[_CALLS * 99 // 100] * 1000


async def _during(abuse: Abuse, server: Server, good: Person) -> float:
    running = asyncio.ensure_future(_again(abuse, server))
    try:
        return await _p99(good)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def _again(abuse: Abuse, server: Server) -> None:
    while True:
        await abuse(server)
        await asyncio.sleep(_PAUSE)


async def _resets(server: Server) -> None:
    async with Wire.open(server.grpc) as wire:
        for number in range(500):
            wire.send(headers(2 * number + 1, _SESSION), reset(2 * number + 1))
            if number % 20 == 0:
                await wire.flushed()
                await asyncio.sleep(_PAUSE)


async def _pings(server: Server) -> None:
    async with Wire.open(server.grpc) as wire:
        wire.send(frame(PING, 0, 0, bytes(8)) * 500)
        await wire.flushed()


async def _paths(server: Server) -> None:
    async with Wire.open(server.grpc) as wire:
        for number in range(20):
            stream = 2 * number + 1
            wire.send(headers(stream, b"/x\xff"), data(stream, message(b""), end=True))
            await wire.until_end_of(stream)


async def _silence(server: Server) -> None:
    async with Wire.open(server.grpc) as wire:
        wire.send(*(headers(2 * number + 1, _SESSION) for number in range(90)))
        await wire.flushed()
        await asyncio.sleep(0.2)


async def _elements(server: Server) -> None:
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        with suppress(grpc.aio.AioRpcError):
            await channel.unary_unary(_BOMB.decode())(_ELEMENTS, timeout=10)  # type: ignore[misc]


_ABUSES: dict[str, Abuse] = {
    "streams that are opened and reset": _resets,
    "pings": _pings,
    "paths that are no text": _paths,
    "calls that never send": _silence,
    "a million empty elements": _elements,
}
