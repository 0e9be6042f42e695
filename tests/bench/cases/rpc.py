"""What the interceptors cost: the null RPC behind all of them and without any."""

from __future__ import annotations

import asyncio
from functools import partial

from google.protobuf import empty_pb2
from grpc_health.v1 import health_pb2

from tests.bench.case import Bench
from tests.bench.figures import Figure, Goal, Result, interleave
from tests.bench.load import Call
from tests.bench.null_service import METHOD
from tests.bench.people import signed_in
from tests.bench.servers import Server, bare_server, workspace

TITLE = "Null RPC through the interceptors, by the bare grpc.aio null RPC"
_CALLS = 2500
_HEALTH = "/grpc.health.v1.Health/Check"


def run(bench: Bench) -> Result:
    """Calls per second, 32 callers. Both sides get the same metadata."""
    with bare_server(bench.folder) as bare, workspace(bench.folder) as ours:
        token = asyncio.run(_token(ours))
        null = empty_pb2.Empty()
        health = health_pb2.HealthCheckRequest()
        calls = {
            "bare": Call(bare.grpc, METHOD, null, _CALLS, bearer=token),
            "null": Call(ours.grpc, METHOD, null, _CALLS, bearer=token),
            "health": Call(ours.grpc, _HEALTH, health, _CALLS),
        }
        taken = interleave(
            bench.rounds,
            {name: partial(bench.load.rate, call) for name, call in calls.items()},
        )
    return Result([*_figures(taken)], bench.skipped)


def _figures(taken: dict[str, list[float]]) -> list[Figure]:
    return [
        Figure(
            "null RPC of a signed-in user", "calls/s", "bare grpc.aio null RPC",
            taken["null"], taken["bare"], goal=Goal("ratio", at_least=0.6),
        ),
        Figure(
            "health check, a public RPC", "calls/s", "bare grpc.aio null RPC",
            taken["health"], taken["bare"],
        ),
    ]


async def _token(server: Server) -> str:
    async with signed_in(server, "ann@example.com") as [ann]:
        return ann.token
