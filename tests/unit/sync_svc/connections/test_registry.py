"""Both registries keep one contract; the file also survives being cut short."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from workspace.sync.v1.connection_pb2 import Connection, ConnectionStatus
from workspace.sync.v1.connection_service_pb2 import (
    CreateConnectionRequest,
    CreateConnectionResponse,
)

from services.backends import wall_millis
from services.cli.doctor.records import survey_records
from services.model.clocks import HybridClock
from services.model.errors import Reason, WorkspaceError
from services.records.mutation import Mutation, Mutations
from services.records.port import DriverUnavailable, Index, Put
from services.records.record import Activity
from services.records.sql import SqliteDriver
from services.records.store import RecordStore
from services.rpc.consistency import ConsistencyTokens
from services.rpc.context import Call, Caller, set_current_call
from sync_svc.connections import in_file
from sync_svc.connections.in_file import FileRegistry
from sync_svc.connections.in_records import RecordRegistry
from sync_svc.connections.registry import Change, ConnectionRegistry, Stored

ACTIVITY = Activity("connection.created", "connections/disk")


class Breaking:
    """A driver whose commits of connection partitions break as told."""

    def __init__(self, inner: SqliteDriver) -> None:
        self._inner = inner
        self.broken: Callable[[], None] | None = None
        self.after = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def commit(self, pk: str, puts: list[Put]) -> list[str]:
        if self.broken and not self.after:
            self.broken()
        tokens = await self._inner.commit(pk, puts)
        if self.broken:
            self.broken()
        return tokens


@dataclass
class Bench:
    registry: ConnectionRegistry
    mutations: Mutations
    records: RecordStore
    driver: Breaking
    path: Path

    def mutation(self, request_id: str = "") -> Mutation:
        set_current_call(
            Call("r", "/workspace.sync.v1.ConnectionService/CreateConnection", 0.0,
                 Caller("u_ann", "i", "s"))
        )  # fmt: skip
        request = CreateConnectionRequest(request_id=request_id or str(uuid.uuid4()))
        return self.mutations.begin(request)

    async def change(
        self, before: Stored | None, after: Connection | None, mutation: Mutation | None = None
    ) -> CreateConnectionResponse:
        return await self.registry.change(
            mutation or self.mutation(), Change(before, after, ACTIVITY),
            lambda shown: CreateConnectionResponse(connection=shown),
        )

    async def events(self) -> int:
        page = await self.records.run(
            Index.BASE, "CONNECTION#disk", lower="EVENT#", upper="EVENT$", limit=99, after=None
        )
        return len(page.items)


@pytest_asyncio.fixture(params=["file", "records"])
async def bench(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    driver = Breaking(await SqliteDriver.open(tmp_path / "workspace.sqlite"))
    records = RecordStore(driver, actor="n1.a", clock=HybridClock(wall_millis))
    mutations = Mutations(
        records, instance_key=b"k" * 32, consistency=ConsistencyTokens(b"c" * 32, "n1")
    )
    path = tmp_path / "connections.json"
    registry: ConnectionRegistry = (
        FileRegistry(path, records) if request.param == "file" else RecordRegistry(records)
    )
    yield Bench(registry, mutations, records, driver, path)
    await driver.close()


only_file = pytest.mark.parametrize("bench", ["file"], indirect=True)


def manifest(connection_id: str = "disk", **more: Any) -> Connection:
    return Connection(
        connection_id=connection_id, provider="local", settings={"folder": "/srv/x"}, **more
    )


async def stored(bench: Bench, connection_id: str = "disk") -> Stored:
    found = await bench.registry.get(connection_id)
    assert found is not None
    return found


async def test_it_keeps_what_it_is_given(bench: Bench) -> None:
    assert await bench.registry.get("disk") is None
    answer = await bench.change(None, manifest(note="blue"))
    found = await stored(bench)
    assert answer.connection == found.connection
    assert answer.connection.note == "blue"
    assert found.etag
    for name in ("b", "a"):
        await bench.change(None, manifest(name))
    everything = await bench.registry.everything()
    assert [each.connection.connection_id for each in everything] == ["a", "b", "disk"]


async def test_a_change_needs_what_was_read(bench: Bench) -> None:
    await bench.change(None, manifest())
    first = await stored(bench)
    with pytest.raises(WorkspaceError) as caught:
        await bench.change(None, manifest(name="again"))
    assert caught.value.reason == Reason.ERROR_REASON_ALREADY_EXISTS
    edited = first.edit()
    edited.name = "two"
    await bench.change(first, edited)
    with pytest.raises(WorkspaceError) as caught:
        await bench.change(first, edited)
    assert caught.value.reason == Reason.ERROR_REASON_ETAG_MISMATCH
    assert (await stored(bench)).etag != first.etag
    assert await bench.events() == 2


async def test_an_etag_never_comes_back(bench: Bench) -> None:
    etags = set()
    for name in ("a", "b", "a"):
        before = await bench.registry.get("disk")
        await bench.change(before, manifest(name=name))
        etags.add((await stored(bench)).etag)
    await bench.change(await stored(bench), None)
    assert await bench.registry.get("disk") is None
    await bench.change(None, manifest(name="a"))
    etags.add((await stored(bench)).etag)
    assert len(etags) == 4


async def test_a_repeat_finds_its_answer(bench: Bench) -> None:
    request_id = str(uuid.uuid4())
    answer = await bench.change(None, manifest(), bench.mutation(request_id))
    again = bench.mutation(request_id)
    assert await again.replay("CONNECTION#disk", CreateConnectionResponse) == answer


async def test_what_is_noted_leaves_the_etag_alone(bench: Bench) -> None:
    await bench.change(None, manifest(status=ConnectionStatus.CONNECTION_STATUS_ACTIVE))
    before = await stored(bench)

    def learn(connection: Connection) -> None:
        connection.instance.instance_id = "n2"
        connection.last_reached_at.FromSeconds(1)
        connection.status = ConnectionStatus.CONNECTION_STATUS_SURFACE_CHANGED

    noted = await bench.registry.note("disk", learn)
    assert noted is not None
    assert noted.etag == before.etag
    assert (await stored(bench)).connection == noted.connection
    assert await bench.registry.note("gone", learn) is None
    assert await bench.events() == 1
    survey = await survey_records(bench.driver)  # type: ignore[arg-type]
    assert survey.faults == []  # the row has the digest of what it says


async def test_noting_at_once_loses_nothing(bench: Bench) -> None:
    await bench.change(None, manifest())

    def count(connection: Connection) -> None:
        connection.max_bytes_per_second += 1

    await asyncio.gather(*(bench.registry.note("disk", count) for _ in range(8)))
    assert (await stored(bench)).connection.max_bytes_per_second == 8


async def test_of_changes_at_once_one_wins(bench: Bench) -> None:
    await bench.change(None, manifest())
    before = await stored(bench)

    async def rename(name: str) -> bool:
        with suppress(WorkspaceError):
            await bench.change(before, manifest(name=name))
            return True
        return False

    done = await asyncio.gather(*map(rename, "abcde"))
    assert sum(done) == 1
    assert await bench.events() == 2


class Killed(BaseException):
    """The process ends here."""


@only_file
@pytest.mark.parametrize("step", range(3))
async def test_a_change_cut_short_is_whole_or_was_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Killed before the n-th write of the file, or at the commit of the event."""
    await bench.change(None, manifest(name="old"))
    before = await stored(bench)
    request_id = str(uuid.uuid4())
    written = 0
    write = in_file.write_document

    def dying(path: Path, document: dict[str, Any]) -> None:
        nonlocal written
        if written == (0, 9, 1)[step]:
            raise Killed
        written += 1
        write(path, document)

    def die() -> None:
        raise Killed

    monkeypatch.setattr(in_file, "write_document", dying)
    bench.driver.broken = die if step == 1 else None
    with pytest.raises(Killed):
        await bench.change(before, manifest(name="new"), bench.mutation(request_id))
    monkeypatch.undo()
    bench.driver.broken = None
    reborn = FileRegistry(bench.path, bench.records)
    found = await reborn.get("disk")
    assert found is not None
    happened = await bench.events() == 2
    assert happened == (step == 2)
    assert found.connection.name == ("new" if happened else "old")
    assert "unsettled" not in json.loads(bench.path.read_text())
    again = bench.mutation(request_id)
    replay = await again.replay("CONNECTION#disk", CreateConnectionResponse)
    assert (replay is not None) == happened
    if replay is None:
        bench.registry = reborn
        await bench.change(found, manifest(name="new"), again)
    else:
        assert replay.connection == found.connection
    assert (await reborn.get("disk")).connection.name == "new"  # type: ignore[union-attr]
    assert await bench.events() == 2


