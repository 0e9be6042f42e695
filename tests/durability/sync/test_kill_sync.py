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
from tests.durability.sync.lives import Lives

SOAK = bool(os.environ.get("WM_SOAK"))
KILLS = 200 if SOAK else 20
KILLS_POSTGRES = 40 if SOAK else 6
pytestmark = [pytest.mark.durability, pytest.mark.timeout(3600 if SOAK else 300)]


async def verdict(lives: Lives, dsn: str = "") -> list[str]:
    """Everything that is wrong after both nodes synced in peace."""
    wrong: list[str] = []
    for name in ("a", "b", "a", "b"):
        settled = (await lives.whole(name, "settle"))[-1]
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


async def kill_in_turns(lives: Lives, kills: int, dsn: str = "") -> None:
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
