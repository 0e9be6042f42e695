"""BatchUpdateDocuments: one result per item, repeatable, nothing all or none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from workspace.project.v1 import document_service_pb2 as pb
from workspace.project.v1.document_pb2 import Document
from workspace.project.v1.history_service_pb2 import ListMetadataRecordsRequest

from services.rpc.errors import error_info
from tests.integration.project.files import create, documents, history, project
from tests.integration.project.world import World, refused, request_id


def item(document_id: str, title: str = "New", **more: Any) -> pb.UpdateDocumentRequest:
    return pb.UpdateDocumentRequest(
        document=Document(document_id=document_id, title=title, **more),
        update_mask=FieldMask(paths=["title"]),
    )


async def batch(world: World, *items: pb.UpdateDocumentRequest, **more: Any) -> Any:
    return await documents(world, more.pop("as_", "ann")).BatchUpdateDocuments(
        pb.BatchUpdateDocumentsRequest(requests=items, **more)
    )


def reasons(answer: Any) -> list[str]:
    found = []
    for result in answer.results:
        info = error_info(result.error) if result.HasField("error") else None
        found.append(info.reason.removeprefix("ERROR_REASON_") if info else "")
    return found


@pytest.mark.case("Z05")
async def test_every_item_has_its_own_result_in_order(world: World) -> None:
    home = await project(world)
    made = [await create(world, home, f"{n}.pdf") for n in range(5)]
    await documents(world, "ann").DeleteDocument(
        pb.DeleteDocumentRequest(document_id=made[1].document_id)
    )
    foreign = await create(world, await project(world, "bob"), "b.pdf", as_="bob")
    wrong = item(made[3].document_id)
    wrong.update_mask.paths[:] = ["status"]
    answer = await batch(
        world, item(made[0].document_id), item(made[1].document_id), item(foreign.document_id),
        wrong, item(made[4].document_id, etag="old"), item(made[2].document_id, "Third"),
    )
    assert reasons(answer) == [
        "", "INVALID_STATE", "PERMISSION_DENIED", "INVALID_MASK", "ETAG_MISMATCH", ""
    ]
    assert (answer.results[0].document.title, answer.results[5].document.title) == ("New", "Third")
    assert answer.consistency_token
    read = await documents(world, "ann").GetDocument(
        pb.GetDocumentRequest(
            document_id=made[2].document_id,
            consistency={"at_least_as_fresh": {"tokens": [answer.consistency_token]}},
        )
    )
    assert read.document == answer.results[5].document


@pytest.mark.case("Z06")
async def test_a_document_may_occur_once_and_a_batch_has_its_limit(world: World) -> None:
    made = await create(world, await project(world))
    twice = await refused(batch(world, item(made.document_id), item(made.document_id)))
    assert (twice.reason, twice.metadata["field"]) == (
        "INVALID_FIELD", "requests[1].document.document_id"
    )
    for count in (0, 101):
        no = await refused(batch(world, *(item(f"d_{n}") for n in range(count))))
        assert no.reason == "INVALID_FIELD"
    assert reasons(await batch(world, *(item(f"d_{n}") for n in range(100)))) == (
        ["PERMISSION_DENIED"] * 100
    )


async def test_a_repeat_has_one_effect_and_equal_answers(world: World) -> None:
    home = await project(world)
    made = [await create(world, home, f"{n}.pdf") for n in range(3)]
    same = request_id()
    items = [item(each.document_id, "Once") for each in made]
    answers = await asyncio.gather(*(batch(world, *items, request_id=same) for _ in range(10)))
    assert [list(a.results) for a in answers] == [list(answers[0].results)] * 10
    await batch(world, item(made[0].document_id, "Twice"))
    assert list((await batch(world, *items, request_id=same)).results) == list(answers[0].results)
    for each, count in zip(made, (3, 2, 2), strict=True):
        rows = await history(world, "ann").ListMetadataRecords(
            ListMetadataRecordsRequest(document_id=each.document_id)
        )
        assert len(rows.metadata_records) == count
    for other in ([items[0]], [item(made[0].document_id, "Other"), *items[1:]]):
        no = await refused(batch(world, *other, request_id=same))
        assert no.reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize("failed", [0, 1])
async def test_a_batch_that_was_cut_is_finished_by_its_repeat(world: World, failed: int) -> None:
    """Items that went through are answered again, the others are made up."""
    home = await project(world)
    made = [await create(world, home, f"{n}.pdf") for n in range(2)]
    trashed = made[failed].document_id
    await documents(world, "ann").DeleteDocument(pb.DeleteDocumentRequest(document_id=trashed))
    same, items = request_id(), [item(each.document_id) for each in made]
    first = await batch(world, *items, request_id=same)
    await documents(world, "ann").RestoreDocument(pb.RestoreDocumentRequest(document_id=trashed))
    again = await batch(world, *items, request_id=same)
    assert reasons(first)[failed] == "INVALID_STATE"
    assert reasons(again) == ["", ""]
    assert again.results[1 - failed] == first.results[1 - failed]
