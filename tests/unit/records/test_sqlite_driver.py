"""What only SQLite has: the lock, the writer thread, its failures, the WAL."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from services.model.errors import Reason, WorkspaceError
from services.records.port import (
    ABSENT,
    CursorLost,
    DriverUnavailable,
    Key,
    Match,
    Put,
    StorageFull,
)
from services.records.sql import SqliteDriver
from services.records.sql.writer import Session


def put(sk: str, body: str = "{}", condition: Match | None = None, pk: str = "P#1") -> Put:
    return Put(Key(pk, sk), condition or ABSENT, "test", body)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.db"


@pytest.fixture
async def driver(path: Path) -> AsyncIterator[SqliteDriver]:
    made = await SqliteDriver.open(path)
    yield made
    await made.close()


async def test_a_second_opener_is_refused_until_the_first_closes(
    driver: SqliteDriver, path: Path
) -> None:
    with pytest.raises(WorkspaceError) as refused:
        await SqliteDriver.open(path)
    assert refused.value.reason == Reason.ERROR_REASON_INVALID_STATE
    assert str(path) in refused.value.message
    assert str(os.getpid()) in refused.value.message
    await driver.close()
    await (await SqliteDriver.open(path)).close()


async def test_a_second_process_is_refused(driver: SqliteDriver, path: Path) -> None:
    script = """
        import asyncio, sys, pathlib
        from services.records.sql import SqliteDriver
        asyncio.run(SqliteDriver.open(pathlib.Path(sys.argv[1])))
    """
    done = _python(script, str(path))
    assert done.returncode != 0
    assert f"is in use by process {os.getpid()}" in done.stderr


def _python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )


async def test_settings_of_every_connection(driver: SqliteDriver) -> None:
    """The writer fsyncs; readers can neither write nor checkpoint."""
    wanted = {
        "journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "mmap_size": 0,
        "trusted_schema": 0, "cell_size_check": 1, "temp_store": 2, "busy_timeout": 5000,
    }  # fmt: skip

    def settings(connection: sqlite3.Connection, extra: dict[str, int]) -> None:
        for name, value in (wanted | extra).items():
            assert connection.execute(f"PRAGMA {name}").fetchone()[0] == value, name

    reader = {"query_only": 1, "wal_autocheckpoint": 0}
    settings(driver._point, reader)
    await asyncio.gather(*(driver._read(lambda c: settings(c, reader)) for _ in range(3)))
    writer = {"query_only": 0, "wal_autocheckpoint": 1000}
    await driver._writer.submit(lambda session: settings(session.connection, writer))


async def test_files_are_readable_by_their_owner_only(driver: SqliteDriver, path: Path) -> None:
    await driver.commit("P#1", [put("a")])
    for name in ("records.db", "records.db-wal", "records.db-shm", "records.db.lock"):
        assert (path.parent / name).stat().st_mode & 0o077 == 0, name


async def test_closing_leaves_one_checkpointed_file(driver: SqliteDriver, path: Path) -> None:
    await driver.commit("P#1", [put("a")])
    await driver.close()
    await driver.close()
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, f"{path.name}.lock"]
    with pytest.raises(DriverUnavailable, match="closed"):
        await driver.commit("P#1", [put("b")])
    with pytest.raises(DriverUnavailable, match="closed"):
        await driver.get(Key("P#1", "a"))
    with pytest.raises(DriverUnavailable, match="closed"):
        await driver.scan(None, 1)


async def test_commits_under_way_are_finished_by_close(driver: SqliteDriver, path: Path) -> None:
    commits = [asyncio.create_task(driver.commit("P#1", [put(f"{n}")])) for n in range(50)]
    await asyncio.sleep(0)
    await driver.close()
    assert len(await asyncio.gather(*commits)) == 50
    again = await SqliteDriver.open(path)
    assert len(await again.scan(None, 100)) == 50
    await again.close()


async def _transactions(driver: SqliteDriver) -> list[str]:
    statements: list[str] = []
    await driver._writer.submit(
        lambda session: session.connection.set_trace_callback(statements.append)
    )
    return statements


async def _gated(
    driver: SqliteDriver, commits: Sequence[Coroutine[Any, Any, object]]
) -> list[Any]:
    """Submit everything while the writer is held; returns the outcomes."""
    started, gate = threading.Event(), threading.Event()

    def hold(_: Session) -> None:
        started.set()
        gate.wait()

    held = asyncio.create_task(driver._writer.submit(hold))
    await asyncio.to_thread(started.wait)
    tasks = [asyncio.ensure_future(commit) for commit in commits]
    await asyncio.sleep(0)  # every task has now run up to its submission
    gate.set()
    await held
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_waiting_commits_share_transactions_of_at_most_256(driver: SqliteDriver) -> None:
    statements = await _transactions(driver)
    outcomes = await _gated(driver, [driver.commit(f"P#{n}", [put("a", pk=f"P#{n}")])
                                     for n in range(300)])  # fmt: skip
    assert all(isinstance(outcome, list) for outcome in outcomes)
    assert statements.count("BEGIN IMMEDIATE") == 3  # the holder, 256, 44


async def test_a_statement_error_hurts_only_its_own_commit(driver: SqliteDriver) -> None:
    """The number is too large for SQLite: found after writes of the same batch."""
    bad = Put(Key("P#1", "bad"), ABSENT, "test", "{}", expires_at=2**70)
    commits = [driver.commit("P#1", [put(f"{n:02}")]) for n in range(20)]
    commits.insert(10, driver.commit("P#1", [put("half"), bad]))
    outcomes = await _gated(driver, commits)
    assert isinstance(outcomes.pop(10), OverflowError)
    assert all(isinstance(outcome, list) for outcome in outcomes)
    assert await driver.get(Key("P#1", "half")) is None
    assert len(await driver.scan(None, 100)) == 20


async def test_a_failed_statement_never_gives_a_number_out_twice(driver: SqliteDriver) -> None:
    bad = Put(Key("P#1", "bad"), ABSENT, "test", "{}", expires_at=2**70)
    tokens: list[str] = []
    for number in range(5):
        tokens += await driver.commit("P#1", [put(f"{number}")])
        with pytest.raises(OverflowError):
            await driver.commit("P#1", [put("x"), bad])
    assert len(set(tokens)) == 5
    assert tokens == sorted(tokens, key=int)


async def test_a_cancelled_caller_does_not_undo_its_commit(driver: SqliteDriver) -> None:
    task = asyncio.create_task(driver.commit("P#1", [put("a")]))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await driver.commit("P#1", [put("b")])
    assert await driver.get(Key("P#1", "a")) is not None


async def test_a_reader_after_commit_never_sees_the_cached_past(driver: SqliteDriver) -> None:
    """Between COMMIT and the acknowledgement the cache must not answer."""
    key = Key("P#1", "a")
    [token] = await driver.commit("P#1", [put("a", "old")])
    assert (await driver.get(key)).body == "old"  # type: ignore[union-attr]
    committed = threading.Event()
    finish = driver._writer._finish

    def slow(*arguments: object) -> None:
        committed.set()
        finish(*arguments)  # type: ignore[arg-type]

    driver._writer._finish = slow  # type: ignore[assignment,method-assign]
    task = asyncio.create_task(driver.commit("P#1", [put("a", "new", Match(token))]))
    await asyncio.sleep(0)
    committed.wait()  # blocks the loop: the acknowledgement cannot have run
    assert not task.done()
    assert (await driver.get(key)).body == "new"  # type: ignore[union-attr]
    assert not task.done()
    await task


async def test_no_space_is_reported_and_the_store_goes_on_when_there_is(
    driver: SqliteDriver,
) -> None:
    """`max_page_count` makes SQLite answer SQLITE_FULL like a full disk does."""
    await driver.commit("P#1", [put("a")])
    await driver._writer.submit(
        lambda s: s.connection.execute("PRAGMA max_page_count=60").fetchone()
    )
    acknowledged = ["a"]

    async def fill() -> None:
        for number in range(1000):
            await driver.commit("P#1", [put(f"{number:04}", "x" * 2000)])
            acknowledged.append(f"{number:04}")

    with pytest.raises(StorageFull):
        await fill()
    assert len(acknowledged) > 1
    assert sorted(i.key.sk for i in await driver.scan(None, 2000)) == sorted(acknowledged)
    await driver._writer.submit(
        lambda s: s.connection.execute("PRAGMA max_page_count=10000").fetchone()
    )
    await driver.commit("P#1", [put("z", "x" * 2000)])


async def test_no_space_for_one_of_a_batch_leaves_room_for_the_others(
    driver: SqliteDriver,
) -> None:
    await driver._writer.submit(
        lambda s: s.connection.execute("PRAGMA max_page_count=60").fetchone()
    )
    large = driver.commit("P#1", [put("large", "x" * 350_000)])
    outcomes = await _gated(driver, [driver.commit("P#1", [put("a")]), large,
                                     driver.commit("P#1", [put("b")])])  # fmt: skip
    assert [type(outcome).__name__ for outcome in outcomes] == ["list", "StorageFull", "list"]
    assert [item.key.sk for item in await driver.scan(None, 10)] == ["a", "b"]


async def test_a_disk_error_ends_writing_and_acknowledged_commits_stay(path: Path) -> None:
    """A file-size limit makes write(2) fail in a process of its own."""
    script = """
        import asyncio, resource, sys, pathlib
        from services.records.port import ABSENT, DriverUnavailable, Key, Put
        from services.records.sql import SqliteDriver

        async def main():
            driver = await SqliteDriver.open(pathlib.Path(sys.argv[1]))
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
            number = 0
            while True:
                try:
                    await driver.commit("P#1", [Put(Key("P#1", f"{number:05}"), ABSENT, "t", "x" * 999)])
                except DriverUnavailable as error:
                    print("failed", error.ambiguous, flush=True)
                    break
                number += 1
                print("acked", number, flush=True)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            try:
                await driver.commit("P#1", [Put(Key("P#1", "later"), ABSENT, "t", "{}")])
            except DriverUnavailable as error:
                print("refused", error.ambiguous, str(error))
            print("read", len(await driver.scan(None, 10_000)))
            await driver.close()

        asyncio.run(main())
    """  # noqa: E501
    done = await asyncio.to_thread(_python, script, str(path))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    acked = sum(line.startswith("acked") for line in lines)
    assert acked > 10
    assert "failed True" in lines
    [refused] = [line for line in lines if line.startswith("refused")]
    assert refused.startswith("refused False")
    assert "restart" in refused
    assert f"read {acked}" in lines
    again = await SqliteDriver.open(path)
    kept = [item.key.sk for item in await again.scan(None, 10_000)]
    assert kept[:acked] == [f"{n:05}" for n in range(acked)]
    assert len(kept) <= acked + 1  # the ambiguous one may or may not be there
    await again.commit("P#1", [put("now")])
    await again.close()


async def test_a_damaged_file_is_unavailable_and_gives_its_lock_back(path: Path) -> None:
    path.write_bytes(b"not a database at all" * 100)  # noqa: ASYNC240
    for _ in range(2):
        with pytest.raises(DriverUnavailable, match="SQLITE_NOTADB"):
            await SqliteDriver.open(path)


async def test_the_wal_is_cut_back_while_commits_go_on(path: Path) -> None:
    driver = await SqliteDriver.open(path)
    wal = path.with_name("records.db-wal")
    driver._writer._wal_limit = driver._writer._truncate_at = 1 << 20
    largest = 0
    for number in range(60):
        await driver.commit("P#1", [put(f"{number:03}", "x" * 100_000)])
        largest = max(largest, wal.stat().st_size)
    await driver._writer.submit(lambda _: None)
    assert largest < 6 << 20
    assert len(await driver.scan(None, 100)) == 60
    await driver.close()


async def test_a_long_reader_does_not_stop_commits(path: Path) -> None:
    driver = await SqliteDriver.open(path)
    driver._writer._wal_limit = driver._writer._truncate_at = 200_000
    await driver._writer.submit(lambda s: s.connection.execute("PRAGMA busy_timeout=10"))
    reader = driver._connections.get()
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM items").fetchone()
    for number in range(20):
        await driver.commit("P#1", [put(f"{number:03}", "x" * 50_000)])
    assert reader.execute("SELECT count(*) FROM items").fetchone() == (0,)
    reader.execute("COMMIT")
    driver._connections.put(reader)
    assert len(await driver.scan(None, 100)) == 20
    await driver.close()


async def test_a_copy_of_the_file_loses_its_cursors(path: Path, tmp_path: Path) -> None:
    driver = await SqliteDriver.open(path)
    await driver.commit("P#1", [put("a")])
    cursor = (await driver.changes(None, 10)).cursor
    await driver.close()
    copy = tmp_path / "copy.db"
    shutil.copy2(path, copy)
    restored = await SqliteDriver.open(copy)
    assert [item.key.sk for item in (await restored.changes(None, 10)).items] == ["a"]
    with pytest.raises(CursorLost):
        await restored.changes(cursor, 10)
    await restored.close()


async def test_a_store_rolled_back_in_place_loses_cursors_of_its_future(path: Path) -> None:
    driver = await SqliteDriver.open(path)
    await driver.close()
    backup = path.read_bytes()  # noqa: ASYNC240
    driver = await SqliteDriver.open(path)
    await driver.commit("P#1", [put("a")])
    cursor = (await driver.changes(None, 10)).cursor
    await driver.close()
    path.write_bytes(backup)  # noqa: ASYNC240 - in place: the same inode
    driver = await SqliteDriver.open(path)
    with pytest.raises(CursorLost):
        await driver.changes(cursor, 10)
    await driver.close()
