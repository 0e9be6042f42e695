"""What must hold of a data folder that nobody has open, whatever happened to it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from services.model.canonical import content_digest
from services.model.families import FAMILIES
from services.model.stamp import Stamp
from services.records.codec import content_of
from services.records.sql import SqliteDriver


async def problems(data_dir: Path) -> list[str]:
    """Everything wrong with the database of a data folder."""
    path = data_dir / "workspace.sqlite"
    found = [f"integrity: {line}" for line in _integrity(path)]
    driver = await SqliteDriver.open(path)
    try:
        items = list(await driver.scan(None, 1_000_000))
    finally:
        await driver.close()
    events: dict[str, set[int]] = {}
    heads: dict[str, int] = {}
    for item in items:
        body = json.loads(item.body) if item.body else {}
        if item.key.sk == "#HEAD":
            heads[item.key.pk] = body["pseq"]
        elif item.key.sk.startswith("EVENT#"):
            events.setdefault(item.key.pk, set()).add(
                int(body["partition_sequence"])
            )
        if item.stamp:
            stamp, family = Stamp.load(item.stamp), FAMILIES[item.family]
            content = body if item.family == "activity_event" else content_of(family, body)
            if stamp.digest != content_digest(family.name, item.deleted, content):
                found.append(f"digest of {item.key}")
    for pk, pseq in heads.items():
        if events.get(pk) != set(range(1, pseq + 1)):
            found.append(f"{pk}: head {pseq}, events {sorted(events.get(pk, ()))}")
    return found + [f"{pk}: events without a head" for pk in events.keys() - heads.keys()]


def _integrity(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
    finally:
        connection.close()
