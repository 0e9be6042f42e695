"""Documents that came by sync have their home, their place and their names."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from workspace.project.v1.document_service_pb2 import (
    DeleteDocumentRequest,
    RestoreDocumentRequest,
    SearchDocumentsRequest,
)

from project_svc.documents.names import Place
from services.cli.exporting.names import distinct_names
from services.events.following import Follower
from services.records.conflict_rows import Found
from services.records.port import Key
from services.records.replica import Incoming, Replica
from tests.integration.storage.people import refused
from tests.integration.sync.arriving import (
    account,
    again,
    assign,
    create,
    documents,
    eventually,
    move,
    rows,
    send,
    two_nodes,
)
from tests.integration.sync.nodes import Node, in_step, request_id


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[tuple[Node, Node]]:
    async with two_nodes(tmp_path) as made:
        yield made


async def holder(node: Node, project_id: str, name: str) -> str:
    """Who has the claim of a place ('' for nobody), with the others that live there."""
    item = await node.ws.records.get_row(Place(project_id, "", name).key)
    if item is None or item.deleted:
        return ""
    row = json.loads(item.body)
    return " ".join([row["document_id"], *row.get("also", ())])


async def test_documents_are_listed_under_the_account_that_their_project_came_into(
    nodes: tuple[Node, Node],
) -> None:
    a, b = nodes
    home = await account(a)
    project_id = await a.project()
    document_id = await a.document(project_id, "plan.txt")
    await send(a, b)
    workspace_id = (await a.read(document_id)).workspace_id

    async def listed(**scope: str) -> bool:
        found = await documents(b, **scope)
        return [each.document_id for each in found] == [document_id]

    await eventually(lambda: listed(workspace_id=workspace_id))
    await assign(a, project_id, home)
    await send(a, b)
    await eventually(lambda: listed(account_id=home))
    assert not await listed(workspace_id=workspace_id)
    shown = await b.read(document_id)
    assert (shown.account_id, shown.workspace_id) == (home, "")


async def test_a_document_that_came_before_its_project_gets_its_home_with_it(
    nodes: tuple[Node, Node],
) -> None:
    a, b = nodes
    home = await account(a)
    project_id = await a.project()
    await assign(a, project_id, home)
    document_id = await a.document(project_id, "plan.txt")
    source, target = Replica(a.ws.records), Replica(b.ws.records)
    keys = [
        Key(f"DOCUMENT#{document_id}", f"ARTIFACT#{document_id}"),
        Key(f"PROJECT#{project_id}", f"PROJECT#{project_id}"),
    ]

    async def bring(key: Key) -> None:
        (state,) = await source.states([key])
        assert state is not None
        await target.join(
            key.pk, [Incoming(key, state)], origin=a.ws.process.kernel.instance_id,
            found=Found(0),
        )

    async def stored_home() -> str:
        item = await b.ws.records.get_row(keys[0])
        return str(json.loads(item.body).get("account_id", "")) if item else ""

    await bring(keys[0])
    await eventually(lambda: holder(b, project_id, "plan.txt"))
    assert await stored_home() == ""
    await bring(keys[1])
    await eventually(stored_home)
    assert await stored_home() == home


async def test_a_place_that_came_is_taken_and_one_that_was_left_is_free(
    nodes: tuple[Node, Node],
) -> None:
    a, b = nodes
    project_id = await a.project()
    document_id = await a.document(project_id, "plan.txt")
    await send(a, b)
    await eventually(lambda: holder(b, project_id, "plan.txt"))
    said = await refused(create(b, project_id, "plan.txt"))
    assert (said.reason, said.metadata["document_id"]) == ("ALREADY_EXISTS", document_id)
    await move(a, document_id, "other.txt")
    await send(a, b)
    await eventually(lambda: holder(b, project_id, "other.txt"))
    before = await b.ws.records.head(f"DOCUMENT#{document_id}")
    await create(b, project_id, "plan.txt")
    # Nobody had to be kept from coming back: the document itself was left alone.
    assert (await b.ws.records.head(f"DOCUMENT#{document_id}")) == before
    await a.documents.DeleteDocument(
        DeleteDocumentRequest(document_id=document_id, request_id=request_id())
    )
    await send(a, b)

    async def free() -> bool:
        return not await holder(b, project_id, "other.txt")

    await eventually(free)


async def _twins(a: Node, b: Node) -> tuple[str, str, str]:
    """The project, and two documents of one name: what A made first, what B made."""
    project_id = await a.project()
    await send(a, b)
    first = await a.document(project_id, "plan.txt", b"of a")
    second = await b.document(project_id, "plan.txt", b"of b")
    await in_step(a, b, rounds=5)
    for node in (a, b):

        async def settled(node: Node = node) -> bool:
            return await holder(node, project_id, "plan.txt") == f"{first} {second}"

        await eventually(settled)
    return project_id, first, second


async def test_of_two_documents_at_one_place_both_stay_and_the_first_has_the_claim(
    nodes: tuple[Node, Node],
) -> None:
    a, b = nodes
    project_id, first, second = await _twins(a, b)
    for node in nodes:
        listed = await documents(node, project_id=project_id)
        assert {each.document_id for each in listed} == {first, second}
        assert await node.bytes_of(first) == b"of a"
        assert await node.bytes_of(second) == b"of b"
        found = await node.documents.SearchDocuments(SearchDocumentsRequest(query="plan"))
        assert len(found.documents) == 2
        said = await refused(create(node, project_id, "plan.txt"))
        assert said.metadata["document_id"] == first
    names = [each.name for each in distinct_names(await documents(a, project_id=project_id))]
    assert sorted(names) == sorted(["plan.txt", f"plan ({second}).txt"])


async def test_the_other_of_two_at_one_place_is_renamed_and_the_claim_stays(
    nodes: tuple[Node, Node],
) -> None:
    a, b = nodes
    project_id, first, second = await _twins(a, b)
    moved = await move(b, second, "mine.txt")
    assert moved.name == "mine.txt"
    await in_step(a, b, rounds=5)
    for node in nodes:
        assert (await holder(node, project_id, "plan.txt")).startswith(first)
        assert (await node.read(second)).name == "mine.txt"
    # It left: when the first one goes as well, the place is free on both.
    await move(a, first, "first.txt")
    assert await holder(a, project_id, "plan.txt") == ""


async def test_when_the_holder_goes_the_other_has_the_place(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    project_id, first, second = await _twins(a, b)
    await a.documents.DeleteDocument(
        DeleteDocumentRequest(document_id=first, request_id=request_id())
    )
    assert await holder(a, project_id, "plan.txt") == second
    await in_step(a, b, rounds=5)

    async def passed_on() -> bool:
        return await holder(b, project_id, "plan.txt") == second

    await eventually(passed_on)
    for node in nodes:
        said = await refused(create(node, project_id, "plan.txt"))
        assert said.metadata["document_id"] == second
    restore = RestoreDocumentRequest(document_id=first, request_id=request_id())
    said = await refused(b.documents.RestoreDocument(restore))
    assert (said.reason, said.metadata["document_id"]) == ("ALREADY_EXISTS", second)


async def test_what_came_while_nobody_followed_is_made_up_for_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also shows what the follower is for: without it the place seems free."""

    async def idle(_: Follower) -> None:
        return

    async with two_nodes(tmp_path) as (a, b):
        project_id = await a.project()
        first = await a.document(project_id, "plan.txt")
        await send(a, b)
        await eventually(lambda: holder(b, project_id, "plan.txt"))
        cursors = await eventually(lambda: rows(b.ws.records, "follower"))
        assert cursors
    with monkeypatch.context() as patched:
        patched.setattr(Follower, "run", idle)
        async with again(tmp_path / "a") as a, again(tmp_path / "b") as b:
            await move(a, first, "other.txt")
            await send(a, b)
            assert (await b.read(first)).name == "other.txt"
            assert await holder(b, project_id, "other.txt") == ""
            assert await holder(b, project_id, "plan.txt") == first
    async with again(tmp_path / "b") as b:
        await eventually(lambda: holder(b, project_id, "other.txt"))

        async def free() -> bool:
            return not await holder(b, project_id, "plan.txt")

        await eventually(free)
