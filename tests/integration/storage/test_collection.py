"""What is never completed is collected; what somebody has is not."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import grpc
import pytest
from workspace.storage.v1 import storage_service_pb2 as pb
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub
from workspace.storage.v1.upload_pb2 import UploadStatus

from services.objects.port import StoreUnavailable
from services.records.record import Activity, Write
from storage_svc.collection import GRACE_SECONDS, Collected
from storage_svc.stored import pending_upload_of
from storage_svc.upload_rows import UPLOADS, upload_key
from tests.chosen_records import chosen
from tests.integration.storage.people import Desk, get, put, refused, request_id, sha256

DATA = b"draft\n" * 100
LATE = 24 * 3600 + GRACE_SECONDS + 1


@pytest.mark.case("U20")
@pytest.mark.case("A16")
async def test_an_abandoned_upload_is_collected_after_its_grace(desk: Desk) -> None:
    upload = await desk.sent(await desk.document(), DATA)
    now = desk.ws.process.kernel.now()
    assert (await desk.collector().collect(now + LATE - 120)).uploads == 0
    assert desk.files() == [upload.storage_key]
    done = await desk.collector().collect(now + LATE)
    assert (done.uploads, done.objects, done.failed) == (1, 1, 0)
    assert desk.files() == []
    row = await desk.row(upload.upload_id)
    assert row.status == UploadStatus.UPLOAD_STATUS_EXPIRED
    assert row.HasField("collected_at")
    assert (await desk.collector().collect(now + LATE)).uploads == 0
    refusal = await refused(desk.complete(upload.upload_id))
    assert (refusal.reason, refusal.metadata["state"]) == ("UPLOAD_FINISHED", "expired")


async def test_bytes_that_come_after_an_abort_are_collected_too(desk: Desk) -> None:
    made = await desk.announce(await desk.document(), DATA)
    await desk.storage().AbortUpload(pb.AbortUploadRequest(upload_id=made.upload.upload_id))
    assert (await put(made.transfer, DATA)).is_success
    done = await desk.collector().collect(desk.ws.process.kernel.now() + LATE)
    assert (done.uploads, done.objects) == (1, 1)
    assert desk.files() == []
    assert (await desk.row(made.upload.upload_id)).status == UploadStatus.UPLOAD_STATUS_ABORTED


@pytest.mark.case("U20")
@pytest.mark.case("A16")
async def test_parts_are_collected(desk: Desk) -> None:
    data = os.urandom(100)
    made = await desk.announce_parts(await desk.document(), data)
    signed = await desk.storage().SignUploadParts(
        pb.SignUploadPartsRequest(upload_id=made.upload.upload_id, part_numbers=[1])
    )
    assert (await put(signed.parts[0].transfer, data)).is_success
    done = await desk.collector().collect(desk.ws.process.kernel.now() + LATE)
    assert (done.uploads, done.objects, done.failed) == (1, 0, 0)
    row = await desk.row(made.upload.upload_id)
    parts = desk.ws.process.kernel.objects.multipart_parts(row.storage_key, row.provider_upload_id)
    with pytest.raises(Exception, match="no such object"):
        await parts


async def test_a_completed_file_is_never_collected(desk: Desk) -> None:
    document_id = await desk.document()
    first = await desk.sent(document_id, DATA)
    second = await desk.announce(document_id, DATA)
    own = chosen() == "cosmos"  # a URL of Blob Storage leaves bytes that nobody knows unread
    assert (second.upload.storage_key != first.storage_key) is own
    if own:
        assert (await put(second.transfer, DATA)).is_success
    await desk.complete(second.upload.upload_id)
    done = await desk.collector().collect(desk.ws.process.kernel.now() + LATE)
    assert (done.uploads, done.objects) == (1, int(own))
    request = pb.CreateDownloadRequest(document_id=document_id)
    assert (await get((await desk.storage().CreateDownload(request)).transfer)).content == DATA


async def test_one_failure_leaves_the_others_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = await desk.sent(await desk.document("bad.pdf"), DATA, filename="bad.pdf")
    await desk.sent(await desk.document("good.pdf"), DATA, filename="good.pdf")
    driver = desk.ws.process.object_driver
    delete = driver.delete

    async def failing(key: str) -> None:
        if key == bad.storage_key:
            raise StoreUnavailable
        await delete(key)

    now = desk.ws.process.kernel.now() + LATE
    with monkeypatch.context() as patched:
        patched.setattr(driver, "delete", failing)
        done = await desk.collector().collect(now)
    assert (done.uploads, done.failed) == (1, 1)
    assert desk.files() == [bad.storage_key]
    assert (await desk.collector().collect(now)).uploads == 1
    assert desk.files() == []


async def test_completion_and_collection_never_both_win(desk: Desk) -> None:
    for attempt in range(5):
        document_id = await desk.document(f"{attempt}.pdf")
        upload = await desk.sent(document_id, DATA + bytes([attempt]))
        late = desk.ws.process.kernel.now() + LATE
        await asyncio.gather(
            desk.complete(upload.upload_id),
            desk.collector().collect(late),
            return_exceptions=True,
        )
        await desk.collector().collect(late)
        document = await desk.read(document_id)
        assert document.HasField("file") == (upload.storage_key in desk.files())


async def test_the_loop_goes_on_after_a_failure(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await desk.sent(await desk.document(), DATA)
    await desk.age(upload.upload_id, LATE)
    collector = desk.collector(period=0.01)
    collect, runs = collector.collect, []

    async def first_fails(now: float) -> Collected:
        runs.append(now)
        if len(runs) == 1:
            raise StoreUnavailable
        return await collect(now)

    monkeypatch.setattr(collector, "collect", first_fails)
    loop = asyncio.create_task(collector.run())
    while desk.files():  # noqa: ASYNC110 - the loop tells nobody
        await asyncio.sleep(0.01)
    loop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loop


def _deleting(desk: Desk) -> Any:
    return desk.ws.service_stub(StorageServiceStub, service="project_svc")


async def test_only_project_svc_deletes_objects(desk: Desk) -> None:
    done = await desk.uploaded(await desk.document(), DATA)
    request = pb.DeleteObjectRequest(storage_key=done.storage_key)
    refusal = await refused(desk.storage().DeleteObject(request))
    assert refusal.code is grpc.StatusCode.PERMISSION_DENIED
    other: Any = desk.ws.service_stub(StorageServiceStub, service="identity_svc")
    assert (await refused(other.DeleteObject(request))).code is grpc.StatusCode.PERMISSION_DENIED
    assert desk.files() == [done.storage_key]


async def test_deleting_an_object_is_exact_and_repeatable(desk: Desk) -> None:
    done = await desk.uploaded(await desk.document(), DATA)
    delete = _deleting(desk).DeleteObject
    wrong = pb.DeleteObjectRequest(storage_key=done.storage_key, sha256=sha256(b"other"))
    assert (await refused(delete(wrong))).reason == "CHECKSUM_MISMATCH"
    once = pb.DeleteObjectRequest(
        storage_key=done.storage_key, sha256=sha256(DATA), request_id=request_id()
    )
    assert (await delete(once)).deleted is True
    assert (await delete(once)).deleted is True
    again = pb.DeleteObjectRequest(storage_key=done.storage_key)
    assert (await delete(again)).deleted is False
    for key in ("../etc/passwd", "accounts/a/other", "accounts/a/projects/p/documents/d/raw/../x"):
        refusal = await refused(delete(pb.DeleteObjectRequest(storage_key=key)))
        assert refusal.reason == "INVALID_FIELD"


async def test_a_key_that_a_pending_upload_names_is_kept(desk: Desk) -> None:
    upload = await desk.sent(await desk.document(), DATA)
    delete = _deleting(desk).DeleteObject
    refusal = await refused(delete(pb.DeleteObjectRequest(storage_key=upload.storage_key)))
    assert (refusal.reason, refusal.metadata["state"]) == ("INVALID_STATE", "pending")
    assert desk.files() == [upload.storage_key]


async def test_removing_a_file_reads_no_more_than_recent_uploads(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a purge of n files would read n * n uploads."""
    records, now = desk.ws.records, desk.ws.process.kernel.now()
    for number in range(3):
        done = await desk.uploaded(await desk.document(f"{number}.pdf"), DATA)
        row = await records.get(UPLOADS, upload_key(done.upload.upload_id))
        old = row.edit()
        old.created_at.seconds -= 9 * 24 * 3600
        await records.commit(
            row.key.pk, [Write(UPLOADS, old, base=row)], activity=Activity("test.aged", "uploads")
        )
    pending = await desk.sent(await desk.document("now.pdf"), DATA)
    real, read = records.query, 0

    async def query(*args: Any, **more: Any) -> Any:
        nonlocal read
        page = await real(*args, **more)
        read += len(page.records)
        return page

    monkeypatch.setattr(records, "query", query)
    named = await pending_upload_of(records, desk.project_id, pending.storage_key, now=now)
    assert named is not None
    assert (named.upload_id, read) == (pending.upload_id, 1)
    key = done.storage_key
    assert await pending_upload_of(records, desk.project_id, key, now=now) is None
