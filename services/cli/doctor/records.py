"""Checks of the records: the database file, every digest, what files they name."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.cli.doctor.finding import Finding, Verdict
from services.model.canonical import content_digest
from services.model.families import FAMILIES
from services.model.object_names import NAMING_FAMILIES, held_file, object_names
from services.model.stamp import Stamp
from services.records.codec import content_of
from services.records.pending_bytes import PENDING_BYTES
from services.records.port import Item, Key, RecordDriver
from services.records.siblings import SIBLING, sibling_key
from services.records.walking import all_rows

__all__ = ["ExpectedObject", "Survey", "check_database", "survey_records"]

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class ExpectedObject:
    """An object that a record says is there."""

    storage_key: str
    size: int
    sha256: str
    named_by: str


@dataclass(slots=True)
class Survey:
    """What one pass over all records found."""

    records: int = 0
    faults: list[str] = field(default_factory=list)
    expected: list[ExpectedObject] = field(default_factory=list)
    named: set[str] = field(default_factory=set)
    awaited: dict[str, str] = field(default_factory=dict)
    """Storage keys of objects that sync is still to bring, with the connection."""
    newest_ms: int = 0
    absent: dict[Key, str] = field(default_factory=dict)
    """Sibling rows that a record met before names and that are still to be met; within
    a partition they come after all records."""

    def finding(self) -> Finding:
        """Every record against its stamp."""
        return Finding.of_faults(
            "records", self.faults, good=f"{self.records} records have their digests",
            bad="records are damaged", remedy="restore a backup, or what your provider keeps",
        )


async def check_database(path: Path) -> Finding:
    """SQLite's own check of every page and index."""
    rows = await asyncio.to_thread(_integrity, path)
    faults = [] if rows == ["ok"] else rows
    return Finding.of_faults(
        "database", faults, good="SQLite integrity_check: ok", bad="faults in the database file",
        remedy="restore the data folder from a backup",
    )


async def survey_records(driver: RecordDriver) -> Survey:
    """Recompute the digest of every record and note the objects it names."""
    survey = Survey()
    async for item in all_rows(driver, page=_PAGE):
        if item.family in FAMILIES:
            survey.records += 1
            _survey_item(survey, item)
        elif item.family == SIBLING and not item.deleted:
            _survey_sibling(survey, item)
        elif item.family == PENDING_BYTES and not item.deleted:
            row = json.loads(item.body)
            if row["direction"] == "pull":
                survey.awaited[row["storage_key"]] = row["connection_id"]
    missing = survey.absent.values()
    survey.faults += [f"{where}: one of its versions is missing" for where in missing]
    return survey


def _survey_item(survey: Survey, item: Item) -> None:
    where = f"{item.key.pk} {item.key.sk}"
    try:
        members: dict[str, Any] = json.loads(item.body) if item.body else {}
        stamp = Stamp.load(item.stamp)
    except ValueError:
        survey.faults.append(f"{where}: body or stamp cannot be read")
        return
    family = FAMILIES[item.family]
    if content_digest(family.name, item.deleted, content_of(family, members)) != stamp.digest:
        survey.faults.append(f"{where}: the content is not the one that was stamped")
    if item.deleted != stamp.deleted:
        survey.faults.append(f"{where}: row and stamp differ about its deletion")
    survey.newest_ms = max(survey.newest_ms, _millis(stamp.hlc))
    survey.absent |= {sibling_key(item.key, dot): where for dot in stamp.siblings}
    if item.family in NAMING_FAMILIES and not item.deleted:
        _note_objects(survey, where, members)


def _survey_sibling(survey: Survey, item: Item) -> None:
    """One of several versions of a record."""
    where = f"{item.key.pk} {item.key.sk}"
    if survey.absent.pop(item.key, None) is None:
        survey.faults.append(f"{where}: a version that its record does not name")
    try:
        row: dict[str, Any] = json.loads(item.body)
        family, members = FAMILIES[row["family"]], json.loads(row["body"])
        stamp = Stamp.load(item.stamp)
    except (ValueError, KeyError, TypeError):
        survey.faults.append(f"{where}: body or stamp cannot be read")
        return
    if content_digest(family.name, stamp.deleted, content_of(family, members)) != stamp.digest:
        survey.faults.append(f"{where}: the content is not the one that was stamped")
    if family.name in NAMING_FAMILIES and not stamp.deleted:
        _note_objects(survey, where, members)


def _note_objects(survey: Survey, where: str, members: Mapping[str, Any]) -> None:
    survey.named.update(object_names(members))
    if file := held_file(members):
        size = int(file.get("size_bytes", 0))
        survey.expected.append(
            ExpectedObject(file["storage_key"], size, file.get("sha256", ""), where)
        )


def _millis(hlc: str) -> int:
    from services.model.clocks import hlc_millis

    try:
        return hlc_millis(hlc)
    except ValueError:
        return 0


def _integrity(path: Path) -> list[str]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return [str(row[0]) for row in connection.execute("PRAGMA integrity_check(20)")]
    except sqlite3.DatabaseError as error:
        return [str(error)]
    finally:
        connection.close()


def no_database(path: Path) -> Finding:
    """There is nothing to check."""
    return Finding(
        "database", Verdict.FAILED, f"there is no {path.name} in {path.parent}",
        "name the data folder with --data, or start `wm serve` once",
    )
