"""MarkAvailable and the DocumentReady hook: held until somebody says it is clean."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from workspace.project.v1 import document_service_pb2 as ds
from workspace.project.v1.document_pb2 import DocumentStatus
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.storage.v1 import storage_service_pb2 as pb
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub
from workspace.storage.v1.upload_pb2 import FileStatus, Upload

from project_svc.documents import files as document_files
from storage_svc import upload_rows
from storage_svc.collection import Collector
from storage_svc.completion import Completion
from storage_svc.module import build_gate
from storage_svc.usage import Ledger
from tests.integration.storage.people import Desk, get, refused, request_id

DATA = b"is it clean?\n" * 9
CLEAN, REJECTED = pb.ReadyVerdict.READY_VERDICT_CLEAN, pb.ReadyVerdict.READY_VERDICT_REJECTED
SCANNING, AVAILABLE = FileStatus.FILE_STATUS_SCANNING, FileStatus.FILE_STATUS_AVAILABLE


def hold_everything(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every project had a hook that holds its uploads."""

    async def held(_: str) -> bool:
        return True

    documents: Any = next(
        registration.servicer
        for module in desk.ws.process.modules
        for registration in module.registrations
        if registration.full_name == "workspace.project.v1.DocumentService"
    )
    monkeypatch.setattr(documents._files, "_holds", held)
    monkeypatch.setattr(documents._derived, "_holds", held)


def marking(desk: Desk) -> Any:
    return desk.ws.service_stub(StorageServiceStub, service="project_svc").MarkAvailable


def verdict(upload_id: str, given: Any, **fields: Any) -> pb.MarkAvailableRequest:
    return pb.MarkAvailableRequest(upload_id=upload_id, verdict=given, **fields)


