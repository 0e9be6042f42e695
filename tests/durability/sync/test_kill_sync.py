"""kill -9 of two workspaces that write, push and pull, in turns, on one backup.

What this proves: whatever point a process dies at, no acknowledged write is lost, no
record of the backup names an object that is not there, all surfaces become equal,
and a run that was cut off goes on by itself. The last tests take a protection away
and strike where it matters: the same checks must find that.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import psycopg
import pytest

from services.records.port import Key
from sync_svc.surfaces.aws import variable_of
from tests.chosen_records import chosen_server
from tests.durability.sync.checks import (
    copied,
    damaged,
    dangling,
    different,
    held_back,
    lost,
    states_of,
)
from tests.durability.sync.cloud import Cloud, new_aws, new_azure
from tests.durability.sync.life import BACKUP
from tests.durability.sync.lives import Lives
from tests.servers import aws
from tests.servers.marks import needs_azurite, needs_servers

SOAK = bool(os.environ.get("WM_SOAK"))
KILLS = 200 if SOAK else 20
BATCH, MORE = 20, 4
KILLS_POSTGRES = 40 if SOAK else 6
KILLS_CLOUD = 40 if SOAK else 3
pytestmark = [pytest.mark.durability, pytest.mark.timeout(3600 if SOAK else 300)]


async def verdict(lives: Lives, dsn: str | Cloud = "") -> list[str]:
    """Everything that is wrong after both nodes synced in peace."""
    wrong: list[str] = []
    for name in ("a", "b", "a", "b"):
        settled = await lives.whole(name, "settle")
    wrong += [] if settled["equal"] else settled["differences"]
    wrong += [] if settled["moved"] == 0 else [f"{settled['moved']} records still moved"]
    folders = {name: lives.folder / name / "wm-data" for name in ("a", "b")}
    surfaces = {}
    for name, folder in {**folders, "backup": lives.folder / "backup"}.items():
        async with copied(folder, dsn if name == "backup" else "") as records:
            surfaces[name] = await states_of(records)
        wrong += [f"{name}: {each}" for each in
                  lost(surfaces[name], lives.ledger.documents, lives.ledger.shared)]
        wrong += await dangling(folder, dsn if name == "backup" else "")
        database = folder / "workspace.sqlite"
        wrong += damaged(database) if database.exists() else []
    for name in ("a", "b"):
        wrong += await held_back(folders[name])
    return wrong + different(surfaces)


async def kill_in_turns(lives: Lives, kills: int, dsn: str | Cloud = "") -> None:
    chance = random.Random(8)
    for number in range(kills):
        await lives.killed("ab"[number % 2], chance)
        if number % 5 == 4 or not SOAK:
            assert await dangling(lives.folder / "backup", dsn) == [], f"after kill {number}"


def figures(lives: Lives) -> str:
    known = lives.ledger
    return (
        f"{lives.kills} kills, {len(known.documents)} documents, "
        f"{sum(len(each.dots) for each in known.documents.values())} acknowledged writes, "
        f"{len(known.resumed)} runs resumed, {len(known.failed)} failed"
    )


async def test_nothing_is_lost_over_a_folder(tmp_path: Path) -> None:
    async with Lives.begin(tmp_path, "local") as lives:
        await kill_in_turns(lives, KILLS)
        assert await verdict(lives) == []
        print(figures(lives))
        assert lives.kills == KILLS
        assert lives.ledger.resumed
        assert lives.ledger.failed == []


async def test_nothing_is_lost_over_postgresql(tmp_path: Path) -> None:
    dsn = chosen_server().database()
    parts = psycopg.conninfo.conninfo_to_dict(dsn)
    settings = {
        "host": str(parts["host"]), "port": str(parts.get("port", "5432")),
        "database": str(parts["dbname"]), "user": str(parts["user"]),
    }
    async with Lives.begin(tmp_path, "postgres", **settings) as lives:
        await kill_in_turns(lives, KILLS_POSTGRES, dsn)
        assert await verdict(lives, dsn) == []
        print(figures(lives))
        assert lives.ledger.failed == []


_PATIENT = """
from sync_svc.surfaces import {provider}
{provider}._OPEN_SECONDS, {provider}._CALL_SECONDS = 90.0, 30.0
"""


async def kill_over(cloud: Cloud, provider: str, folder: Path) -> None:
    """In turns, and in the middle of a push, wherever chance struck before."""
    prelude = _PATIENT.format(provider=provider)
    async with Lives.begin(folder, provider, prelude=prelude, **cloud.settings) as lives:
        await kill_in_turns(lives, KILLS_CLOUD, cloud)
        for after in (False, True):
            await lives.struck("a", "strike", prelude=_STRIKE.format(after=after))
            assert await dangling(folder / "backup", cloud) == []
        assert await verdict(lives, cloud) == []
        print(figures(lives))
        assert lives.kills == KILLS_CLOUD + 2
        assert lives.ledger.failed == []


@needs_servers
@pytest.mark.timeout(3600 if SOAK else 900)
@pytest.mark.usefixtures("aws_environment")
async def test_nothing_is_lost_over_dynamodb_and_s3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A life has keys of its own for the connection."""
    monkeypatch.setenv(variable_of(BACKUP, "ACCESS_KEY_ID"), aws.ACCESS_KEY)
    monkeypatch.setenv(variable_of(BACKUP, "SECRET_ACCESS_KEY"), aws.SECRET_KEY)
    await kill_over(await new_aws(), "aws", tmp_path)


