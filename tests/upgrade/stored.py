"""A fixture as it is kept and unpacked: the data folder, the database (on PostgreSQL as SQL),
the backup folder it syncs with, the answers that its release gave, and its rows."""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
import tarfile
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

__all__ = [
    "FOLDER", "Fixture", "changed_rows", "fixtures", "lost_rows", "new_rows", "pack",
    "postgres_rows", "sqlite_rows", "unpack",
]  # fmt: skip

FOLDER = Path(__file__).parent / "fixtures"
_ROWS = "SELECT pk, sk, family, body, deleted FROM items"
_LEFT_OUT = frozenset(("mail", "endpoint.json", "workspace.sqlite.lock"))

Rows = dict[str, str]
"""`partition|sort key` -> `family digest`."""


@dataclass(frozen=True)
class Fixture:
    """One that was unpacked. `made_at`: unix seconds."""

    data: Path
    surface: Path
    sql: str
    records: str
    made_at: float
    answers: Mapping[str, Any]
    rows: Rows


def fixtures(records: str) -> list[Path]:
    """The archives with the records in `sqlite` or `postgresql`."""
    return sorted(FOLDER.glob(f"*-{records}.tar.xz"))


def pack(path: Path, folder: Path, members: Mapping[str, Any], sql: str = "") -> None:
    """Write an archive of `data` and `surface` in a folder, and of JSON members. Owners,
    and times of folders, are left out: the same content gives much the same archive."""
    with tarfile.open(path, "w:xz", preset=9) as archive:
        for name in ("data", "surface"):
            archive.add(folder / name, name, filter=_kept)
        for name, value in members.items():
            _add(archive, f"{name}.json", json.dumps(value, ensure_ascii=False, sort_keys=True))
        if sql:
            _add(archive, "database.sql", sql)


def unpack(archive: Path, folder: Path) -> Fixture:
    """Make the folders of a fixture below `folder`."""
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    for path in (folder / "data", folder / "data" / "keys"):
        path.chmod(0o700)  # as a process makes them
    told = json.loads((folder / "about.json").read_text("utf-8"))
    sql = folder / "database.sql"
    return Fixture(
        data=folder / "data",
        surface=folder / "surface",
        sql=sql.read_text("utf-8") if sql.exists() else "",
        records=told["records"],
        made_at=told["made_at"],
        answers=json.loads((folder / "answers.json").read_text("utf-8")),
        rows=json.loads((folder / "rows.json").read_text("utf-8")),
    )


def sqlite_rows(data: Path) -> Rows:
    """The rows of a data folder that is not served."""
    with closing(sqlite3.connect(data / "workspace.sqlite")) as connection:
        return _rows(connection.execute(_ROWS))


def postgres_rows(dsn: str) -> Rows:
    """The rows of a database."""
    with psycopg.connect(dsn) as connection:
        return _rows(connection.execute(_ROWS))


def lost_rows(before: Rows, after: Rows) -> list[str]:
    """What is not there any more."""
    return sorted(before.keys() - after.keys())


def changed_rows(before: Rows, after: Rows) -> set[str]:
    """Families of rows that were there and say something else."""
    return {_family(row) for key, row in after.items() if before.get(key, row) != row}


def new_rows(before: Rows, after: Rows) -> set[str]:
    """Families of rows that were not there."""
    return {_family(row) for key, row in after.items() if key not in before}


def _family(row: str) -> str:
    return row.partition(" ")[0]


def _rows(found: Iterable[tuple[Any, ...]]) -> Rows:
    return {
        f"{pk}|{sk}": f"{family} {hashlib.sha256(f'{body}{bool(gone)}'.encode()).hexdigest()[:16]}"
        for pk, sk, family, body, gone in found
    }


def _kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if _LEFT_OUT & set(Path(member.name).parts) or member.name.endswith((".lock", "-wal", "-shm")):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    data = text.encode()
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))