async def test_a_held_file_is_scanning_and_served_when_it_is_clean(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_everything(desk, monkeypatch)
    document_id = await desk.document()
    upload = await desk.sent(document_id, DATA)
    done = await desk.complete(upload.upload_id)
    assert done.file.status == SCANNING
    assert (await desk.complete(upload.upload_id)).file.status == SCANNING
    assert (await desk.read(document_id)).status == DocumentStatus.DOCUMENT_STATUS_SCANNING
    download = pb.CreateDownloadRequest(document_id=document_id)
    refusal = await refused(desk.storage().CreateDownload(download))
    assert refusal.reason == "FILE_NOT_AVAILABLE"
    wanted = verdict(upload.upload_id, CLEAN, note="no virus", request_id=request_id())
    marked = await marking(desk)(wanted)
    assert (marked.document_id, marked.file.status) == (document_id, AVAILABLE)
    assert await marking(desk)(wanted) == marked
    assert (await marking(desk)(verdict(upload.upload_id, CLEAN))).file.status == AVAILABLE
    assert (await get((await desk.storage().CreateDownload(download)).transfer)).content == DATA
    assert (await desk.complete(upload.upload_id)).file.status == AVAILABLE
    refusal = await refused(marking(desk)(verdict(upload.upload_id, REJECTED)))
    assert (refusal.reason, refusal.metadata["state"]) == ("INVALID_STATE", "available")


async def test_a_refused_file_is_never_served(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_everything(desk, monkeypatch)
    document_id = await desk.document()
    upload = await desk.sent(document_id, DATA)
    await desk.complete(upload.upload_id)
    marked = await marking(desk)(verdict(upload.upload_id, REJECTED, note="virus"))
    assert marked.file.status == FileStatus.FILE_STATUS_REJECTED
    download = pb.CreateDownloadRequest(document_id=document_id)
    assert (await refused(desk.storage().CreateDownload(download))).reason == "FILE_NOT_AVAILABLE"
    document = await desk.read(document_id)
    assert document.status == DocumentStatus.DOCUMENT_STATUS_AWAITING_FILE
    refusal = await refused(marking(desk)(verdict(upload.upload_id, CLEAN)))
    assert (refusal.reason, refusal.metadata["state"]) == ("INVALID_STATE", "rejected")
    assert (await desk.row(upload.upload_id)).file_note == "virus"


async def test_an_artifact_is_held_too(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    document_id = await desk.document()
    await desk.uploaded(document_id, DATA)
    made = await desk.documents().CreateDerivedArtifact(
        ds.CreateDerivedArtifactRequest(document_id=document_id, kind="chunks", name="c.json")
    )
    hold_everything(desk, monkeypatch)
    artifact_id = made.artifact.artifact_id
    done = await desk.uploaded(document_id, DATA, artifact_id=artifact_id, filename="c.json")
    assert done.file.status == SCANNING
    marked = await marking(desk)(verdict(done.upload.upload_id, CLEAN))
    assert marked.file.status == AVAILABLE
    download = pb.CreateDownloadRequest(document_id=document_id, artifact_id=artifact_id)
    assert (await get((await desk.storage().CreateDownload(download)).transfer)).content == DATA


async def test_who_may_and_what_must_be_there(desk: Desk) -> None:
    upload = await desk.sent(await desk.document(), DATA)
    refusal = await refused(desk.storage().MarkAvailable(verdict(upload.upload_id, CLEAN)))
    assert refusal.code is grpc.StatusCode.PERMISSION_DENIED
    other: Any = desk.ws.service_stub(StorageServiceStub, service="identity_svc")
    refusal = await refused(other.MarkAvailable(verdict(upload.upload_id, CLEAN)))
    assert refusal.code is grpc.StatusCode.PERMISSION_DENIED
    assert (await refused(marking(desk)(verdict("x_none", CLEAN)))).reason == "NOT_FOUND"
    refusal = await refused(marking(desk)(verdict(upload.upload_id, CLEAN)))
    assert (refusal.reason, refusal.metadata["state"]) == ("INVALID_STATE", "pending")


async def test_a_repeated_arrival_releases_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector repeats the attachment; a held file stays held."""
    hold_everything(desk, monkeypatch)
    document_id = await desk.document()
    done = await desk.uploaded(document_id, DATA)
    document = await desk.read(document_id)
    attaching: Any = desk.ws.service_stub(DocumentServiceStub, service="storage_svc")
    answer = await attaching.AttachFile(
        ds.AttachFileRequest(
            document_id=document_id,
            upload_id=done.upload.upload_id,
            file=document.pending_file,
            disposition=ds.FileDisposition.FILE_DISPOSITION_ARRIVED,
            request_id=request_id(),
        )
    )
    assert answer.document.pending_file.upload_id == done.upload.upload_id


async def test_nothing_is_held_without_a_hook() -> None:
    assert await document_files.never_holds("p_any") is False


class Scanner:
    """A hook inside the process."""

    def __init__(self, *verdicts: Any) -> None:
        self.verdicts, self.seen = list(verdicts), list[Upload]()

    async def arrived(self, upload: Upload) -> Any:
        self.seen.append(upload)
        given = self.verdicts.pop(0)
        if isinstance(given, Exception):
            raise given
        return given


async def completed_with(desk: Desk, scanner: Scanner) -> tuple[Collector, Upload]:
    """A claimed upload that is finished by a process with this hook."""
    kernel, gate = desk.ws.process.kernel, build_gate(desk.ws.process.channel)
    ledger = Ledger(kernel.records, now=kernel.now)
    completion = Completion(kernel=kernel, gate=gate, ledger=ledger, ready=scanner)
    collector = Collector(kernel=kernel, completion=completion, gate=gate, ledger=ledger)
    upload = await desk.sent(await desk.document(), DATA)
    record = await kernel.records.get(
        upload_rows.UPLOADS, upload_rows.upload_key(upload.upload_id)
    )
    claimed = await completion._claim(record)
    finished = await completion.finish(claimed)
    return collector, finished.message


async def test_the_hook_of_the_process_settles_a_file(desk: Desk) -> None:
    scanner = Scanner(CLEAN)
    collector, upload = await completed_with(desk, scanner)
    assert upload.file_status == SCANNING
    subject = upload_rows.due_subject(upload)
    await collector.look(subject)
    assert [each.storage_key for each in scanner.seen] == [upload.storage_key]
    assert (await desk.row(upload.upload_id)).file_status == AVAILABLE
    assert await collector.look(subject) is None
    document = await desk.read(upload.document_id)
    assert document.status == DocumentStatus.DOCUMENT_STATUS_AVAILABLE


async def test_a_hook_that_fails_or_waits_is_asked_again(desk: Desk) -> None:
    undecided = pb.ReadyVerdict.READY_VERDICT_UNSPECIFIED
    scanner = Scanner(RuntimeError("scanner is down"), undecided, REJECTED)
    collector, upload = await completed_with(desk, scanner)
    subject = upload_rows.due_subject(upload)
    for _ in range(2):
        assert await collector.look(subject) is not None
        assert (await desk.row(upload.upload_id)).file_status == SCANNING
    await collector.look(subject)
    assert (await desk.row(upload.upload_id)).file_status == FileStatus.FILE_STATUS_REJECTED
