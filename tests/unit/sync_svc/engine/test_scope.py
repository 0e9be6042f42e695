"""What a connection covers."""

from __future__ import annotations

import pytest
from workspace.identity.v1.account_pb2 import Account
from workspace.identity.v1.team_pb2 import Team
from workspace.identity.v1.user_pb2 import User
from workspace.project.v1.grant_pb2 import Grant
from workspace.sync.v1.connection_pb2 import Connection, SyncScope, SyncScopeType, Trust

from services.model.errors import WorkspaceError
from services.records.port import DriverUnavailable, Key
from sync_svc.engine.sync_state import SyncStates
from tests.unit.sync_svc.engine.world import (
    World,
    document,
    document_key,
    project_key,
    same,
)


def _accounts(*account_ids: str) -> Connection:
    scope = SyncScope(type=SyncScopeType.SYNC_SCOPE_TYPE_ACCOUNTS, account_ids=account_ids)
    return Connection(connection_id="c_remote", trust=Trust.TRUST_FULL, scope=scope)


async def _two_accounts(world: World, *, on: str = "local") -> None:
    await world.write(User(user_id="u_1"), on=on)
    for number in ("1", "2"):
        await world.write(Account(account_id=f"a_{number}", name=number), on=on)
        await world.write(Team(team_id=f"t_{number}", account_id=f"a_{number}"), on=on)
        await world.project(f"p_{number}", account_id=f"a_{number}", on=on)
        await world.write(Grant(project_id=f"p_{number}", grant_id="g_1"), on=on)
        await world.write(document(f"d_{number}", project_id=f"p_{number}"), on=on)


def _partitions(keys: object) -> set[str]:
    return {key.pk for key in keys}  # type: ignore[attr-defined]


async def test_accounts_take_their_teams_and_projects_along(world: World) -> None:
    await _two_accounts(world)
    await world.push(connection=_accounts("a_1"))
    wanted = {"ACCOUNT#a_1", "TEAM#t_1", "PROJECT#p_1", "DOCUMENT#d_1"}
    assert _partitions(await world.states("remote")) == wanted


async def test_a_pull_takes_only_what_is_in_scope(world: World) -> None:
    await _two_accounts(world, on="remote")
    await world.pull(connection=_accounts("a_2"))
    wanted = {"ACCOUNT#a_2", "TEAM#t_2", "PROJECT#p_2", "DOCUMENT#d_2"}
    assert _partitions(await world.states("local")) == wanted


async def _personal(world: World, *, on: str) -> None:
    for number in ("1", "2"):
        await world.write(Account(account_id=f"w_{number}", name=number), on=on)
        await world.project(f"p_{number}", workspace_id=f"w_{number}", on=on)
        await world.write(document(f"d_{number}", project_id=f"p_{number}"), on=on)


@pytest.mark.parametrize("on", ["local", "remote"])
async def test_a_personal_workspace_takes_its_projects_along(world: World, on: str) -> None:
    await _personal(world, on=on)
    if on == "local":
        await world.push(connection=_accounts("w_1"))
    else:
        await world.pull(connection=_accounts("w_1"))
    wanted = {"ACCOUNT#w_1", "PROJECT#p_1", "DOCUMENT#d_1"}
    assert _partitions(await world.states("remote" if on == "local" else "local")) == wanted


async def test_documents_of_a_personal_project_are_taken_from_content_only(
    world: World,
) -> None:
    await world.project("p_1", workspace_id="w_1")
    await world.write(document("d_1", project_id="p_1"), on="remote")
    connection = _accounts("w_1")
    connection.trust = Trust.TRUST_CONTENT_ONLY
    await world.pull(connection=connection)
    assert await world.state(document_key("d_1"), on="local") is not None


async def test_a_surface_cannot_move_a_record_into_the_scope(world: World) -> None:
    await _two_accounts(world)
    await world.push()
    await world.project("p_2", account_id="a_1", on="remote")
    await world.write(document("d_2", "taken over", project_id="p_1"), on="remote")
    before = await world.states("local")
    await world.pull(connection=_accounts("a_1"))
    after = await world.states("local")
    for key in (project_key("p_2"), document_key("d_2")):
        assert after[key].same_as(before[key])


async def test_a_deleted_document_is_in_scope_by_its_events(world: World) -> None:
    await _two_accounts(world)
    connection = _accounts("a_1")
    await world.push(connection=connection)
    await world.write(document("d_1", project_id="p_1"), deleted=True)
    await world.write(document("d_2", project_id="p_2"), deleted=True)
    await world.push(connection=connection)
    gone = await world.state(document_key("d_1"), on="remote")
    assert gone is not None
    assert gone.deleted
    assert await world.state(document_key("d_2"), on="remote") is None


async def test_a_project_that_moves_in_brings_what_it_has(world: World) -> None:
    await _two_accounts(world)
    connection = _accounts("a_1")
    await world.push(connection=connection)
    assert not (await world.push(connection=connection)).full_reconcile
    await world.project("p_2", account_id="a_1")
    await world.push(connection=connection)
    assert await world.state(project_key("p_2"), on="remote") is not None
    assert await world.state(document_key("d_2"), on="remote") is not None
    grant = Key("PROJECT#p_2", "GRANT#g_1")
    assert await world.state(grant, on="remote") is not None


async def test_a_run_cut_off_while_a_project_moves_in_is_followed_by_one_of_all(
    world: World,
) -> None:
    await _two_accounts(world)
    connection = _accounts("a_1")
    await world.push(connection=connection)
    await world.project("p_2", account_id="a_1")
    whole = world.surfaces["remote"]

    def gone(call: str) -> None:
        if call == "scan":
            raise DriverUnavailable("gone")

    world.count("remote").before = gone
    with pytest.raises(WorkspaceError):
        await world.push(connection=connection)
    world.surfaces["remote"] = whole
    assert await world.state(project_key("p_2"), on="remote") is not None
    assert await world.state(document_key("d_2"), on="remote") is None
    assert (await world.push(connection=connection)).full_reconcile
    assert await world.state(document_key("d_2"), on="remote") is not None


async def test_some_projects_of_a_run_do_not_move_the_cursor(world: World) -> None:
    await _two_accounts(world)
    await world.push(project_ids=["p_1"])
    assert await world.state(document_key("d_1"), on="remote") is not None
    assert await world.state(document_key("d_2"), on="remote") is None
    state = await SyncStates(world.surfaces["local"].records).load("c_remote")
    assert (state.push_cursor, state.last_push_ms) == ("", 0)
    await world.push()
    assert same(await world.states("local"), await world.states("remote"))


async def test_parents_come_along_with_children(world: World) -> None:
    await world.write(Account(account_id="a_1", name="1"))
    await world.project("p_1", account_id="a_1")
    await world.write(document("d_1"))
    await world.project("p_1", account_id="a_1", description="edited last")
    driver = world.count("remote")
    await world.push()
    commits = [each for each in driver.calls if each.startswith("commit")]
    order = [each.partition(" ")[2] for each in commits if "NODE" not in each]
    assert order.index("ACCOUNT#a_1") < order.index("PROJECT#p_1") < order.index("DOCUMENT#d_1")
