"""The migrations make exactly the schema, once, and refuse a newer one."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, text

from services.model.errors import Reason, WorkspaceError
from services.records.port import ABSENT, Key, Put
from services.records.sql import SqliteDriver
from services.records.sql.migrations import HEAD, upgrade
from services.records.sql.schema import FORMAT, metadata


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as made:
        yield made
    engine.dispose()


def _schema(connection: Connection) -> set[str]:
    rows = connection.execute(
        text("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'alembic_version'")
    )
    return {" ".join(sql.split()) for (sql,) in rows}


def test_the_migrations_make_what_the_schema_module_says(connection: Connection) -> None:
    upgrade(connection)
    migrated = _schema(connection)
    other = create_engine("sqlite://")
    with other.connect() as fresh:
        metadata.create_all(fresh)
        assert migrated == _schema(fresh)
    other.dispose()
    assert sum("STRICT" in sql for sql in migrated) == 2


def test_a_second_upgrade_changes_nothing(connection: Connection) -> None:
    upgrade(connection)
    before = connection.execute(text("PRAGMA schema_version")).scalar_one()
    upgrade(connection)
    assert connection.execute(text("PRAGMA schema_version")).scalar_one() == before
    assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == HEAD


def _set(path: Path, name: str, value: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))
    connection.commit()
    connection.close()


async def test_an_expanded_newer_store_opens_and_a_contracted_one_is_refused(
    tmp_path: Path,
) -> None:
    path = tmp_path / "records.db"
    await (await SqliteDriver.open(path)).close()
    _set(path, "format", str(FORMAT + 1))
    await (await SqliteDriver.open(path)).close()
    _set(path, "min_format", str(FORMAT + 1))
    with pytest.raises(WorkspaceError, match="newer release") as refused:
        await SqliteDriver.open(path)
    assert refused.value.reason == Reason.ERROR_REASON_INVALID_STATE
    _set(path, "min_format", str(FORMAT))
    await (await SqliteDriver.open(path)).close()


async def test_new_databases_of_one_process_are_made_at_once(tmp_path: Path) -> None:
    """Two backup folders that are used for the first time: `alembic.op` is one for the
    process, and made the tables of one in the other."""
    paths = [tmp_path / f"{number}.sqlite" for number in range(8)]
    made = await asyncio.gather(*map(SqliteDriver.open, paths))
    for number, driver in enumerate(made):
        await driver.commit("P", [Put(Key("P", f"{number}"), ABSENT, "test", "{}")])
    for number, driver in enumerate(made):
        assert [item.key.sk for item in await driver.scan(None, 10)] == [f"{number}"]
        await driver.close()
