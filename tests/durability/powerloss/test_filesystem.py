"""The file system forgets exactly what it says; else the power loss tests prove nothing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.durability.powerloss.disk import Disk, fuse_is_missing

pytestmark = [
    pytest.mark.durability,
    pytest.mark.skipif(bool(fuse_is_missing()), reason=f"FUSE: {fuse_is_missing()}"),
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with Disk.mounted(tmp_path) as mounted:
        yield mounted


def write(path: Path, data: bytes, *, sync: bool) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        if sync:
            os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)


def test_what_is_synced_survives(disk: Disk) -> None:
    (disk.path / "a").mkdir()
    write(disk.path / "a" / "file", b"x" * 300_000, sync=True)
    sync_folder(disk.path / "a")
    sync_folder(disk.path)
    disk.lose_power()
    assert (disk.path / "a" / "file").read_bytes() == b"x" * 300_000


def test_bytes_that_are_not_synced_are_gone(disk: Disk) -> None:
    write(disk.path / "file", b"old", sync=True)
    sync_folder(disk.path)
    write(disk.path / "file", b"newer", sync=False)
    assert (disk.path / "file").read_bytes() == b"newer"
    disk.lose_power()
    assert (disk.path / "file").read_bytes() == b"old"


@pytest.mark.parametrize("how", ["create", "rename", "link", "mkdir"])
def test_names_that_are_not_synced_are_gone(disk: Disk, how: str) -> None:
    write(disk.path / "first", b"x", sync=True)
    sync_folder(disk.path)
    made = disk.path / "second"
    if how == "create":
        write(made, b"y", sync=True)
    elif how == "rename":
        (disk.path / "first").rename(made)
    elif how == "link":
        made.hardlink_to(disk.path / "first")
    else:
        made.mkdir()
    assert made.exists()
    disk.lose_power()
    assert [path.name for path in disk.path.iterdir()] == ["first"]


def test_a_name_without_its_bytes_is_an_empty_file(disk: Disk) -> None:
    write(disk.path / "file", b"x", sync=False)
    sync_folder(disk.path)
    disk.lose_power()
    assert (disk.path / "file").read_bytes() == b""


@pytest.mark.parametrize(("level", "survive"), [("FULL", 50), ("NORMAL", 0), ("OFF", 0)])
def test_sqlite_keeps_what_its_level_promises(disk: Disk, level: str, survive: int) -> None:
    """The table of reliability.md 4.1, measured here again (WAL mode)."""
    path = disk.path / "db.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE t (n)")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    sync_folder(disk.path)
    connection.execute(f"PRAGMA synchronous={level}")
    for number in range(50):
        connection.execute("INSERT INTO t VALUES (?)", (number,))
    # Left open: closing would checkpoint, a power loss does not.
    copy = disk.path.parent / "after"
    disk.lose_power()
    connection.close()
    copy.mkdir()
    for name in ("db.sqlite", "db.sqlite-wal"):
        if (disk.path / name).exists():
            (copy / name).write_bytes((disk.path / name).read_bytes())
    after = sqlite3.connect(copy / "db.sqlite")
    assert after.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert after.execute("SELECT count(*) FROM t").fetchone() == (survive,)
    after.close()
