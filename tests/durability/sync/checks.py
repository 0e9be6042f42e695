"""What must hold of surfaces that nobody has open, whatever happened to their users."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from workspace.sync.v1.run_pb2 import RunStatus

from services.model.canonical import content_digest
from services.model.clocks import HybridClock
from services.model.families import FAMILIES
from services.model.shown import shown_of
from services.model.versions import State, covers
from services.objects.filesystem import FilesystemDriver
from services.objects.store import ObjectStore
from services.records.codec import content_of
from services.records.port import Item, Key, RecordDriver
from services.records.replica import Replica
from services.records.sql import PostgresDriver, SqliteDriver
from services.records.store import RecordStore
from sync_svc.engine.objects.copying import look
from sync_svc.engine.objects.needed import Presence, named_objects
from sync_svc.engine.reading import is_synced
from sync_svc.runs.states import has_ended
from sync_svc.surfaces.local_folder import _NoUrls
from tests.durability.sync.cloud import Cloud
from tests.durability.sync.lives import Acked

_PAGE = 1000


@asynccontextmanager
async def copied(folder: Path, dsn: str | Cloud = "") -> AsyncIterator[RecordStore]:
    """The records of a folder as a next user would find them, in a copy: opening would
    roll an interrupted commit back. With `dsn` the database, or the table, itself."""
    with tempfile.TemporaryDirectory() as place:
        driver: RecordDriver
        if not isinstance(dsn, str):
            driver = await dsn.records()
        elif dsn:
            driver = await PostgresDriver.open(dsn)
        else:
            await asyncio.to_thread(_copy, folder, Path(place))
            driver = await SqliteDriver.open(Path(place) / "workspace.sqlite")
        try:
            yield RecordStore(driver, actor="checks.1", clock=HybridClock(lambda: 0))
        finally:
            await driver.close()


def _copy(folder: Path, place: Path) -> None:
    for part in folder.glob("workspace.sqlite*"):
        shutil.copy(part, place)


async def items_of(records: RecordStore) -> list[Item]:
    found: list[Item] = []
    while page := await records.scan(found[-1].key if found else None, _PAGE):
        found += page
    return found


async def states_of(records: RecordStore) -> dict[Key, State]:
    """All records that travel."""
    keys = [item.key for item in await items_of(records) if is_synced(item)]
    found: dict[Key, State] = {}
    for at in range(0, len(keys), 400):
        part = keys[at : at + 400]
        states = await Replica(records).states(part)
        found |= {key: state for key, state in zip(part, states, strict=True) if state}
    return found


async def dangling(folder: Path, dsn: str | Cloud = "") -> list[str]:
    """Objects that records of a surface promise and that it does not have, and rows
    whose content is not what their stamp says."""
    objects = await _objects(folder, dsn)
    found: list[str] = []
    async with copied(folder, dsn) as records:
        for key, state in (await states_of(records)).items():
            for version in state.versions.values():
                body = json.loads(version.body)
                family = FAMILIES[state.family]
                content = body if family.name == "activity_event" else content_of(family, body)
                if version.digest != content_digest(family.name, version.deleted, content):
                    found.append(f"digest of {key}")
            for each in named_objects(key, state):
                if each.required and await look(objects, each) is not Presence.SAME:
                    found.append(f"{key}: {each.key}")
    await objects.close()
    return found


async def _objects(folder: Path, dsn: str | Cloud) -> ObjectStore:
    if not isinstance(dsn, str):
        return await dsn.objects()
    return ObjectStore(
        FilesystemDriver(folder / "objects", signer=_NoUrls(), public_url="", sweep=False)
    )


def damaged(path: Path) -> list[str]:
    """What SQLite finds wrong with a database that nobody has open."""
    connection = sqlite3.connect(path)
    try:
        return [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
    finally:
        connection.close()


def different(surfaces: Mapping[str, Mapping[Key, State]]) -> list[str]:
    """Records that are not the same on all surfaces."""
    (first, one), *others = surfaces.items()
    return [
        f"{key} of {first} and {name}"
        for name, other in others
        for key in sorted(one.keys() | other.keys())
        if key not in one or not one[key].same_as(other.get(key))
    ]


def lost(
    states: Mapping[Key, State], documents: Mapping[str, Acked], shared: Sequence[str]
) -> list[str]:
    """Acknowledged writes that a surface does not know. A document of one node must
    show its last title; of one that both wrote every version must be known."""
    found: list[str] = []
    for name, acked in documents.items():
        state = states.get(Key(*acked.key))
        if state is None:
            found.append(f"{name} is not there")
            continue
        found += [f"{name}: {dot}" for dot in acked.dots if not covers(state.clock, dot)]
        body = json.loads(shown_of(FAMILIES["document"], state).version.body)
        if acked.sha256 and body.get("file", {}).get("sha256") != acked.sha256:
            found.append(f"{name}: its file")
        if name not in shared and body.get("title", "") not in acked.titles:
            found.append(f"{name} is entitled {body.get('title')}")
    return found


async def held_back(folder: Path) -> list[str]:
    """Leases, claims and runs of a node that was stopped in peace."""
    found: list[str] = []
    async with copied(folder) as records:
        for item in await items_of(records):
            body = json.loads(item.body or "{}") if not item.deleted else {}
            if item.family == "lease" and item.key.pk.startswith("SYNC#") and body.get("until"):
                found.append(f"lease {item.key}")
            if item.family == "run_claim" and body.get("run_id"):
                found.append(f"claim {item.key}")
            if item.family == "sync_run" and not item.deleted:
                record = await records.get(FAMILIES["sync_run"], item.key)
                assert record is not None
                if not has_ended(record.message):
                    found.append(f"{item.key} is {RunStatus.Name(record.message.status)}")
    return found
