"""Erasure and `wm doctor` where records have versions side by side."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from workspace.identity.v1.account_pb2 import Account, AccountMember
from workspace.project.v1.document_pb2 import Document

from services.cli.doctor.records import survey_records
from services.model.clocks import HybridClock
from services.model.families import FAMILIES, family_of
from services.model.stamp import Stamp
from services.records.conflict_rows import ALL, Found
from services.records.erasure import Erasure, Person, Position
from services.records.port import Index, Item, Key, Match, Put
from services.records.record import Activity, Write
from services.records.replica import Incoming, Replica
from services.records.sql import SqliteDriver
from services.records.store import RecordStore
from services.records.walking import all_rows
from tests.unordered_records import UnorderedRecords

PK = "DOCUMENT#d_1"
KEY = Key(PK, "ARTIFACT#d_1")
DOCUMENT = FAMILIES["document"]
DONE = Activity("document.changed", "documents/d_1")
ANN = Person.of("u_ann00000", ["ann@example.com"])
FOUND = Found(1_700_000_000_000)


@pytest.fixture(params=[False, True], ids=["ordered", "unordered"])
async def stores(
    tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[list[RecordStore]]:
    ticks = iter(range(1_700_000_000_000, 1_800_000_000_000))
    drivers: list[Any] = [
        await SqliteDriver.open(tmp_path / f"{number}.sqlite") for number in range(2)
    ]
    made = [
        RecordStore(
            UnorderedRecords(driver) if request.param else driver, actor=f"n{number}.x",
            clock=HybridClock(lambda: next(ticks)),
        )
        for number, driver in enumerate(drivers)
    ]
    yield made
    for store in made:
        await store.close()


async def pull(target: RecordStore, source: RecordStore, *keys: Key) -> None:
    states = await Replica(source).states(keys)
    incoming = [Incoming(k, s) for k, s in zip(keys, states, strict=True) if s]
    await Replica(target).join(keys[0].pk, incoming, origin="there", found=FOUND)


async def write(store: RecordStore, message: Any, **fields: Any) -> None:
    family = family_of(message)
    base = await store.get(family, Key(*family.key_of(message)))
    changed = base.edit() if base else message
    for name, value in fields.items():
        setattr(changed, name, value)
    pk = family.key_of(message)[0]
    await store.commit(pk, [Write(family, changed, base)], activity=DONE)


async def apart(stores: list[RecordStore], message: Any, mine: Any, yours: Any) -> Key:
    """Two stores with two versions of one record, side by side in both."""
    one, two = stores
    key = Key(*family_of(message).key_of(message))
    await write(one, message)
    await pull(two, one, key)
    await write(one, message, **mine)
    await write(two, message, **yours)
    await pull(one, two, key)
    await pull(two, one, key)
    return key


async def erase(store: RecordStore) -> None:
    position = Position()
    while not position.done:
        position = await Erasure(store, ANN).step(position, rows=1000)


async def rows_of(store: RecordStore) -> list[Item]:
    return [item async for item in all_rows(store)]


async def texts(store: RecordStore) -> str:
    return "\n".join(item.body for item in await rows_of(store))


def document() -> Document:
    return Document(document_id="d_1", project_id="p_1", title="by ann@example.com")


async def test_every_version_is_erased_under_its_own_dot_and_stays_so(
    stores: list[RecordStore],
) -> None:
    one, two = stores
    mine = {"extraction_summary": "ask ann@example.com"}
    yours = {"extraction_summary": "ask Ann@example.com, or not"}
    key = await apart(stores, document(), mine, yours)
    before = (await Replica(one).states([key]))[0]
    await erase(one)
    (rows,) = await one.rows([key])
    assert rows.state is not None
    assert before is not None
    assert rows.state.dots == before.dots
    assert all(version.erased for version in rows.state.versions.values())
    assert "ann@example.com" not in (await texts(one)).lower()
    survey = await survey_records(one.driver)
    assert survey.faults == []
    # The other store still has the full text, and does not bring it back.
    await pull(one, two, key)
    assert "ann@example.com" not in (await texts(one)).lower()
    await pull(two, one, key)
    assert (await Replica(two).states([key])) == (await Replica(one).states([key]))
    (item,) = [row for row in await rows_of(two) if row.key == key]
    assert "ann@example.com" not in item.body.lower()
    read = await two.get(DOCUMENT, key)
    assert read is not None
    assert len(read.stamp.siblings) == 2


async def test_a_merged_row_is_erased_too_although_no_version_alone_is_shown(
    stores: list[RecordStore],
) -> None:
    one, _ = stores
    mine, yours = {"title": "ann@example.com"}, {"issuing_body": "ann@example.com"}
    key = await apart(stores, document(), mine, yours)
    await erase(one)
    read = await one.get(DOCUMENT, key)
    assert read is not None
    assert read.message.title == read.message.issuing_body == ANN.address
    assert (await survey_records(one.driver)).faults == []


async def test_the_name_of_a_conflict_about_a_person_goes(stores: list[RecordStore]) -> None:
    one, _ = stores
    account = Account(account_id="a_1", type="personal", owner_user_id=ANN.user_id, name="Ann")
    member = AccountMember(account_id="a_1", user_id=ANN.user_id, name="Ann", role=2)
    plans = [{"name": f"Ann {plan}", "billing_plan": plan} for plan in "AB"]
    await apart(stores, account, *plans)
    await apart(stores, member, {"role": 3}, {"role": 4})
    await erase(one)
    assert "Ann" not in await texts(one)
    page = await one.run(Index.USER, ALL, lower="", upper="~", limit=9, after=None)
    names = [json.loads(item.body)["name"] for item in page.items]
    assert names == [ANN.pseudonym, ANN.pseudonym]
    assert (await survey_records(one.driver)).faults == []


async def test_a_suspended_revocation_stays_suspended(stores: list[RecordStore]) -> None:
    one, two = stores
    pk = "ACCOUNT#a_1"
    bob = AccountMember(account_id="a_1", user_id="u_bob", role=1, status=2, name="Bob")
    ann = AccountMember(account_id="a_1", user_id=ANN.user_id, role=1, status=2, name="Ann")
    await write(one, Account(account_id="a_1", status=1))
    for member in (ann, bob):
        await write(one, member)
    await pull(two, one, *[item.key for item in await rows_of(one) if item.stamp])
    await write(one, bob, role=4)
    await write(two, ann, role=4)
    await pull(one, two, *[item.key for item in await rows_of(two) if item.stamp])
    key = Key(pk, f"MEMBER#{ANN.user_id}")
    await erase(one)
    read = await one.get(FAMILIES["account_member"], key)
    assert read is not None
    assert (read.message.role, read.message.name) == (1, ANN.pseudonym)
    assert len(read.stamp.siblings) == 1
    assert (await survey_records(one.driver)).faults == []


async def damage(store: RecordStore, item: Item, **changes: Any) -> None:
    put = Put(
        item.key, Match(item.token), item.family, item.body, item.stamp, item.deleted,
        item.expires_at, item.indexes,
    )
    await store.driver.commit(item.key.pk, [replace(put, **changes)])


async def siblings(store: RecordStore) -> list[Item]:
    return [item for item in await rows_of(store) if item.family == "sibling"]


async def test_doctor_checks_versions_side_by_side(stores: list[RecordStore]) -> None:
    one, _ = stores
    await apart(stores, document(), {"title": "A"}, {"title": "B"})
    survey = await survey_records(one.driver)
    assert survey.faults == []
    first, second = await siblings(one)
    await damage(one, first, body=first.body.replace("p_1", "p_2"))
    (fault,) = (await survey_records(one.driver)).faults
    assert fault == f"{PK} {first.key.sk}: the content is not the one that was stamped"
    await damage(one, (await siblings(one))[0], body=first.body)
    await damage(one, second, body="[]")
    (fault,) = (await survey_records(one.driver)).faults
    assert fault.endswith("body or stamp cannot be read")
    await damage(one, (await siblings(one))[1], body="{}", deleted=True)
    (fault,) = (await survey_records(one.driver)).faults
    assert fault == f"{PK} {KEY.sk}: one of its versions is missing"


async def test_doctor_finds_a_version_that_belongs_to_nothing(stores: list[RecordStore]) -> None:
    one, _ = stores
    await apart(stores, document(), {"title": "A"}, {"title": "B"})
    (rows,) = await one.rows([KEY])
    assert rows.item is not None
    stamp = replace(Stamp.load(rows.item.stamp), siblings=(), partial=False)
    await damage(one, rows.item, stamp=stamp.dump())
    faults = (await survey_records(one.driver)).faults
    assert len(faults) == 2
    assert all(fault.endswith("a version that its record does not name") for fault in faults)


async def test_a_new_incarnation_waits_for_an_erasure_that_is_under_way(
    stores: list[RecordStore],
) -> None:
    """What the erasure writes has dots of the actor that it began with."""
    store = stores[0]
    await write(store, document())
    begun, go = asyncio.Event(), asyncio.Event()
    driver: Any = store.driver
    commit = driver.commit

    async def slow(pk: str, puts: list[Put]) -> list[str]:
        begun.set()
        await go.wait()
        done: list[str] = await commit(pk, puts)
        return done

    driver.commit = slow
    erasing = asyncio.create_task(erase(store))
    await begun.wait()
    renamed = asyncio.create_task(store.become("n0.y"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not renamed.done()
    go.set()
    await asyncio.gather(erasing, renamed)
    item = await store.get_row(KEY)
    assert item is not None
    assert Stamp.load(item.stamp).dot == ("n0.x", 2)
