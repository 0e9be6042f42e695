"""CreateUpload, AbortUpload, ListUploads."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from workspace.common.v1.permission_pb2 import Permission
from workspace.storage.v1 import storage_service_pb2 as pb
from workspace.storage.v1.transfer_pb2 import TransferConstraint
from workspace.storage.v1.upload_pb2 import UploadStatus

from tests.chosen_records import chosen, in_cloud, needs_data_plane
from tests.integration.storage.people import (
    ANN,
    BOB,
    Desk,
    get,
    put,
    refused,
    request_id,
    sha256,
)

MIB = 1024 * 1024
DATA = b"%PDF-1.7 the plan\n" * 1000


async def test_a_file_comes_back_byte_for_byte(desk: Desk) -> None:
    document_id = await desk.document()
    made = await desk.announce(document_id, DATA)
    assert made.consistency_token
    assert made.upload.status == UploadStatus.UPLOAD_STATUS_PENDING
    assert (await put(made.transfer, DATA)).is_success
    done = await desk.complete(made.upload.upload_id)
    assert (done.file.size_bytes, done.file.sha256) == (len(DATA), sha256(DATA))
    assert done.storage_key.endswith(f"/documents/{document_id}/raw/plan.pdf")
    document = await desk.read(document_id)
    assert document.file.sha256 == sha256(DATA)
    assert document.storage_key == done.storage_key
    answer = await desk.storage().CreateDownload(pb.CreateDownloadRequest(document_id=document_id))
    assert (await get(answer.transfer)).content == DATA


async def test_an_empty_file_is_a_file(desk: Desk) -> None:
    document_id = await desk.document("empty.txt")
    await desk.uploaded(document_id, b"", filename="empty.txt", content_type="")
    answer = await desk.storage().CreateDownload(pb.CreateDownloadRequest(document_id=document_id))
    assert (await get(answer.transfer)).content == b""
    assert answer.content_type == "application/octet-stream"


async def test_a_transfer_says_what_holds_and_who_upholds_it(desk: Desk) -> None:
    made = await desk.announce(await desk.document(), DATA)
    kinds = TransferConstraint.Kind
    upheld = TransferConstraint.Enforcement
    assert made.transfer.method == "PUT"
    assert made.transfer.headers["Content-Length"] == str(len(DATA))
    bound = {(c.kind, c.value): c.enforcement for c in made.transfer.constraints}
    expected = {
        (kinds.KIND_SIZE, str(len(DATA))): upheld.ENFORCEMENT_ENFORCED,
        (kinds.KIND_CONTENT_TYPE, "application/pdf"): upheld.ENFORCEMENT_ENFORCED,
        (kinds.KIND_SHA256, sha256(DATA)): upheld.ENFORCEMENT_ENFORCED,
        (kinds.KIND_CREATE_ONLY, ""): upheld.ENFORCEMENT_ENFORCED,
    }
    if chosen() == "cosmos":  # Blob Storage binds no more than the name (ADR 0024)
        expected |= {
            (kinds.KIND_SIZE, str(len(DATA))): upheld.ENFORCEMENT_VERIFIED,
            (kinds.KIND_CONTENT_TYPE, "application/pdf"): upheld.ENFORCEMENT_ADVISORY,
            (kinds.KIND_SHA256, sha256(DATA)): upheld.ENFORCEMENT_VERIFIED,
        }
    assert bound == expected


@pytest.mark.case("U12")
async def test_the_life_of_an_upload_url_is_clamped_to_an_hour(desk: Desk) -> None:
    week = Duration(seconds=604_800)
    made = await desk.announce(await desk.document(), DATA, expires_in=week)
    left = made.transfer.expires_at.seconds - time.time()
    assert 3_500 < left <= 3_600
    short = await desk.announce(await desk.document("b.pdf"), DATA, expires_in=Duration(seconds=60))
    assert short.transfer.expires_at.seconds - time.time() <= 60


@needs_data_plane
async def test_the_data_plane_refuses_other_bytes_than_announced(desk: Desk) -> None:
    made = await desk.announce(await desk.document(), DATA)
    transfer = made.transfer
    longer, shorter = DATA + b"x", DATA[:-1]
    changed = b"X" + DATA[1:]
    assert (await put(transfer, longer, **{"Content-Length": str(len(longer))})).status_code == 413
    assert (
        await put(transfer, shorter, **{"Content-Length": str(len(shorter))})
    ).status_code == 400
    assert (await put(transfer, DATA, **{"Content-Type": "text/html"})).status_code == 403
    assert (await put(transfer, changed)).status_code == 400
    assert desk.files() == []
    assert (await put(transfer, DATA)).is_success
    assert (await put(transfer, DATA)).status_code in (409, 412)


async def test_over_100_mib_the_remedy_is_multipart(desk: Desk) -> None:
    document_id = await desk.document()
    refusal = await refused(desk.announce(document_id, DATA, size_bytes=100 * MIB + 1))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert refusal.metadata["field"] == "size_bytes"
    assert "CreateMultipartUpload" in refusal.message
    assert (await desk.announce(document_id, DATA, size_bytes=100 * MIB)).upload.upload_id


async def test_a_file_name_with_folders_is_refused(desk: Desk) -> None:
    document_id = await desk.document()
    for name in ("../plan.pdf", "a/b.pdf", "a\\b.pdf", "a\u202eb.pdf", "a\nb.pdf"):
        refusal = await refused(desk.announce(document_id, DATA, filename=name))
        assert (refusal.reason, refusal.metadata["field"]) == ("INVALID_FIELD", "filename")


async def test_a_repeat_answers_the_same_upload_with_a_fresh_transfer(desk: Desk) -> None:
    document_id, once = await desk.document(), request_id()
    first = await desk.announce(document_id, DATA, request_id=once)
    async with asyncio.timeout(60):
        while True:
            second = await desk.announce(document_id, DATA, request_id=once)
            assert second.upload == first.upload
            # What a cloud signs within the same second is the same.
            if second.transfer.url != first.transfer.url or not in_cloud():
                break
    assert second.transfer.url != first.transfer.url
    other = await refused(desk.announce(document_id, DATA, request_id=once, filename="x.pdf"))
    assert other.reason == "REQUEST_ID_REUSED"


async def test_a_repeat_of_a_finished_upload_is_told_so(desk: Desk) -> None:
    document_id, once = await desk.document(), request_id()
    made = await desk.announce(document_id, DATA, request_id=once)
    await put(made.transfer, DATA)
    await desk.complete(made.upload.upload_id)
    refusal = await refused(desk.announce(document_id, DATA, request_id=once))
    assert (refusal.code, refusal.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "UPLOAD_FINISHED",
    )
    assert refusal.metadata == {"upload_id": made.upload.upload_id, "state": "completed"}


async def test_a_second_file_needs_a_revision(desk: Desk) -> None:
    document_id = await desk.document()
    await desk.uploaded(document_id, DATA)
    assert (await refused(desk.announce(document_id, b"two"))).reason == "INVALID_STATE"


@pytest.mark.case("U32")
async def test_strangers_hear_the_same_as_about_a_random_id(desk: Desk) -> None:
    document_id = await desk.document()
    made = await desk.announce(document_id, DATA)
    upload_id, storage = made.upload.upload_id, desk.storage(BOB)
    calls: dict[str, Any] = {
        "sign": lambda i: storage.SignUploadParts(
            pb.SignUploadPartsRequest(upload_id=i, part_numbers=[1])
        ),
        "parts": lambda i: storage.ListUploadParts(pb.ListUploadPartsRequest(upload_id=i)),
        "complete": lambda i: storage.CompleteUpload(pb.CompleteUploadRequest(upload_id=i)),
        "abort": lambda i: storage.AbortUpload(pb.AbortUploadRequest(upload_id=i)),
    }
    for name, call in calls.items():
        known, random = await refused(call(upload_id)), await refused(call("x_random"))
        assert known.code is random.code is grpc.StatusCode.PERMISSION_DENIED, name
        assert known.message == random.message.replace("x_random", upload_id), name
        assert known.metadata.keys() == random.metadata.keys(), name
    known = await refused(desk.announce(document_id, DATA, who=BOB))
    random = await refused(desk.announce("d_random", DATA, who=BOB))
    assert known.message == random.message.replace("d_random", document_id)
    assert known.code is random.code is grpc.StatusCode.PERMISSION_DENIED


async def test_view_is_not_enough_to_upload(desk: Desk) -> None:
    document_id = await desk.document()
    await desk.grant(BOB, Permission.PERMISSION_VIEW)
    refusal = await refused(desk.announce(document_id, DATA, who=BOB))
    assert refusal.metadata["permission"] == "write"


@pytest.mark.case("U22")
async def test_only_the_announcer_may_complete(desk: Desk) -> None:
    await desk.grant(BOB, Permission.PERMISSION_WRITE)
    upload = await desk.sent(await desk.document(), DATA)
    refusal = await refused(desk.complete(upload.upload_id, who=BOB))
    assert refusal.code is grpc.StatusCode.PERMISSION_DENIED
    assert (await desk.complete(upload.upload_id)).file.sha256 == sha256(DATA)


async def test_an_aborted_upload_stays_aborted(desk: Desk) -> None:
    upload = await desk.sent(await desk.document(), DATA)
    storage, wanted = desk.storage(), pb.AbortUploadRequest(upload_id=upload.upload_id)
    stale = await refused(
        storage.AbortUpload(pb.AbortUploadRequest(upload_id=upload.upload_id, etag='"old"'))
    )
    assert (stale.code, stale.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    first = await storage.AbortUpload(wanted)
    assert first.upload.status == UploadStatus.UPLOAD_STATUS_ABORTED
    assert (await storage.AbortUpload(wanted)).upload == first.upload
    refusal = await refused(desk.complete(upload.upload_id))
    assert (refusal.reason, refusal.metadata["state"]) == ("UPLOAD_FINISHED", "aborted")


async def test_a_completed_upload_cannot_be_aborted(desk: Desk) -> None:
    upload = await desk.sent(await desk.document(), DATA)
    await desk.complete(upload.upload_id)
    refusal = await refused(
        desk.storage().AbortUpload(pb.AbortUploadRequest(upload_id=upload.upload_id))
    )
    assert (refusal.reason, refusal.metadata["state"]) == ("UPLOAD_FINISHED", "completed")


async def test_a_key_with_other_bytes_is_not_used_again(desk: Desk) -> None:
    document_id = await desk.document()
    abandoned = await desk.sent(document_id, b"first try")
    done = await desk.uploaded(document_id, b"second try")
    assert done.storage_key != abandoned.storage_key
    assert done.storage_key.endswith(".pdf")
    same = await desk.document("same.pdf")
    one = await desk.sent(same, b"same bytes")
    two = await desk.announce(same, b"same bytes")
    sent = await put(two.transfer, b"same bytes")
    if chosen() == "cosmos":  # unknown before somebody reads it
        assert two.upload.storage_key != one.storage_key
        assert sent.is_success
    else:
        assert two.upload.storage_key == one.storage_key
        assert sent.status_code in (409, 412)
    done = await desk.complete(two.upload.upload_id)
    assert done.storage_key == two.upload.storage_key


async def test_uploads_are_listed_newest_first_in_pages(desk: Desk) -> None:
    made = [
        (await desk.announce(await desk.document(f"{n}.pdf"), DATA)).upload.upload_id
        for n in range(5)
    ]
    await desk.storage().AbortUpload(pb.AbortUploadRequest(upload_id=made[2]))
    request = pb.ListUploadsRequest(project_id=desk.project_id, page_size=2)
    seen = []
    while True:
        page = await desk.storage().ListUploads(request)
        seen += [upload.upload_id for upload in page.uploads]
        assert not any(upload.provider_upload_id for upload in page.uploads)
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == made[::-1]
    aborted = pb.ListUploadsRequest(
        project_id=desk.project_id, status=UploadStatus.UPLOAD_STATUS_ABORTED
    )
    page = await desk.storage().ListUploads(aborted)
    assert [upload.upload_id for upload in page.uploads] == [made[2]]
    foreign = pb.ListUploadsRequest(project_id=desk.project_id, page_token=request.page_token)
    await desk.grant(BOB, Permission.PERMISSION_WRITE)
    refusal = await refused(desk.storage(BOB).ListUploads(foreign))
    assert refusal.reason == "INVALID_PAGE_TOKEN"


async def test_a_sparse_filter_gives_every_match_once(desk: Desk) -> None:
    made = [
        (await desk.announce(await desk.document(f"{n}.pdf"), DATA)).upload.upload_id
        for n in range(6)
    ]
    for upload_id in (made[0], made[5]):
        await desk.storage().AbortUpload(pb.AbortUploadRequest(upload_id=upload_id))
    request = pb.ListUploadsRequest(
        project_id=desk.project_id, status=UploadStatus.UPLOAD_STATUS_ABORTED, page_size=1
    )
    seen = []
    for _ in range(10):
        page = await desk.storage().ListUploads(request)
        seen += [upload.upload_id for upload in page.uploads]
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    assert seen == [made[5], made[0]]


async def test_an_expired_upload_is_finished(desk: Desk) -> None:
    document_id = await desk.document()
    upload = await desk.sent(document_id, DATA)
    await desk.age(upload.upload_id, 1)
    for call in (
        desk.complete(upload.upload_id),
        desk.storage(ANN).AbortUpload(pb.AbortUploadRequest(upload_id=upload.upload_id)),
    ):
        refusal = await refused(call)
        assert (refusal.reason, refusal.metadata["state"]) == ("UPLOAD_FINISHED", "expired")
    assert not (await desk.read(document_id)).HasField("file")
