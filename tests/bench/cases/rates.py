"""What counting calls costs, and what others feel of a user who makes ten times too many."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

import grpc.aio
from google.protobuf import empty_pb2

from tests.bench.case import Bench
from tests.bench.figures import Figure, Goal, Result, interleave
from tests.bench.load import Call
from tests.bench.null_service import METHOD
from tests.bench.people import signed_in
from tests.bench.servers import Server, workspace

TITLE = "Calls counted by user and address; good calls while another user is refused"
_CALLS = 2500
_A_MINUTE = 1800
_SECONDS = 6.0
_GOOD_EVERY = 0.05
"""20 a second, of the 30 that a user may make."""
_FLOOD_EVERY = 60 / _A_MINUTE / 10
"""300 a second."""
_EMPTY = b""


def run(bench: Bench) -> Result:
    """Rates with and without limits; then 99th percentiles with and without a flood."""
    null = empty_pb2.Empty()
    off = {"user_calls_per_minute": 0, "address_calls_per_minute": 0}
    with workspace(bench.folder, "on") as on, workspace(bench.folder, "off", **off) as without:
        rates = interleave(
            bench.rounds,
            {
                name: partial(bench.load.rate, Call(each.grpc, METHOD, null, _CALLS, bearer=token))
                for name, each in (("on", on), ("off", without))
                for token in asyncio.run(_tokens(each, "ann@example.com"))
            },
        )
    with workspace(bench.folder, "tight", user_calls_per_minute=_A_MINUTE) as tight:
        tokens = asyncio.run(_tokens(tight, "ann@example.com", "bob@example.com"))
        waits = interleave(
            bench.rounds,
            {
                "quiet": partial(_measured, tight, tokens, flood=False),
                "flood": partial(_measured, tight, tokens, flood=True),
            },
        )
    return Result([*_figures(rates, waits)], bench.skipped)


def _figures(rates: dict[str, list[float]], waits: dict[str, list[float]]) -> list[Figure]:
    return [
        Figure(
            "null RPC of a signed-in user, counted", "calls/s", "the same without limits",
            rates["on"], rates["off"], goal=Goal("ratio", at_least=0.97),
        ),
        Figure(
            "p99 of a good user while another floods", "ms", "the same without the flood",
            waits["flood"], waits["quiet"], more_is_better=False,
            goal=Goal("ratio", at_least=1 / 1.2),
        ),
    ]  # fmt: skip


def _measured(server: Server, tokens: list[str], *, flood: bool) -> float:
    """The 99th percentile of the second user's calls, in ms."""
    return asyncio.run(_p99(server, tokens, flood=flood))


async def _p99(server: Server, tokens: list[str], *, flood: bool) -> float:
    bad, good = tokens
    end, waits = time.monotonic() + _SECONDS, list[float]()
    async with grpc.aio.insecure_channel(server.grpc) as one, \
            grpc.aio.insecure_channel(server.grpc, [("grpc.use_local_subchannel_pool", 1)]) as two:
        flooding = asyncio.ensure_future(_flood(one, bad, end)) if flood else None
        await _paced(two, good, end, _GOOD_EVERY, waits)
        if flooding is not None:
            await flooding
    return sorted(waits)[len(waits) * 99 // 100] * 1000


async def _flood(channel: grpc.aio.Channel, token: str, end: float) -> None:
    """Ten times what the user may, whatever the answers are."""
    await _paced(channel, token, end, _FLOOD_EVERY, [])


async def _paced(
    channel: grpc.aio.Channel, token: str, end: float, every: float, waits: list[float]
) -> None:
    """Calls that begin `every` so many seconds, whether others have ended or not."""
    call: Any = channel.unary_unary(METHOD)
    metadata = (("authorization", f"Bearer {token}"),)

    async def one() -> None:
        began = time.perf_counter()
        try:
            await call(_EMPTY, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
        waits.append(time.perf_counter() - began)

    running: set[asyncio.Task[None]] = set()
    begin = time.monotonic()
    for number in range(int((end - begin) / every)):
        await asyncio.sleep(begin + number * every - time.monotonic())
        task = asyncio.ensure_future(one())
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)


async def _tokens(server: Server, *emails: str) -> list[str]:
    async with signed_in(server, *emails) as people:
        return [each.token for each in people]
