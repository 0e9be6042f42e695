"""Rows of the quarantine: one a record, idempotent, counted, bounded."""

from __future__ import annotations

import json

import pytest
from workspace.sync.v1.quarantine_pb2 import QuarantineReason as Why

from services.model.errors import Reason, WorkspaceError
from services.records.port import Index, Item, Key
from services.records.siblings import Rows
from sync_svc.connections.forgetting import forget_state
from sync_svc.engine.refusal import Refusal
from sync_svc.quarantine.messages import message_of
from sync_svc.quarantine.packing import pack_state, unpack_rows, unpack_state
from sync_svc.quarantine.rows import ALL, Quarantine, by_connection, by_id, quarantine_id
from tests.unit.sync_svc.engine.world import World
from tests.unit.sync_svc.quarantine.bench import quarantined
from tests.unit.sync_svc.screening.made import project, rows, state

REFUSAL = Refusal(Why.QUARANTINE_REASON_INVALID, "it is odd")
REJECTED = Refusal(Why.QUARANTINE_REASON_REJECTED, "the target refuses it")


def of(world: World) -> Quarantine:
    return Quarantine(world.surfaces["local"].records, world.clock.millis())


async def live(world: World, index: Index, partition: str) -> list[Item]:
    page = await world.surfaces["local"].records.run(
        index, partition, lower="", upper="~", limit=500, after=None
    )
    return [item for item in page.items if not item.deleted]


async def test_the_same_again_changes_nothing_in_one_run(world: World) -> None:
    bad = rows("project", project())
    await of(world).put_all("c_1", "r_1", [(bad, REFUSAL)])
    first = await world.rows("local", "quarantine")
    await of(world).put_all("c_1", "r_1", [(bad, REFUSAL)])
    assert await world.rows("local", "quarantine") == first
    world.clock.now += 60
    await of(world).put_all("c_1", "r_2", [(bad, REFUSAL)])
    (row,) = await quarantined(world)
    assert (row["attempts"], row["run_id"]) == (2, "r_2")
    assert row["tried_ms"] - row["created_ms"] == 60_000


async def test_a_newer_version_takes_the_place_of_the_older(world: World) -> None:
    bad = rows("project", project())
    newer = rows("project", project(name="B"), base=bad)
    await of(world).put_all("c_1", "r_1", [(bad, REFUSAL)])
    await of(world).put_all("c_1", "r_2", [(newer, REFUSAL)])
    (row,) = await quarantined(world)
    assert row["quarantine_id"] == quarantine_id("c_1", newer) != quarantine_id("c_1", bad)
    assert unpack_rows(row["rows"]) == newer


async def test_rows_are_found_by_id_by_connection_and_all_newest_first(world: World) -> None:
    made = [rows("project", project(project_id=f"p_{n}")) for n in range(3)]
    for number, each in enumerate(made):
        await of(world).put_all(f"c_{number % 2}", "r_1", [(each, REFUSAL)])
        world.clock.now += 1
    everything = [json.loads(item.body)["pk"] for item in await live(world, Index.USER, ALL)]
    assert everything == ["PROJECT#p_2", "PROJECT#p_1", "PROJECT#p_0"]
    of_one = [json.loads(i.body)["pk"] for i in await live(world, Index.TEAM, by_connection("c_0"))]
    assert of_one == ["PROJECT#p_2", "PROJECT#p_0"]
    name = quarantine_id("c_1", made[1])
    assert len(await live(world, Index.PROJECT, by_id(name))) == 1


async def test_clearing_takes_out_what_it_is_about(world: World) -> None:
    one, two = rows("project", project()), rows("project", project(project_id="p_2"))
    quarantine = of(world)
    await quarantine.put_all("c_1", "r_1", [(one, REFUSAL), (two, REJECTED)])
    assert await quarantine.clear("c_1", [one.key, two.key]) == 1
    assert [row["pk"] for row in await quarantined(world)] == ["PROJECT#p_2"]
    assert await of(world).clear("c_2", [two.key], outgoing=True) == 0
    assert await of(world).clear("c_1", [two.key], outgoing=True) == 1
    assert await quarantined(world) == []
    await quarantine.put_all("c_1", "r_2", [(one, REFUSAL)])
    (row,) = await quarantined(world)
    assert row["attempts"] == 1


