"""A revocation that is suspended ends everywhere when there is another owner."""

from __future__ import annotations

import pytest
from workspace.common.v1.permission_pb2 import Permission
from workspace.project.v1.grant_pb2 import Grant, GrantStatus, GrantTargetType

from services.model.families import FAMILIES
from services.records.port import Key
from services.records.record import Activity, Write
from services.records.store import RecordStore
from tests.unit.sync_svc.engine.world import World, same

GRANT = FAMILIES["project_grant"]


def _grant(grant_id: str) -> Grant:
    return Grant(
        project_id="p_1", grant_id=grant_id, status=GrantStatus.GRANT_STATUS_ACTIVE,
        target_type=GrantTargetType.GRANT_TARGET_TYPE_USER, target_id=f"u_{grant_id}",
        permissions=[Permission.PERMISSION_OWNER],
    )


async def _revoke(world: World, grant_id: str, *, on: str) -> None:
    records = world.surfaces[on].records
    base = await records.get(GRANT, Key("PROJECT#p_1", f"GRANT#{grant_id}"))
    assert base is not None
    grant = base.edit()
    grant.status = GrantStatus.GRANT_STATUS_REVOKED
    await records.commit(
        "PROJECT#p_1", [Write(GRANT, grant, base)], activity=Activity("grant.revoked", "p_1")
    )


async def _shown(world: World, on: str) -> dict[str, tuple[int, bool]]:
    records = world.surfaces[on].records
    found = {}
    for grant_id in ("1", "2", "3"):
        record = await records.get(GRANT, Key("PROJECT#p_1", f"GRANT#{grant_id}"))
        if record is not None:
            found[grant_id] = (record.message.status, bool(record.stamp.siblings))
    return found


async def _all(world: World) -> None:
    for node in ("local", "third", "local"):
        await world.push(node, force=True)
        await world.pull(node, force=True)


async def test_another_owner_ends_it_on_the_node_that_made_him(world: World) -> None:
    await world.project()
    for grant_id in ("1", "2"):
        await world.write(_grant(grant_id))
    await _all(world)
    world.clock.now += 10
    await _revoke(world, "1", on="local")
    world.clock.now += 10
    await _revoke(world, "2", on="third")
    await _all(world)
    suspended = await _shown(world, "local")
    assert suspended == await _shown(world, "third") == await _shown(world, "remote")
    assert suspended["2"] == (GrantStatus.GRANT_STATUS_ACTIVE, True)
    await world.write(_grant("3"))
    await _all(world)
    assert same(await world.states("local"), await world.states("third"))
    shown = [await _shown(world, each) for each in ("local", "third", "remote")]
    assert shown[0] == shown[1] == shown[2]
    assert shown[0]["2"] == (GrantStatus.GRANT_STATUS_REVOKED, False)


async def test_a_push_makes_up_for_a_process_that_ended_behind_its_commit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.project()
    for grant_id in ("1", "2"):
        await world.write(_grant(grant_id))
    await _all(world)
    await _revoke(world, "1", on="local")
    world.clock.now += 10
    await _revoke(world, "2", on="third")
    await _all(world)
    with monkeypatch.context() as ended:
        ended.setattr(RecordStore, "_settle_owners", _nothing)
        await world.write(_grant("3"))
    assert (await _shown(world, "local"))["2"] == (GrantStatus.GRANT_STATUS_ACTIVE, True)
    await world.push()
    assert (await _shown(world, "local"))["2"] == (GrantStatus.GRANT_STATUS_REVOKED, False)


async def _nothing(*_: object) -> None:
    """The process is gone."""
