from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from services.http.limits import HttpLimits
from services.http.server import HttpServer, bind_http
from services.model.errors import Reason, WorkspaceError
from tests.integration.gateway_app import serving


def test_busy_port_names_address_and_remedy() -> None:
    sock, _ = bind_http("127.0.0.1", 0)
    port = sock.getsockname()[1]
    try:
        with pytest.raises(WorkspaceError) as error:
            bind_http("127.0.0.1", port)
    finally:
        sock.close()
    assert error.value.reason == Reason.ERROR_REASON_INVALID_STATE
    assert f"127.0.0.1:{port}" in error.value.message
    assert "--http-port" in error.value.message


def test_no_plain_text_beyond_loopback() -> None:
    with pytest.raises(WorkspaceError, match="without TLS"):
        bind_http("0.0.0.0", 0)


def test_localhost_is_one_address() -> None:
    sock, url = bind_http("localhost", 0)
    sock.close()
    assert url.startswith("http://127.0.0.1:")


async def test_port_is_free_again_after_stop() -> None:
    async with serving() as app:
        port = app.port
    sock, _ = bind_http("127.0.0.1", port)
    sock.close()


async def test_stop_lets_requests_finish_and_cancels_late_ones() -> None:
    entered, release, cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def wait(request: Request) -> Response:
        entered.set()
        try:
            await release.wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return PlainTextResponse("done")

    async def start() -> tuple[HttpServer, asyncio.Task[httpx.Response]]:
        entered.clear()
        sock, url = bind_http("127.0.0.1", 0)
        server = HttpServer(Route("/wait", wait).app, sock)
        await server.start()

        async def call() -> httpx.Response:
            async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
                return await client.get("/wait")

        task = asyncio.create_task(call())
        await entered.wait()
        return server, task

    server, task = await start()
    stopping = asyncio.create_task(server.stop(grace=20))
    release.set()
    await stopping
    assert (await task).text == "done"
    release.clear()
    server, task = await start()
    await server.stop(grace=0.1)
    await asyncio.gather(task, return_exceptions=True)
    assert cancelled.is_set()


async def test_silent_and_slow_heads_are_cut() -> None:
    async with serving(limits=HttpLimits(head_timeout=0.2)) as app:
        assert await app.raw(b"") == b""
        assert await app.raw(b"GET / HTTP/1.1\r\nhost: x\r\nx-a: ") == b""
        first = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /healthz HT"
        assert (await app.raw(first)).count(b"200 OK") == 1


async def test_slow_bodies_are_cut() -> None:
    async with serving(limits=HttpLimits(body_timeout=0.2)) as app:
        answer = await app.raw(
            b"POST /api/accounts HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"content-length: 10\r\n\r\n{"
        )
    assert answer.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nhost: x\r\nx-a: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nx-a: " + b"a" * 1_000_000,
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\n" + b"x-a: b\r\n" * 20_000 + b"\r\n",
    ],
)
async def test_large_heads_are_refused(head: bytes) -> None:
    async with serving() as app:
        reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
        writer.write(head)
        try:
            answer = await reader.read()
        except ConnectionResetError:  # closed while we still sent: refused all the same
            answer = b"HTTP/1.1 431 "
        writer.transport.abort()
        async with app.client() as client:
            assert (await client.get("/healthz")).status_code == 200
    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_large_bodies_do_not_count_as_head() -> None:
    body = b'{"description":"' + b"x" * 60_000 + b'"}'
    head = (
        b"POST /api/accounts HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n" % len(body)
    )
    async with serving() as app:
        data = (head + b"\r\n" + body) * 3 + head + b"connection: close\r\n\r\n" + body
        answer = await app.raw(data)
    assert answer.count(b"HTTP/1.1 200 OK") == 4


async def test_too_many_requests_at_once() -> None:
    async with serving(limits=HttpLimits(max_in_flight=1)) as app, app.client() as client:
        slow = asyncio.create_task(client.get("/api/accounts/slow"))
        await app.accounts.waiting.wait()
        refused = await client.get("/api/accounts/a1")
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)
        await app.accounts.cancelled.wait()
        probe = await client.get("/healthz")
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert probe.status_code == 200


async def test_extra_routes_are_mounted_and_hardened() -> None:
    async def data(request: Request) -> Response:
        if request.path_params["key"] == "refused":
            raise WorkspaceError(Reason.ERROR_REASON_STORAGE_FULL, "full")
        if request.path_params["key"] == "defect":
            raise ZeroDivisionError("secret")
        return PlainTextResponse("bytes", headers={"Cache-Control": "private, no-store"})

    async with serving(extra_routes=[Route("/data/{key:path}", data)]) as app:
        async with app.client() as client:
            served = await client.get("/data/a/b")
            refused = await client.get("/data/refused")
            defect = await client.get("/data/defect")
    assert served.text == "bytes"
    assert served.headers["cache-control"] == "private, no-store"
    assert served.headers["x-request-id"]
    assert refused.status_code == 429
    assert refused.json()["details"][0]["reason"] == "ERROR_REASON_STORAGE_FULL"
    assert defect.status_code == 500
    assert "secret" not in defect.text