async def test_what_was_forgotten_with_its_connection_can_come_again(world: World) -> None:
    bad = rows("project", project())
    await of(world).put_all("c_1", "r_1", [(bad, REFUSAL)])
    await forget_state(world.surfaces["local"].records, "c_1")
    assert await quarantined(world) == []
    await of(world).put_all("c_1", "r_2", [(bad, REFUSAL)])
    assert len(await quarantined(world)) == 1


async def test_one_record_twice_in_a_batch_is_one_row(world: World) -> None:
    bad = rows("project", project())
    await of(world).put_all("c_1", "r_1", [(bad, REFUSAL), (bad, REJECTED)])
    (row,) = await quarantined(world)
    assert row["reason"] == "QUARANTINE_REASON_REJECTED"


def test_states_are_kept_as_they_are_and_erased_ones_say_so() -> None:
    kept = state(rows("project", project(description="of ann@example.com")))
    packed = pack_state(kept)
    assert unpack_state(packed) == kept
    text = json.dumps(packed).replace("ann@example.com", "erased-1@erased.invalid")
    (version,) = unpack_state(json.loads(text)).versions.values()
    assert version.erased
    assert version.digest != kept.versions[version.dot].digest


async def test_many_and_large_records_fit(world: World) -> None:
    made = [
        rows("project", project(project_id=f"p_{n}"), zz="x" * 60_000) for n in range(100)
    ]
    await of(world).put_all("c_1", "r_1", [(each, REFUSAL) for each in made])
    assert len(await quarantined(world)) == 100


async def test_a_body_that_no_row_takes_is_left_out(world: World) -> None:
    huge = rows("project", project(), zz="x" * 400_000)
    await of(world).put_all("c_1", "r_1", [(huge, REFUSAL)])
    (row,) = await quarantined(world)
    assert row["rows"] is None
    assert row["size_bytes"] > 400_000


async def test_the_message_tells_what_but_not_the_body(world: World) -> None:
    bad = rows("project", project(name="Secret bridge"))
    broken = Rows(Key("x", "y"), Item(Key("x", "y"), "t", "?", "{", "no stamp"))
    await of(world).put_all("c_1", "r_1", [(bad, REFUSAL), (broken, REFUSAL)])
    messages = {m.pk: m for m in map(message_of, await world.rows("local", "quarantine"))}
    told = messages["PROJECT#p_1"]
    assert told.error.message == "it is odd"
    assert (told.family, told.project_id, told.attempts) == ("project", "p_1", 1)
    assert told.stamp.dot.actor == "npeer.life1"
    assert "Secret" not in str(told)
    assert not messages["x"].HasField("stamp")


async def test_a_connection_cannot_fill_the_store_with_rubbish(world: World) -> None:
    records, now = world.surfaces["local"].records, world.clock.millis()
    made = [rows("project", project(project_id=f"p_{n}")) for n in range(4)]
    await Quarantine(records, now, most=3).put_all("c_1", "r_1", [(r, REFUSAL) for r in made[:3]])
    with pytest.raises(WorkspaceError, match="wm sync quarantine") as caught:
        await Quarantine(records, now, most=3).put_all("c_1", "r_2", [(made[3], REFUSAL)])
    assert caught.value.reason == Reason.ERROR_REASON_LIMIT_EXCEEDED
    assert len(await quarantined(world)) == 3
    # What is there may be tried again, other connections have room of their own.
    await Quarantine(records, now + 1, most=3).put_all("c_1", "r_3", [(made[0], REFUSAL)])
    await Quarantine(records, now, most=3).put_all("c_2", "r_4", [(made[3], REFUSAL)])
    assert await Quarantine(records, now, most=3).clear("c_1", [made[1].key]) == 1
    await Quarantine(records, now, most=3).put_all("c_1", "r_5", [(made[3], REFUSAL)])
