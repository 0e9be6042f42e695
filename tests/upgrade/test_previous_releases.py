"""Data that earlier releases wrote (fixtures/README.md) opens, migrates, passes `wm doctor`,
answers as it did, and goes on being written and synced."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.chosen_records import chosen_server
from tests.upgrade.reading import differences, read
from tests.upgrade.serving import Server, serve, wm
from tests.upgrade.stored import (
    FOLDER,
    Fixture,
    Rows,
    changed_rows,
    fixtures,
    lost_rows,
    new_rows,
    postgres_rows,
    sqlite_rows,
    unpack,
)
from tests.upgrade.story import ANN, BOB, DOCUMENTS, GRANTS, PART, PROJECTS, STORAGE, SYNC
from tests.upgrade.story import connect as connect_surface
from tests.upgrade.story import sync as run_sync

pytestmark = pytest.mark.timeout(600)

STARTED = {"instance", "lease"}
"""Families that each start of a process changes: how many there were, who does the work."""
WORKED = {"due", "follower", "index_cursor", "relay"}
"""What waits to be done, and how far those have read who follow the feed: a copy of a store
is another store, in which they begin anew."""
SIGNED_IN = {"activity_event", "request"}
"""What signing in adds; the row of the user says when it was, that of the partition how many."""

_SOUND = ("ok", "info", "skipped")


@dataclass(frozen=True)
class Found:
    """A fixture in a place of its own, and how today's code is started on it."""

    fixture: Fixture
    settings: dict[str, Any]
    rows: Callable[[], Rows]
    behind: float
    """Seconds: it is opened a minute after it was made."""

    @contextmanager
    def served(self) -> Iterator[Server]:
        with serve(
            self.fixture.data, behind=self.behind, log_level="warning", **self.settings
        ) as server:
            yield server

    def wm(self, *arguments: str) -> Any:
        """What `wm` says, as JSON."""
        ports = {"grpc_port": 0, "http_port": 0, "local_realm": "upgrade"}
        done = wm(
            self.fixture.data, *arguments, "--json", behind=self.behind, **ports, **self.settings
        )
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def complaints(self) -> list[Any]:
        """What `wm doctor` has to complain of."""
        told = self.wm("doctor")
        wrong = [each for each in told["checks"] if each["verdict"] not in _SOUND]
        return wrong or ([] if told["healthy"] else [told])


def _placed(archive: Path, folder: Path) -> Found:
    fixture = unpack(archive, folder)
    behind = time.time() - fixture.made_at - 60
    if fixture.records == "sqlite":
        return Found(fixture, {}, lambda: sqlite_rows(fixture.data), behind)
    dsn = chosen_server().database()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(fixture.sql.encode())
    settings = {"records": "postgresql", "records_dsn": dsn}
    return Found(fixture, settings, lambda: postgres_rows(dsn), behind)


PREVIOUS = "azure"
"""The release before this one."""


def _name(archive: Path) -> str:
    return archive.name.removesuffix(".tar.xz")


@pytest.fixture(params=[*fixtures("sqlite"), *fixtures("postgresql")], ids=_name)
def found(request: pytest.FixtureRequest, tmp_path: Path) -> Found:
    """One of each release and database."""
    return _placed(request.param, tmp_path)


@pytest.fixture(params=["sqlite", "postgresql"])
def previous(request: pytest.FixtureRequest, tmp_path: Path) -> Found:
    """Those of the release before this one."""
    return _placed(FOLDER / f"{PREVIOUS}-{request.param}.tar.xz", tmp_path)


def test_there_are_fixtures_of_both_databases() -> None:
    for records in ("sqlite", "postgresql"):
        assert len(fixtures(records)) >= 2


def test_it_opens_and_says_what_it_said(found: Found) -> None:
    assert found.rows() == found.fixture.rows
    migrated, repeated = found.wm("migrate"), found.wm("migrate")
    assert migrated["now"] == migrated["needed"] == repeated["found"]
    assert repeated["mended"] == 0
    assert found.complaints() == []
    with found.served() as server:
        assert differences(_with_trash_closed(found.fixture.answers), read(server)) == []
    after = found.rows()
    assert _lost(found) == []
    assert changed_rows(found.fixture.rows, after) <= STARTED | WORKED | {"user", "head"}
    assert new_rows(found.fixture.rows, after) <= WORKED | SIGNED_IN
    assert found.complaints() == []
    with found.served():
        pass
    again = found.rows()
    assert changed_rows(after, again) <= STARTED | WORKED  # what waits is worked on
    assert new_rows(after, again) <= WORKED
    assert lost_rows(after, again) == []


def _with_trash_closed(answers: dict[str, Any]) -> dict[str, Any]:
    """What those releases said, but for one thing: they gave out the files of projects in the
    trash, which wait for the project to be restored now, as those of documents do."""
    trashed = {
        label.partition("project_id=")[2]
        for label, said in answers.items()
        if ": GetProject " in label and "PROJECT_STATUS_TRASHED" in str(said)
    }
    closed = {
        said["document"]["document_id"]
        for label, said in answers.items()
        if ": GetDocument " in label and isinstance(said, dict)
        and said["document"]["project_id"] in trashed
    }  # fmt: skip
    return {
        label: _closed(said) if label.rpartition(" of ")[2] in closed else said
        for label, said in answers.items()
    }