@needs_azurite
@pytest.mark.timeout(3600 if SOAK else 900)
@pytest.mark.usefixtures("azure_environment")
async def test_nothing_is_lost_over_cosmos_db_and_blob_storage(tmp_path: Path) -> None:
    """A life signs in as the server does."""
    await kill_over(await new_azure(), "azure", tmp_path)


_STRIKE = """
import os, signal
from sync_svc.engine.pipeline import Pipeline
_advance = Pipeline._advance

async def advance(self, *args, **more):
    if {after}:
        await _advance(self, *args, **more)
    os.kill(os.getpid(), signal.SIGKILL)

Pipeline._advance = advance
"""
_CURSOR_FIRST = """
from sync_svc.engine.applying import Applier

async def later(self, judged, source):
    pass  # when the cursor was stored

Applier.apply = later
"""
_RECORD_FIRST = """
from sync_svc.engine.objects.mover import ObjectMover
from sync_svc.engine.objects.needed import Moved

async def later(self, task, incoming, *, there=None):
    return Moved()  # when the record was joined

ObjectMover.send = later
"""


async def test_a_cursor_before_its_records_is_caught(tmp_path: Path) -> None:
    """Struck when the cursor was just stored: as it is, and with the cursor first."""
    strike = _STRIKE.format(after=True)
    async with Lives.begin(tmp_path, "local") as lives:
        for prelude, is_caught in ((strike, False), (_CURSOR_FIRST + strike, True)):
            await lives.struck("a", "strike", prelude=prelude)
            settled = await lives.whole("a", "settle")
            async with copied(tmp_path / "backup") as records:
                there = await states_of(records)
            missing = lost(there, lives.ledger.documents, lives.ledger.shared)
            assert (not settled["equal"], missing != []) == (is_caught, is_caught)


async def test_a_record_before_its_object_is_caught(tmp_path: Path) -> None:
    """Struck when the records were just joined: as it is, and with records first."""
    strike = _STRIKE.format(after=False)
    async with Lives.begin(tmp_path, "local") as lives:
        for prelude, is_caught in ((strike, False), (_RECORD_FIRST + strike, True)):
            await lives.whole("a", "settle")  # nothing is left to resume
            await lives.struck("a", "strike", prelude=prelude)
            acked = lives.ledger.documents[lives.ledger.mine["a"][-1]]
            async with copied(tmp_path / "backup") as records:
                assert Key(*acked.key) in await states_of(records)  # it came that far
            assert (await dangling(tmp_path / "backup") != []) is is_caught


_SMALL_BATCHES = f"""
from tests.durability.sync.life import tell
from sync_svc.engine import batches
from sync_svc.engine.applying import Applier
batches.changed.__kwdefaults__["keys"] = {BATCH}
batches._MORE = {MORE}
_apply = Applier.apply

async def apply(self, judged, source):
    await _apply(self, judged, source)
    tell("applied", looked=judged.looked, repeated=len(judged.equal))

Applier.apply = apply
"""
_SECOND_BATCH = """
import os, signal
from sync_svc.engine.pipeline import Pipeline
_advance, _left = Pipeline._advance, [1]

async def advance(self, *args, **more):
    if not _left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    _left[0] -= 1
    return await _advance(self, *args, **more)

Pipeline._advance = advance
"""


async def test_a_run_that_was_killed_goes_on_and_repeats_one_batch_at_most(
    tmp_path: Path,
) -> None:
    """Killed three times, each when the records of its second batch were durable and
    the cursor was not stored: the worst point there is."""
    deadly, records, repeated = _SMALL_BATCHES + _SECOND_BATCH, 60, []
    async with Lives.begin(tmp_path, "local") as lives:
        await lives.struck("a", "bulk", prelude=deadly, records=records)
        for prelude in (deadly, deadly, _SMALL_BATCHES):
            told = await lives.ended("a", "resume", prelude=prelude)
            applied = [each for each in told if each["event"] == "applied"]
            repeated.append(sum(each["repeated"] for each in applied))
        [resumed] = lives.ledger.resumed
        assert resumed["status"] == "RUN_STATUS_SUCCEEDED"
        assert 0 < max(repeated) <= BATCH + MORE, repeated
        assert (await lives.whole("a", "settle"))["equal"]
        assert await held_back(tmp_path / "a" / "wm-data") == []
