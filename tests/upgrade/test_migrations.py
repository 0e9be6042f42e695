"""The machinery of migrations, with releases that exist only here: what is interrupted is
repeated, of several at once one does it, and old code knows what it may open."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from services.model.errors import Reason, WorkspaceError
from services.records.port import ABSENT, Key, Put
from services.records.sql import PostgresDriver, SqliteDriver
from services.records.sql import sqlite as sqlite_module
from services.records.sql.migrations import THIS, Release, require_migrated, upgrade
from services.records.sql.provision import postgres_formats, provision_postgres, sqlite_formats
from tests.chosen_records import chosen_server
from tests.upgrade.serving import python_path

NEXT = THIS.format + 1
_ADD = """
from alembic import op
import sqlalchemy as sa
{imports}

revision = "{revision:04d}"
down_revision = "{before:04d}"

def upgrade():
    op.add_column("items", sa.Column("colour", sa.Text))
    {between}
    op.create_table("colours", sa.Column("name", sa.Text, primary_key=True))
    {after}
"""
_ADMIT = """op.execute("INSERT INTO meta (name, value) VALUES ('min_format', '{0}')")"""
# Says how far it is, and waits to be told, or to be killed.
_WAIT = "print('between', flush=True); sys.stdin.readline()"
_PROVISION = """
import sys
from pathlib import Path
from services.records.sql.migrations import Release
from services.records.sql.provision import provision_postgres
print(provision_postgres(sys.argv[1], 10, release=Release({format}, Path(sys.argv[2]))), flush=True)
"""
_OPEN_FILE = """
import asyncio, sys
from functools import partial
from pathlib import Path
from services.records.sql import SqliteDriver, sqlite
from services.records.sql.migrations import Release
sqlite.upgrade = partial(sqlite.upgrade, release=Release({format}, Path(sys.argv[2])))
asyncio.run(SqliteDriver.open(Path(sys.argv[1])))
"""


def release(
    folder: Path, *, between: str = "pass", after: str = "pass", name: str = "next"
) -> Release:
    """The next one: it has our versions, and one that adds a column and a table."""
    versions = folder / name
    versions.mkdir()
    for each in THIS.versions.glob("v*.py"):
        shutil.copy(each, versions)
    text = _ADD.format(
        revision=NEXT, before=THIS.format, between=between, after=after, imports="import sys"
    )
    (versions / f"v{NEXT:04d}_colours.py").write_text(text)
    return Release(NEXT, versions)


@pytest.fixture
def dsn() -> str:
    """A database as this release makes it."""
    made = chosen_server().database()
    assert provision_postgres(made, 10) == 0
    return made


def tables(dsn: str) -> set[str]:
    """Tables and columns that the next release adds, as far as they are there."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT table_name || '.' || column_name FROM information_schema.columns "
            "WHERE table_name = 'colours' OR column_name = 'colour'"
        ).fetchall()
    return {row[0] for row in rows}


ALL = {"items.colour", "colours.name"}


async def _note(driver: PostgresDriver | SqliteDriver, name: str) -> list[str]:
    await driver.commit("P", [Put(Key("P", name), ABSENT, "test", "{}")])
    return [item.key.sk for item in await driver.scan(None, 100)]


async def test_this_release_works_on_the_tables_of_the_next(dsn: str, tmp_path: Path) -> None:
    """A rolling update: the tables were migrated, and this release still serves."""
    driver = await PostgresDriver.open(dsn)
    await _note(driver, "before")
    assert provision_postgres(dsn, 10, release=release(tmp_path)) == THIS.format
    assert await _note(driver, "meanwhile") == ["before", "meanwhile"]
    await driver.close()
    assert tables(dsn) == ALL
    for migrate in (True, False):
        driver = await PostgresDriver.open(dsn, migrate=migrate)
        assert "meanwhile" in await _note(driver, f"after {migrate}")
        await driver.close()
    assert postgres_formats(dsn, 10) == (NEXT, 0)


@pytest.mark.parametrize("migrate", [True, False])
async def test_this_release_refuses_what_the_next_no_longer_admits_it_to(
    dsn: str, tmp_path: Path, migrate: bool
) -> None:
    provision_postgres(dsn, 10, release=release(tmp_path, after=_ADMIT.format(NEXT)))
    with pytest.raises(WorkspaceError, match=f"has format {NEXT}, which needs a newer") as refused:
        await PostgresDriver.open(dsn, migrate=migrate)
    assert refused.value.reason == Reason.ERROR_REASON_INVALID_STATE


