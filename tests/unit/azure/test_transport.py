"""The transport of the SDK's clients: which way requests go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from azure.core.rest import HttpRequest

from services.azure.transport import SteadyTransport


@asynccontextmanager
async def server(asked: list[str]) -> AsyncIterator[str]:
    """Answers everything, and keeps the first lines of requests."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.decode().partition("\r\n")[0])
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(one, "127.0.0.1", 0)
    async with listening:
        host, port = listening.sockets[0].getsockname()[:2]
        yield f"http://{host}:{port}"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)


async def sent(url: str) -> None:
    async with SteadyTransport() as transport:
        for _ in range(2):
            assert (await transport.send(HttpRequest("GET", url))).status_code == 204


async def test_requests_go_through_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    async with server(asked) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        await sent("http://account.example/items")
    assert asked == ["GET http://account.example/items HTTP/1.1"] * 2


async def test_hosts_of_no_proxy_are_asked_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    async with server(asked) as url:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        await sent(f"{url}/items")
    assert asked == ["GET /items HTTP/1.1"] * 2


async def test_without_a_proxy_hosts_are_asked_themselves() -> None:
    asked: list[str] = []
    async with server(asked) as url:
        await sent(f"{url}/items")
    assert asked == ["GET /items HTTP/1.1"] * 2


async def test_a_netrc_of_this_machine_signs_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Requests carry the token of their credential, or nothing."""
    found: list[str] = []
    file = tmp_path_factory.mktemp("netrc") / "netrc"
    file.write_text("machine 127.0.0.1 login somebody password something\n")
    monkeypatch.setenv("NETRC", str(file))
    async with server(found) as url, SteadyTransport() as transport:
        answer = await transport.send(HttpRequest("GET", f"{url}/items"))
        assert "Authorization" not in answer.internal_response.request_info.headers
