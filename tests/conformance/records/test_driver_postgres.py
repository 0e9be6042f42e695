"""What only PostgreSQL has: late commits, lost connections, many processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from services.records.port import (
    ConditionFailed,
    DriverUnavailable,
    Key,
    StorageFull,
)
from services.records.sql import PostgresDriver
from tests.conformance.records.harness import (
    Environment,
    PostgresStore,
    after,
    drain,
    everything,
    follow,
    put,
)

_XMIN = " AND items.seq < pg_snapshot_xmin(pg_current_snapshot())"


@pytest.fixture
def store(environment: Environment) -> PostgresStore:
    return PostgresStore(environment)


@pytest.fixture
async def driver(store: PostgresStore) -> PostgresDriver:
    return await store.open()


@pytest.fixture
async def raw(
    store: PostgresStore, driver: PostgresDriver
) -> AsyncIterator[psycopg.AsyncConnection]:
    """A connection of our own to the driver's database, in a transaction."""
    async with await psycopg.AsyncConnection.connect(store.dsn) as connection:
        yield connection
        await connection.rollback()


_INSERT = """
INSERT INTO items (pk, sk, family, body, stamp, deleted, rev, seq)
VALUES ('LATE', 'a', 'test', '{}', '', false, nextval('items_rev'), pg_current_xact_id())
"""


async def _late_commit(driver: PostgresDriver, raw: psycopg.AsyncConnection) -> list[str]:
    """An older transaction commits after a younger one was read; what is seen?"""
    await raw.execute(_INSERT)
    await driver.commit("P#1", [put("young")])
    early, cursor = await follow(driver, None)
    await raw.commit()
    late, _ = await follow(driver, cursor)
    return [item.key.sk for item in [*early, *late]]


async def test_an_older_transaction_that_commits_late_is_not_missed(
    driver: PostgresDriver, raw: psycopg.AsyncConnection
) -> None:
    assert await _late_commit(driver, raw) == ["a", "young"]


async def test_control_without_the_xmin_bound_it_is_missed(
    driver: PostgresDriver, raw: psycopg.AsyncConnection
) -> None:
    bounded = driver._statements.changes
    driver._statements.changes = bounded.replace(_XMIN, "")
    assert driver._statements.changes != bounded
    assert await _late_commit(driver, raw) == ["young"]


async def test_a_page_is_not_complete_while_commits_are_held_back(
    driver: PostgresDriver, raw: psycopg.AsyncConnection
) -> None:
    """A watermark of that moment would promise a change that was not delivered."""
    await raw.execute(_INSERT)
    assert (await driver.changes(None, 10)).complete
    await driver.commit("P#1", [put("young")])
    held = await driver.changes(None, 10)
    assert (list(held.items), held.complete) == ([], False)
    await raw.rollback()
    told = await driver.changes(held.cursor, 10)
    assert ([item.key.sk for item in told.items], told.complete) == (["young"], True)


async def _waiting(raw: psycopg.AsyncConnection, *, other_than: int = 0) -> int:
    """The backend that waits for an advisory lock, once there is one."""
    while True:
        cursor = await raw.execute(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND pid <> %s",
            (other_than,),
        )
        if row := await cursor.fetchone():
            return int(row[0])
        await asyncio.sleep(0.01)


_HOLD = "SELECT pg_advisory_xact_lock(hashtextextended('P#1', 0))"


async def test_a_connection_lost_before_commit_is_repeated_once_in_effect(
    driver: PostgresDriver, raw: psycopg.AsyncConnection
) -> None:
    await raw.execute(_HOLD)
    commit = asyncio.create_task(driver.commit("P#1", [put("a", "1")]))
    pid = await _waiting(raw)
    await raw.execute("SELECT pg_terminate_backend(%s)", (pid,))
    await _waiting(raw, other_than=pid)
    await raw.rollback()
    [token] = await commit
    assert [item.token for item in await drain(driver)] == [token]


