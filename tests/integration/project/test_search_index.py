"""Search through the index: the same answers, whatever the index has missed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from workspace.project.v1 import document_service_pb2 as pb
from workspace.project.v1.document_pb2 import Document

from project_svc.documents.indexing import Indexing
from project_svc.documents.rows import DOCUMENT, document_key
from project_svc.documents.term_index import TermIndex
from services.model.indexes import Index
from services.records.record import Activity, Write
from tests.integration.project.files import create, documents, project
from tests.integration.project.test_search import found
from tests.integration.project.world import World

_WORDS = ["brücke", "brückenbau", "nord", "nordwest", "stahl", "橋", "a1", "a10"]


@asynccontextmanager
async def following(index: Indexing) -> AsyncIterator[Indexing]:
    task = asyncio.ensure_future(index.run())
    try:
        async with asyncio.timeout(20):
            while not await index.caught_up(1.0):  # noqa: ASYNC110 - it is made from nothing
                await asyncio.sleep(0.01)
        yield index
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def change(world: World, rpc: str, **fields: Any) -> None:
    await getattr(documents(world, "ann"), rpc)(getattr(pb, rpc + "Request")(**fields))


@pytest.mark.parametrize("size", [1, 2, 7, 50])
async def test_both_ways_answer_alike_in_any_order_of_changes(world: World, size: int) -> None:
    rng = random.Random(size)
    homes = [await project(world, name=f"P{n}") for n in range(3)]
    made = [
        await create(world, rng.choice(homes), f"{n}.pdf", title=" ".join(rng.sample(_WORDS, 3)))
        for n in range(25)
    ]
    index = world.indexing
    queries = ["br", "brücke", "nord br", "br nord", "a1", "a", "stahl a1", "橋", "pdf 1", "none"]
    before = {query: await found(world, query, size=size) for query in queries}
    assert not index.ready
    async with following(index):
        for query in queries:
            assert await found(world, query, size=size) == before[query], query
        for _ in range(25):
            one = rng.choice(made).document_id
            record = await world.records.get(DOCUMENT, document_key(one))
            trashed = record.message.status == 5
            act = rng.choice(("title", "trash", "move"))
            if act == "trash" or trashed:
                name = "RestoreDocument" if trashed else "DeleteDocument"
                await change(world, name, document_id=one)
            elif act == "move":
                await change(world, "MoveDocument", document_id=one, name=f"m{rng.random()}.pdf")
            else:
                title = " ".join(rng.sample(_WORDS, rng.randint(1, 4)))
                await change(
                    world, "UpdateDocument", document=Document(document_id=one, title=title)
                )
            query = rng.choice(queries)
            looked_up = await found(world, query, size=size)
            index.ready = False
            assert await found(world, query, size=size) == looked_up, query
            index.ready = True


async def test_the_cost_follows_the_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = await project(world)
    for number in range(30):
        await create(world, home, f"{number}.pdf", title="needle" if number == 7 else "hay")
    async with following(world.indexing):
        real, looked = world.records.batch_get, 0

        async def batch_get(family: Any, keys: Any, **more: Any) -> Any:
            nonlocal looked
            looked += len(keys) if family is DOCUMENT else 0
            return await real(family, keys, **more)

        monkeypatch.setattr(world.records, "batch_get", batch_get)
        assert await found(world, "needle") == ["7.pdf"]
        assert looked == 1


async def test_a_lagging_index_never_shows_what_was_taken_away(world: World) -> None:
    home = await project(world)
    made = await create(world, home, "one.pdf", title="secret plan")
    async with following(world.indexing):
        assert await found(world, "secret") == ["one.pdf"]
    record = await world.records.get(DOCUMENT, document_key(made.document_id))
    document = record.edit()
    document.title = "open plan"
    await world.records.commit(
        record.key.pk, [Write(DOCUMENT, document, base=record)],
        activity=Activity("test.changed", "documents"),
    )
    world.indexing._pending.clear()  # as if another process had written it
    assert world.indexing.ready
    assert await found(world, "secret") == []
    assert await found(world, "plan") == ["one.pdf"]


async def test_postings_of_what_is_gone_are_taken_away(world: World) -> None:
    home = await project(world)
    made = await create(world, home, "one.pdf", title="plan")
    terms = TermIndex(world.records, now=world.now)

    async def rows() -> int:
        page = await world.records.run(
            Index.BASE, f"TERM#{home}", lower="WORD#", upper="WORD$", limit=50, after=None
        )
        return sum(not item.deleted for item in page.items)

    for _ in range(2):
        await terms.refresh(made.document_id)
        assert await rows() == 3
    await change(world, "DeleteDocument", document_id=made.document_id)
    await asyncio.gather(*(terms.refresh(made.document_id) for _ in range(5)))
    assert await rows() == 0
    await change(world, "RestoreDocument", document_id=made.document_id)
    await asyncio.gather(*(terms.refresh(made.document_id) for _ in range(5)))
    assert await rows() == 3


async def test_more_words_than_a_commit_takes(world: World) -> None:
    home = await project(world)
    text = " ".join(f"w{n}" for n in range(700))
    made = await create(world, home, "one.pdf", extraction_summary=text)
    async with following(world.indexing):
        assert await found(world, "w699") == ["one.pdf"]
        await change(
            world, "UpdateDocument",
            document=Document(document_id=made.document_id, extraction_summary="w3 other"),
        )
        assert await found(world, "w3 o") == ["one.pdf"]
        assert await found(world, "w69") == []


async def test_the_index_goes_on_from_its_cursor_and_is_made_again(world: World) -> None:
    home = await project(world)
    await create(world, home, "one.pdf")
    async with following(Indexing(world.kernel)):
        pass
    await create(world, home, "two.pdf")
    again = Indexing(world.kernel)
    stored = await again._cursor()
    assert stored is not None
    async with following(world.indexing):
        assert await found(world, "pdf o") == ["one.pdf"]
        assert await found(world, "pdf") == ["one.pdf", "two.pdf"]
    await again._save(None)
    async with following(again):
        assert await again._cursor() not in (None, stored)


async def test_indexing_that_was_cut_off_between_its_commits_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words without the row that lists them: they are met again, not stumbled over."""
    home = await project(world)
    text = " ".join(f"w{n}" for n in range(200))
    made = await create(world, home, "one.pdf", extraction_summary=text)
    real, commits = world.records.put_rows, 0

    async def put_rows(puts: Any) -> Any:
        nonlocal commits
        commits += 1
        if commits == 2:
            raise asyncio.CancelledError
        return await real(puts)

    monkeypatch.setattr(world.records, "put_rows", put_rows)
    terms = TermIndex(world.records, now=world.now)
    with pytest.raises(asyncio.CancelledError):
        await terms.refresh(made.document_id)
    assert await terms.refresh(made.document_id) is not None
    page = await world.records.run(
        Index.BASE, f"TERM#{home}", lower="WORD#", upper="WORD$", limit=500, after=None
    )
    assert len(page.items) == 202


async def test_what_another_process_indexed_is_only_looked_at(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replicas follow the same feed: what one has done is not work for each of them."""
    home = await project(world)
    ids = [(await create(world, home, f"{n}.pdf")).document_id for n in range(3)]
    terms = TermIndex(world.records, now=world.now)
    for each in ids[:2]:
        await terms.refresh(each)
    await change(world, "DeleteDocument", document_id=ids[1])
    assert set(await terms.settled([*ids, "d_absent"])) == {ids[0]}
    other = Indexing(world.kernel)
    refreshed, refresh = [], other.terms.refresh

    async def counted(document_id: str) -> Document | None:
        refreshed.append(document_id)
        return await refresh(document_id)

    monkeypatch.setattr(other.terms, "refresh", counted)
    async with following(other):
        assert sorted(refreshed) == sorted(ids[1:])
    assert set(await terms.settled(ids)) == set(ids)
