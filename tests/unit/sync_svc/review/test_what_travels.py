"""What a push must not pass over."""

from __future__ import annotations

from workspace.identity.v1.account_pb2 import Account
from workspace.identity.v1.user_pb2 import User
from workspace.sync.v1.connection_pb2 import Connection, SyncScope, SyncScopeType, Trust

from services.records.erasure import Erasure, Person, Position
from tests.unit.sync_svc.engine.world import World, document, document_key, project_key, same


async def test_an_erasure_of_what_came_from_a_surface_goes_there(world: World) -> None:
    await world.write(User(user_id="u_ann", name="Ann", email="ann@example.com"), on="third")
    await world.project(description="ask ann@example.com", on="third")
    await world.push("third")
    await world.pull()
    await world.push()
    records = world.surfaces["local"].records
    erasure = Erasure(records, Person.of("u_ann", ["ann@example.com"]))
    position = Position()
    while not position.done:
        position = await erasure.step(position, rows=1000)
    tally = await world.push()
    assert not tally.full_reconcile
    assert same(await world.states("local"), await world.states("remote"))
    items = await world.surfaces["remote"].records.scan(None, 5000)
    assert not [item.key for item in items if "ann@example.com" in item.body]


def _accounts(*account_ids: str) -> Connection:
    scope = SyncScope(type=SyncScopeType.SYNC_SCOPE_TYPE_ACCOUNTS, account_ids=account_ids)
    return Connection(connection_id="c_remote", trust=Trust.TRUST_FULL, scope=scope)


async def test_a_project_that_comes_back_into_the_scope_brings_what_changed(world: World) -> None:
    for number in ("1", "2"):
        await world.write(Account(account_id=f"a_{number}", name=number))
    await world.project("p_1", account_id="a_1")
    await world.write(document("d_1"))
    connection = _accounts("a_1")
    await world.push(connection=connection)
    await world.project("p_1", account_id="a_2")
    await world.push(connection=connection)
    await world.write(document("d_1", "while it was away"))
    await world.push(connection=connection)
    await world.project("p_1", account_id="a_1")
    await world.push(connection=connection)
    for key in (project_key("p_1"), document_key("d_1")):
        mine = await world.state(key, on="local")
        assert mine is not None
        assert mine.same_as(await world.state(key, on="remote"))
