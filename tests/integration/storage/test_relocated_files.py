"""What storage and identity ask project_svc and storage for: internal calls, one by one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import grpc
import pytest
from workspace.project.v1 import document_service_pb2 as ds
from workspace.project.v1 import history_service_pb2 as hs
from workspace.project.v1 import project_service_pb2 as ps
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.history_service_pb2_grpc import HistoryServiceStub
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.storage.v1 import storage_service_pb2 as pb
from workspace.storage.v1.catalog_service_pb2 import GetParityRequest
from workspace.storage.v1.catalog_service_pb2_grpc import CatalogServiceStub
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub

from project_svc.access.gate import Access
from services.model.parity import LINES
from tests.integration.storage.people import ANN, Desk, refused, request_id, sha256

DATA = b"where am I?\n" * 7


def asking(desk: Desk) -> Any:
    return desk.ws.service_stub(DocumentServiceStub, service="storage_svc")


async def listed(desk: Desk, **fields: Any) -> Any:
    request = ds.ListProjectFilesRequest(project_id=desk.project_id, **fields)
    return await asking(desk).ListProjectFiles(request)


async def test_every_file_is_listed_once_where_it_is(desk: Desk) -> None:
    first, second = await desk.document("a.pdf"), await desk.document("b.pdf")
    done = await desk.uploaded(first, DATA, filename="a.pdf")
    await desk.documents().CreateRevision(
        ds.CreateRevisionRequest(document_id=first, request_id=request_id())
    )
    await desk.uploaded(first, DATA + b"2", filename="a.pdf")
    await desk.uploaded(second, DATA, filename="b.pdf")
    answer = await listed(desk)
    assert answer.storage_prefix.endswith(f"/projects/{desk.project_id}/")
    assert answer.held == ""
    promised = {file.file.storage_key: file.promised for file in answer.files}
    assert sorted(promised.values()) == [False, True, True]
    assert promised[done.storage_key] is False, "it is an earlier revision"
    page = await listed(desk, page_size=1)
    rest = await listed(desk, page_size=1, page_token=page.next_page_token)
    assert [*page.files, *rest.files] == list(answer.files)
    of_one = await listed(desk, document_id=second)
    assert [file.document_id for file in of_one.files] == [second]
    stub: Any = desk.ws.stub(ProjectServiceStub, as_=ANN)
    await stub.SetLegalHold(
        ps.SetLegalHoldRequest(project_id=desk.project_id, legal_hold=True, reason="court")
    )
    assert (await listed(desk)).held == f"projects/{desk.project_id}"
    missing = asking(desk).ListProjectFiles(ds.ListProjectFilesRequest(project_id="p_none"))
    assert (await refused(missing)).reason == "NOT_FOUND"
    bad = asking(desk).ListProjectFiles(
        ds.ListProjectFilesRequest(project_id=desk.project_id, page_token="x")
    )
    assert (await refused(bad)).reason == "INVALID_PAGE_TOKEN"


async def test_a_key_moves_once_and_only_to_the_same_file(desk: Desk) -> None:
    document_id = await desk.document()
    done = await desk.uploaded(document_id, DATA)
    old = done.storage_key
    new = "accounts/a_new/" + old.split("/", 2)[2]
    move = asking(desk).MoveFileKey

    def request(**fields: Any) -> ds.MoveFileKeyRequest:
        asked = {"document_id": document_id, "storage_key": old, "new_storage_key": new}
        return ds.MoveFileKeyRequest(**(asked | {"sha256": sha256(DATA)} | fields))

    assert (await refused(move(request(sha256=sha256(b"other"))))).reason == "NOT_FOUND"
    for wrong in (old, new + "x", new.replace(document_id, "d_other")):
        assert (await refused(move(request(new_storage_key=wrong)))).reason == "INVALID_FIELD"
    assert (await asking(desk).MoveFileKey(request())).moved is True
    assert (await move(request())).moved is False
    assert (await desk.read(document_id)).storage_key == new
    back = request(storage_key="accounts/a_third/" + old.split("/", 2)[2])
    assert (await move(back)).moved is False, "it is there already"
    third = request(
        storage_key=old, new_storage_key="accounts/a_third/" + old.split("/", 2)[2]
    )
    assert (await refused(move(third))).reason == "NOT_FOUND"
    history = (await listed(desk, document_id=document_id)).files
    assert [file.file.storage_key for file in history] == [new]


async def test_only_the_named_services_ask(desk: Desk) -> None:
    scopes: Any = desk.ws.service_stub(ProjectServiceStub, service="identity_svc")
    asked = ps.BatchGetBillingScopesRequest(project_ids=[desk.project_id, "p_none"])
    answer = await scopes.BatchGetBillingScopes(asked)
    assert dict(answer.billing_scopes) == {desk.project_id: ""}
    usage: Any = desk.ws.service_stub(StorageServiceStub, service="identity_svc")
    home = pb.GetHomeUsageRequest(home_id=await desk.home())
    assert (await usage.GetHomeUsage(home)).total == pb.HomeUsage()
    people: Any = desk.ws.stub(ProjectServiceStub, as_=ANN)
    for call in (
        people.BatchGetBillingScopes(asked),
        desk.storage().GetHomeUsage(home),
        desk.documents().ListProjectFiles(
            ds.ListProjectFilesRequest(project_id=desk.project_id)
        ),
    ):
        assert (await refused(call)).code is grpc.StatusCode.PERMISSION_DENIED


async def test_anybody_signed_in_reads_the_parity_table(desk: Desk) -> None:
    catalog: Any = desk.ws.stub(CatalogServiceStub, as_=ANN)
    answer = await catalog.GetParity(GetParityRequest())
    assert [row.concern for row in answer.rows] == [line.concern for line in LINES]
    nobody: Any = desk.ws.stub(CatalogServiceStub)
    refusal = await refused(nobody.GetParity(GetParityRequest()))
    assert refusal.code is grpc.StatusCode.UNAUTHENTICATED


async def test_the_history_of_a_moved_key_follows_what_was_before(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of the node that moves it is behind."""
    document_id = await desk.document()
    done = await desk.uploaded(document_id, DATA)
    before = await desk.read(document_id)
    real = Access.now
    monkeypatch.setattr(Access, "now", lambda self: real(self) - timedelta(hours=1))
    move = ds.MoveFileKeyRequest(
        document_id=document_id,
        storage_key=done.storage_key,
        new_storage_key="accounts/a_new/" + done.storage_key.split("/", 2)[2],
        sha256=sha256(DATA),
    )
    assert (await asking(desk).MoveFileKey(move)).moved is True
    monkeypatch.undo()
    history: Any = desk.ws.stub(HistoryServiceStub, as_=ANN)
    records = (
        await history.ListMetadataRecords(
            hs.ListMetadataRecordsRequest(document_id=document_id, page_size=50)
        )
    ).metadata_records
    moved = [each for each in records if each.reason.startswith("relocated")]
    assert len(moved) == 1
    assert moved[0].timestamp.ToDatetime() > before.updated_at.ToDatetime()
