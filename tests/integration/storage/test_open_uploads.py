"""Uploads that are announced and abandoned: as many as there may be, and then none."""

from __future__ import annotations

from collections import Counter

import grpc
import pytest
from workspace.storage.v1 import storage_service_pb2 as pb

from services.model.errors import WorkspaceError
from services.records.port import ABSENT, Key, Put
from storage_svc.open_uploads import OpenUploads
from storage_svc.usage import usage_pk
from tests.integration.storage.people import BOB, Desk, refused
from tests.unit.sync_svc.engine.world import CountingDriver

DATA = b"0123456789" * 10
MOST = 8
PK = usage_pk("w_other")
pytestmark = pytest.mark.case("A16")


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenUploads, "most", MOST)


async def test_after_the_last_is_told_what_helps_and_that_helps(desk: Desk) -> None:
    document_id = await desk.document()
    made = [(await desk.announce(document_id, DATA)).upload for _ in range(MOST - 1)]
    await desk.announce_parts(document_id, DATA)
    for each in (desk.announce(document_id, DATA), desk.announce_parts(document_id, DATA)):
        refusal = await refused(each)
        assert refusal.code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refusal.reason == "LIMIT_EXCEEDED"
        assert refusal.metadata == {"limit": "uploads_under_way", "maximum": str(MOST)}
    await desk.storage().AbortUpload(pb.AbortUploadRequest(upload_id=made[0].upload_id))
    await desk.announce(document_id, DATA)


async def test_other_homes_and_uploads_that_ended_do_not_count(desk: Desk) -> None:
    full = await desk.document()
    for _ in range(MOST):
        await desk.announce(full, DATA)
    assert (await refused(desk.announce(full, DATA))).reason == "LIMIT_EXCEEDED"
    desk.project_id = await desk.new_project(BOB)
    for number in range(MOST + 2):
        document_id = await desk.document(f"{number}.pdf", BOB)
        made = await desk.announce(document_id, DATA, who=BOB)
        await desk.storage(BOB).AbortUpload(
            pb.AbortUploadRequest(upload_id=made.upload.upload_id)
        )


async def _tries(desk: Desk, uploads: OpenUploads, times: int) -> Counter[bool]:
    """Announcements that are abandoned; whether each was let in."""
    found: Counter[bool] = Counter()
    for _ in range(times):
        try:
            await uploads.require(PK)
        except WorkspaceError:
            found[False] += 1
            continue
        key = Key(PK, f"RESERVED#x{found[True]}-{id(uploads)}")
        await desk.ws.records.put_row(Put(key, ABSENT, "usage_charge", "{}"))
        found[True] += 1
    return found


async def test_two_processes_do_not_go_far_beyond(desk: Desk) -> None:
    one, other = OpenUploads(desk.ws.records), OpenUploads(desk.ws.records)
    await one.require(PK)
    await other.require(PK)
    let_in = (await _tries(desk, one, 50))[True] + (await _tries(desk, other, 50))[True]
    assert MOST <= let_in <= 2 * MOST


async def test_they_are_not_counted_each_time(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenUploads, "most", 1000)
    driver = CountingDriver(desk.ws.records.driver)
    uploads = OpenUploads(desk.ws.records.through(driver))
    for _ in range(490):
        await uploads.require(PK)
    assert driver.calls == ["query"]
