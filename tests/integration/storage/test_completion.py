"""CompleteUpload: verification, one effect, and repair of every interruption."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from workspace.common.v1.permission_pb2 import Permission
from workspace.project.v1.document_service_pb2 import DeleteDocumentRequest
from workspace.storage.v1 import storage_service_pb2 as pb
from workspace.storage.v1.upload_pb2 import UploadStatus

from services.records.port import DriverUnavailable, Index, Put
from tests.chosen_records import needs_files
from tests.integration.storage.people import BOB, Desk, put, refused, request_id

DATA = b"minutes of the meeting\n" * 500


async def test_nothing_sent_is_incomplete(desk: Desk) -> None:
    document_id = await desk.document()
    made = await desk.announce(document_id, DATA)
    refusal = await refused(desk.complete(made.upload.upload_id))
    assert (refusal.code, refusal.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "UPLOAD_INCOMPLETE",
    )
    assert refusal.metadata == {"expected_size": str(len(DATA)), "actual_size": "0"}
    await put(made.transfer, DATA)
    assert (await desk.complete(made.upload.upload_id)).document_id == document_id


def _tamper(desk: Desk, key: str, data: bytes) -> None:
    path = Path(desk.ws.process.settings.data_dir) / "objects" / key
    path.chmod(0o600)
    path.write_bytes(data)


@needs_files
@pytest.mark.case("U21")
async def test_bytes_of_another_size_are_incomplete(desk: Desk) -> None:
    upload = await desk.sent(await desk.document(), DATA)
    _tamper(desk, upload.storage_key, DATA + b"more")
    refusal = await refused(desk.complete(upload.upload_id))
    assert refusal.reason == "UPLOAD_INCOMPLETE"
    assert refusal.metadata["actual_size"] == str(len(DATA) + 4)


@pytest.mark.case("U21")
async def test_other_bytes_are_a_checksum_mismatch(desk: Desk) -> None:
    document_id = await desk.document()
    first = await desk.announce(document_id, DATA)
    second = await desk.announce(document_id, DATA[::-1])
    assert second.upload.storage_key == first.upload.storage_key
    assert (await put(second.transfer, DATA[::-1])).is_success
    refusal = await refused(desk.complete(first.upload.upload_id))
    assert refusal.reason == "CHECKSUM_MISMATCH"
    assert refusal.metadata == {"storage_key": first.upload.storage_key}
    assert not (await desk.read(document_id)).HasField("file")


async def test_repeats_answer_the_same(desk: Desk) -> None:
    upload, once = await desk.sent(await desk.document(), DATA), request_id()
    first = await desk.complete(upload.upload_id, request_id=once)
    for again in (
        await desk.complete(upload.upload_id, request_id=once),
        await desk.complete(upload.upload_id),
    ):
        assert again.consistency_token
        again.consistency_token = first.consistency_token
        assert again == first


async def test_fifty_parallel_completions_have_one_effect(desk: Desk) -> None:
    document_id = await desk.document()
    upload = await desk.sent(document_id, DATA)
    answers = await asyncio.gather(*(desk.complete(upload.upload_id) for _ in range(50)))
    assert {(a.file.verified_at.ToNanoseconds(), a.upload.etag) for a in answers} == {
        (answers[0].file.verified_at.ToNanoseconds(), answers[0].upload.etag)
    }
    events = await _events(desk, f"UPLOAD#{upload.upload_id}")
    assert [e for e in events if e == "upload.completed"] == ["upload.completed"]
    attached = await _events(desk, f"DOCUMENT#{document_id}")
    assert len([e for e in attached if e == "document.file_attached"]) == 1


async def test_two_uploads_of_one_document_have_one_winner(desk: Desk) -> None:
    document_id = await desk.document()
    uploads = [
        await desk.sent(document_id, DATA + bytes([n]), filename=f"v{n}.pdf") for n in range(4)
    ]
    results = await asyncio.gather(
        *(desk.complete(upload.upload_id) for upload in uploads), return_exceptions=True
    )
    won = [r for r in results if not isinstance(r, BaseException)]
    assert len(won) == 1
    assert (await desk.read(document_id)).file.sha256 == won[0].file.sha256
    for upload in uploads:  # a loser is given back, not stuck
        row = await desk.row(upload.upload_id)
        if upload.upload_id != won[0].upload.upload_id:
            assert not row.HasField("verified_at")
            aborting = pb.AbortUploadRequest(upload_id=upload.upload_id)
            assert (await desk.storage().AbortUpload(aborting)).upload.upload_id


async def _events(desk: Desk, pk: str) -> list[str]:
    """Activity types of a partition, oldest first."""
    page = await desk.ws.records.run(
        Index.BASE, pk, lower="EVENT#", upper="EVENT#~", limit=500, after=None
    )
    return [json.loads(item.body)["type"] for item in page.items]


class _FailingCommits:
    """Lets the driver fail once, before or after the n-th commit to uploads."""

    def __init__(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        self._driver = desk.ws.records.driver
        self._commit = self._driver.commit
        self.countdown = 0
        monkeypatch.setattr(self._driver, "commit", self.commit)

    async def commit(self, pk: str, puts: Sequence[Put]) -> Any:
        if pk.startswith("UPLOAD#") and self.countdown:
            self.countdown -= 1
            if not self.countdown:
                raise DriverUnavailable("cut")
        return await self._commit(pk, puts)


@pytest.mark.parametrize("step", [1, 2], ids=["before the claim", "between attach and mark"])
async def test_repeating_repairs_a_cut(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    document_id = await desk.document()
    upload, once = await desk.sent(document_id, DATA), request_id()
    failing = _FailingCommits(desk, monkeypatch)
    failing.countdown = step
    refusal = await refused(desk.complete(upload.upload_id, request_id=once))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE")
    row = await desk.row(upload.upload_id)
    assert row.status == UploadStatus.UPLOAD_STATUS_PENDING
    assert (await desk.read(document_id)).HasField("file") == (step == 2)
    if step == 2:
        refusal = await refused(
            desk.storage().AbortUpload(pb.AbortUploadRequest(upload_id=upload.upload_id))
        )
        assert (refusal.reason, refusal.metadata["state"]) == ("UPLOAD_FINISHED", "verified")
    done = await desk.complete(upload.upload_id, request_id=once)
    assert done.upload.status == UploadStatus.UPLOAD_STATUS_COMPLETED
    attached = await _events(desk, f"DOCUMENT#{document_id}")
    assert attached.count("document.file_attached") == 1


async def test_the_collector_finishes_what_nobody_repeats(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    document_id = await desk.document()
    upload = await desk.sent(document_id, DATA)
    failing = _FailingCommits(desk, monkeypatch)
    failing.countdown = 2
    await refused(desk.complete(upload.upload_id))
    now = desk.ws.process.kernel.now()
    assert (await desk.collector().collect(now)).finished == 0
    done = await desk.collector().collect(now + 301)
    assert (done.finished, done.uploads, done.failed) == (1, 0, 0)
    assert (await desk.row(upload.upload_id)).status == UploadStatus.UPLOAD_STATUS_COMPLETED
    assert (await desk.read(document_id)).file.upload_id == upload.upload_id


async def test_who_lost_write_completes_nothing(desk: Desk) -> None:
    document_id = await desk.document()
    grant_id = await desk.grant(BOB, Permission.PERMISSION_WRITE)
    upload = await desk.sent(document_id, DATA, who=BOB)
    await desk.revoke(grant_id)
    refusal = await refused(desk.complete(upload.upload_id, who=BOB))
    assert refusal.code is grpc.StatusCode.PERMISSION_DENIED
    assert refusal.metadata["resource"] == f"uploads/{upload.upload_id}"
    assert not (await desk.read(document_id)).HasField("file")


async def test_a_document_in_the_trash_takes_no_file(desk: Desk) -> None:
    document_id = await desk.document()
    upload = await desk.sent(document_id, DATA)
    await desk.documents().DeleteDocument(DeleteDocumentRequest(document_id=document_id))
    refusal = await refused(desk.complete(upload.upload_id))
    assert refusal.reason == "INVALID_STATE"
    assert not (await desk.row(upload.upload_id)).HasField("verified_at")
