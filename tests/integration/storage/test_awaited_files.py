"""Files that sync brings: records that are here before their bytes, and bytes that
are here without an upload of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from workspace.project.v1.document_pb2 import DocumentStatus, FileInfo
from workspace.storage.v1 import storage_service_pb2 as pb

from services.cli.doctor.finding import Verdict
from services.cli.doctor.objects import check_awaited, check_objects
from services.cli.doctor.records import survey_records
from services.cli.doctor.stored import Folder
from services.model.families import FAMILIES
from services.records.pending_bytes import PendingBytes, PendingObject
from services.records.port import Key
from services.records.record import Activity, Write
from storage_svc.collection import GRACE_SECONDS
from tests.chosen_records import needs_files
from tests.integration.storage.people import Desk, get, refused, sha256

DATA = b"# Notes\n" * 100
LATE = 24 * 3600 + GRACE_SECONDS + 1
DOCUMENT = FAMILIES["document"]


async def await_bytes(desk: Desk, document_id: str, digest: str = sha256(DATA)) -> PendingObject:
    """Say that the document's file is still to come, as a pull does."""
    file = (await desk.read(document_id)).file
    row = PendingObject(
        "c_office", "pull", f"DOCUMENT#{document_id}", f"ARTIFACT#{document_id}",
        file.storage_key, file.size_bytes, digest, file.content_type, "missing", 1,
    )
    await PendingBytes(desk.ws.records).put([row])
    return row


async def lose_bytes(desk: Desk, document_id: str) -> str:
    key = str((await desk.read(document_id)).file.storage_key)
    await desk.ws.process.kernel.objects.delete(key)
    return key


@pytest.fixture
async def document_id(desk: Desk) -> str:
    made = await desk.document()
    await desk.uploaded(made, DATA)
    return made


async def test_a_download_says_over_which_connection_the_bytes_will_come(
    desk: Desk, document_id: str
) -> None:
    await await_bytes(desk, document_id)
    await lose_bytes(desk, document_id)
    refusal = await refused(
        desk.storage().CreateDownload(pb.CreateDownloadRequest(document_id=document_id))
    )
    assert (refusal.reason, refusal.metadata["document_id"]) == ("FILE_NOT_AVAILABLE", document_id)
    other = await desk.document("other.pdf")
    await desk.uploaded(other, DATA)
    answer = await desk.storage().BatchCreateDownloads(
        pb.BatchCreateDownloadsRequest(document_ids=[document_id, other])
    )
    first, second = answer.results
    assert "c_office" in first.error.message
    assert second.download.size_bytes == len(DATA)


async def test_bytes_that_are_there_are_served_whatever_a_row_says(
    desk: Desk, document_id: str
) -> None:
    await await_bytes(desk, document_id)
    answer = await desk.storage().CreateDownload(pb.CreateDownloadRequest(document_id=document_id))
    assert (await get(answer.transfer)).content == DATA


async def test_a_row_about_other_bytes_of_the_key_says_nothing(
    desk: Desk, document_id: str
) -> None:
    await await_bytes(desk, document_id, sha256(b"other"))
    await lose_bytes(desk, document_id)
    answer = await desk.storage().CreateDownload(pb.CreateDownloadRequest(document_id=document_id))
    assert (await get(answer.transfer)).status_code == 404


@needs_files
async def test_doctor_tells_what_is_to_come_from_what_is_lost(
    desk: Desk, document_id: str
) -> None:
    await await_bytes(desk, document_id)
    lost = await desk.document("lost.pdf")
    await desk.uploaded(lost, DATA)
    driver, root = desk.ws.records.driver, Path(desk.ws.process.settings.data_dir) / "objects"
    survey = await survey_records(driver)
    assert await check_awaited(Folder(root), survey) == [], "its bytes are here all the same"
    keys = [await lose_bytes(desk, each) for each in (document_id, lost)]
    [awaited] = await check_awaited(Folder(root), survey)
    assert awaited.verdict is Verdict.WARNING
    assert awaited.examples == (f"{keys[0]} (over c_office)",)
    objects = await check_objects(Folder(root), survey)
    assert objects.verdict is Verdict.FAILED
    assert len(objects.examples) == 1
    assert keys[1] in objects.examples[0]


async def test_rows_count_attempts_and_go(desk: Desk, document_id: str) -> None:
    row = await await_bytes(desk, document_id)
    await await_bytes(desk, document_id)
    pending = PendingBytes(desk.ws.records)
    [found] = await pending.of_object(row.storage_key)
    assert (found.attempts, found.since_ms) == (2, 1)
    await pending.remove([row], now_ms=1_800_000_000_000)
    await pending.remove([row], now_ms=1_800_000_000_000)
    assert (await pending.of_object(row.storage_key), await pending.any()) == ([], False)


async def test_the_file_of_an_expired_upload_stays_if_sync_gave_it_to_the_document(
    desk: Desk,
) -> None:
    """Another node uploaded a file of the same name; ours was never completed."""
    document_id = await desk.document()
    upload = await desk.sent(document_id, DATA)
    key = Key(f"DOCUMENT#{document_id}", f"ARTIFACT#{document_id}")
    record = await desk.ws.records.get(DOCUMENT, key)
    assert record is not None
    document = record.edit()
    document.status = DocumentStatus.DOCUMENT_STATUS_AVAILABLE
    document.file.CopyFrom(
        FileInfo(
            filename="plan.pdf", size_bytes=len(DATA), sha256=sha256(DATA), upload_id="x_other",
            storage_key=upload.storage_key, file_revision=1,
        )
    )
    await desk.ws.records.commit(
        key.pk, [Write(DOCUMENT, document, base=record)], activity=Activity("test.synced", key.pk)
    )
    done = await desk.collector().collect(desk.ws.process.kernel.now() + LATE)
    assert (done.uploads, done.objects, done.failed) == (1, 0, 0)
    assert desk.files() == [upload.storage_key]
