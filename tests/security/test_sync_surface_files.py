"""A folder as a surface, in which somebody else may write."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from services.model.errors import Reason, WorkspaceError
from services.records.sql import SqliteDriver
from sync_svc.surfaces.local_folder import DATABASE, OBJECTS, open_local_records, open_objects

REFUSED = (
    Reason.ERROR_REASON_INVALID_STATE, Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
)  # fmt: skip


def empty(folder: Path) -> Path:
    folder.mkdir()
    return folder


async def made(folder: Path) -> Path:
    empty(folder)
    driver = await SqliteDriver.open(folder / DATABASE, portable=True)
    await driver.close()
    return folder


async def refusal(folder: Path, *, read_only: bool) -> WorkspaceError:
    with pytest.raises(WorkspaceError) as caught:
        await open_local_records(folder, read_only=read_only, known=False)
    return caught.value


@pytest.mark.case("S08")
@pytest.mark.parametrize("read_only", [True, False])
async def test_a_link_to_the_database_of_others_is_refused(
    tmp_path: Path, read_only: bool
) -> None:
    theirs = await made(tmp_path / "theirs")
    ours = empty(tmp_path / "ours")
    (ours / DATABASE).symlink_to(theirs / DATABASE)
    error = await refusal(ours, read_only=read_only)
    assert error.reason == Reason.ERROR_REASON_INVALID_STATE


@pytest.mark.case("S08")
async def test_a_database_that_is_no_file_is_refused(tmp_path: Path) -> None:
    for name, make in (("pipe", os.mkfifo), ("folder", os.mkdir)):
        folder = empty(tmp_path / name)
        make(folder / DATABASE)
        assert (await refusal(folder, read_only=True)).reason in REFUSED


@pytest.mark.case("S08")
async def test_a_link_to_the_objects_of_others_is_refused(tmp_path: Path) -> None:
    theirs, ours = await made(tmp_path / "theirs"), await made(tmp_path / "ours")
    (theirs / OBJECTS).mkdir()
    (ours / OBJECTS).symlink_to(theirs / OBJECTS)
    with pytest.raises(WorkspaceError) as caught:
        await open_objects(ours, read_only=True)
    assert caught.value.reason in REFUSED


@pytest.mark.parametrize(
    "attack",
    [
        "CREATE TRIGGER t AFTER INSERT ON items BEGIN DELETE FROM items; END",
        "ALTER TABLE items RENAME TO hidden; CREATE VIEW items AS SELECT * FROM hidden",
        "ALTER TABLE items RENAME TO hidden; CREATE VIEW items AS WITH RECURSIVE n(x) AS "
        "(SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT hidden.* FROM n, hidden",
    ],
    ids=["trigger", "view", "endless view"],
)
async def test_a_database_with_code_in_it_is_refused(tmp_path: Path, attack: str) -> None:
    folder = await made(tmp_path / "ours")
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        connection.executescript(attack)
    for read_only in (True, False):
        assert (await refusal(folder, read_only=read_only)).reason in REFUSED
