"""Checks of a running process: does it answer, is it ready, does its clock agree."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import grpc
import grpc.aio
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.cli.client import open_channel
from services.cli.doctor.finding import Finding, Verdict
from services.cli.endpoint import Endpoint
from services.cli.trust import Reached

__all__ = ["check_http", "check_rpc"]

_SECONDS = 5.0
_SKEW_SECONDS = 3.0


async def check_http(endpoint: Endpoint) -> list[Finding]:
    """/readyz, and the clock by the Date header."""
    url = f"{endpoint.http}/readyz"
    try:
        async with httpx.AsyncClient(timeout=_SECONDS, trust_env=False) as http:
            response = await http.get(url)
    except httpx.HTTPError as error:
        detail = f"{url} does not answer ({type(error).__name__})"
        return [Finding("http", Verdict.FAILED, detail, "look at the log of `wm serve`")]
    if not response.is_success:
        detail = f"{url} answers {response.status_code}"
        return [Finding("http", Verdict.FAILED, detail, "look at the log of `wm serve`")]
    return [Finding("http", Verdict.OK, f"{endpoint.http} is ready"), _clock(response)]


async def check_rpc(endpoint: Endpoint) -> Finding:
    """The standard health service (grpc.health.v1)."""
    channel = open_channel(Reached(endpoint.grpc))
    try:
        stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=_SECONDS)
    except grpc.aio.AioRpcError as error:
        detail = f"{endpoint.grpc} does not answer ({error.code().name})"
        return Finding("grpc", Verdict.FAILED, detail, "look at the log of `wm serve`")
    finally:
        await channel.close()
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        return Finding(
            "grpc", Verdict.FAILED, f"{endpoint.grpc} is not serving", "look at the log"
        )
    return Finding("grpc", Verdict.OK, f"{endpoint.grpc} is serving")


def _clock(response: httpx.Response) -> Finding:
    try:
        server = parsedate_to_datetime(response.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return Finding("clock", Verdict.SKIPPED, "the server does not tell its time")
    skew = abs(server - time.time())
    if skew > _SKEW_SECONDS:
        detail = f"server and client differ by {skew:.0f} s"
        return Finding("clock", Verdict.FAILED, detail, "set both clocks (NTP)")
    return Finding("clock", Verdict.OK, "server and client agree")
