"""Schema versions of the SQL drivers, run by Alembic when a store is opened.

Expand and contract: a version that ships with a release only adds (tables,
nullable columns, indexes), so the release before it goes on working on the
same database during a rolling update. What became unused is removed one
release later, by a version that raises `meta.min_format` to the oldest format
whose code may still open the database.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

from sqlalchemy import Connection, insert, inspect, select, update

from services.model.errors import Reason, WorkspaceError
from services.records.sql.schema import FORMAT, meta

__all__ = [
    "HEAD", "THIS", "Release", "formats_of", "require_format", "require_migrated", "upgrade",
]  # fmt: skip

HEAD = f"{FORMAT:04d}"
_ALONE: Final = Lock()


@dataclass(frozen=True, slots=True)
class Release:
    """What a release knows of the tables: their format, and the folder of its versions."""

    format: int
    versions: Path


THIS: Final = Release(FORMAT, Path(__file__).parent / "versions")


def upgrade(connection: Connection, *, release: Release = THIS) -> int:
    """Bring the database to the format of `release` in the caller's transaction; the
    format that it had (0: empty).

    Does nothing (and does not import Alembic) when it is there already, or further.
    Raises INVALID_STATE when the database needs newer code than this.
    """
    found, oldest = formats_of(connection)
    require_format(found, oldest, release=release)
    if found < release.format:
        _run(connection, release)
        _set(connection, "format", str(release.format))
    return found


def require_migrated(found: int, oldest: int, *, release: Release = THIS) -> None:
    """Raises INVALID_STATE when the database is behind this release, or needs newer code.
    One that is ahead is taken as long as it admits this release (a rolling update)."""
    require_format(found, oldest, release=release)
    if found < release.format:
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            f"the tables of the database are at {found}, this release needs {release.format}; "
            "run `wm migrate`",
            metadata={"format": str(found)},
        )


def require_format(
    found: int, oldest: int, *, read_only: bool = False, release: Release = THIS
) -> None:
    """Raises INVALID_STATE when the database needs newer code than this, or with
    `read_only` when it would have to be brought to the format of this code first."""
    if oldest > release.format:
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            f"the record store has format {found}, which needs a newer release than this one "
            f"(it knows format {release.format}): update the software, or restore an older "
            "backup",
            metadata={"format": str(found)},
        )
    if read_only and found < release.format:
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            "the file is not a record store of this release's format: open it for writing once",
            metadata={"format": str(found)},
        )


def formats_of(connection: Connection) -> tuple[int, int]:
    """The format of the database (0: empty) and the oldest code it admits."""
    if not inspect(connection).has_table(meta.name):
        return 0, 0
    rows = connection.execute(select(meta.c.name, meta.c.value)).all()
    values = {row.name: row.value for row in rows}
    return int(values.get("format", 0)), int(values.get("min_format", 0))


def _run(connection: Connection, release: Release) -> None:
    # Alembic takes 0.1 s to import, and is needed once in the life of a store.
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    folder, versions = (_escaped(each) for each in (Path(__file__).parent, release.versions))
    config.set_main_option("script_location", folder)
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", versions)
    # `alembic.op` is one for the process: at once, one thread would make the tables of
    # another in its own database. Whoever waits here has all locks of its database.
    with _ALONE:
        command.upgrade(config, f"{release.format:04d}")


def _escaped(folder: Path) -> str:
    return str(folder).replace("%", "%%")


def _set(connection: Connection, name: str, value: str) -> None:
    changed = connection.execute(update(meta).where(meta.c.name == name).values(value=value))
    if changed.rowcount == 0:
        connection.execute(insert(meta).values(name=name, value=value))