async def test_a_partition_locked_for_too_long_is_unavailable(
    store: PostgresStore, raw: psycopg.AsyncConnection
) -> None:
    driver = await PostgresDriver.open(store.dsn, lock_timeout=0.05)
    try:
        await raw.execute(_HOLD)
        with pytest.raises(DriverUnavailable) as failed:
            await driver.commit("P#1", [put("a")])
        assert not failed.value.ambiguous
        assert len(await driver.commit("P#2", [put("a", pk="P#2")])) == 1
        await raw.rollback()
        assert len(await driver.commit("P#1", [put("a")])) == 1
    finally:
        await driver.close()


class Proxy:
    """Passes bytes on to the server; drops its answer to COMMIT when told so."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.drop_commit = False
        self.dropped = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, server = await asyncio.open_unix_connection(self._target)
        state = {"cut": False}
        back = asyncio.create_task(self._back(upstream, writer, server, state))
        self._tasks.add(back)
        while data := await reader.read(65536):
            state["cut"] |= self.drop_commit and b"COMMIT" in data
            server.write(data)
        server.close()
        await back

    async def _back(
        self,
        upstream: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server: asyncio.StreamWriter,
        state: dict[str, bool],
    ) -> None:
        while data := await upstream.read(65536):
            if state["cut"] and b"COMMIT\0" in data:  # the command tag: it is durable
                self.dropped.set()
                break
            writer.write(data)
        writer.close()
        server.close()


async def test_an_answer_lost_after_commit_is_ambiguous_and_the_commit_stands(
    store: PostgresStore, driver: PostgresDriver, tmp_path: Path
) -> None:
    info = psycopg.conninfo.conninfo_to_dict(store.dsn)
    folder = str(info["host"])
    proxy = Proxy(f"{folder}/.s.PGSQL.5432")
    server = await asyncio.start_unix_server(proxy.serve, tmp_path / ".s.PGSQL.5432")
    behind = psycopg.conninfo.make_conninfo(store.dsn, host=str(tmp_path))
    cut = await PostgresDriver.open(behind, max_size=1)
    try:
        await cut.commit("P#1", [put("before")])
        proxy.drop_commit = True
        with pytest.raises(DriverUnavailable) as failed:
            await cut.commit("P#1", [put("a", "1")])
        assert failed.value.ambiguous
        assert proxy.dropped.is_set()
        item = await driver.get(Key("P#1", "a"))
        assert item is not None
        assert item.body == "1"
        proxy.drop_commit = False
        with pytest.raises(ConditionFailed):  # the pool has replaced the connection
            await cut.commit("P#1", [put("a", "2")])
    finally:
        await cut.close()
        server.close()


async def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(DriverUnavailable) as failed:
        await PostgresDriver.open(f"host={tmp_path} dbname=x user=secret", connect_timeout=2)
    assert not failed.value.ambiguous
    assert "secret" not in str(failed.value)


async def test_a_closed_driver_is_unavailable(driver: PostgresDriver) -> None:
    await driver.close()
    with pytest.raises(DriverUnavailable) as failed:
        await driver.commit("P#1", [put("a")])
    assert not failed.value.ambiguous
    with pytest.raises(DriverUnavailable):
        await driver.get(Key("P#1", "a"))


_FAILING = """
CREATE SEQUENCE failures;
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.sk = 'b' AND nextval('failures') <= {times} THEN
        RAISE EXCEPTION 'injected' USING ERRCODE = '{state}';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER fail BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION fail();
