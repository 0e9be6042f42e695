"""SQLite as a surface: one file that can be carried away, and reading without writing."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import pytest

from services.model.errors import Reason, WorkspaceError
from services.records.port import ABSENT, DriverUnavailable, Key, Put
from services.records.sql import SqliteDriver

KEY = Key("P", "S")
ROOT = Path(__file__).parents[3]


def mode_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


async def written(path: Path, *, portable: bool) -> None:
    driver = await SqliteDriver.open(path, portable=portable)
    await driver.commit("P", [Put(KEY, ABSENT, "test", "{}")])
    await driver.close()


async def test_the_file_alone_is_the_database_while_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    driver = await SqliteDriver.open(path, portable=True)
    await driver.commit("P", [Put(KEY, ABSENT, "test", '{"a":1}')])
    assert names(tmp_path) == ["a.sqlite", "a.sqlite.lock"]
    (tmp_path / "away").mkdir()
    shutil.copy(path, tmp_path / "away" / "a.sqlite")
    await driver.close()
    copy = await SqliteDriver.open(tmp_path / "away" / "a.sqlite", read_only=True)
    item = await copy.get(KEY)
    await copy.close()
    assert item is not None
    assert item.body == '{"a":1}'


async def test_a_served_folder_becomes_a_surface_and_back(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    await written(path, portable=False)
    assert mode_of(path) == "wal"
    for portable, mode in ((True, "delete"), (False, "wal")):
        driver = await SqliteDriver.open(path, portable=portable)
        assert await driver.get(KEY) is not None
        await driver.close()
        assert mode_of(path) == mode


async def test_a_slow_commit_does_not_stop_the_loop(tmp_path: Path) -> None:
    """A reader waits for the writer's lock on a thread of its own."""
    path = tmp_path / "a.sqlite"
    await written(path, portable=True)
    driver = await SqliteDriver.open(path, portable=True, cache_items=0)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    reading = asyncio.ensure_future(driver.get(KEY))
    turns = 0
    for _ in range(20):
        await asyncio.sleep(0.005)
        turns += 1
    assert turns == 20
    assert not reading.done()
    other.execute("ROLLBACK")
    other.close()
    assert await reading is not None
    await driver.close()


@pytest.mark.parametrize("portable", [True, False])
async def test_reading_alone_leaves_the_folder_as_it_is(tmp_path: Path, portable: bool) -> None:
    path = tmp_path / "a.sqlite"
    await written(path, portable=portable)
    before = {each: (tmp_path / each).stat().st_mtime_ns for each in names(tmp_path)}
    driver = await SqliteDriver.open(path, read_only=True)
    assert await driver.get(KEY) is not None
    assert [each.key for each in await driver.scan(None, 10)] == [KEY]
    with pytest.raises(DriverUnavailable):
        await driver.commit("P", [Put(Key("P", "T"), ABSENT, "test", "{}")])
    await driver.close()
    after = {each: (tmp_path / each).stat().st_mtime_ns for each in names(tmp_path)}
    before.pop("a.sqlite.lock")
    after.pop("a.sqlite.lock")
    assert before == after


async def test_reading_needs_a_database(tmp_path: Path) -> None:
    with pytest.raises(DriverUnavailable, match="no readable"):
        await SqliteDriver.open(tmp_path / "none.sqlite", read_only=True)
    sqlite3.connect(tmp_path / "other.sqlite").execute("CREATE TABLE t (x)").connection.close()
    with pytest.raises(WorkspaceError, match="not a record store"):
        await SqliteDriver.open(tmp_path / "other.sqlite", read_only=True)


async def test_one_opener_at_a_time_whatever_it_wants(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    await written(path, portable=True)
    driver = await SqliteDriver.open(path, portable=True)
    for read_only in (True, False):
        with pytest.raises(WorkspaceError) as caught:
            await SqliteDriver.open(path, portable=True, read_only=read_only)
        assert caught.value.reason == Reason.ERROR_REASON_INVALID_STATE
        assert caught.value.metadata["pid"] == str(os.getpid())
    await driver.close()


_WRITER = """
import asyncio, sys
from pathlib import Path
from services.records.port import ABSENT, Key, Put
from services.records.sql import SqliteDriver

async def main() -> None:
    driver = await SqliteDriver.open(Path(sys.argv[1]), portable=sys.argv[2] == "portable")
    for number in range(1_000_000):
        await driver.commit("P", [Put(Key("P", f"{number:07d}"), ABSENT, "test", "{}")])
        print(number, flush=True)

asyncio.run(main())
"""


def killed_writer(path: Path, kind: str) -> int:
    """A process that writes, killed in the middle; the last commit it was told of."""
    script = path.with_suffix(".py")
    script.write_text(textwrap.dedent(_WRITER))
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos/gen/python'}"}
    process = subprocess.Popen(
        [sys.executable, str(script), str(path), kind], stdout=subprocess.PIPE, env=env, text=True
    )
    assert process.stdout is not None
    told = [int(process.stdout.readline()) for _ in range(20)]
    time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    with process.stdout as out:
        rest = out.read().split()
    process.wait()
    return int(rest[-1]) if rest else told[-1]


@pytest.mark.case("A23")
async def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    last = killed_writer(path, "portable")
    driver = await SqliteDriver.open(path, portable=True)
    found = await driver.scan(None, 100_000)
    await driver.close()
    assert [each.key.sk for each in found][: last + 1] == [f"{n:07d}" for n in range(last + 1)]


async def test_a_log_that_was_left_is_not_passed_over(tmp_path: Path) -> None:
    """Reading the main file alone would show an older state."""
    path = tmp_path / "a.sqlite"
    killed_writer(path, "log")
    with pytest.raises(WorkspaceError, match="not closed in order"):
        await SqliteDriver.open(path, read_only=True)
    driver = await SqliteDriver.open(path, portable=True)
    assert len(await driver.scan(None, 100)) >= 20
    await driver.close()
