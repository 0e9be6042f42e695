"""URLs that were signed for somebody who lost the right end within five seconds, by the
clock of the answers that our data plane keeps; and so do all of a drill."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.project.v1 import project_service_pb2 as ps
from workspace.storage.v1 import storage_service_pb2 as ss

from project_svc.access.facts import project_key
from storage_svc.module import build_gate
from storage_svc.revocation import Revocation
from tests.chosen_records import needs_data_plane
from tests.harness import Workspace
from tests.integration.project.test_purge import age
from tests.integration.storage.people import ANN, EVE, Desk, get, put, refused
from tests.security.url_losses import DATA, LOSSES, ProjectTrashed

pytestmark = [pytest.mark.asyncio(loop_scope="module"), needs_data_plane]

MOST = 5.0
"""Seconds that a URL may outlive what it was signed for."""


class Clock:
    """Monotonic seconds that tests move on."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    """A server; eve is of its platform."""
    async with Workspace.open(tmp_path_factory.mktemp("losses")) as ws:
        for email in (ANN, EVE):
            await ws.sign_in(email)
        stub: Any = ws.stub(IdentityServiceStub, as_=EVE)
        secret = (ws.process.kernel.keys_dir / "local.secret").read_text().strip()
        await stub.BootstrapPlatformAdmin(
            ids.BootstrapPlatformAdminRequest(bootstrap_secret=secret)
        )
        yield Desk(ws)


@pytest.fixture
def clock(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """That of the cached answers of the running server."""
    (judge,) = (
        each.url_revocation.__self__ for each in desk.ws.process.modules if each.url_revocation
    )
    assert isinstance(judge, Revocation)
    made = Clock()
    monkeypatch.setattr(judge, "_clock", made)
    return made


@pytest.mark.case("U23", "U24")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.case(f"R{number:02}"))
        for number, name in enumerate(LOSSES, 1)
    ],
)
async def test_urls_end_with_the_right(desk: Desk, clock: Clock, name: str) -> None:
    lost = LOSSES[name](desk)
    download, upload = await lost.give()
    others = await lost.download(ANN)
    assert (await get(download)).content == DATA  # and the answer is kept
    await lost.take()
    clock.ahead += MOST
    wanted = 200 if lost.keeps_reading else 403
    assert ((await get(download)).status_code, (await put(upload, DATA)).status_code) == (
        wanted, 403,
    )  # fmt: skip
    gone_for_all = name in ("AccountSuspended", "DocumentTrashed", "ProjectTrashed")
    assert (await get(others)).status_code == (403 if gone_for_all else 200)
    assert [key for key in desk.files() if lost.documents[1] in key] == []


@pytest.mark.case("U23")
async def test_an_answer_is_kept_for_less_than_five_seconds(desk: Desk, clock: Clock) -> None:
    """Without a moved clock: no request that begins later than that is allowed."""
    lost = LOSSES["GrantRevoked"](desk)
    download, _ = await lost.give()
    assert (await get(download)).status_code == 200
    await lost.take()
    since = last_yes = time.monotonic()
    while True:
        began = time.monotonic()
        if (await get(download)).status_code == 403:
            break
        last_yes = began
        assert began - since < 4 * MOST
    assert last_yes - since <= MOST


@pytest.mark.case("U24", "R09")
async def test_the_trash_of_a_project_holds_its_documents(desk: Desk) -> None:
    """No new URLs either, alone or in a batch; restoring brings them back."""
    lost = ProjectTrashed(desk)
    lost.bob = "ben@example.com"
    await lost.give()
    await lost.take()
    document_id, empty = lost.documents
    storage = desk.storage()
    for call in (
        storage.CreateDownload(ss.CreateDownloadRequest(document_id=document_id)),
        storage.GetObjectInfo(ss.GetObjectInfoRequest(document_id=document_id)),
    ):
        said = await refused(call)
        assert (said.code, said.reason) == (
            grpc.StatusCode.FAILED_PRECONDITION, "FILE_NOT_AVAILABLE",
        )  # fmt: skip
    (one,) = (
        await storage.BatchCreateDownloads(
            ss.BatchCreateDownloadsRequest(document_ids=[document_id])
        )
    ).results
    assert one.error.code == grpc.StatusCode.FAILED_PRECONDITION.value[0]
    assert (await refused(desk.announce(empty, DATA))).reason == "INVALID_STATE"
    await lost.give_back()
    assert (await get(await lost.download(ANN))).content == DATA
    assert (await put((await desk.announce(empty, DATA)).transfer, DATA)).is_success


@pytest.mark.case("R10")
async def test_purging_a_project_brings_no_url_back(desk: Desk) -> None:
    lost = ProjectTrashed(desk)
    lost.bob = "bea@example.com"
    download, upload = await lost.give()
    await lost.take()
    await age(desk, "project", project_key(lost.project_id))
    await lost.projects.PurgeProject(ps.PurgeProjectRequest(project_id=lost.project_id))
    gate = build_gate(desk.ws.process.channel)
    for document_id in lost.documents:
        held, _ = await gate.permissions_of(lost.bob_id, lost.project_id, document_id)
        assert not held
    assert (await get(download)).status_code == (await put(upload, DATA)).status_code == 403