def _closed(said: Any) -> Any:
    """Refusals stay, and what is told of a file without its bytes."""
    if isinstance(said, list):
        return [{**each, "read": _closed(each["read"])} for each in said]
    if str(said).startswith("refused: "):
        return said
    return "refused: FAILED_PRECONDITION ERROR_REASON_FILE_NOT_AVAILABLE"


def test_what_earlier_releases_noted_of_connections_is_no_damage(tmp_path: Path) -> None:
    found = _placed(FOLDER / "aws-postgresql.tar.xz", tmp_path)
    assert [each["check"] for each in found.complaints()] == ["records"]
    assert found.wm("migrate", "--check")["mended"] == 0
    assert found.wm("migrate")["mended"] == 1
    assert found.complaints() == []


def test_work_goes_on(previous: Found, tmp_path: Path) -> None:
    found = previous
    found.wm("migrate")
    with found.served() as server:
        _write(server)
        _finish_upload(server)
        _revoke(server)
        _sync(server, tmp_path / "fresh", "fresh")
        _sync(server, found.fixture.surface, "found")  # what the earlier release synced with
    assert _lost(found) == []
    assert found.complaints() == []


def _lost(found: Found) -> list[str]:
    """Rows that are gone. Versions of a user's row beside the winning one (who was last seen
    where) end when a later one, of signing in or from the surface, has seen them all."""
    lost = lost_rows(found.fixture.rows, found.rows())
    return [row for row in lost if not (row.startswith("USER#") and "|~SIB#" in row)]


def _plans(server: Server) -> str:
    projects = server.person(ANN).all(f"{PROJECTS}.ListProjects", "projects")
    return str(next(p["project_id"] for p in projects if p["name"].startswith("Pläne")))


def _document(server: Server, name: str) -> str:
    asked = {"project_id": _plans(server), "status": "DOCUMENT_STATUS_AWAITING_FILE"}
    found = server.person(ANN).all(f"{DOCUMENTS}.ListDocuments", "documents", **asked)
    return str(next(d["document_id"] for d in found if d["name"] == name))


def _write(server: Server) -> None:
    bob = server.person(BOB)
    made = bob(f"{DOCUMENTS}.CreateDocument", project_id=_plans(server), name="new.txt")
    document_id = made["document"]["document_id"]
    bob.upload(b"new bytes", document_id=document_id)
    assert server.person(ANN).download(document_id=document_id) == (
        "11e2defd59f47c7f2aac84d6a5d6747e98e785afffb72c8bb7b05ec74e1d663c"
    )


def _finish_upload(server: Server) -> None:
    """The multipart upload that was under way: its second part was sent to the earlier release."""
    ann = server.person(ANN)
    of = {"project_id": _plans(server)}
    uploads = ann.all(f"{STORAGE}.ListUploads", "uploads", **of)
    (upload,) = (each for each in uploads if each.get("multipart"))
    ann.send_part(upload["upload_id"], 1, bytes(PART))
    done = ann(f"{STORAGE}.CompleteUpload", upload_id=upload["upload_id"])
    assert ann.download(document_id=done["document_id"]) == upload["sha256"]


def _revoke(server: Server) -> None:
    """A grant that the earlier release wrote ends at once."""
    ann, bob = server.person(ANN), server.person(BOB)
    (held,) = (
        project for project in ann.all(f"{PROJECTS}.ListProjects", "projects")
        if project["name"] == "Held"
    )  # fmt: skip
    of = {"project_id": held["project_id"]}
    asked = {"permission": "PERMISSION_MANAGE_ACCESS", **of}
    assert bob("project.v1.PermissionService.CheckPermission", **asked).get("allowed")
    (grant,) = (
        grant for grant in ann.all(f"{GRANTS}.ListGrants", "grants", **of)
        if grant["target_id"] == bob.user_id
    )  # fmt: skip
    ann(f"{GRANTS}.RevokeGrant", grant_id=grant["grant_id"], **of)
    fresh = {"consistency": {"fully_consistent": True}}
    assert not bob("project.v1.PermissionService.CheckPermission", **asked, **fresh).get("allowed")


def _sync(server: Server, surface: Path, name: str) -> None:
    connect_surface(server, surface, name)
    for direction in ("PUSH", "PULL"):
        run_sync(server, direction, name)
    compared = server.person(ANN)(
        f"{SYNC}.CompareSurfaces", connection_id=name, include_objects=True, read_bytes=True,
        page_size=100,
    )
    assert compared.get("equal"), compared


@pytest.mark.parametrize("family", ["project_grant", "metadata_record"])
def test_the_loss_of_one_row_would_be_noticed(family: str, tmp_path: Path) -> None:
    """A mutant of a migration: it drops a row."""
    found = _placed(fixtures("sqlite")[0], tmp_path)
    with closing(sqlite3.connect(found.fixture.data / "workspace.sqlite")) as connection:
        dropped = connection.execute(
            "DELETE FROM items WHERE (pk, sk) = (SELECT pk, sk FROM items WHERE family = ? "
            "AND NOT deleted ORDER BY pk, sk LIMIT 1) RETURNING pk || '|' || sk", (family,)
        ).fetchall()  # fmt: skip
        connection.commit()
    with found.served() as server:
        assert differences(found.fixture.answers, read(server)) != []
    assert _lost(found) == [dropped[0][0]]
