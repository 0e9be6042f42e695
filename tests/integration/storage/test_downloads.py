"""CreateDownload, BatchCreateDownloads, GetObjectInfo, and revoked URLs."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from workspace.common.v1.permission_pb2 import Permission
from workspace.project.v1.document_service_pb2 import (
    CreateDerivedArtifactRequest,
    CreateRevisionRequest,
    DeleteDocumentRequest,
    RestoreDocumentRequest,
)
from workspace.storage.v1 import storage_service_pb2 as pb

from services.objects.store import UNREVOCABLE_DOWNLOAD_SECONDS
from storage_svc.downloads import disposition_of
from storage_svc.module import build_gate
from storage_svc.revocation import CACHE_SECONDS, Revocation
from tests.chosen_records import in_cloud, needs_data_plane, needs_files
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

DATA = b"# Notes\n" * 100
INLINE = pb.Disposition.DISPOSITION_INLINE
UNSET = pb.Disposition.DISPOSITION_UNSPECIFIED


@pytest.mark.case("F01")
async def test_the_file_comes_under_the_name_of_the_document(desk: Desk) -> None:
    document_id = await desk.document("Größe_plan.pdf")
    await desk.uploaded(document_id, DATA)
    answer = await desk.storage().CreateDownload(pb.CreateDownloadRequest(document_id=document_id))
    assert (answer.filename, answer.size_bytes) == ("Größe_plan.pdf", len(DATA))
    assert answer.sha256 == sha256(DATA)
    assert answer.transfer.method == "GET"
    response = await get(answer.transfer)
    disposition = response.headers["content-disposition"]
    assert disposition.startswith("attachment; ")
    assert "filename*=UTF-8''Gr%C3%B6%C3%9Fe" in disposition


@pytest.mark.case("F02")
@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("image/png", "inline"),
        ("text/plain; charset=utf-8", "inline"),
        ("text/html", "attachment"),
        ("image/svg+xml", "attachment"),
        ("application/pdf", "attachment"),
        ("", "attachment"),
    ],
)
def test_inline_is_for_types_that_run_nothing(content_type: str, kind: str) -> None:
    assert disposition_of("a", content_type, INLINE).startswith(kind)
    assert disposition_of("a", content_type, UNSET).startswith("attachment")


async def test_inline_reaches_the_browser(desk: Desk) -> None:
    document_id = await desk.document("note.txt")
    await desk.uploaded(document_id, DATA, filename="note.txt", content_type="text/plain")
    request = pb.CreateDownloadRequest(document_id=document_id, disposition=INLINE)
    response = await get((await desk.storage().CreateDownload(request)).transfer)
    assert response.headers["content-disposition"].startswith("inline")


@pytest.mark.case("U12", "U23")
async def test_the_life_of_a_download_url_is_clamped_to_15_minutes(desk: Desk) -> None:
    """To 5 where nothing but its end revokes it."""
    most = UNREVOCABLE_DOWNLOAD_SECONDS if in_cloud() else 900
    document_id = await desk.document()
    await desk.uploaded(document_id, DATA)
    for asked, longest in ((None, 300), (Duration(seconds=604_800), most), (Duration(nanos=1), 1)):
        request = pb.CreateDownloadRequest(document_id=document_id, expires_in=asked)
        answer = await desk.storage().CreateDownload(request)
        assert longest - 60 < answer.transfer.expires_at.seconds - time.time() <= longest


async def test_there_is_no_download_before_the_file(desk: Desk) -> None:
    document_id = await desk.document()
    await desk.sent(document_id, DATA)
    request = pb.CreateDownloadRequest(document_id=document_id)
    refusal = await refused(desk.storage().CreateDownload(request))
    assert (refusal.code, refusal.reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "FILE_NOT_AVAILABLE",
    )


@pytest.mark.case("U32")
async def test_a_stranger_hears_the_same_as_about_a_random_id(desk: Desk) -> None:
    document_id = await desk.document()
    await desk.uploaded(document_id, DATA)
    for name in ("CreateDownload", "GetObjectInfo"):
        make, call = getattr(pb, f"{name}Request"), getattr(desk.storage(BOB), name)
        known = await refused(call(make(document_id=document_id)))
        random = await refused(call(make(document_id="d_random")))
        assert known.code is random.code is grpc.StatusCode.PERMISSION_DENIED
        assert known.message == random.message.replace("d_random", document_id)


async def test_earlier_revisions_stay_readable(desk: Desk) -> None:
    document_id = await desk.document()
    first = await desk.uploaded(document_id, b"one")
    await desk.documents().CreateRevision(CreateRevisionRequest(document_id=document_id))
    second = await desk.uploaded(document_id, b"two")
    assert (first.file.file_revision, second.file.file_revision) == (1, 2)
    tail = second.upload.upload_id[-8:]
    assert second.storage_key.endswith(f"/raw/plan.r2-{tail}.pdf")
    for revision, data in ((0, b"two"), (1, b"one"), (2, b"two")):
        request = pb.CreateDownloadRequest(document_id=document_id, file_revision=revision)
        assert (await get((await desk.storage().CreateDownload(request)).transfer)).content == data


async def test_an_artifact_has_a_file_of_its_own(desk: Desk) -> None:
    document_id = await desk.document()
    await desk.uploaded(document_id, DATA)
    made = await desk.documents().CreateDerivedArtifact(
        CreateDerivedArtifactRequest(
            document_id=document_id, kind="chunks", name="chunks.json", request_id=request_id()
        )
    )
    artifact_id = made.artifact.artifact_id
    done = await desk.uploaded(
        document_id,
        b"[]",
        artifact_id=artifact_id,
        filename="chunks.json",
        content_type="application/json",
    )
    assert f"/derived/{artifact_id}/" in done.storage_key
    request = pb.CreateDownloadRequest(document_id=document_id, artifact_id=artifact_id)
    answer = await desk.storage().CreateDownload(request)
    assert answer.filename == "chunks.json"
    assert (await get(answer.transfer)).content == b"[]"
    request.artifact_id = "f_unknown"
    assert (await refused(desk.storage().CreateDownload(request))).reason == "NOT_FOUND"


async def test_a_batch_has_one_outcome_per_document_in_order(desk: Desk) -> None:
    good = [await desk.document(f"{n}.pdf") for n in range(2)]
    for n, document_id in enumerate(good):
        await desk.uploaded(document_id, DATA + bytes([n]))
    empty = await desk.document("empty.pdf")
    wanted = [good[0], empty, "d_random", good[1]]
    answer = await desk.storage().BatchCreateDownloads(
        pb.BatchCreateDownloadsRequest(document_ids=wanted)
    )
    assert [result.document_id for result in answer.results] == wanted
    outcomes = [result.WhichOneof("outcome") for result in answer.results]
    assert outcomes == ["download", "error", "error", "download"]
    assert answer.results[1].error.code == grpc.StatusCode.FAILED_PRECONDITION.value[0]
    assert answer.results[2].error.code == grpc.StatusCode.PERMISSION_DENIED.value[0]
    assert (await get(answer.results[3].download.transfer)).content == DATA + b"\x01"


@needs_files
async def test_record_and_store_are_compared(desk: Desk) -> None:
    document_id, storage = await desk.document(), desk.storage()
    request = pb.GetObjectInfoRequest(document_id=document_id)
    assert (await refused(storage.GetObjectInfo(request))).reason == "FILE_NOT_AVAILABLE"
    done = await desk.uploaded(document_id, DATA)
    seen = (await storage.GetObjectInfo(request)).object
    assert (seen.present, seen.consistent, seen.stored_size_bytes) == (True, True, len(DATA))
    assert seen.stored_sha256 == seen.file.sha256 == sha256(DATA)
    (Path(desk.ws.process.settings.data_dir) / "objects" / done.storage_key).unlink()
    seen = (await storage.GetObjectInfo(request)).object
    assert (seen.present, seen.consistent, seen.stored_size_bytes) == (False, False, 0)


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.case("U23", "R06")
async def test_a_url_ends_with_the_permission_within_5_seconds(desk: Desk) -> None:
    clock = _Clock()
    revocation = Revocation(build_gate(desk.ws.process.channel), clock=clock)
    grant_id = await desk.grant(BOB, Permission.PERMISSION_VIEW)
    user_id = await desk.ws.sign_in(BOB)
    _, revision = await build_gate(desk.ws.process.channel).permissions_of(user_id, desk.project_id)
    view, write = f"view/{desk.project_id}", f"write/{desk.project_id}"
    assert not await revocation.is_revoked(user_id, view, revision)
    assert await revocation.is_revoked(user_id, write, revision)
    await desk.revoke(grant_id)
    clock.now += CACHE_SECONDS - 0.1
    assert not await revocation.is_revoked(user_id, view, revision)
    clock.now += 0.1
    assert await revocation.is_revoked(user_id, view, revision)


async def test_a_cached_denial_does_not_outlive_a_new_grant(desk: Desk) -> None:
    gate = build_gate(desk.ws.process.channel)
    revocation = Revocation(gate, clock=_Clock())
    user_id, scope = await desk.ws.sign_in(BOB), f"view/{desk.project_id}"
    assert await revocation.is_revoked(user_id, scope, 0)
    await desk.grant(BOB, Permission.PERMISSION_VIEW)
    _, revision = await gate.permissions_of(user_id, desk.project_id)
    assert not await revocation.is_revoked(user_id, scope, revision)


@pytest.mark.parametrize("scope", ["", "view/", "/p_1", "owner/p_1", "p_1"])
async def test_a_url_of_unknown_scope_is_refused(desk: Desk, scope: str) -> None:
    assert await Revocation(build_gate(desk.ws.process.channel)).is_revoked("u_1", scope, 0)


@needs_data_plane
@pytest.mark.case("R06")
async def test_the_data_plane_refuses_a_revoked_url(desk: Desk) -> None:
    document_id = await desk.document()
    await desk.uploaded(document_id, DATA)
    grant_id = await desk.grant(BOB, Permission.PERMISSION_VIEW)
    request = pb.CreateDownloadRequest(document_id=document_id)
    transfer = (await desk.storage(BOB).CreateDownload(request)).transfer
    await desk.revoke(grant_id)
    assert (await get(transfer)).status_code == 403


@needs_data_plane
@pytest.mark.case("R06")
async def test_an_upload_url_ends_with_write(desk: Desk) -> None:
    grant_id = await desk.grant(BOB, Permission.PERMISSION_WRITE)
    made = await desk.announce(await desk.document(), DATA, who=BOB)
    await desk.revoke(grant_id)
    assert (await put(made.transfer, DATA)).status_code == 403
    assert desk.files() == []


@pytest.mark.case("U23")
async def test_sharing_with_one_more_person_cuts_nobody(desk: Desk) -> None:
    document_id = await desk.document()
    await desk.uploaded(document_id, DATA)
    request = pb.CreateDownloadRequest(document_id=document_id)
    transfer = (await desk.storage().CreateDownload(request)).transfer
    await desk.grant(BOB, Permission.PERMISSION_VIEW)
    assert (await get(transfer)).status_code == 200


@pytest.mark.case("U24", "R08")
async def test_the_trash_ends_issued_urls_within_5_seconds(desk: Desk) -> None:
    document_id, other = await desk.document(), await desk.document("other.pdf")
    await desk.uploaded(document_id, DATA)
    await desk.uploaded(other, DATA, filename="other.pdf")
    await desk.grant(BOB, Permission.PERMISSION_VIEW)
    urls = [
        await desk.storage(BOB).CreateDownload(pb.CreateDownloadRequest(document_id=each))
        for each in (document_id, other)
    ]
    gate, clock = build_gate(desk.ws.process.channel), _Clock()
    revocation = Revocation(gate, clock=clock)
    user_id, scope = await desk.ws.sign_in(BOB), f"view/{desk.project_id}//{document_id}"
    _, revision = await gate.permissions_of(user_id, desk.project_id)
    assert not await revocation.is_revoked(user_id, scope, revision)
    await desk.documents().DeleteDocument(DeleteDocumentRequest(document_id=document_id))
    ended = 200 if in_cloud() else 403  # S3 and Blob Storage ask nobody
    assert [(await get(url.transfer)).status_code for url in urls] == [ended, 200]
    clock.now += CACHE_SECONDS - 0.1
    assert not await revocation.is_revoked(user_id, scope, revision)
    clock.now += 0.1
    assert await revocation.is_revoked(user_id, scope, revision)
    await desk.documents().RestoreDocument(RestoreDocumentRequest(document_id=document_id))
    assert not await Revocation(gate).is_revoked(user_id, scope, revision)
    foreign = f"view/{await desk.new_project()}//{document_id}"
    assert await Revocation(gate).is_revoked(await desk.ws.sign_in(ANN), foreign, revision)
