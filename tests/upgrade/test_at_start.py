"""WM_MIGRATE_AT_START=off: no server changes tables, and a user who may not is enough."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from services.model.errors import Reason, WorkspaceError
from services.records.port import ABSENT, Key, Match, Put
from services.records.sql import PostgresDriver
from services.records.sql.provision import provision_postgres
from tests.chosen_records import chosen_server
from tests.upgrade.serving import serve, wm

GUIDE = Path(__file__).parents[2] / "docs" / "operations" / "upgrades.md"


@pytest.fixture
def dsn() -> str:
    """An empty database."""
    return chosen_server().database()


@pytest.fixture
async def role(dsn: str) -> AsyncIterator[str]:
    """A connection string of the user that the guide sets up: rights on rows, and no more."""
    name = f"service_{secrets.token_hex(6)}"
    database = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in _grants(owner="CURRENT_USER", service=name, database=str(database)):
            connection.execute(statement.encode())
    yield psycopg.conninfo.make_conninfo(dsn, user=name)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())


def _grants(**names: str) -> list[str]:
    """The statements of the guide, with the names of a test."""
    block = GUIDE.read_text("utf-8").split("```sql\n")[1].split("```")[0]
    for before, after in (
        ("wm_owner", names["owner"]), ("wm_service", names["service"]),
        ("DATABASE workspace", f"DATABASE {names['database']}"),
    ):  # fmt: skip
        block = block.replace(before, after)
    statements = (each.strip() for each in block.split(";"))
    return [each for each in statements if each and not each.startswith("CREATE ROLE CURRENT")]


async def test_an_empty_database_is_refused_until_it_is_migrated(dsn: str) -> None:
    for _ in range(2):
        with pytest.raises(WorkspaceError) as refused:
            await PostgresDriver.open(dsn, migrate=False)
        assert refused.value.reason == Reason.ERROR_REASON_INVALID_STATE
        assert refused.value.message == (
            "the tables of the database are at 0, this release needs 1; run `wm migrate`"
        )
    with psycopg.connect(dsn) as connection:
        made = connection.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'public'")
        assert made.fetchall() == []


async def test_who_waits_goes_on_once_it_is_migrated(dsn: str) -> None:
    refused = [asyncio.Event() for _ in range(3)]

    async def opened(was_refused: asyncio.Event) -> PostgresDriver:
        while True:
            try:
                return await PostgresDriver.open(dsn, migrate=False)
            except WorkspaceError:
                was_refused.set()
                await asyncio.sleep(0.02)

    waiting = [asyncio.create_task(opened(each)) for each in refused]
    for each in refused:
        await each.wait()
    await asyncio.to_thread(provision_postgres, dsn, 10)
    drivers = await asyncio.wait_for(asyncio.gather(*waiting), 60)
    await drivers[0].commit("P", [Put(Key("P", "a"), ABSENT, "test", "{}")])
    assert len({await driver.identity() for driver in drivers}) == 1
    for driver in drivers:
        await driver.close()


async def test_rights_on_rows_are_enough_for_all_that_a_driver_does(dsn: str, role: str) -> None:
    provision_postgres(dsn, 10)
    driver = await PostgresDriver.open(role, migrate=False)
    (token,) = await driver.commit("P", [Put(Key("P", "a"), ABSENT, "test", "{}")])
    await driver.commit("P", [Put(Key("P", "a"), Match(token), "test", "{}", expires_at=1)])
    assert (await driver.changes(None, 10)).items == []
    assert await driver.collect_expired(10) == 1
    assert await driver.scan(None, 10) == []
    await driver.close()


async def test_rows_of_another_server_are_taken_over_without_other_rights(
    dsn: str, role: str
) -> None:
    """A restored dump: its rows are stamped anew."""
    provision_postgres(dsn, 10)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("UPDATE meta SET value = '1:2' WHERE name = 'provider'")
    await (await PostgresDriver.open(role, migrate=False)).close()


async def test_a_user_without_rights_is_told_which(dsn: str, role: str) -> None:
    with pytest.raises(WorkspaceError, match="GRANT CREATE ON SCHEMA"):
        await PostgresDriver.open(role)  # an empty database, and it may make no tables
    provision_postgres(dsn, 10)
    with psycopg.connect(dsn, autocommit=True) as connection:
        name = psycopg.conninfo.conninfo_to_dict(role)["user"]
        connection.execute(f"REVOKE DELETE ON items FROM {name}".encode())
    with pytest.raises(WorkspaceError, match="grant this one SELECT, INSERT, UPDATE and DELETE"):
        await PostgresDriver.open(role, migrate=False)


def test_a_whole_workspace_serves_as_that_user(dsn: str, role: str, tmp_path: Path) -> None:
    chosen = {"records": "postgresql", "records_dsn": role, "log_level": "warning"}
    data = tmp_path / "data"
    refused = wm(data, "serve", migrate_at_start="off", grpc_port=0, http_port=0, **chosen)
    assert refused.returncode == 7
    assert "at 0, this release needs 1; run `wm migrate`" in refused.stderr
    assert wm(data, "migrate", **chosen).returncode == 7, "this user may not"
    assert wm(data, "migrate", **chosen | {"records_dsn": dsn}).returncode == 0
    with serve(data, migrate_at_start=False, **chosen) as server:
        ann = server.person("ann@example.com")
        made = ann("project.v1.ProjectService.CreateProject", name="Plans")
        found = ann("project.v1.ProjectService.ListProjects")["projects"]
        assert [project["project_id"] for project in found] == [made["project"]["project_id"]]
    checked = wm(data, "doctor", migrate_at_start="off", grpc_port=0, http_port=0, **chosen)
    assert checked.returncode == 0, checked.stdout
