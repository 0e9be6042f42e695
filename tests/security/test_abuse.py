"""One client against a whole server: bombs and floods, over a real socket to a process of its
own, whose memory is looked at."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import httpx
import pytest
import pytest_asyncio
from workspace.identity.v1.identity_service_pb2 import GetSessionRequest
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from services.rpc.limits import Limits
from tests.server_process import ServerProcess
from tests.wire_http2 import (
    CONTINUATION,
    DATA,
    HEADERS,
    PING,
    SETTINGS,
    Wire,
    block,
    data,
    frame,
    has_status,
    headers,
    message,
    reset,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]
MIB = 1024 * 1024
CHECK = b"/workspace.project.v1.PermissionService/BatchCheckPermissions"
UPDATE = b"/workspace.project.v1.DocumentService/BatchUpdateDocuments"
SESSION = b"/workspace.identity.v1.IdentityService/GetSession"
EXHAUSTED = 8


class Target:
    """The server, and a person who is signed in to it."""

    def __init__(self, server: ServerProcess, token: str) -> None:
        self.server = server
        self.token = token
        self.bearer = ((b"authorization", b"Bearer " + token.encode()),)
        self.raw = server.channel()._channel
        self.good = IdentityServiceStub(server.channel(token))

    def memory(self) -> int:
        """The most that the process ever had (bytes)."""
        status = Path(f"/proc/{self.server.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    async def code(
        self,
        path: bytes,
        body: bytes,
        *,
        token: str = "",
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> str:
        """How a call with these bytes as its message ends."""
        call: Any = self.raw.unary_unary(path.decode())
        if token:
            metadata = (*metadata, ("authorization", f"Bearer {token}"))
        try:
            await call(body, metadata=metadata, timeout=60)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"

    async def is_good(self) -> bool:
        """Whether the good client is served."""
        return bool((await self.good.GetSession(GetSessionRequest(), timeout=30)).session.user)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Target]:
    folder = tmp_path_factory.mktemp("abuse")
    async with ServerProcess.start(folder / "data", user_calls_per_minute=0) as server:
        made = Target(server, await server.sign_in("good@example.com"))
        assert await made.is_good()
        yield made


@pytest.mark.case("A01")
@pytest.mark.parametrize("path", [CHECK, UPDATE])
async def test_a_million_empty_elements(target: Target, path: bytes) -> None:
    """Without a token nobody looks into it; with one it is counted, and never built."""
    before = target.memory()
    bomb = b"\x0a\x00" * (2 * MIB - 100)
    assert await target.code(path, bomb, token="") == "UNAUTHENTICATED"
    assert await target.code(path, bomb, token=target.token) == "INVALID_ARGUMENT"
    assert target.memory() - before < 64 * MIB
    assert await target.is_good()


@pytest.mark.case("A01")
async def test_a_message_of_the_limit_and_one_byte_more(target: Target) -> None:
    limit = Limits().max_receive_bytes
    head = b"\xfa\x7f" + bytes([limit - 6 & 127 | 128, limit - 6 >> 7 & 127 | 128])
    body = head + bytes([limit - 6 >> 14 & 127 | 128, limit - 6 >> 21])  # a field nobody knows
    token = target.token
    assert await target.code(SESSION, body + bytes(limit - 6), token=token) == "OK"
    assert await target.code(SESSION, body + bytes(limit - 5), token=token) == "RESOURCE_EXHAUSTED"


@pytest.mark.case("A02")
@pytest.mark.parametrize("fields", ["anonymous", "signed in"])
async def test_a_message_that_unpacks_to_far_more(target: Target, fields: str) -> None:
    before = target.memory()
    bomb = gzip.compress(bytes(48 * MIB))
    bearer = target.bearer if fields == "signed in" else ()
    async with Wire.open(target.server.grpc) as wire:
        wire.send(headers(1, SESSION, ((b"grpc-encoding", b"gzip"), *bearer)))
        packed = b"\x01" + len(bomb).to_bytes(4, "big") + bomb
        for at in range(0, len(packed), 16_000):
            wire.send(data(1, packed[at : at + 16_000], end=at + 16_000 >= len(packed)))
        assert has_status(await wire.until_end_of(1), EXHAUSTED)
    assert target.memory() - before < 32 * MIB
    assert await target.is_good()


@pytest.mark.case("A03")
async def test_metadata_at_the_limit(target: Target) -> None:
    limit = Limits().max_metadata_bytes
    health = b"/grpc.health.v1.Health/Check"
    for size, wanted in ((limit - 2048, "OK"), (limit + 1024, "RESOURCE_EXHAUSTED")):
        more = (("x-a", "a" * size),)
        answers = {await target.code(health, b"", metadata=more) for _ in range(20)}
        assert answers == {wanted}


BODIES = {
    "deep": b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "one string": b'{"name":"' + b"x" * 10_000_000 + b'"}',
    "members": b"{" + b",".join(b'"m%d":1' % number for number in range(100_000)) + b"}",
    "empty lists": b'{"name":[' + b"[]," * 1_300_000 + b"[]]}",
    "empty objects": b'{"name":[' + b"{}," * 1_300_000 + b"{}]}",
}


@pytest.mark.case("A11")
@pytest.mark.parametrize("name", BODIES)
async def test_json_of_too_much(target: Target, name: str) -> None:
    before = target.memory()
    async with httpx.AsyncClient(base_url=target.server.http, timeout=60) as client:
        given = {"content-type": "application/json"}
        try:
            answer = await client.post("/api/accounts", content=BODIES[name], headers=given)
        except httpx.TransportError:
            assert name == "one string"  # closed while it was still sent: refused all the same
        else:
            assert answer.status_code == (413 if name == "one string" else 400)
    assert target.memory() - before < 48 * MIB
    assert await target.is_good()


def resets(stream: int) -> bytes:
    return headers(stream, SESSION) + reset(stream)


def pings(_: int) -> bytes:
    return frame(PING, 0, 0, bytes(8))


def settings(_: int) -> bytes:
    return frame(SETTINGS, 0, 0, b"\x00\x04\x00\x01\x00\x00")


def continuations(number: int) -> bytes:
    if number == 1:
        return frame(HEADERS, 0, 1, block(SESSION))
    return frame(CONTINUATION, 0, 1, b"\x00\x03x-a\x7f\x81\x07" + b"a" * 1024)


@pytest.mark.case("A05")
@pytest.mark.parametrize("flood", [resets, pings, settings, continuations])
async def test_floods_of_frames(target: Target, flood: object) -> None:
    """10,000 of them as fast as the server reads; what it answers is not read."""
    assert callable(flood)
    before = target.memory()
    async with Wire.open(target.server.grpc) as wire:
        for number in range(10_000):
            wire.send(flood(2 * number + 1))
            if number % 500 == 0:
                if not await wire.flushed():
                    break  # it hung up: as good an end as any
                assert await target.is_good()
    assert await target.is_good()
    assert target.memory() - before < 100 * MIB


@pytest.mark.case("A06")
async def test_a_client_that_never_reads(target: Target) -> None:
    """A hundred calls whose answers have no window to be sent in."""
    before = target.memory()
    async with Wire.open(target.server.grpc, settings=((4, 0),)) as wire:
        for number in range(100):
            stream = 2 * number + 1
            wire.send(headers(stream, SESSION, target.bearer))
            wire.send(data(stream, message(b""), end=True))
        assert await target.is_good()
        async with asyncio.timeout(60):
            while (found := await wire.next()) is not None and found.kind != HEADERS:
                pass
        assert not any(each.kind == DATA and each.payload for each in wire.frames)
    assert target.memory() - before < 64 * MIB
    assert await target.is_good()
