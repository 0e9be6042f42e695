"""A transfer that has begun ends when its URL is revoked: nothing more is sent, nothing is kept."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from workspace.common.v1.permission_pb2 import Permission
from workspace.storage.v1.storage_service_pb2 import CreateDownloadRequest

from services.http import while_allowed as module
from services.http.while_allowed import LOOK_SECONDS, UNANSWERED_SECONDS
from services.objects.keyring import Purpose
from services.objects.port import SignRequest
from storage_svc.revocation import CACHE_SECONDS
from tests.chosen_records import needs_data_plane
from tests.conformance.objects.rigs import DataPlaneRig, filesystem_rig
from tests.harness import Workspace
from tests.integration.storage.people import ANN, BOB, Desk

KEY = "workspaces/w_1/projects/p_1/documents/d_1/raw/film.mp4"
SIZE = 40_000_000
"""More than the buffers of both ends hold."""
TYPE = "video/mp4"


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DataPlaneRig]:
    """It looks twenty times as often, so that tests need not wait."""
    monkeypatch.setattr(module, "LOOK_SECONDS", LOOK_SECONDS / 20)
    async with filesystem_rig(tmp_path) as opened:
        yield opened


async def zeros(size: int) -> AsyncIterator[bytes]:
    for at in range(0, size, 1_000_000):
        yield bytes(min(1_000_000, size - at))


async def a_film(rig: DataPlaneRig) -> str:
    """Its download URL, for u_1."""
    await rig.store.write(KEY, zeros(SIZE), size=SIZE, sha256=None, content_type=TYPE)
    return rig.store.sign(SignRequest("GET", KEY, 600, principal="u_1")).url


def an_upload(rig: DataPlaneRig, **options: Any) -> str:
    request = SignRequest(
        "PUT", KEY, 600, size=SIZE, content_type=TYPE, principal="u_1", **options
    )
    return rig.store.sign(request).url


async def revoked(rig: DataPlaneRig) -> None:
    rig.revocations.principals.add("u_1")


async def rotated(rig: DataPlaneRig) -> None:
    for purpose in Purpose:
        rig.keyring.rotate(purpose, keep_previous=False)


async def unanswered(rig: DataPlaneRig) -> None:
    rig.revocations.broken = True


ENDS = pytest.mark.parametrize("end", [revoked, rotated, unanswered])
End = Callable[[DataPlaneRig], Awaitable[None]]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNANSWERED_SECONDS", 0.3)


def test_the_times_make_up_five_seconds() -> None:
    assert LOOK_SECONDS + CACHE_SECONDS + UNANSWERED_SECONDS <= 5


@pytest.mark.case("R11")
@ENDS
@pytest.mark.usefixtures("impatient")
async def test_a_download_is_cut(rig: DataPlaneRig, end: End) -> None:
    async def meanwhile() -> None:
        await end(rig)
        # It waits for a client that reads nothing, and is told nevertheless.
        await until(lambda: not _under_way(rig))

    received, whole = await _received(rig, await a_film(rig), meanwhile)
    assert 0 < received < SIZE
    assert not whole


@pytest.mark.case("R11")
async def test_a_download_that_is_allowed_is_whole(rig: DataPlaneRig) -> None:
    """The control: looks that say yes disturb nothing."""
    async def meanwhile() -> None:
        looks = len(rig.revocations.asked)
        await until(lambda: len(rig.revocations.asked) > looks + 2)

    assert await _received(rig, await a_film(rig), meanwhile) == (SIZE, True)


@pytest.mark.case("R12")
@ENDS
@pytest.mark.usefixtures("impatient")
async def test_an_upload_is_cut_and_leaves_nothing(rig: DataPlaneRig, end: End) -> None:
    assert await _sent(rig, an_upload(rig), end) in (403, 0)
    assert (await rig.store.list("")).objects == ()
    assert [path for path in rig.root.rglob("*") if path.is_file()] == []


@pytest.mark.case("R12")
async def test_a_part_is_cut_and_leaves_nothing(rig: DataPlaneRig) -> None:
    upload = await rig.store.multipart_create(KEY, TYPE)
    url = an_upload(rig, upload_part=(upload, 1))
    assert await _sent(rig, url, revoked) in (403, 0)
    assert await rig.store.multipart_parts(KEY, upload) == ()
    assert not list(rig.root.rglob(".tmp-*"))


async def _received(
    rig: DataPlaneRig, url: str, meanwhile: Callable[[], Awaitable[None]]
) -> tuple[int, bool]:
    """How many bytes came, and whether that is all. `meanwhile` is after the first ones."""
    received = 0
    try:
        async with asyncio.timeout(30), rig.client.stream("GET", url) as response:
            assert response.status_code == 200
            async for chunk in response.aiter_raw():
                if not received:
                    await meanwhile()
                received += len(chunk)
    except httpx.RemoteProtocolError:
        return received, False
    return received, True


async def _sent(rig: DataPlaneRig, url: str, end: End) -> int:
    """Sends half of the body, and the rest when the server gave up. Its status; 0: it hung up."""

    async def body() -> AsyncIterator[bytes]:
        yield bytes(SIZE // 2)
        await until(lambda: bool(list(rig.root.rglob(".tmp-*"))))
        await end(rig)
        await until(lambda: not list(rig.root.rglob(".tmp-*")))
        yield bytes(SIZE // 2)

    headers = {"Content-Type": TYPE, "Content-Length": str(SIZE)}
    try:
        async with asyncio.timeout(30):
            return (await rig.client.put(url, content=body(), headers=headers)).status_code
    except httpx.TransportError:
        return 0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - of a server, which offers no event
            await asyncio.sleep(0.02)


def _under_way(rig: DataPlaneRig) -> bool:
    """Whether the server has the file open."""
    target = str(rig.root / KEY)
    return any(_link(fd) == target for fd in Path("/proc/self/fd").iterdir())


def _link(fd: Path) -> str:
    try:
        return str(fd.readlink())
    except OSError:
        return ""


@needs_data_plane
@pytest.mark.case("R11", "U23")
async def test_the_server_cuts_whoever_lost_his_grant(tmp_path: Path) -> None:
    """With the times as they are, and a client that reads nothing for ever: the connection
    ends all the same."""
    async with Workspace.open(tmp_path) as ws:
        desk = Desk(ws)
        for email in (ANN, BOB):
            await ws.sign_in(email)
        desk.project_id = await desk.new_project()
        await _cut_by_the_server(desk)


async def _cut_by_the_server(desk: Desk) -> None:
    data = bytes(SIZE)
    document_id = await desk.document("film.mp4")
    await desk.uploaded(document_id, data, filename="film.mp4", content_type=TYPE)
    grant_id = await desk.grant(BOB, Permission.PERMISSION_VIEW)
    answer = await desk.storage(BOB).CreateDownload(CreateDownloadRequest(document_id=document_id))
    url = httpx.URL(answer.transfer.url)
    server: Any = desk.ws.process._http
    connections = server._server.server_state.connections
    reader, writer = await asyncio.open_connection(url.host, url.port, limit=1024)
    writer.write(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % url.raw_path)
    assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"
    await until(lambda: len(connections) == 1)  # that of the upload is about to go
    await desk.revoke(grant_id)
    await until(lambda: not connections)
    received = 0
    while chunk := await reader.read(1 << 20):
        received += len(chunk)
    writer.close()
    assert received < SIZE
    assert hashlib.sha256(data).hexdigest() == answer.sha256
