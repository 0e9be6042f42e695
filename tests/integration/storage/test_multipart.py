"""Uploads in parts: plan, resume, restart, and joining."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import grpc
import pytest
from workspace.storage.v1 import storage_service_pb2 as pb
from workspace.storage.v1.transfer_pb2 import Transfer

from storage_svc.multipart import part_plan
from tests.chosen_records import in_cloud, needs_data_plane, needs_files
from tests.harness import Workspace
from tests.integration.storage.people import ANN, Desk, get, put, refused, request_id, sha256

MIB = 1024 * 1024
PART = 5 * MIB
DATA = os.urandom(2 * PART + 1234)


async def _sign(desk: Desk, upload_id: str, *numbers: int, **fields: Any) -> dict[int, Transfer]:
    answer = await desk.storage().SignUploadParts(
        pb.SignUploadPartsRequest(upload_id=upload_id, part_numbers=numbers, **fields)
    )
    assert [part.part_number for part in answer.parts] == list(numbers)
    return {part.part_number: part.transfer for part in answer.parts}


async def _send(desk: Desk, upload_id: str, *numbers: int) -> None:
    for number, transfer in (await _sign(desk, upload_id, *numbers)).items():
        chunk = DATA[PART * (number - 1) : PART * number]
        assert (await put(transfer, chunk)).is_success


async def _parts(desk: Desk, upload_id: str) -> list[int]:
    answer = await desk.storage().ListUploadParts(pb.ListUploadPartsRequest(upload_id=upload_id))
    return [part.part_number for part in answer.parts]


@pytest.mark.parametrize(
    ("size", "wanted", "plan"),
    [
        (1, 0, (16 * MIB, 1)),
        (16 * MIB, 0, (16 * MIB, 1)),
        (16 * MIB + 1, 0, (16 * MIB, 2)),
        (12 * MIB, 5 * MIB, (5 * MIB, 3)),
        (1_048_576_000_000, 0, (100 * MIB, 10_000)),
        (200_000 * MIB, 0, (20 * MIB, 10_000)),
    ],
)
def test_parts_are_planned_within_the_limits(size: int, wanted: int, plan: tuple[int, int]) -> None:
    assert part_plan(size, wanted) == plan


async def test_parts_in_any_order_become_the_file(desk: Desk) -> None:
    document_id = await desk.document("big.bin")
    made = await desk.announce_parts(document_id, DATA, part_size_bytes=PART)
    upload = made.upload
    assert (upload.multipart, upload.part_count, upload.part_size_bytes) == (True, 3, PART)
    assert not upload.provider_upload_id
    await _send(desk, upload.upload_id, 3, 1, 2)
    assert await _parts(desk, upload.upload_id) == [1, 2, 3]
    done = await desk.complete(upload.upload_id)
    assert done.file.sha256 == sha256(DATA)
    assert await _parts(desk, upload.upload_id) == []
    answer = await desk.storage().CreateDownload(pb.CreateDownloadRequest(document_id=document_id))
    assert (await get(answer.transfer)).content == DATA


async def test_an_upload_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with Workspace.open(tmp_path) as ws:
        await ws.sign_in(ANN)
        desk = Desk(ws)
        desk.project_id = await desk.new_project()
        document_id = await desk.document("big.bin")
        made = await desk.announce_parts(document_id, DATA, part_size_bytes=PART)
        await _send(desk, made.upload.upload_id, 1, 3)
    async with Workspace.open(tmp_path) as ws:
        await ws.sign_in(ANN)
        desk = Desk(ws)
        assert await _parts(desk, made.upload.upload_id) == [1, 3]
        refusal = await refused(desk.complete(made.upload.upload_id))
        assert (refusal.reason, refusal.metadata["actual_size"]) == (
            "UPLOAD_INCOMPLETE",
            str(PART + 1234),
        )
        assert "part 2" in refusal.message
        await _send(desk, made.upload.upload_id, 2)
        await desk.complete(made.upload.upload_id)
        request = pb.CreateDownloadRequest(document_id=document_id)
        assert (await get((await desk.storage().CreateDownload(request)).transfer)).content == DATA


async def test_a_part_of_another_content_is_found_at_completion(desk: Desk) -> None:
    """Where the parts are kept, that one can be sent again."""
    made = await desk.announce_parts(await desk.document("big.bin"), DATA, part_size_bytes=PART)
    upload_id = made.upload.upload_id
    await _send(desk, upload_id, 1, 2)
    last = (await _sign(desk, upload_id, 3))[3]
    assert (await put(last, b"\0" * 1234)).is_success
    refusal = await refused(desk.complete(upload_id))
    assert (refusal.code, refusal.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "CHECKSUM_MISMATCH",
    )
    if in_cloud():
        again = await refused(desk.complete(upload_id))
        assert again.reason == "UPLOAD_INCOMPLETE"
        assert "create a new upload" in again.message
        return
    await _send(desk, upload_id, 3)
    assert (await desk.complete(upload_id)).file.size_bytes == len(DATA)


@needs_data_plane
async def test_a_bound_part_is_checked_by_the_store(desk: Desk) -> None:
    made = await desk.announce_parts(await desk.document("big.bin"), DATA, part_size_bytes=PART)
    digest = {3: sha256(DATA[2 * PART :])}
    transfers = await _sign(desk, made.upload.upload_id, 3, part_sha256=digest)
    assert (await put(transfers[3], b"\0" * 1234)).status_code == 400
    assert (await put(transfers[3], DATA[2 * PART :])).is_success


async def test_signing_parts_is_refused_where_it_makes_no_sense(desk: Desk) -> None:
    document_id = await desk.document("big.bin")
    made = await desk.announce_parts(document_id, DATA, part_size_bytes=PART)
    above = await refused(_sign(desk, made.upload.upload_id, 4))
    assert (above.reason, above.metadata["field"]) == ("INVALID_FIELD", "part_numbers")
    single = await desk.announce(document_id, b"small")
    refusal = await refused(_sign(desk, single.upload.upload_id, 1))
    assert refusal.reason == "INVALID_STATE"
    await desk.storage().AbortUpload(pb.AbortUploadRequest(upload_id=made.upload.upload_id))
    for call in (_sign(desk, made.upload.upload_id, 1), _parts(desk, made.upload.upload_id)):
        assert (await refused(call)).reason == "UPLOAD_FINISHED"


async def test_parts_are_listed_in_pages(desk: Desk) -> None:
    made = await desk.announce_parts(await desk.document("big.bin"), DATA, part_size_bytes=PART)
    await _send(desk, made.upload.upload_id, 1, 2, 3)
    request = pb.ListUploadPartsRequest(upload_id=made.upload.upload_id, page_size=2)
    first = await desk.storage().ListUploadParts(request)
    assert [part.size_bytes for part in first.parts] == [PART, PART]
    request.page_token = first.next_page_token
    second = await desk.storage().ListUploadParts(request)
    assert [part.part_number for part in second.parts] == [3]
    assert second.next_page_token == ""
    request.upload_id = (await desk.announce(await desk.document("x.bin"), b"x")).upload.upload_id
    refusal = await refused(desk.storage().ListUploadParts(request))
    assert refusal.reason == "INVALID_PAGE_TOKEN"


@needs_files
async def test_parallel_announcements_begin_one_multipart_upload(desk: Desk) -> None:
    document_id, once = await desk.document("big.bin"), request_id()
    answers = await asyncio.gather(
        *(desk.announce_parts(document_id, DATA, request_id=once) for _ in range(20))
    )
    assert {answer.upload.upload_id for answer in answers} == {answers[0].upload.upload_id}
    assert all(answer.upload == answers[0].upload for answer in answers)
    begun = Path(desk.ws.process.settings.data_dir) / "objects" / ".multipart"
    assert len([path for path in begun.iterdir() if path.is_dir()]) == 1


async def test_parallel_completions_join_once(desk: Desk) -> None:
    made = await desk.announce_parts(await desk.document("big.bin"), DATA, part_size_bytes=PART)
    await _send(desk, made.upload.upload_id, 1, 2, 3)
    answers = await asyncio.gather(*(desk.complete(made.upload.upload_id) for _ in range(10)))
    assert {answer.file.sha256 for answer in answers} == {sha256(DATA)}


async def test_the_provider_id_is_in_no_activity(desk: Desk) -> None:
    made = await desk.announce_parts(await desk.document("big.bin"), DATA)
    secret = (await desk.row(made.upload.upload_id)).provider_upload_id
    assert secret
    items = await desk.ws.records.driver.scan(None, 1000)
    holders = {item.family for item in items if secret in item.body}
    assert holders == {"upload"}
