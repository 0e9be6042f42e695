"""SearchDocuments: all words, whole answers, nothing that may not be seen."""

from __future__ import annotations

import random
from typing import Any

import pytest
from workspace.common.v1.permission_pb2 import Permission
from workspace.project.v1 import document_service_pb2 as pb
from workspace.project.v1.grant_pb2 import GrantTargetType
from workspace.project.v1.grant_service_pb2 import CreateGrantRequest, RevokeGrantRequest
from workspace.project.v1.project_service_pb2 import DeleteProjectRequest

from project_svc.documents.search_words import words
from tests.integration.project.files import create, documents, project
from tests.integration.project.world import World, refused


async def found(world: World, query: str, user: str = "ann", size: int = 50, **more: Any) -> Any:
    """Names of everything found, over all pages."""
    names: list[str] = []
    token = ""
    while True:
        answer = await documents(world, user).SearchDocuments(
            pb.SearchDocumentsRequest(query=query, page_size=size, page_token=token, **more)
        )
        assert len(answer.documents) <= size
        names += [document.name for document in answer.documents]
        token = answer.next_page_token
        if not token:
            assert len(names) == len(set(names))
            return sorted(names)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("\ufb01nal \u2163 \uff11\uff12", ["final", "iv", "12"]),
        ("Cafe\u0301 caf\u00e9", ["caf\u00e9", "caf\u00e9"]),
        ("a_b-c.PDF", ["a", "b", "c", "pdf"]),
        ("co\u00adop line\nbreak", ["coop", "line", "break"]),
        ("İstanbul", ["i\u0307stanbul"[0], "stanbul"]),
        ("橋梁 plan", ["橋", "梁", "plan"]),
        ("x" * 70, ["x" * 60]),
        (" -- ", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


async def test_all_words_must_occur_the_last_may_be_a_beginning(world: World) -> None:
    home = await project(world)
    await create(world, home, "Brücke-Nord.pdf", title="Prüfbericht 2024")
    await create(world, home, "sud.pdf", concept_tags=["Brücke", "Stahl"])
    await create(world, home, "west.txt", extraction_summary="Die BRÜCKE wurde geprüft.")
    await create(world, home, "other.pdf", title="Tunnel", project_role="Brücke")
    for query, expected in {
        "brücke": ["Brücke-Nord.pdf", "sud.pdf", "west.txt"],
        "BRÜC": ["Brücke-Nord.pdf", "sud.pdf", "west.txt"],
        "bru\u0308cke prüf": ["Brücke-Nord.pdf"],
        "brücke geprüft": ["west.txt"],
        "prüf brücke": [],
        "pdf br": ["Brücke-Nord.pdf", "sud.pdf"],
        "stahl sud": ["sud.pdf"],
        "nothing": [],
    }.items():
        assert await found(world, query) == expected, query
    no = await refused(found(world, " -- "))
    assert (no.reason, no.metadata["field"]) == ("INVALID_FIELD", "query")
    assert (await refused(found(world, ""))).reason == "INVALID_FIELD"


@pytest.mark.case("Z07")
async def test_only_what_the_caller_may_view_now(world: World) -> None:
    open_home = await project(world, account_id="a_one", restricted=False)
    closed = await project(world, account_id="a_one", restricted=True)
    private = await project(world)
    for number, home in enumerate((open_home, closed, private)):
        await create(world, home, f"plan{number}.pdf")
    assert await found(world, "lan0") == []
    assert await found(world, "pdf", "eve") == ["plan0.pdf"]
    assert await found(world, "pdf", "bob") == []
    grant = (
        await world.grants("ann").CreateGrant(
            CreateGrantRequest(
                project_id=private,
                target_type=GrantTargetType.GRANT_TARGET_TYPE_USER,
                target_id="bob",
                permissions=[Permission.PERMISSION_VIEW],
            )
        )
    ).grant
    assert await found(world, "pdf", "bob") == ["plan2.pdf"]
    assert await found(world, "pdf", "bob", project_id=private) == ["plan2.pdf"]
    await world.grants("ann").RevokeGrant(
        RevokeGrantRequest(project_id=private, grant_id=grant.grant_id)
    )
    assert await found(world, "pdf", "bob") == []
    no = await refused(found(world, "pdf", "bob", project_id=private))
    assert no.reason == "PERMISSION_DENIED"
    assert await found(world, "pdf", account_id="a_one") == ["plan0.pdf", "plan1.pdf"]
    assert await found(world, "pdf", workspace_id="w_ann") == ["plan2.pdf"]
    two = await refused(found(world, "pdf", account_id="a_one", workspace_id="w_ann"))
    assert two.reason == "INVALID_FIELD"
    await world.projects("ann").DeleteProject(DeleteProjectRequest(project_id=closed))
    assert await found(world, "pdf") == ["plan0.pdf", "plan2.pdf"]


async def test_what_is_in_the_trash_is_not_found_until_it_is_back(world: World) -> None:
    made = await create(world, await project(world), "plan.pdf")
    about = {"document_id": made.document_id}
    await documents(world, "ann").DeleteDocument(pb.DeleteDocumentRequest(**about))
    assert await found(world, "plan") == []
    await documents(world, "ann").RestoreDocument(pb.RestoreDocumentRequest(**about))
    assert await found(world, "plan") == ["plan.pdf"]


@pytest.mark.parametrize("size", [1, 2, 29, 30, 31])
async def test_pages_are_complete_and_bound_to_their_arguments(world: World, size: int) -> None:
    rng = random.Random(size)
    homes = [await project(world, name=f"P{n}") for n in range(4)]
    expected = []
    for number in range(60):
        name = f"{'wanted' if number % 2 else 'else'}-{number}.pdf"
        await create(world, rng.choice(homes), name)
        expected += [name] if number % 2 else []
    assert await found(world, "wanted", size=size) == sorted(expected)
    first = await documents(world, "ann").SearchDocuments(
        pb.SearchDocumentsRequest(query="wanted", page_size=1)
    )
    no = await refused(
        documents(world, "ann").SearchDocuments(
            pb.SearchDocumentsRequest(
                query="else", page_size=1, page_token=first.next_page_token
            )
        )
    )
    assert no.reason == "INVALID_PAGE_TOKEN"
