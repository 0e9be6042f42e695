"""`wm migrate`: from and to, exit codes, and what helps."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from services.cli.exit_codes import ExitCode
from services.cli.main import run
from services.records.instance import FORMAT_VERSION, INSTANCE_KEY, open_instance
from services.records.port import Match, Put, RecordDriver
from services.records.sql import SqliteDriver
from services.records.sql.schema import FORMAT
from tests.chosen_records import chosen_server
from tests.servers import aws

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("WM_SERVER", "WM_AS", "WM_RECORDS", "WM_RECORDS_DSN", "WM_MIGRATE_AT_START"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WM_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("WM_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def dsn(monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty database, which is chosen."""
    made = chosen_server().database()
    monkeypatch.setenv("WM_RECORDS", "postgresql")
    monkeypatch.setenv("WM_RECORDS_DSN", made)
    return made


def _told(capsys: Capture, *arguments: str, code: int = 0) -> str:
    assert run(["migrate", *arguments]) == code
    found = capsys.readouterr()
    return found.err if code and not found.out else found.out


def _set_file(path: Path, **values: int) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for name, value in values.items():
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, str(value)))
        connection.commit()


def _set_database(dsn: str, **values: int) -> None:
    with psycopg.connect(dsn) as connection:
        for name, value in values.items():
            connection.execute(
                "INSERT INTO meta VALUES (%s, %s) "
                "ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, str(value)),
            )  # fmt: skip


async def _from_later(driver: RecordDriver) -> None:
    """The instance says that a later format wrote it."""
    await open_instance(driver)
    item = await driver.get(INSTANCE_KEY)
    assert item is not None
    body = json.loads(item.body) | {"format": 9, "min_writer": FORMAT_VERSION + 1}
    put = Put(INSTANCE_KEY, Match(item.token), item.family, json.dumps(body))
    await driver.commit(INSTANCE_KEY.pk, [put])
    await driver.close()


async def _made(path: Path) -> None:
    await (await SqliteDriver.open(path)).close()


def test_where_nothing_is_yet_nothing_is_made(data: Path, capsys: Capture) -> None:
    assert "`wm serve` makes it" in _told(capsys)
    assert "`wm serve` makes it" in _told(capsys, "--check")
    assert list(data.iterdir()) == []


def test_a_file_that_is_behind_is_brought_there(data: Path, capsys: Capture) -> None:
    path = data / "workspace.sqlite"
    asyncio.run(_made(path))
    assert "nothing to do" in _told(capsys)
    _set_file(path, format=0)
    for _ in range(2):
        told = _told(capsys, "--check", code=ExitCode.PRECONDITION)
        assert f"the tables are at 0, this release needs {FORMAT}" in told
    assert f"tables 0 -> {FORMAT}" in _told(capsys)
    assert "nothing to do" in _told(capsys, "--check")


def test_a_file_that_is_served_is_left_alone(data: Path, capsys: Capture) -> None:
    path = data / "workspace.sqlite"

    async def beside() -> str:
        driver = await SqliteDriver.open(path)
        try:
            assert "nothing to do" in await asyncio.to_thread(_told, capsys)
            _set_file(path, format=0)
            return await asyncio.to_thread(_told, capsys, code=ExitCode.PRECONDITION)
        finally:
            await driver.close()

    assert "stop that process" in asyncio.run(beside())


def test_a_newer_file_is_refused(data: Path, capsys: Capture) -> None:
    path = data / "workspace.sqlite"
    asyncio.run(_made(path))
    _set_file(path, format=FORMAT + 1)
    assert "later than this release's" in _told(capsys)
    _set_file(path, min_format=FORMAT + 1)
    for arguments in ((), ("--check",)):
        assert "newer release" in _told(capsys, *arguments, code=ExitCode.PRECONDITION)


def test_a_database_is_made_once(dsn: str, capsys: Capture) -> None:
    assert f"at 0, this release needs {FORMAT}" in _told(
        capsys, "--check", code=ExitCode.PRECONDITION
    )
    with psycopg.connect(dsn) as connection:
        assert not connection.execute("SELECT to_regclass('meta')").fetchall()[0][0]
    assert f"PostgreSQL: tables 0 -> {FORMAT}." in _told(capsys)
    assert "nothing to do" in _told(capsys)
    assert "nothing to do" in _told(capsys, "--check")


