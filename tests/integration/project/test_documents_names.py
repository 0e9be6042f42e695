"""One document per place, whoever races and whoever crashed half way."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import pytest
from workspace.project.v1 import document_service_pb2 as pb
from workspace.project.v1.document_pb2 import Document, DocumentStatus

from project_svc.documents.names import Place, PlaceClaims, place_of
from project_svc.documents.rows import DOCUMENT, document_key, document_pk
from services.model.errors import Reason, WorkspaceError
from services.records.port import ABSENT, Put
from services.records.record import Activity, Write
from tests.integration.project.files import create, documents, project, upload
from tests.integration.project.world import World, refused, request_id


async def _count(world: World, project_id: str) -> int:
    answer = await documents(world, "ann").ListDocuments(
        pb.ListDocumentsRequest(project_id=project_id, page_size=500)
    )
    return len(answer.documents)


async def _code(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_of_fifty_who_create_one_name_one_succeeds(world: World) -> None:
    home = await project(world)
    results = await asyncio.gather(
        *(create(world, home, "a.pdf") for _ in range(50)), return_exceptions=True
    )
    made = [r for r in results if isinstance(r, Document)]
    codes = {r.code() for r in results if isinstance(r, grpc.aio.AioRpcError)}
    assert len(made) == 1
    assert codes == {grpc.StatusCode.ALREADY_EXISTS}
    assert await _count(world, home) == 1


async def test_fifty_of_one_request_id_make_one_document_and_equal_answers(world: World) -> None:
    home = await project(world)
    request = pb.CreateDocumentRequest(project_id=home, name="a.pdf", request_id=request_id())
    stub = documents(world, "ann")
    answers = await asyncio.gather(*(stub.CreateDocument(request) for _ in range(50)))
    assert all(answer.document == answers[0].document for answer in answers)
    assert await _count(world, home) == 1


async def test_deletes_restores_and_creates_of_one_name_leave_one_document(world: World) -> None:
    home = await project(world)
    made = await create(world, home, "a.pdf")
    stub = documents(world, "ann")

    async def again() -> None:
        for _ in range(5):
            codes.add(
                await _code(
                    stub.DeleteDocument(pb.DeleteDocumentRequest(document_id=made.document_id))
                )
            )
            codes.add(await _code(create(world, home, "a.pdf")))
            codes.add(
                await _code(
                    stub.RestoreDocument(pb.RestoreDocumentRequest(document_id=made.document_id))
                )
            )

    codes: set[Any] = set()
    await asyncio.gather(*(again() for _ in range(4)))
    assert codes <= {
        grpc.StatusCode.OK,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
    }
    assert await _count(world, home) == 1


async def test_swapping_moves_never_meet_at_one_place(world: World) -> None:
    home = await project(world)
    made = [await create(world, home, f"{n}.pdf") for n in range(6)]
    stub = documents(world, "ann")

    async def move(document: Document, turn: int) -> None:
        request = pb.MoveDocumentRequest(
            document_id=document.document_id, name=f"{turn % 3}.txt"
        )
        codes.append(await _code(stub.MoveDocument(request)))

    codes: list[Any] = []
    await asyncio.gather(*(move(d, n) for n, d in enumerate(made)))
    assert codes.count(grpc.StatusCode.OK) == 3
    assert codes.count(grpc.StatusCode.ALREADY_EXISTS) == 3
    listed = await stub.ListDocuments(pb.ListDocumentsRequest(project_id=home))
    places = [(d.relative_path, d.name) for d in listed.documents]
    assert len(places) == len(set(places)) == 6
    assert {"0.txt", "1.txt", "2.txt"} <= {name for _, name in places}


async def _claim(world: World, place: Place, document_id: str, *, age: float) -> None:
    """A claim as a process that died after it would have left it."""
    body = {"document_id": document_id, "path": place.path, "at": world.kernel.now() - age}
    put = Put(place.key, ABSENT, "document_name", json.dumps(body))
    await world.records.driver.commit(place.key.pk, [put])


async def test_a_claim_whose_document_never_came_is_taken_over_and_fenced(world: World) -> None:
    home = await project(world)
    place = Place(home, "", "a.pdf")
    await _claim(world, place, "d_dead", age=60)
    made = await create(world, home, "a.pdf")
    # The dead process wakes up: its document can no longer come to be.
    with pytest.raises(WorkspaceError) as caught:
        await world.records.commit(
            document_pk("d_dead"),
            [Write(DOCUMENT, Document(document_id="d_dead", project_id=home, name="a.pdf"))],
            activity=Activity("document.created", "documents/d_dead"),
        )
    assert caught.value.reason == Reason.ERROR_REASON_ALREADY_EXISTS
    no = await refused(create(world, home, "a.pdf"))
    assert no.metadata["document_id"] == made.document_id


async def test_a_young_claim_is_waited_for(world: World) -> None:
    home = await project(world)
    place = Place(home, "", "a.pdf")
    await _claim(world, place, "d_slow", age=0)
    waiting = asyncio.ensure_future(refused(create(world, home, "a.pdf")))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await world.records.commit(
        document_pk("d_slow"),
        [
            Write(
                DOCUMENT,
                Document(
                    document_id="d_slow",
                    project_id=home,
                    name="a.pdf",
                    status=DocumentStatus.DOCUMENT_STATUS_AWAITING_FILE,
                ),
            )
        ],
        activity=Activity("document.created", "documents/d_slow"),
    )
    no = await waiting
    assert (no.reason, no.metadata["document_id"]) == ("ALREADY_EXISTS", "d_slow")


async def test_releasing_ends_only_the_claim_that_was_read(world: World) -> None:
    place = Place(await project(world), "", "a.pdf")
    claims = PlaceClaims(records=world.records, now=world.kernel.now, lease=0)
    first = await claims.take(place, "d_first")
    second = await claims.take(place, "d_second")
    fenced = await world.records.get(DOCUMENT, document_key("d_first"), deleted=True)
    assert fenced is not None
    assert fenced.deleted
    await claims.release(first)
    assert await claims.held(place, "d_second") == second
    # Starting again over the tombstone means a new claim, which ends the second.
    third = await claims.take(place, "d_first", renew=True)
    await claims.release(second)
    assert await claims.held(place, "d_first") == third


async def test_the_same_request_succeeds_after_its_first_try_was_fenced(world: World) -> None:
    home = await project(world)
    stub = documents(world, "ann")
    request = pb.CreateDocumentRequest(project_id=home, name="a.pdf", request_id=request_id())
    document_id = await _derived_id(world, request)
    place = Place(home, "", "a.pdf")
    await _claim(world, place, document_id, age=60)
    winner = await create(world, home, "a.pdf")
    no = await refused(stub.CreateDocument(request))
    assert no.metadata["document_id"] == winner.document_id
    await stub.DeleteDocument(pb.DeleteDocumentRequest(document_id=winner.document_id))
    made = await stub.CreateDocument(request)
    assert made.document.document_id == document_id
    assert (await stub.CreateDocument(request)).document == made.document


async def _derived_id(world: World, request: pb.CreateDocumentRequest) -> str:
    from services.rpc.context import Call, Caller, set_current_call

    set_current_call(
        Call(
            "r",
            "/workspace.project.v1.DocumentService/CreateDocument",
            0.0,
            Caller(user_id="ann", issuer="test", subject="ann"),
        )
    )
    try:
        return world.kernel.mutations.begin(request).new_id("d")
    finally:
        set_current_call(None)


async def test_a_trashed_document_that_kept_its_claim_loses_it_and_its_restore(
    world: World,
) -> None:
    home = await project(world)
    made = await create(world, home, "a.pdf")
    await upload(world, made.document_id, "x_1")
    stub = documents(world, "ann")
    gone = (
        await stub.DeleteDocument(pb.DeleteDocumentRequest(document_id=made.document_id))
    ).document
    # As if the process had died before it released the place.
    claims = PlaceClaims(records=world.records, now=world.kernel.now)
    await claims.take(place_of(gone), made.document_id, renew=True)
    world.offset = 60
    other = await create(world, home, "a.pdf")
    no = await refused(
        stub.RestoreDocument(pb.RestoreDocumentRequest(document_id=made.document_id))
    )
    assert no.metadata["document_id"] == other.document_id