def test_the_next_release_asks_for_wm_migrate(dsn: str, tmp_path: Path) -> None:
    later = release(tmp_path)
    with pytest.raises(WorkspaceError) as refused:
        provision_postgres(dsn, 10, migrate=False, release=later)
    assert refused.value.message == (
        f"the tables of the database are at {THIS.format}, this release needs {NEXT}; "
        "run `wm migrate`"
    )
    assert tables(dsn) == set()
    provision_postgres(dsn, 10, release=later)
    assert provision_postgres(dsn, 10, migrate=False, release=later) == NEXT


def test_a_second_migration_finds_nothing_to_do(dsn: str, tmp_path: Path) -> None:
    later = release(tmp_path)
    assert [provision_postgres(dsn, 10, release=later) for _ in range(3)] == [1, NEXT, NEXT]


def test_what_fails_in_the_middle_leaves_nothing(dsn: str, tmp_path: Path) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        provision_postgres(
            dsn, 10, release=release(tmp_path, between="op.execute('SELECT 1 / 0')")
        )
    assert (tables(dsn), postgres_formats(dsn, 10)) == (set(), (THIS.format, 0))
    provision_postgres(dsn, 10, release=release(tmp_path, name="mended"))
    assert tables(dsn) == ALL


def test_what_is_killed_in_the_middle_is_repeated(dsn: str, tmp_path: Path) -> None:
    killed = _start(_PROVISION, dsn, release(tmp_path, between=_WAIT))
    _wait_for_line(killed, "between")
    killed.kill()
    killed.communicate(timeout=30)
    assert killed.returncode < 0
    assert provision_postgres(dsn, 10, release=release(tmp_path, name="again")) == THIS.format
    assert tables(dsn) == ALL
    assert postgres_formats(dsn, 10) == (NEXT, 0)


def test_of_two_at_once_one_migrates(dsn: str, tmp_path: Path) -> None:
    waiting = release(tmp_path, between=_WAIT)
    first = _start(_PROVISION, dsn, waiting)
    _wait_for_line(first, "between")
    second = _start(_PROVISION, dsn, waiting)
    _wait_for_lock(dsn)
    first_said, _ = first.communicate("go on\n", timeout=60)
    second_said, _ = second.communicate("go on\n", timeout=60)
    assert (first.returncode, first_said.split()) == (0, [str(THIS.format)])
    assert (second.returncode, second_said.split()) == (0, [str(NEXT)]), "it ran again"
    assert tables(dsn) == ALL


async def test_a_file_that_is_killed_in_the_middle_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "workspace.sqlite"
    driver = await SqliteDriver.open(path)
    await _note(driver, "before")
    await driver.close()
    killed = _start(_OPEN_FILE, str(path), release(tmp_path, between=_WAIT))
    _wait_for_line(killed, "between")
    killed.kill()
    killed.communicate(timeout=30)
    assert killed.returncode < 0
    assert sqlite_formats(path) == (THIS.format, 0)
    driver = await SqliteDriver.open(path)  # this release goes on as if nothing had been
    await _note(driver, "between")
    await driver.close()

    later = release(tmp_path, name="again")
    monkeypatch.setattr(sqlite_module, "upgrade", lambda found: upgrade(found, release=later))
    driver = await SqliteDriver.open(path)
    assert await _note(driver, "after") == ["after", "before", "between"]
    await driver.close()
    assert sqlite_formats(path) == (NEXT, 0)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT colour FROM items").fetchall() == [(None,)] * 3
        assert connection.execute("SELECT * FROM colours").fetchall() == []


def test_what_is_ahead_is_taken_as_long_as_it_admits_us() -> None:
    require_migrated(THIS.format + 5, THIS.format)
    with pytest.raises(WorkspaceError, match="newer release"):
        require_migrated(THIS.format + 5, THIS.format + 1)


def _start(program: str, place: str, later: Release) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program.format(format=NEXT), place, str(later.versions)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={"PYTHONPATH": python_path()},
    )  # fmt: skip


def _wait_for_line(process: subprocess.Popen[str], wanted: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == wanted


def _wait_for_lock(dsn: str) -> None:
    """Until somebody waits for the lock of those who migrate."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for _ in range(600):
            waiting = connection.execute(
                "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            ).fetchall()
            if waiting:
                return
            time.sleep(0.05)
    raise AssertionError("nobody waits for the lock")
