from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
from pathlib import Path

import httpx
import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from services.http.limits import HttpLimits
from services.http.server import HttpServer, bind_http
from services.model.errors import Reason, WorkspaceError
from services.rpc.tls import ServerTls
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


async def test_stop_pauses_only_where_somebody_is_connected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """uvicorn pauses for a tenth of a second at its end, for what is under way."""
    pauses: list[bool] = []
    pausing = uvicorn.Server.shutdown

    async def noted(self: uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
        pauses.append(True)
        await pausing(self, sockets)

    monkeypatch.setattr(uvicorn.Server, "shutdown", noted)
    async with serving():
        pass
    assert pauses == []
    async with serving() as app:
        reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
        writer.write(b"GET /nothing HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert await reader.readline() == b"HTTP/1.1 404 Not Found\r\n"
    assert pauses == [True]
    assert await reader.read()  # the rest, and then the end
    writer.close()


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


@pytest.mark.case("A04")
async def test_silent_and_slow_heads_are_cut() -> None:
    async with serving(limits=HttpLimits(head_timeout=0.2)) as app:
        assert await app.raw(b"") == b""
        assert await app.raw(b"GET / HTTP/1.1\r\nhost: x\r\nx-a: ") == b""
        first = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /healthz HT"
        assert (await app.raw(first)).count(b"200 OK") == 1


@pytest.mark.case("A04")
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
@pytest.mark.case("A21")
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

    routes = [Route("/data/{key:path}", data)]
    async with serving(extra_routes=routes) as app, app.client() as client:
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


def write_certificate(tls: ServerTls) -> ssl.SSLContext:
    """A new self-signed pair; returns a context that trusts only it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    tls.key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    tls.cert_file.write_bytes(pem)
    return ssl.create_default_context(cadata=pem.decode())


async def test_tls_with_a_replaced_certificate(tmp_path: Path) -> None:
    async def hello(_: Request) -> Response:
        return PlainTextResponse("hello")

    tls = ServerTls(cert_file=tmp_path / "tls.crt", key_file=tmp_path / "tls.key")
    first = write_certificate(tls)
    sock, url = bind_http("127.0.0.1", 0, tls=tls)
    server = HttpServer(Route("/", hello).app, sock, tls=tls)
    await server.start()

    async def get(trust: ssl.SSLContext) -> str:
        async with httpx.AsyncClient(base_url=url, verify=trust, trust_env=False) as client:
            return (await client.get("/")).text

    try:
        assert await get(first) == "hello"
        second = write_certificate(tls)
        assert await get(second) == "hello"
        with pytest.raises(httpx.ConnectError):
            await get(first)
        tls.cert_file.write_text("half written")
        assert await get(second) == "hello"
    finally:
        await server.stop(grace=0)
    assert url.startswith("https://")


async def test_unusable_certificate_is_named(tmp_path: Path) -> None:
    tls = ServerTls(cert_file=tmp_path / "no.crt", key_file=tmp_path / "no.key")
    sock, _ = bind_http("127.0.0.1", 0, tls=tls)
    server = HttpServer(PlainTextResponse("x"), sock, tls=tls)
    with pytest.raises(WorkspaceError, match=r"no\.crt"):
        await server.start()
    await server.stop()
