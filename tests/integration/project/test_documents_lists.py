"""Lists and links of documents: complete, resumable, only what the caller may view."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from workspace.common.v1.permission_pb2 import Permission
from workspace.project.v1 import document_service_pb2 as pb
from workspace.project.v1.document_pb2 import Document, DocumentStatus
from workspace.project.v1.grant_pb2 import GrantTargetType
from workspace.project.v1.grant_service_pb2 import CreateGrantRequest
from workspace.project.v1.link_pb2 import LinkDirection, ObjectLink
from workspace.project.v1.project_service_pb2 import AssignProjectRequest, GetProjectRequest

from project_svc.documents.denormalised import Denormalised
from project_svc.documents.rows import DOCUMENT, document_key
from tests.integration.project.files import create, documents, project, upload
from tests.integration.project.world import World, refused, request_id


async def _ids(world: World, user_id: str, **arguments: Any) -> list[str]:
    """All pages, each within its size."""
    request = pb.ListDocumentsRequest(**arguments)
    seen: list[str] = []
    while True:
        page = await documents(world, user_id).ListDocuments(request)
        assert len(page.documents) <= (request.page_size or 50)
        seen += [document.document_id for document in page.documents]
        if not page.next_page_token:
            return seen
        request.page_token = page.next_page_token


@pytest.mark.parametrize("page_size", [1, 2, 3, 7, 0])
async def test_pages_of_a_project_are_complete_at_every_size(world: World, page_size: int) -> None:
    home = await project(world)
    made = [await create(world, home, f"{n}.pdf") for n in range(7)]
    seen = await _ids(world, "ann", project_id=home, page_size=page_size)
    assert seen == sorted(d.document_id for d in made)


@pytest.mark.case("Z07")
@pytest.mark.parametrize("page_size", [1, 2, 4, 0])
async def test_pages_across_projects_hold_what_is_visible_once(
    world: World, page_size: int
) -> None:
    mine = [await project(world) for _ in range(3)]
    theirs = await project(world, "bob")
    made = [await create(world, home, f"{n}.pdf") for home in mine for n in range(3)]
    await create(world, theirs, as_="bob")
    seen = await _ids(world, "ann", page_size=page_size)
    assert sorted(seen) == sorted(d.document_id for d in made)
    assert len(seen) == len(set(seen))


async def test_scopes_are_those_of_the_project(world: World) -> None:
    private = await project(world)
    shared = await project(world, account_id="a_one")
    team = await project(world, account_id="a_one", team_id="t_one")
    made = {home: (await create(world, home)).document_id for home in (private, shared, team)}
    assert await _ids(world, "ann", workspace_id="w_ann") == [made[private]]
    assert sorted(await _ids(world, "ann", account_id="a_one")) == sorted(
        [made[shared], made[team]]
    )
    assert await _ids(world, "ann", team_id="t_one") == [made[team]]
    assert await _ids(world, "eve", team_id="t_one") == [made[team]]
    assert await _ids(world, "bob", account_id="a_one") == []
    assert await _ids(world, "eve", workspace_id="w_ann") == []
    no = await refused(_ids(world, "bob", project_id=shared))
    assert no.reason == "PERMISSION_DENIED"


async def test_filters(world: World) -> None:
    home = await project(world)
    one = await create(
        world, home, "Plan.pdf", relative_path="in/a", document_type="plan", concept_tags=["x"]
    )
    two = await create(world, home, "plan.txt", relative_path="out", concept_tags=["X"])
    await upload(world, two.document_id, "x_1")
    for arguments, wanted in (
        ({"document_type": "plan"}, [one]),
        ({"tag": "x"}, [one]),
        ({"tag": "X"}, [two]),
        ({"name_prefix": "Pl"}, [one]),
        ({"relative_path_prefix": "in/"}, [one]),
        ({"status": DocumentStatus.DOCUMENT_STATUS_AVAILABLE}, [two]),
        ({"classification": one.classification}, [one, two]),
        ({"classification": 1}, []),
    ):
        seen = await _ids(world, "ann", project_id=home, **arguments)  # type: ignore[arg-type]
        assert sorted(seen) == sorted(d.document_id for d in wanted), arguments


async def test_trash_and_archive_are_listed_when_asked_for(world: World) -> None:
    home = await project(world)
    made = await create(world, home)
    await documents(world, "ann").DeleteDocument(
        pb.DeleteDocumentRequest(document_id=made.document_id)
    )
    assert await _ids(world, "ann", project_id=home) == []
    trashed = DocumentStatus.DOCUMENT_STATUS_TRASHED
    assert await _ids(world, "ann", project_id=home, status=trashed) == [made.document_id]


async def test_a_sparse_filter_goes_on_over_many_rows(world: World) -> None:
    home = await project(world)
    await asyncio.gather(*(create(world, home, f"{n}.pdf") for n in range(230)))
    rare = await create(world, home, "rare.pdf", document_type="rare")
    seen = await _ids(world, "ann", project_id=home, document_type="rare", page_size=1)
    assert seen == [rare.document_id]


@pytest.mark.case("Z08")
async def test_a_page_token_is_of_its_caller_and_arguments(world: World) -> None:
    home = await project(world, account_id="a_one", restricted=False)
    for n in range(2):
        await create(world, home, f"{n}.pdf")
    request = pb.ListDocumentsRequest(project_id=home, page_size=1)
    page = await documents(world, "ann").ListDocuments(request)
    request.page_token = page.next_page_token
    assert (await refused(documents(world, "eve").ListDocuments(request))).reason == (
        "INVALID_PAGE_TOKEN"
    )
    request.name_prefix = "x"
    assert (await refused(documents(world, "ann").ListDocuments(request))).reason == (
        "INVALID_PAGE_TOKEN"
    )


@pytest.mark.case("Z07", "G13")
async def test_what_was_taken_away_is_not_listed(world: World) -> None:
    home = await project(world)
    await create(world, home)
    granted = await world.grants("ann").CreateGrant(
        CreateGrantRequest(
            project_id=home,
            target_type=GrantTargetType.GRANT_TARGET_TYPE_USER,
            target_id="bob",
            permissions=[Permission.PERMISSION_VIEW],
        )
    )
    assert len(await _ids(world, "bob")) == 1
    from workspace.project.v1.grant_service_pb2 import RevokeGrantRequest

    await world.grants("ann").RevokeGrant(
        RevokeGrantRequest(project_id=home, grant_id=granted.grant.grant_id)
    )
    assert await _ids(world, "bob") == []


# Links


def _link(id: str, kind: str = "requirement", relation: str = "describes") -> ObjectLink:  # noqa: A002
    return ObjectLink(kind=kind, id=id, relation=relation)


async def _links(world: World, user_id: str, **arguments: Any) -> list[tuple[str, str, str, str]]:
    request = pb.ListLinksRequest(**arguments)
    seen: list[tuple[str, str, str, str]] = []
    while True:
        page = await documents(world, user_id).ListLinks(request)
        assert len(page.links) <= (request.page_size or 50)
        seen += [(e.source_kind, e.source_id, e.link.id, e.link.relation) for e in page.links]
        if not page.next_page_token:
            return seen
        request.page_token = page.next_page_token


async def test_links_are_added_once_and_removed(world: World) -> None:
    made = await create(world, await project(world))
    stub = documents(world, "ann")
    request = pb.LinkObjectsRequest(
        document_id=made.document_id, links=[_link("R1"), _link("R2"), _link("R1")]
    )
    assert [link.id for link in (await stub.LinkObjects(request)).links] == ["R1", "R2"]
    again = await stub.LinkObjects(request)
    assert len(again.links) == 2
    assert again.consistency_token
    unlink = pb.UnlinkObjectsRequest(
        document_id=made.document_id, links=[_link("R1"), _link("R9")]
    )
    assert [link.id for link in (await stub.UnlinkObjects(unlink)).links] == ["R2"]
    no = await refused(documents(world, "bob").LinkObjects(request))
    assert no.reason == "PERMISSION_DENIED"
    await stub.DeleteDocument(pb.DeleteDocumentRequest(document_id=made.document_id))
    assert (await refused(stub.LinkObjects(request))).reason == "INVALID_STATE"


async def test_more_than_200_links_are_refused_and_large_answers_are_whole(world: World) -> None:
    made = await create(world, await project(world))
    stub = documents(world, "ann")
    many = pb.LinkObjectsRequest(
        document_id=made.document_id, links=[_link(f"{n}{'x' * 400}") for n in range(200)],
        request_id=request_id(),
    )
    first = await stub.LinkObjects(many)
    assert len(first.links) == 200
    assert list((await stub.LinkObjects(many)).links) == list(first.links)
    one = pb.LinkObjectsRequest(document_id=made.document_id, links=[_link("R")])
    no = await refused(stub.LinkObjects(one))
    assert (no.reason, no.metadata["maximum"]) == ("LIMIT_EXCEEDED", "200")


async def test_projects_link_too(world: World) -> None:
    home = await project(world)
    done = await documents(world, "ann").LinkObjects(
        pb.LinkObjectsRequest(project_id=home, links=[_link("R1")])
    )
    assert [link.id for link in done.links] == ["R1"]
    read = await world.projects("ann").GetProject(GetProjectRequest(project_id=home))
    assert list(read.project.links) == list(done.links)
    await documents(world, "ann").UnlinkObjects(
        pb.UnlinkObjectsRequest(project_id=home, links=[_link("R1")])
    )
    assert await _links(world, "ann", kind="project", id=home) == []


@pytest.mark.parametrize("page_size", [1, 2, 0])
async def test_links_are_read_from_both_ends(world: World, page_size: int) -> None:
    home, other = await project(world), await project(world)
    target = await create(world, home, "target.pdf", links=[_link("R1"), _link("R2")])
    to_target = [
        _link(target.document_id, "document", relation) for relation in ("a", "b", "c")
    ]
    source = await create(world, other, "source.pdf", links=to_target)
    await documents(world, "ann").LinkObjects(
        pb.LinkObjectsRequest(project_id=home, links=to_target[:1])
    )
    about = {"kind": "document", "id": target.document_id, "page_size": page_size}
    both = await _links(world, "ann", **about)
    outgoing = [("document", target.document_id, r, "describes") for r in ("R1", "R2")]
    incoming = [("project", home, target.document_id, "a")]
    incoming += [
        ("document", source.document_id, target.document_id, r) for r in ("a", "b", "c")
    ]
    assert both[:2] == outgoing
    assert sorted(both[2:]) == sorted(incoming)
    only = await _links(
        world, "ann", direction=LinkDirection.LINK_DIRECTION_OUTGOING, **about
    )
    assert only == outgoing
    only = await _links(
        world, "ann", direction=LinkDirection.LINK_DIRECTION_INCOMING, relation="b", **about
    )
    assert only == [("document", source.document_id, target.document_id, "b")]
    assert await _links(world, "bob", **about) == []


# Copies of the home


async def test_the_copies_follow_an_assignment_without_a_new_version(world: World) -> None:
    home = await project(world)
    made = [await create(world, home, f"{n}.pdf") for n in range(3)]
    await world.projects("ann").AssignProject(
        AssignProjectRequest(project_id=home, account_id="a_one")
    )

    async def copies() -> set[tuple[str, str]]:
        rows = [
            await world.records.get(DOCUMENT, document_key(d.document_id)) for d in made
        ]
        return {(r.message.account_id, r.message.workspace_id) for r in rows if r}

    for _ in range(200):
        if await copies() == {("a_one", "")}:
            break
        await asyncio.sleep(0.01)
    assert await copies() == {("a_one", "")}
    assert await Denormalised(world.records).refresh(home) == 0
    read: Document = (
        await documents(world, "ann").GetDocument(
            pb.GetDocumentRequest(document_id=made[0].document_id)
        )
    ).document
    assert (read.account_id, read.etag) == ("a_one", made[0].etag)


async def test_a_refresh_brings_stale_copies_up_to_date(world: World) -> None:
    home = await project(world)
    made = await create(world, home)
    record = await world.records.get(DOCUMENT, document_key(made.document_id))
    assert record is not None
    from services.records.record import Activity, Write

    stale = record.edit()
    stale.account_id = "a_two"
    await world.records.commit(
        record.key.pk,
        [Write(DOCUMENT, stale, base=record)],
        activity=Activity("document.updated", f"documents/{made.document_id}"),
    )
    assert await Denormalised(world.records).refresh(home) == 1
    assert await Denormalised(world.records).refresh(home) == 0
    assert await Denormalised(world.records).refresh("p_absent") == 0