def test_programs_read_it(dsn: str, capsys: Capture) -> None:
    def asked(*arguments: str, code: int = 0) -> Any:
        assert run(["migrate", "--json", *arguments]) == code
        return json.loads(capsys.readouterr().out)

    known = {"records": "postgresql", "needed": FORMAT, "mended": 0}
    behind = asked("--check", code=ExitCode.PRECONDITION)
    assert behind == known | {"found": 0, "now": 0, "behind": True}
    assert asked() == known | {"found": 0, "now": FORMAT, "behind": False}
    assert asked("--check") == known | {"found": FORMAT, "now": FORMAT, "behind": False}


@pytest.mark.parametrize("setting", ["on", "off"])
def test_it_migrates_where_servers_do_not(
    dsn: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv("WM_MIGRATE_AT_START", setting)
    assert f"0 -> {FORMAT}" in _told(capsys)


def test_a_newer_database_is_refused(dsn: str, capsys: Capture) -> None:
    _told(capsys)
    _set_database(dsn, format=FORMAT + 1)
    assert "later than this release's" in _told(capsys)
    _set_database(dsn, min_format=FORMAT + 1)
    for arguments in ((), ("--check",)):
        assert "newer release" in _told(capsys, *arguments, code=ExitCode.PRECONDITION)


def test_records_of_a_later_format_are_refused(dsn: str, capsys: Capture) -> None:
    from services.records.sql import PostgresDriver

    async def later() -> None:
        await _from_later(await PostgresDriver.open(dsn))

    asyncio.run(later())
    assert "install the version that wrote it" in _told(capsys, code=ExitCode.PRECONDITION)


def test_a_user_without_rights_is_told_of_another(
    dsn: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        role = f"reader_{connection.info.dbname}"
        connection.execute(f"CREATE ROLE {role} LOGIN".encode())
    monkeypatch.setenv("WM_RECORDS_DSN", psycopg.conninfo.make_conninfo(dsn, user=role))
    told = _told(capsys, code=ExitCode.PRECONDITION)
    assert "run `wm migrate` with the WM_RECORDS_DSN of a user who owns them" in told
    assert "docs/operations/upgrades.md" in told


def _nowhere(dsn: str, folder: Path) -> str:
    return psycopg.conninfo.make_conninfo(dsn, host=str(folder))


def _other_database(dsn: str, folder: Path) -> str:
    return psycopg.conninfo.make_conninfo(dsn, dbname="nobody_made_it")


def _other_user(dsn: str, folder: Path) -> str:
    return psycopg.conninfo.make_conninfo(dsn, user="nobody_is_it")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_nowhere, "nothing listens there"),
        (_other_database, "it has no such database"),
        (_other_user, "it has no such user"),
    ],
)
def test_what_cannot_be_reached_is_said_without_names(
    dsn: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    change: Callable[[str, Path], str], why: str,
) -> None:  # fmt: skip
    where = psycopg.conninfo.make_conninfo(change(dsn, tmp_path), password="hunter2")
    monkeypatch.setenv("WM_RECORDS_DSN", where)
    for arguments in ((), ("--check",), ("--json",)):
        told = _told(capsys, *arguments, code=ExitCode.UNAVAILABLE)
        assert why in told
        assert "hunter2" not in told
        assert "nobody" not in told


def test_without_a_connection_string_it_is_asked_for(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WM_RECORDS", "postgresql")
    assert "WM_RECORDS_DSN" in _told(capsys, code=ExitCode.USAGE)


def test_dynamodb_has_nothing_to_migrate_and_is_opened(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, aws_environment: None
) -> None:
    name = "migrate-nothing"
    monkeypatch.setenv("WM_RECORDS", "dynamodb")
    monkeypatch.setenv("WM_AWS_REGION", aws.REGION)
    monkeypatch.setenv("WM_AWS_DYNAMODB_TABLE", name)
    monkeypatch.setenv("WM_AWS_DYNAMODB_ENDPOINT", aws.moto().url.removesuffix("/moto-api/"))
    assert name in _told(capsys, code=ExitCode.PRECONDITION)  # there is no such table
    aws.make_table(aws.moto(), name)
    for arguments in ((), ("--check",)):
        assert "no tables of ours to migrate" in _told(capsys, *arguments)
