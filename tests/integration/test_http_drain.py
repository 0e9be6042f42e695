"""HTTP drains, too: clients that keep connections are told to leave before they end."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from services.http.server import HttpServer, bind_http


async def test_answers_close_their_connections_while_draining() -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    async def quick(_: Request) -> Response:
        return PlainTextResponse("quick")

    async def slow(_: Request) -> Response:
        begun.set()
        await release.wait()
        return PlainTextResponse("slow")

    sock, url = bind_http("127.0.0.1", 0)
    server = HttpServer(Starlette(routes=[Route("/quick", quick), Route("/slow", slow)]), sock)
    await server.start()
    async with httpx.AsyncClient(base_url=url, timeout=30) as client, asyncio.timeout(60):
        kept = await client.get("/quick")
        running = asyncio.create_task(client.get("/slow"))
        await begun.wait()
        draining = asyncio.create_task(server.drain(0.5))
        await asyncio.sleep(0)
        told = await client.get("/quick")
        assert "connection" not in kept.headers
        assert told.headers["connection"] == "close"
        assert told.text == "quick"
        release.set()
        ended = await running
        assert (ended.text, ended.headers["connection"]) == ("slow", "close")
        await draining
        with pytest.raises(httpx.ConnectError):
            await client.get("/quick")
