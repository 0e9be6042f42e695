"""Purge: what an owner and retention remove for good, and what forbids it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from workspace.identity.v1.account_pb2 import Account
from workspace.identity.v1.account_service_pb2 import CreateAccountRequest, UpdateAccountRequest
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.project.v1 import document_service_pb2 as pb
from workspace.project.v1 import project_service_pb2 as ps
from workspace.project.v1.document_pb2 import DerivedArtifactStatus, Document, DocumentStatus
from workspace.project.v1.history_service_pb2 import ListMetadataRecordsRequest
from workspace.project.v1.history_service_pb2_grpc import HistoryServiceStub
from workspace.project.v1.project_pb2 import ProjectStatus
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.storage.v1.storage_service_pb2 import AbortUploadRequest, DeleteObjectResponse
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub

from project_svc.access.facts import project_key
from project_svc.documents.purge import DocumentPurge
from project_svc.documents.rows import DOCUMENT, document_key
from services.model.families import FAMILIES
from services.records.record import Activity, Write
from tests.chosen_records import chosen
from tests.harness import Workspace
from tests.integration.project.world import refused
from tests.integration.storage.people import ANN, BOB, Desk

_PURGED = DocumentStatus.DOCUMENT_STATUS_PURGED
_PROJECT_PURGED = ProjectStatus.PROJECT_STATUS_PURGED
_LONG_AGO = Timestamp(seconds=1_000_000_000)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with Workspace.open(tmp_path) as ws:
        await ws.sign_in(ANN)
        await ws.sign_in(BOB)
        opened = Desk(ws)
        opened.project_id = await opened.new_project()
        yield opened


def projects(desk: Desk, who: str = ANN) -> Any:
    return desk.ws.stub(ProjectServiceStub, as_=who)


def handlers(desk: Desk) -> dict[str, Any]:
    return {kind: do for module in desk.ws.process.modules for kind, do in module.due.items()}


async def run_due(desk: Desk) -> None:
    """Until nothing more is due."""
    while await desk.ws.process.kernel.due.run(handlers(desk)):
        pass


async def age(desk: Desk, family: str, key: Any) -> None:
    """As if the retention had ended."""
    records = desk.ws.records
    record = await records.get(FAMILIES[family], key)
    message = record.edit()
    message.purge_after.CopyFrom(_LONG_AGO)
    await records.commit(
        key.pk,
        [Write(FAMILIES[family], message, base=record)],
        activity=Activity("test.aged", key.pk),
    )


async def trash(desk: Desk, document_id: str, *, aged: bool = True) -> None:
    await desk.documents().DeleteDocument(pb.DeleteDocumentRequest(document_id=document_id))
    if aged:
        await age(desk, "document", document_key(document_id))


async def filed(desk: Desk, name: str = "plan.pdf") -> tuple[str, list[str]]:
    """A document with two revisions and an artifact; the keys of all three."""
    document_id = await desk.document(name)
    keys = [await sent(desk, document_id, b"one " + name.encode(), name)]
    await desk.documents().CreateRevision(pb.CreateRevisionRequest(document_id=document_id))
    keys.append(await sent(desk, document_id, b"two " + name.encode(), name))
    made = await desk.documents().CreateDerivedArtifact(
        pb.CreateDerivedArtifactRequest(document_id=document_id, kind="chunks", name="chunks.json")
    )
    artifact_id = made.artifact.artifact_id
    keys.append(await sent(desk, document_id, b"[]" + name.encode(), "c.json", artifact_id))
    return document_id, keys


async def sent(
    desk: Desk, document_id: str, data: bytes, name: str, artifact_id: str = ""
) -> str:
    done = await desk.uploaded(document_id, data, filename=name, artifact_id=artifact_id)
    return str(done.storage_key)


async def there(desk: Desk, keys: list[str]) -> list[bool]:
    found = []
    for key in keys:
        page = await desk.ws.process.kernel.objects.list(key)
        found.append(any(each.key == key for each in page.objects))
    return found


async def purge(desk: Desk, document_id: str, who: str = ANN, **more: Any) -> Any:
    return await desk.documents(who).PurgeDocument(
        pb.PurgeDocumentRequest(document_id=document_id, **more)
    )


async def test_only_an_owner_purges_only_what_is_in_the_trash(desk: Desk) -> None:
    document_id, keys = await filed(desk)
    live = await refused(purge(desk, document_id))
    assert (live.reason, live.metadata["state"]) == ("INVALID_STATE", "available")
    await trash(desk, document_id, aged=False)
    early = await refused(purge(desk, document_id))
    assert (early.reason, early.code.name) == ("HELD", "FAILED_PRECONDITION")
    assert early.metadata["resource"] == f"documents/{document_id}"
    assert early.metadata["until"] > "2026"
    assert (await refused(purge(desk, document_id, BOB))).reason == "PERMISSION_DENIED"
    assert (await refused(purge(desk, document_id, etag="x"))).reason == "ETAG_MISMATCH"
    assert await there(desk, keys) == [True] * 3


async def test_a_purge_leaves_a_stub_and_history_and_no_bytes(desk: Desk) -> None:
    document_id, keys = await filed(desk)
    await desk.documents().UpdateDocument(
        pb.UpdateDocumentRequest(
            document=Document(document_id=document_id, title="Plan", concept_tags=["x"])
        )
    )
    before = await desk.read(document_id)
    await trash(desk, document_id)
    one = await purge(desk, document_id, request_id="6f2b2c3e-1111-4222-8333-444455556666")
    again = await purge(desk, document_id, request_id="6f2b2c3e-1111-4222-8333-444455556666")
    assert one == again
    stub = one.document
    assert stub.status == _PURGED
    assert (stub.title, list(stub.concept_tags), stub.HasField("file")) == ("", [], False)
    assert (stub.name, stub.created_by, stub.storage_key) == ("plan.pdf", before.created_by, "")
    await run_due(desk)
    assert await there(desk, keys) == [False] * 3
    artifacts = await desk.documents().ListDerivedArtifacts(
        pb.ListDerivedArtifactsRequest(document_id=document_id)
    )
    assert [a.status for a in artifacts.artifacts] == [
        DerivedArtifactStatus.DERIVED_ARTIFACT_STATUS_PURGED
    ]
    assert not artifacts.artifacts[0].HasField("file")
    answer = await desk.ws.stub(HistoryServiceStub, as_=ANN).ListMetadataRecords(
        ListMetadataRecordsRequest(document_id=document_id)
    )
    reasons = [record.reason for record in answer.metadata_records]
    assert reasons[:2] == ["purged", "trashed"]
    assert "updated" in reasons
    past = await desk.documents().GetDocumentAsOf(
        pb.GetDocumentAsOfRequest(document_id=document_id, time=before.updated_at)
    )
    assert (past.document.title, past.document.file) == ("Plan", before.file)
    assert not past.file_kept
    gone = await refused(
        desk.documents().RestoreDocument(pb.RestoreDocumentRequest(document_id=document_id))
    )
    assert (gone.reason, gone.metadata["state"]) == ("INVALID_STATE", "purged")
    assert (await refused(purge(desk, document_id))).reason == "INVALID_STATE"


async def test_retention_purges_by_itself_and_a_restore_drops_it(desk: Desk) -> None:
    kept, kept_keys = await filed(desk, "kept.pdf")
    gone, gone_keys = await filed(desk, "gone.pdf")
    early, early_keys = await filed(desk, "early.pdf")
    for document_id in (kept, gone, early):
        await trash(desk, document_id, aged=document_id != early)
    await desk.documents().RestoreDocument(pb.RestoreDocumentRequest(document_id=kept))
    run = handlers(desk)["document.purge"]
    assert await run(kept) is None
    assert await run(gone) is None
    assert await run(early) > desk.ws.process.kernel.now() + 29 * 86_400
    assert (await desk.read(gone)).status == _PURGED
    assert (await desk.read(kept)).status == DocumentStatus.DOCUMENT_STATUS_AVAILABLE
    assert await there(desk, kept_keys + gone_keys + early_keys) == (
        [True] * 3 + [False] * 3 + [True] * 3
    )


async def test_deleting_schedules_the_end_of_the_retention(desk: Desk) -> None:
    document_id, _ = await filed(desk)
    await trash(desk, document_id, aged=False)
    await projects(desk).DeleteProject(ps.DeleteProjectRequest(project_id=desk.project_id))
    rows = [i for i in await desk.ws.records.scan(None, 10_000) if i.family == "due"]
    bodies = " ".join(item.body for item in rows)
    assert f'"document.purge", "subject": "{document_id}"' in bodies
    assert f'"project.purge", "subject": "{desk.project_id}"' in bodies


@pytest.mark.parametrize("where", ["project", "account"])
async def test_a_legal_hold_stops_owner_and_retention(desk: Desk, where: str) -> None:
    accounts = desk.ws.stub(AccountServiceStub, as_=ANN)
    account = (
        await accounts.CreateAccount(CreateAccountRequest(name="A", type="client_org"))
    ).account
    made = await projects(desk).CreateProject(
        ps.CreateProjectRequest(name="Held", account_id=account.account_id)
    )
    desk.project_id = made.project.project_id

    async def hold(on: bool) -> None:
        if where == "project":
            await projects(desk).SetLegalHold(
                ps.SetLegalHoldRequest(project_id=desk.project_id, legal_hold=on, reason="case")
            )
        else:
            await accounts.UpdateAccount(
                UpdateAccountRequest(
                    account=Account(account_id=account.account_id, legal_hold=on),
                    update_mask=FieldMask(paths=["legal_hold"]),
                )
            )

    document_id, keys = await filed(desk)
    await trash(desk, document_id)
    await hold(True)
    no = await refused(purge(desk, document_id))
    assert (no.reason, no.metadata["resource"].split("/")[0]) == ("HELD", where + "s")
    now = desk.ws.process.kernel.now()
    assert await handlers(desk)["document.purge"](document_id) > now
    assert (await desk.read(document_id)).status == DocumentStatus.DOCUMENT_STATUS_TRASHED
    await hold(False)
    await purge(desk, document_id)
    await hold(True)  # after the stub, before the bytes
    assert await handlers(desk)["document.purge"](document_id) > now
    assert await there(desk, keys) == [True] * 3
    await hold(False)
    await run_due(desk)
    assert await handlers(desk)["document.purge"](document_id) is None
    assert await there(desk, keys) == [False] * 3

    await projects(desk).DeleteProject(ps.DeleteProjectRequest(project_id=desk.project_id))
    await age(desk, "project", project_key(desk.project_id))
    await hold(True)
    request = ps.PurgeProjectRequest(project_id=desk.project_id)
    assert (await refused(projects(desk).PurgeProject(request))).reason == "HELD"
    assert await handlers(desk)["project.purge"](desk.project_id) > now
    await hold(False)
    assert (await projects(desk).PurgeProject(request)).project.status == _PROJECT_PURGED


async def test_a_purged_project_takes_its_documents_with_it(desk: Desk) -> None:
    first, keys = await filed(desk, "a.pdf")
    second, more = await filed(desk, "b.pdf")
    await trash(desk, second, aged=False)
    request = ps.PurgeProjectRequest(project_id=desk.project_id)
    live = await refused(projects(desk).PurgeProject(request))
    assert (live.reason, live.metadata["state"]) == ("INVALID_STATE", "active")
    await projects(desk).DeleteProject(ps.DeleteProjectRequest(project_id=desk.project_id))
    early = await refused(projects(desk).PurgeProject(request))
    assert (early.reason, "until" in early.metadata) == ("HELD", True)
    assert (await refused(projects(desk, BOB).PurgeProject(request))).reason == "PERMISSION_DENIED"
    await age(desk, "project", project_key(desk.project_id))
    done = (await projects(desk).PurgeProject(request)).project
    assert (done.status, done.name, done.description) == (_PROJECT_PURGED, "Files", "")
    await run_due(desk)
    for document_id in (first, second):
        record = await desk.ws.records.get(DOCUMENT, document_key(document_id))
        assert record.message.status == _PURGED
    assert await there(desk, keys + more) == [False] * 6
    again = await refused(projects(desk).PurgeProject(request))
    assert (again.reason, again.metadata["state"]) == ("INVALID_STATE", "purged")
    back = await refused(
        projects(desk).RestoreProject(ps.RestoreProjectRequest(project_id=desk.project_id))
    )
    assert back.reason == "INVALID_STATE"


async def test_retention_purges_a_project_and_a_restore_drops_it(desk: Desk) -> None:
    document_id, keys = await filed(desk)
    run = handlers(desk)["project.purge"]
    await projects(desk).DeleteProject(ps.DeleteProjectRequest(project_id=desk.project_id))
    assert await run(desk.project_id) > desk.ws.process.kernel.now() + 29 * 86_400
    await projects(desk).RestoreProject(ps.RestoreProjectRequest(project_id=desk.project_id))
    assert await run(desk.project_id) is None
    assert (await desk.read(document_id)).status == DocumentStatus.DOCUMENT_STATUS_AVAILABLE
    await projects(desk).DeleteProject(ps.DeleteProjectRequest(project_id=desk.project_id))
    await age(desk, "project", project_key(desk.project_id))
    assert await run(desk.project_id) is None
    await run_due(desk)
    assert await there(desk, keys) == [False] * 3


class _Killed(Exception):
    """The process ends here."""


class _Mortal:
    """The storage service, until the process is killed."""

    def __init__(self, desk: Desk, calls: int) -> None:
        self._real: Any = desk.ws.service_stub(StorageServiceStub, service="project_svc")
        self._left = calls

    async def DeleteObject(self, request: Any) -> DeleteObjectResponse:  # noqa: N802
        if not self._left:
            raise _Killed
        self._left -= 1
        answer: DeleteObjectResponse = await self._real.DeleteObject(request)
        return answer


@pytest.mark.parametrize("calls", range(4))
async def test_a_purge_that_is_killed_goes_on_from_where_it_was(desk: Desk, calls: int) -> None:
    document_id, keys = await filed(desk)
    await trash(desk, document_id)
    changes = handlers(desk)["document.purge"].__self__._changes
    killed = DocumentPurge(changes=changes, storage=_Mortal(desk, calls))  # type: ignore[arg-type]
    if calls < 3:
        with pytest.raises(_Killed):
            await killed.run(document_id)
    else:
        assert await killed.run(document_id) is None
    assert (await desk.read(document_id)).status == _PURGED
    assert sum(await there(desk, keys)) == 3 - calls
    assert await handlers(desk)["document.purge"](document_id) is None
    assert await there(desk, keys) == [False] * 3
    assert await handlers(desk)["document.purge"](document_id) is None


@pytest.mark.skipif(
    chosen() == "cosmos",
    reason="capability: the store knows the SHA-256 of what a URL brought, so that the same "
    "bytes announced again have the same key",
)
async def test_an_object_that_a_pending_upload_names_is_tried_again(desk: Desk) -> None:
    document_id = await desk.document()
    done = await desk.sent(document_id, b"same")
    pending = await desk.announce(document_id, b"same")
    key = (await desk.complete(done.upload_id)).storage_key
    assert (await desk.row(pending.upload.upload_id)).storage_key == key
    await trash(desk, document_id)
    await purge(desk, document_id)
    run = handlers(desk)["document.purge"]
    assert await run(document_id) > desk.ws.process.kernel.now()
    assert await there(desk, [key]) == [True]
    await desk.storage().AbortUpload(AbortUploadRequest(upload_id=pending.upload.upload_id))
    assert await run(document_id) is None
    assert await there(desk, [key]) == [False]
