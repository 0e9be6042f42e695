"""The object store behind the gateway, with a store that says and does what a test wants: what
it is sent, what clients get of its answers, and who is told when one of them goes away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import httpx
import pytest

from services.http.object_proxy import ObjectProxy, ObjectProxyLimits
from services.http.refusals import FIXED_HEADERS
from tests.integration.gateway_app import Running, serving
from tests.servers.ports import free_port

SECRET = "5ec2e7"
SIGNED = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=k%2Fs3&X-Amz-Date=20260101T000000Z"
    f"&X-Amz-Expires=60&X-Amz-SignedHeaders=host%3Bx-amz-checksum-sha256&X-Amz-Signature={SECRET}"
)
TARGET = f"/files/a/b%20c%2B.txt?{SIGNED}"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\netag: \"e\"\r\n\r\nhello"
MIB = 1024 * 1024

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Store:
    """Reads one head after the other, and leaves the rest to `answer`."""

    answer: Answering
    heads: list[bytes] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""
    served: list[asyncio.Task[None]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.served.append(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                await self.answer(reader, writer)
        self.ended.set()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    @property
    def fields(self) -> dict[str, str]:
        """Those of the latest request."""
        lines = self.heads[-1].decode().split("\r\n")[1:-2]
        return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


def always(answer: bytes) -> Answering:
    async def give(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return give


def broken(answer: bytes) -> Answering:
    """Says it, and is gone."""

    async def give(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    return give


@asynccontextmanager
async def before(
    answer: Answering, limits: ObjectProxyLimits | None = None
) -> AsyncIterator[tuple[Store, Running]]:
    """A store that answers so, and a gateway on a socket before it."""
    store = Store(answer)
    server = await asyncio.start_server(store.serve, "127.0.0.1", 0)
    store.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    proxy = ObjectProxy(origin=store.url, bucket="files", limits=limits)
    try:
        async with serving(extra_routes=proxy.routes) as running:
            yield store, running
    finally:
        await proxy.close()
        server.close()
        async with asyncio.timeout(20):
            await asyncio.gather(*store.served)


async def test_a_request_goes_on_byte_for_byte_and_with_its_host() -> None:
    async with before(always(OK)) as (store, running):
        head = (
            f"GET {TARGET} HTTP/1.1\r\nHost: files.example.com\r\nRange: bytes=1-2\r\n"
            "Authorization: Bearer t\r\nCookie: a=b\r\nX-Forwarded-For: 1.2.3.4\r\n"
            "Connection: close, X-Other\r\nX-Other: 1\r\n\r\n"
        )
        answer = await running.raw(head.encode())
    assert answer.endswith(b"hello")
    assert store.heads[0].startswith(f"GET {TARGET} HTTP/1.1\r\n".encode())
    assert store.fields == {"host": "files.example.com", "range": "bytes=1-2"}


async def test_the_answer_comes_back_without_what_belongs_to_the_connection() -> None:
    answer = (
        b"HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\nContent-Range: bytes 0-4/9\r\n"
        b"Content-Encoding: identity\r\nETag: \"e\"\r\nx-amz-request-id: r\r\nServer: s\r\n"
        b"Set-Cookie: a=b\r\nKeep-Alive: timeout=5\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\n"
        b"Referrer-Policy: unsafe-url\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\nhello"
    )
    async with before(always(answer)) as (_, running), running.client() as client:
        found = await client.get(TARGET)
    assert (found.status_code, found.content) == (206, b"hello")
    kept = {"content-range": "bytes 0-4/9", "etag": '"e"', "x-amz-request-id": "r"}
    assert kept.items() <= dict(found.headers).items()
    assert {name.lower(): value for name, value in FIXED_HEADERS.items()}.items() <= dict(
        found.headers
    ).items()
    assert not {"server", "set-cookie", "keep-alive", "x-hop"} & set(found.headers)
    assert len(found.headers.get_list("date")) == 1
    assert found.headers["date"] != "Thu, 01 Jan 1970 00:00:00 GMT"


async def test_refusals_of_the_store_are_its_own() -> None:
    body = b"<Error><Code>SignatureDoesNotMatch</Code></Error>"
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n"
    answer = always(head % len(body) + body)
    async with before(answer) as (_, running), running.client() as client:
        found = await client.get(TARGET)
    assert (found.status_code, found.content) == (403, body)
    assert found.headers["content-type"] == "application/xml"


async def test_connections_to_the_store_are_used_again() -> None:
    async def give(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_head = store.heads[-1].startswith(b"HEAD")
        writer.write(OK.removesuffix(b"hello") if is_head else OK)

    async with before(give) as (store, running), running.client() as client:
        for _ in range(3):
            found = await client.head(TARGET)
            assert (found.headers["content-length"], found.content) == ("5", b"")
            assert (await client.get(TARGET)).content == b"hello"
        assert len(store.heads) == 6
        assert not store.ended.is_set()


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "OPTIONS"])
async def test_what_has_no_signature_is_not_there(method: str) -> None:
    async with before(always(OK)) as (store, running), running.client() as client:
        for path in ("/files/a", "/files/a?list-type=2", "/files/", "/files?list-type=2"):
            assert (await client.request(method, path)).status_code == 404
        assert store.heads == []


@pytest.mark.parametrize("method", ["POST", "DELETE", "PATCH", "OPTIONS"])
async def test_other_methods_are_not_passed_on(method: str) -> None:
    async with before(always(OK)) as (store, running), running.client() as client:
        found = await client.request(method, TARGET)
        assert (found.status_code, found.headers["allow"]) == (405, "GET, HEAD, PUT")
        assert store.heads == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/files/../other/a", 403), ("/files/%2e%2e/other/a", 403), ("/files//a", 403),
        ("/files/", 403), ("/other/a", 404), ("/files", 404), ("//files/a", 404),
        ("/../files/a", 404), ("/%66iles/a", 403), ("/files/a%2fb", 403),
    ],
)  # fmt: skip
async def test_other_places_are_not_reached(path: str, status: int) -> None:
    async with before(always(OK)) as (store, running):
        head = f"GET {path}?{SIGNED} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        assert (await running.raw(head.encode())).startswith(f"HTTP/1.1 {status} ".encode())
        assert store.heads == []


@pytest.mark.parametrize(
    "fields",
    [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding : chunked\r\nContent-Length: 5",
        "Transfer-Encoding:\x0bchunked\r\nContent-Length: 5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5\r\nX-Amz-Copy-Source: /files/other",
        "Content-Length: 5\r\nHost: other",
        "Content-Length: 5\r\n X-Fold: 1",
    ],
)
@pytest.mark.case("A21")
async def test_no_request_is_smuggled(fields: str) -> None:
    """Whatever the parser before us made of it: nothing of it reaches the store."""
    smuggled = "GET /files/secret HTTP/1.1\r\nHost: h\r\n\r\n"
    async with before(always(OK)) as (store, running):
        head = f"PUT {TARGET} HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n0\r\n\r\n{smuggled}"
        answer = await running.raw(head.encode())
        assert answer.startswith(b"HTTP/1.1 4")
        assert answer.count(b"HTTP/1.1 ") == 1
        assert store.heads == []


async def test_a_body_is_not_asked_for_that_will_be_refused() -> None:
    async with before(always(OK)) as (store, running):
        head = (
            f"PUT /files/a%2Fb?{SIGNED} HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n"
            "Expect: 100-continue\r\n\r\n"
        )
        assert (await running.raw(head.encode())).startswith(b"HTTP/1.1 403 ")
        assert store.heads == []


async def test_a_body_is_asked_for_when_the_store_is_there() -> None:
    async def give(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(5) == b"bytes"
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async with before(give) as (store, running):
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        head = (
            f"PUT {TARGET} HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n"
            "Expect: 100-continue\r\n\r\n"
        )
        writer.write(head.encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(b"bytes")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        writer.close()
    assert store.fields == {"host": "h", "content-length": "5"}


async def test_a_store_that_is_down_is_said_to_come_back() -> None:
    proxy = ObjectProxy(origin=f"http://127.0.0.1:{free_port()}", bucket="files")
    async with serving(extra_routes=proxy.routes) as running, running.client() as client:
        for answer in (await client.get(TARGET), await client.put(TARGET, content=b"bytes")):
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["details"][0]["reason"] == "ERROR_REASON_BACKEND_UNAVAILABLE"
    await proxy.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 307 Elsewhere\r\nLocation: http://10.0.0.1/a\r\ncontent-length: 0\r\n\r\n",
        b"no HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"",
    ],
)
async def test_an_answer_that_is_none_is_not_passed_on(answer: bytes) -> None:
    async with before(broken(answer)) as (_, running), running.client() as client:
        found = await client.get(TARGET)
    assert found.status_code == 503
    assert "10.0.0.1" not in found.text + str(found.headers)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
)
async def test_a_store_that_breaks_off_breaks_the_download(answer: bytes) -> None:
    async with before(broken(answer)) as (_, running), running.client() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(TARGET)


async def test_a_store_that_breaks_off_in_an_upload_has_not_taken_it() -> None:
    async def give(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(64 * 1024)
        writer.transport.abort()

    async with before(give) as (_, running), running.client() as client:
        try:
            status = (await client.put(TARGET, content=b"x" * 8 * MIB)).status_code
        except httpx.TransportError:  # the answer was lost with what it did not read
            status = 503
    assert status == 503


async def test_a_refusal_that_comes_early_is_passed_on() -> None:
    refusal = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno"

    async def give(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(refusal)
        await writer.drain()
        while await reader.read(MIB):  # as a store that closes with patience
            pass
        writer.close()

    async with before(give) as (_, running):
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        head = f"PUT {TARGET} HTTP/1.1\r\nHost: h\r\nContent-Length: {4 * MIB}\r\n\r\n"
        writer.write(head.encode() + b"x" * 4 * MIB)
        await writer.drain()
        assert (await reader.read(12)) == b"HTTP/1.1 403"
        writer.close()


async def test_a_client_that_goes_away_ends_the_download() -> None:
    async def give(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhello")
        await writer.drain()

    async with before(give) as (store, running):
        async with running.client() as client, client.stream("GET", TARGET) as answer:
            assert await anext(answer.aiter_raw()) == b"hello"
            assert not store.ended.is_set()
        async with asyncio.timeout(20):
            await store.ended.wait()


async def test_a_client_that_goes_away_ends_the_upload() -> None:
    got = asyncio.Event()

    async def give(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(5) == b"hello"
        got.set()
        await reader.readexactly(995)

    async with before(give) as (store, running), asyncio.timeout(20):
        _, writer = await asyncio.open_connection("127.0.0.1", running.port)
        head = f"PUT {TARGET} HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nhello"
        writer.write(head.encode())
        await got.wait()
        writer.close()
        await store.ended.wait()


async def test_a_client_that_does_not_send_is_cut() -> None:
    async with before(always(b""), ObjectProxyLimits(idle=0.2)) as (store, running):
        head = f"PUT {TARGET} HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nhello"
        assert (await running.raw(head.encode())).startswith(b"HTTP/1.1 408 ")
        async with asyncio.timeout(20):
            await store.ended.wait()


async def test_a_client_that_sends_drop_by_drop_is_cut() -> None:
    limits = ObjectProxyLimits(grace=0.3, min_bytes_per_second=1000)
    async with before(always(b""), limits) as (_, running), asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(f"PUT {TARGET} HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n".encode())
        answer = asyncio.create_task(reader.read(12))
        while not answer.done():
            with suppress(ConnectionError):
                writer.write(b"x")
            await asyncio.sleep(0.05)
        assert answer.result() == b"HTTP/1.1 408"
        writer.close()


async def test_a_client_that_does_not_read_is_cut_and_holds_nothing() -> None:
    sent = 0

    async def give(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (256 * MIB))
        for _ in range(256):
            writer.write(b"x" * MIB)
            await writer.drain()
            sent += 1

    async with before(give, ObjectProxyLimits(idle=0.3)) as (store, running):
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=1024)
        writer.write(f"GET {TARGET} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        async with asyncio.timeout(20):
            await store.ended.wait()
            left = 0
            with suppress(ConnectionError):
                while data := await reader.read(MIB):
                    left += len(data)
        writer.close()
    assert left < 64 * MIB
    assert sent < 64  # what the buffers of the sockets hold, and no more


async def test_more_transfers_than_allowed_are_told_to_wait() -> None:
    release = asyncio.Event()

    async def give(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.write(OK)

    limits = ObjectProxyLimits(max_in_flight=1)
    async with before(give, limits) as (store, running), running.client() as client:
        first = asyncio.create_task(client.get(TARGET))
        while not store.heads:  # noqa: ASYNC110 - the store's own loop
            await asyncio.sleep(0.01)
        second = await client.get(TARGET)
        assert (second.status_code, second.headers["retry-after"]) == (429, "1")
        release.set()
        assert (await first).content == b"hello"
        assert (await client.get(TARGET)).content == b"hello"


@pytest.mark.case("U31")
async def test_no_signed_url_is_logged_or_measured(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with before(always(OK)) as (_, running), running.client() as client:
        assert (await client.get(TARGET)).status_code == 200
        assert (await client.get(TARGET.replace("a/b", "a//b"))).status_code == 403
        metrics = (await client.get("/metrics")).text
    ours = [each for each in caplog.records if running.url not in each.getMessage()]
    assert ours
    assert not any(SECRET in each.getMessage() for each in ours)
    assert SECRET not in metrics
    assert 'route="/{bucket}/{key}"' in metrics
    assert "b%20c" not in metrics
