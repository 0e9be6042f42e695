"""Settings by provider, the places they name, and who may name them."""

from __future__ import annotations

from pathlib import Path

import psycopg.conninfo
import pytest
from workspace.sync.v1.connection_pb2 import Connection, Trust

from services.model.errors import Reason, WorkspaceError
from sync_svc.connections.providers import normalise, places_of
from sync_svc.connections.reach import Reach
from sync_svc.surfaces.postgres import conninfo_of, password_variable

BASE = {"host": "db.example.org", "database": "w", "user": "u", "folder": "/srv/o"}


def postgres(connection_id: str = "db", **settings: str) -> Connection:
    return Connection(
        connection_id=connection_id, provider="postgres", settings={**BASE, **settings}
    )


def refused(connection: Connection, tmp_path: Path) -> str:
    with pytest.raises(WorkspaceError) as caught:
        normalise(connection, base=tmp_path, data_dir=tmp_path / "wm-data")
    assert caught.value.reason == Reason.ERROR_REASON_INVALID_FIELD
    return caught.value.metadata["field"].removeprefix("connection.")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "0"), ("port", "65536"), ("port", "x"), ("host", "a b"), ("host", "-x"),
        ("schema", "Public"), ("schema", "a,b"), ("sslmode", "prefer"), ("sslmode", "disable"),
        ("sslrootcert", "relative.pem"), ("database", "x" * 64), ("passfile", "/x"),
    ],
)  # fmt: skip
def test_wrong_settings_of_postgres(tmp_path: Path, name: str, value: str) -> None:
    assert refused(postgres(**{name: value}), tmp_path) == f"settings.{name}"


@pytest.mark.parametrize("connection_id", ["My-DB", "my_db", "my.db"])
def test_two_ids_never_share_a_password_variable(tmp_path: Path, connection_id: str) -> None:
    assert refused(postgres(connection_id), tmp_path) == "connection_id"
    assert password_variable("my-db") == "WM_CONNECTION_MY_DB_PASSWORD"


def test_empty_optional_settings_are_left_out(tmp_path: Path) -> None:
    connection = postgres(schema="")
    normalise(connection, base=tmp_path, data_dir=tmp_path / "wm-data")
    assert "schema" not in connection.settings


def test_links_into_our_own_data_are_seen_through(tmp_path: Path) -> None:
    (tmp_path / "wm-data" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "wm-data" / "inner")
    connection = Connection(provider="local", settings={"folder": "link"})
    assert refused(connection, tmp_path) == "settings.folder"


def test_one_database_has_one_place() -> None:
    here = places_of(postgres(host="localhost"))
    assert here & places_of(postgres(host="127.0.0.1", folder="/srv/elsewhere"))
    assert not places_of(postgres(host="a")) & places_of(postgres(host="b", folder="/srv/p"))
    assert places_of(postgres(host="A")) == places_of(postgres(host="a", port="5432"))


def test_other_machines_are_spoken_to_over_verified_tls() -> None:
    info = psycopg.conninfo.conninfo_to_dict(conninfo_of(postgres(), {}))
    assert (info["sslmode"], info["sslrootcert"]) == ("verify-full", "system")
    near = psycopg.conninfo.conninfo_to_dict(conninfo_of(postgres(host="localhost"), {}))
    assert near["sslmode"] == "prefer"


@pytest.mark.case("S10")
def test_passwords_come_from_the_connections_own_variable_alone() -> None:
    environment = {"PGPASSWORD": "everybody", "WM_CONNECTION_DB_PASSWORD": "ours"}
    assert psycopg.conninfo.conninfo_to_dict(conninfo_of(postgres(), environment))["password"] == (
        "ours"
    )
    other = conninfo_of(postgres("other"), environment)
    assert "everybody" not in other
    assert "password=''" in other, "or libpq would take PGPASSWORD"


@pytest.mark.case("S08")
def test_what_the_operator_lists_is_reached(tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    reach = Reach([str(shelf), "db.example.org"], anywhere=False)
    reach.check(postgres(folder=str(shelf / "o")))
    outside = [
        postgres(folder=str(tmp_path / "o")),
        postgres(folder=str(shelf / ".." / "o")),
        postgres(folder=f"{shelf}-not"),
        postgres(folder=str(shelf / "o"), host="10.0.0.1"),
    ]
    for connection in outside:
        with pytest.raises(WorkspaceError, match="WM_SYNC_PLACES"):
            reach.check(connection)
    full = postgres(folder=str(shelf / "o"))
    full.trust = Trust.TRUST_FULL
    with pytest.raises(WorkspaceError, match="FULL"):
        reach.check(full)
    Reach([], anywhere=True).check(full)


@pytest.mark.case("S08")
def test_links_out_of_the_listed_folders_are_seen_through(tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "out").symlink_to(tmp_path)
    reach = Reach([str(shelf)], anywhere=False)
    connection = Connection(provider="local", settings={"folder": str(shelf / "out" / "x")})
    with pytest.raises(WorkspaceError):
        reach.check(connection)
