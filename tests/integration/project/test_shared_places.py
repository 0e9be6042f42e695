"""Claims of places when documents came to them, or left them, without a use case."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from workspace.project.v1 import document_service_pb2 as pb
from workspace.project.v1.document_pb2 import Document, DocumentStatus

from project_svc.documents.names import Place, PlaceClaims, claim_put, lives_at, place_of
from project_svc.documents.rows import DOCUMENT, document_key, document_pk
from project_svc.documents.shared_places import SETTLED_SECONDS, SharedPlaces
from services.records.port import ABSENT
from services.records.record import Activity, Record, Write
from tests.integration.project.files import create, documents, project
from tests.integration.project.world import World, refused

AWAITING = DocumentStatus.DOCUMENT_STATUS_AWAITING_FILE
HOLDER, OTHER, THIRD = "d_1", "d_2", "d_3"


class Places:
    """A project, and documents that come to be as by sync: without a claim."""

    def __init__(self, world: World, project_id: str) -> None:
        self.world = world
        self.project_id = project_id
        self.claims = PlaceClaims(records=world.records, now=world.now)
        self.shared = SharedPlaces(records=world.records, claims=self.claims, now=world.now)

    def place(self, name: str = "a.pdf") -> Place:
        return Place(self.project_id, "", name)

    async def put(
        self, document_id: str, name: str = "a.pdf", *, at: int = 0, **fields: Any
    ) -> None:
        """The document, created at `at` seconds, is there now."""
        base = await self.world.records.get(DOCUMENT, document_key(document_id), deleted=True)
        given: dict[str, Any] = {"status": AWAITING} | fields
        message = Document(
            document_id=document_id, project_id=self.project_id, name=name, **given
        )
        message.created_at.seconds = 1_000 + at
        await self.world.records.commit(
            document_pk(document_id), [Write(DOCUMENT, message, base=base)],
            activity=Activity("document.changed", f"documents/{document_id}"),
        )

    async def settle(self, *document_ids: str) -> list[float | None]:
        return [await self.shared.settle(each) for each in document_ids]

    async def claim(self, name: str = "a.pdf") -> list[str]:
        """The holder, then the others; none without a claim."""
        item = await self.world.records.get_row(self.place(name).key)
        if item is None or item.deleted:
            return []
        row = json.loads(item.body)
        return [row["document_id"], *row.get("also", ())]

    async def held(self, document_id: str) -> Any:
        return await self.claims.held(self.place(), document_id)


@pytest.fixture
async def places(world: World) -> Places:
    return Places(world, await project(world))


@pytest.mark.parametrize("order", [(HOLDER, OTHER, THIRD), (THIRD, OTHER, HOLDER)])
async def test_the_first_created_has_the_claim_in_whatever_order_they_are_looked_at(
    places: Places, order: tuple[str, ...]
) -> None:
    for at, each in enumerate((HOLDER, OTHER, THIRD)):
        await places.put(each, at=at)
    assert await places.settle(*order) == [None] * 3
    assert await places.claim() == [HOLDER, OTHER, THIRD]
    item = await places.world.records.get_row(places.place().key)
    await places.settle(*order, *order)
    assert await places.world.records.get_row(places.place().key) == item


async def test_of_two_created_at_one_time_the_lesser_id_has_it(places: Places) -> None:
    for each in (OTHER, HOLDER):
        await places.put(each)
        await places.settle(each)
    assert await places.claim() == [HOLDER, OTHER]


async def test_a_release_passes_the_place_on_to_who_lives_there(places: Places) -> None:
    for at, each in enumerate((HOLDER, OTHER, THIRD)):
        await places.put(each, at=at)
        await places.settle(each)
    await places.put(OTHER, "left.pdf", at=1)
    claim = await places.held(HOLDER)
    await places.put(HOLDER, "gone.pdf")
    await places.claims.release(claim)
    assert await places.claim() == [THIRD]
    await places.claims.release(await places.held(THIRD))
    assert await places.claim() == []


async def test_who_left_by_sync_gives_the_claim_up_to_who_stays(places: Places) -> None:
    for at, each in enumerate((HOLDER, OTHER)):
        await places.put(each, at=at)
        await places.settle(each)
    await places.put(HOLDER, status=DocumentStatus.DOCUMENT_STATUS_TRASHED)
    assert await places.settle(HOLDER) == [None]
    assert await places.claim() == [OTHER]


async def test_a_place_whose_holder_left_belongs_to_the_other_before_anybody_looked(
    places: Places,
) -> None:
    for at, each in enumerate((HOLDER, OTHER)):
        await places.put(each, at=at)
        await places.settle(each)
    await places.put(HOLDER, "gone.pdf")
    no = await refused(create(places.world, places.project_id, "a.pdf"))
    assert (no.reason, no.metadata["document_id"]) == ("ALREADY_EXISTS", OTHER)


async def test_a_claim_that_a_call_has_just_made_is_left_alone_for_a_while(
    places: Places,
) -> None:
    """The call is between its claim and its commit."""
    await places.put(HOLDER, "old.pdf")
    await places.settle(HOLDER)
    taken = await places.claims.take(places.place(), HOLDER, renew=True)
    (again,) = await places.settle(HOLDER)
    assert again == pytest.approx(places.world.now() + SETTLED_SECONDS, abs=5)
    assert await places.held(HOLDER) == taken
    places.world.offset += SETTLED_SECONDS + 1
    assert await places.settle(HOLDER) == [None]
    assert await places.claim() == []
    assert await places.claim("old.pdf") == [HOLDER]


async def test_who_came_while_a_call_holds_the_claim_waits_and_is_named(places: Places) -> None:
    claims = places.claims
    await claims.take(places.place(), "d_slow")
    await places.put(OTHER)
    (again,) = await places.settle(OTHER)
    assert again is not None
    assert await places.claim() == ["d_slow", OTHER]
    # Nobody else gets the place meanwhile, although the slow one does not live there.
    no = await refused(create(places.world, places.project_id, "a.pdf"))
    assert no.metadata["document_id"] == OTHER
    places.world.offset += SETTLED_SECONDS + 1
    assert await places.settle(OTHER) == [None]
    assert await places.claim() == [OTHER]


async def test_renewing_ones_own_claim_keeps_the_others(places: Places) -> None:
    for at, each in enumerate((HOLDER, OTHER)):
        await places.put(each, at=at)
        await places.settle(each)
    await places.claims.take(places.place(), HOLDER, renew=True)
    assert await places.claim() == [HOLDER, OTHER]


async def test_a_claim_of_a_former_version_of_this_software_is_understood(
    places: Places,
) -> None:
    """Without others, and in no index."""
    await places.put(HOLDER)
    put = claim_put(places.place(), HOLDER, ABSENT, at=places.world.now())
    await places.world.records.put_row(
        type(put)(put.key, put.condition, put.family, put.body)
    )
    await places.put(OTHER, at=1)
    await places.settle(HOLDER, OTHER)
    assert await places.claim() == [HOLDER, OTHER]


async def test_moves_of_people_and_arrivals_at_once_leave_each_place_with_one_holder(
    places: Places,
) -> None:
    world = places.world
    made = [await create(world, places.project_id, f"{n}.pdf") for n in range(4)]
    stub = documents(world, "ann")

    async def move(document_id: str, name: str) -> None:
        request = pb.MoveDocumentRequest(document_id=document_id, name=name)
        try:
            await stub.MoveDocument(request)
        except Exception as error:
            assert "ALREADY_EXISTS" in str(error) or "ABORTED" in str(error)  # noqa: PT017

    for round_ in range(6):
        names = [f"{(n + round_) % 3}.pdf" for n in range(4)]
        await asyncio.gather(
            *(move(each.document_id, name) for each, name in zip(made, names, strict=True)),
            *(places.shared.settle(each.document_id) for each in made),
        )
    world.offset += SETTLED_SECONDS + 1
    await places.settle(*(each.document_id for each in made))
    for each in made:
        record: Record[Document] | None = await world.records.get(
            DOCUMENT, document_key(each.document_id)
        )
        assert record is not None
        place = place_of(record.message)
        assert lives_at(record, place)
        assert (await places.claim(place.name)) == [each.document_id]
