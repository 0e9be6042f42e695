"""Incoming links: found by key, decided by their source."""

from __future__ import annotations

from typing import Any

import pytest
from workspace.project.v1 import document_service_pb2 as pb
from workspace.project.v1.link_pb2 import LinkDirection, ObjectLink
from workspace.project.v1.project_service_pb2 import AssignProjectRequest, DeleteProjectRequest

from project_svc.documents.denormalised import DENORMALISED, Denormalised
from project_svc.documents.link_index import LinkIndex
from services.model.indexes import Index
from tests.integration.project.files import create, documents, project
from tests.integration.project.world import World

_IN = LinkDirection.LINK_DIRECTION_INCOMING


def link(object_id: str = "R1", relation: str = "about") -> ObjectLink:
    return ObjectLink(kind="requirement", id=object_id, relation=relation)


async def incoming(world: World, user: str = "ann", size: int = 50) -> list[Any]:
    request = pb.ListLinksRequest(kind="requirement", id="R1", direction=_IN, page_size=size)
    found: list[Any] = []
    while True:
        page = await documents(world, user).ListLinks(request)
        found += [(e.source_kind, e.source_id, e.link.relation) for e in page.links]
        if not page.next_page_token:
            return sorted(found)
        request.page_token = page.next_page_token


async def change(world: World, name: str, **fields: Any) -> None:
    await getattr(documents(world, "ann"), name)(getattr(pb, name + "Request")(**fields))


async def test_nothing_but_the_targets_partition_is_looked_through(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = await project(world)
    made = await create(world, home, "source.pdf", links=[link()])
    for number in range(5):
        await create(world, home, f"{number}.pdf", links=[link("R2")])
    real, looked = world.records.query, []

    async def query(family: Any, index: Index, *args: Any, **more: Any) -> Any:
        looked.append((family.name, index))
        return await real(family, index, *args, **more)

    monkeypatch.setattr(world.records, "query", query)
    assert await incoming(world) == [("document", made.document_id, "about")]
    assert ("document", Index.PROJECT) not in looked


@pytest.mark.parametrize("size", [1, 2, 5, 6, 7, 50])
async def test_pages_are_complete(world: World, size: int) -> None:
    home = await project(world)
    expected = []
    for number in range(3):
        links = [link(relation=f"r{n}") for n in range(number + 1)]
        made = await create(world, home, f"{number}.pdf", links=links)
        expected += [("document", made.document_id, f"r{n}") for n in range(number + 1)]
    await change(world, "LinkObjects", project_id=home, links=[link()])
    expected.append(("project", home, "about"))
    assert await incoming(world, size=size) == sorted(expected)


async def test_what_was_taken_away_is_not_shown(world: World) -> None:
    home = await project(world)
    one = await create(world, home, "one.pdf", links=[link()])
    two = await create(world, home, "two.pdf", links=[link()])
    assert await incoming(world, "bob") == []
    await change(world, "UnlinkObjects", document_id=one.document_id, links=[link()])
    assert await incoming(world) == [("document", two.document_id, "about")]
    await change(world, "DeleteDocument", document_id=two.document_id)
    assert await incoming(world) == []
    await change(world, "RestoreDocument", document_id=two.document_id)
    assert await incoming(world) == [("document", two.document_id, "about")]
    await world.projects("ann").DeleteProject(DeleteProjectRequest(project_id=home))
    assert await incoming(world) == []


async def test_old_rows_of_ended_links_go_and_young_ones_stay(world: World) -> None:
    """A young row may belong to a change that has not committed yet."""
    made = await create(world, await project(world), "one.pdf", links=[link()])
    index = LinkIndex(world.records, now=world.now)

    async def rows() -> int:
        found, _ = await index.sources("requirement", "R1", after="", limit=10)
        return sum(not row.item.deleted for row in found)

    await change(world, "UnlinkObjects", document_id=made.document_id, links=[link()])
    assert await incoming(world) == []
    assert await rows() == 1
    world.offset += 4_000
    assert await incoming(world) == []
    assert await rows() == 0
    await change(world, "LinkObjects", document_id=made.document_id, links=[link()])
    assert await incoming(world) == [("document", made.document_id, "about")]
    world.offset += 4_000
    assert await incoming(world) == [("document", made.document_id, "about")]
    assert await rows() == 1


async def test_a_proposal_without_its_change_is_no_link(world: World) -> None:
    """As after a crash between the row and the commit."""
    made = await create(world, await project(world), "one.pdf")
    await LinkIndex(world.records, now=world.now).propose(made, [link()])
    assert await incoming(world) == []


async def test_copies_that_a_crash_left_behind_are_made_up_by_due_work(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = await project(world, account_id="a_one")
    made = await create(world, home, "one.pdf")

    async def killed(*_: Any) -> int:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(Denormalised, "refresh", killed)
        await world.projects("ann").AssignProject(
            AssignProjectRequest(project_id=home, account_id="a_two")
        )
    seen = await documents(world, "ann").GetDocument(
        pb.GetDocumentRequest(document_id=made.document_id)
    )
    assert seen.document.account_id == "a_one"
    handlers = {DENORMALISED: Denormalised(world.records).run}
    assert await world.kernel.due.run(handlers) == 0
    world.offset += 61
    assert await world.kernel.due.run(handlers) == 1
    seen = await documents(world, "ann").GetDocument(
        pb.GetDocumentRequest(document_id=made.document_id)
    )
    assert seen.document.account_id == "a_two"