@only_file
async def test_a_commit_that_failed_is_taken_back(bench: Bench) -> None:
    await bench.change(None, manifest(name="old"))

    def fail() -> None:
        raise DriverUnavailable("gone")

    bench.driver.broken = fail
    with pytest.raises(WorkspaceError):
        await bench.change(await stored(bench), manifest(name="new"))
    bench.driver.broken = None
    assert (await stored(bench)).connection.name == "old"
    bench.driver.broken = fail
    with pytest.raises(WorkspaceError):
        await bench.change(None, manifest("other"))
    bench.driver.broken = None
    assert await bench.registry.get("other") is None


@only_file
@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("[]", ""),
        ("{", ""),
        ('{"version": 2, "connections": []}', "version"),
        ('{"version": 1}', "connections"),
        ('{"version": 1, "connections": [3]}', "connections[0]"),
        ('{"version": 1, "connections": [{"provider": "local"}]}', "connections[0].connection_id"),
        ('{"version": 1, "connections": [{"connection_id": "a"}]}', "connections[0].provider"),
        (
            '{"version": 1, "connections": [{"connection_id": "a", "provider": "ftp"}]}',
            "connections[0].provider",
        ),
        (
            '{"version": 1, "connections": [{"connection_id": "a", "provider": "local", '
            '"settings": {"folder": 3}}]}',
            "connections[0].settings",
        ),
        (
            '{"version": 1, "connections": [{"connection_id": "a", "provider": "local", '
            '"scope": {"type": "SOME"}}]}',
            "connections[0].scope",
        ),
        (
            '{"version": 1, "connections": [{"connection_id": "a", "provider": "local", '
            '"note": "password=hunter22"}]}',
            "connections[0].note",
        ),
        (
            '{"version": 1, "connections": [{"connection_id": "a", "provider": "local"}, '
            '{"connection_id": "a", "provider": "local"}]}',
            "connections[1].connection_id",
        ),
    ],
)
async def test_a_wrong_file_is_named_with_its_field(bench: Bench, text: str, field: str) -> None:
    bench.path.write_text(text)
    with pytest.raises(WorkspaceError) as caught:
        await bench.registry.everything()
    assert caught.value.reason == Reason.ERROR_REASON_INVALID_STATE
    assert caught.value.metadata == {"file": "connections.json", "field": field}
    assert "hunter22" not in caught.value.message
    with pytest.raises(WorkspaceError):
        await bench.change(None, manifest())
    assert bench.path.read_text() == text, "what people wrote is never replaced"


@only_file
async def test_members_of_a_newer_release_stay(bench: Bench) -> None:
    await bench.change(None, manifest())
    document = json.loads(bench.path.read_text())
    document["later"] = [1]
    document["connections"][0] |= {"later": {"a": 1}, "scope": {"later": 2}}
    bench.path.write_text(json.dumps(document))
    found = await stored(bench)
    edited = found.edit()
    edited.scope.type = 1
    edited.name = "two"
    await bench.change(found, edited)
    kept = json.loads(bench.path.read_text())
    assert kept["later"] == [1]
    assert kept["connections"][0]["later"] == {"a": 1}
    assert kept["connections"][0]["scope"]["later"] == 2


@only_file
async def test_two_that_write_the_file_take_turns(bench: Bench) -> None:
    other = FileRegistry(bench.path, bench.records)
    await asyncio.gather(
        *(
            registry.change(
                bench.mutation(), Change(None, manifest(name), ACTIVITY),
                lambda shown: CreateConnectionResponse(connection=shown),
            )
            for name, registry in (("a", other), ("b", bench.registry), ("c", other))
        )
    )
    assert len(await other.everything()) == 3
    assert bench.path.stat().st_mode & 0o777 == 0o600