"""


async def _inject(raw: psycopg.AsyncConnection, state: str, times: int) -> None:
    await raw.execute(_FAILING.format(state=state, times=times).encode())
    await raw.commit()


@pytest.mark.parametrize("state", ["40001", "40P01"])
async def test_serialization_failures_and_deadlocks_are_repeated(
    driver: PostgresDriver, raw: psycopg.AsyncConnection, state: str
) -> None:
    await _inject(raw, state, times=3)
    tokens = await driver.commit("P#1", [put("a"), put("b"), put("c")])
    assert [item.token for item in await everything(driver)] == tokens


async def test_endless_serialization_failures_end_unambiguously(
    driver: PostgresDriver, raw: psycopg.AsyncConnection
) -> None:
    await _inject(raw, "40001", times=1000)
    with pytest.raises(DriverUnavailable) as failed:
        await driver.commit("P#1", [put("a"), put("b")])
    assert not failed.value.ambiguous
    assert await everything(driver) == []


async def test_a_full_disk_is_reported_and_nothing_is_written(
    driver: PostgresDriver, raw: psycopg.AsyncConnection
) -> None:
    await _inject(raw, "53100", times=1)
    with pytest.raises(StorageFull):
        await driver.commit("P#1", [put("a"), put("b")])
    assert await everything(driver) == []
    assert len(await driver.commit("P#1", [put("a"), put("b")])) == 2


@pytest.mark.parametrize("state", ["42501", "25006"])
async def test_a_role_that_may_no_longer_write_is_a_server_that_refuses(
    driver: PostgresDriver, raw: psycopg.AsyncConnection, state: str
) -> None:
    """Rights that are taken away while the store is open, or a failover to a standby."""
    await _inject(raw, state, times=1)
    with pytest.raises(DriverUnavailable) as failed:
        await driver.commit("P#1", [put("a"), put("b")])
    assert not failed.value.ambiguous
    assert await everything(driver) == []
    assert len(await driver.commit("P#1", [put("a"), put("b")])) == 2


async def test_two_processes_share_a_store_without_lost_updates(store: PostgresStore) -> None:
    """Two drivers with pools of their own stand for two processes."""
    drivers = await asyncio.gather(store.open(), store.open())
    assert await drivers[0].identity() == await drivers[1].identity()
    await drivers[0].commit("P#1", [put("counter", "0")])

    async def increment(driver: PostgresDriver) -> None:
        for _ in range(5):
            while True:
                item = await driver.get(Key("P#1", "counter"))
                assert item is not None
                try:
                    await driver.commit("P#1", [after(item, str(int(item.body) + 1))])
                except ConditionFailed:
                    continue
                break

    await asyncio.gather(*(increment(driver) for driver in drivers for _ in range(8)))
    item = await drivers[1].get(Key("P#1", "counter"))
    assert item is not None
    assert item.body == "80"


async def test_rows_restored_from_another_server_are_in_the_feed(
    store: PostgresStore, driver: PostgresDriver, raw: psycopg.AsyncConnection
) -> None:
    """A dump carries transaction ids that lie in this server's future."""
    await driver.commit("P#1", [put("a"), put("b")])
    await raw.execute("UPDATE items SET seq = '900000000000'::xid8")
    await raw.execute("UPDATE meta SET value = '1:2' WHERE name = 'provider'")
    await raw.commit()
    assert await drain(driver) == []
    restored = await store.open()
    assert [item.key.sk for item in await drain(restored)] == ["a", "b"]


async def test_asynchronous_commit_of_the_server_is_not_taken_over(
    store: PostgresStore, raw: psycopg.AsyncConnection
) -> None:
    name = raw.info.dbname
    await raw.execute(f"ALTER DATABASE {name} SET synchronous_commit = off".encode())
    await raw.commit()
    driver = await store.open()
    assert await driver._rows("SHOW synchronous_commit", {}) == [("on",)]


async def test_a_role_without_special_rights_is_enough(
    store: PostgresStore, environment: Environment
) -> None:
    with psycopg.connect(store.dsn, autocommit=True) as admin:
        role = f"r{admin.info.dbname}"
        admin.execute(f"CREATE ROLE {role} LOGIN; GRANT CREATE ON SCHEMA public TO {role}".encode())
    driver = await PostgresDriver.open(psycopg.conninfo.make_conninfo(store.dsn, user=role))
    environment.opened.append(driver)
    await driver.commit("P#1", [put("a")])
    assert [item.key.sk for item in await drain(driver)] == ["a"]


def test_without_the_extra_the_remedy_is_named() -> None:
    script = (
        "import sys; sys.modules['psycopg'] = None\n"
        "import services.records.sql as sql\n"
        "from services.model.errors import WorkspaceError\n"
        "try: sql.PostgresDriver\n"
        "except WorkspaceError as error: print(error.message)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "pip install 'workspace-management[postgres]'" in done.stdout
