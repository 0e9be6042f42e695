"""TestConnection against real folders, disks and database servers."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sqlite3
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, closing, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from workspace.identity.v1.identity_service_pb2 import BootstrapPlatformAdminRequest
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.sync.v1 import connection_pb2 as co
from workspace.sync.v1 import connection_service_pb2 as cs
from workspace.sync.v1.connection_service_pb2_grpc import ConnectionServiceStub

from services.records.port import ABSENT, Key, Match, Put
from services.records.sql import SqliteDriver
from services.rpc.errors import error_info
from sync_svc.surfaces.postgres import password_variable
from tests.chosen_records import chosen_server
from tests.harness import Workspace

ADMIN = "root@example.com"
ALL = (
    "credentials", "instance", "format", "records_read", "objects_read", "records_write",
    "objects_write", "consistency", "clock", "encryption",
)  # fmt: skip
PASSED, WARNING = co.CHECK_OUTCOME_PASSED, co.CHECK_OUTCOME_WARNING
FAILED, SKIPPED = co.CHECK_OUTCOME_FAILED, co.CHECK_OUTCOME_SKIPPED


@pytest_asyncio.fixture
async def ws(tmp_path: Path) -> AsyncIterator[Workspace]:
    async with Workspace.open(tmp_path) as opened:
        await opened.sign_in(ADMIN)
        secret = (opened.process.kernel.keys_dir / "local.secret").read_text().strip()
        identity = opened.stub(IdentityServiceStub, as_=ADMIN)
        request = BootstrapPlatformAdminRequest(bootstrap_secret=secret)
        await identity.BootstrapPlatformAdmin(request)
        yield opened


def stub(ws: Workspace) -> Any:
    return ws.stub(ConnectionServiceStub, as_=ADMIN)


async def register(
    ws: Workspace, folder: Path, provider: str = "local", **settings: str
) -> co.Connection:
    connection = co.Connection(
        connection_id="disk", provider=provider, settings={"folder": str(folder), **settings}
    )
    made = await stub(ws).CreateConnection(cs.CreateConnectionRequest(connection=connection))
    return made.connection


async def check(ws: Workspace, *, read_only: bool = False) -> cs.TestConnectionResponse:
    request = cs.TestConnectionRequest(connection_id="disk", read_only=read_only)
    return await stub(ws).TestConnection(request)


def outcomes(answer: cs.TestConnectionResponse) -> dict[str, int]:
    return {each.check: each.outcome for each in answer.checks}


def failure(answer: cs.TestConnectionResponse) -> tuple[str, str, str]:
    """(check, reason, text) of the one check that failed."""
    [found] = [each for each in answer.checks if each.outcome == FAILED]
    info = error_info(found.error)
    assert info is not None
    return found.check, info.reason.removeprefix("ERROR_REASON_"), found.error.message


def rows_of(folder: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(folder / "workspace.sqlite")) as connection:
        return connection.execute("SELECT pk, family FROM items").fetchall()


def files_of(folder: Path) -> list[str]:
    return sorted(
        str(each.relative_to(folder)) for each in folder.rglob("*")
        if each.is_file() and ".multipart" not in each.parts
    )  # fmt: skip


async def test_a_new_folder_is_made_private_and_works(ws: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "usb"
    await register(ws, folder)
    answer = await check(ws)
    assert answer.usable
    assert outcomes(answer) == dict.fromkeys(ALL, PASSED)
    assert all(each.duration_us > 0 for each in answer.checks)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert answer.connection.HasField("last_reached_at")
    assert answer.connection.instance == answer.instance
    assert answer.instance.instance_id
    assert answer.instance.generation in (0, 1)
    again = await check(ws)
    assert again.instance == answer.instance, "a look from outside is no new generation"


async def test_a_write_check_leaves_nothing_behind(ws: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "usb"
    await register(ws, folder)
    await check(ws)
    assert rows_of(folder) == [("INSTANCE", "instance")]
    assert files_of(folder) == ["workspace.sqlite", "workspace.sqlite.lock"]
    with closing(sqlite3.connect(folder / "workspace.sqlite")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


async def test_a_test_changes_no_etag_and_is_repeatable(ws: Workspace, tmp_path: Path) -> None:
    made = await register(ws, tmp_path / "usb")
    request = cs.TestConnectionRequest(connection_id="disk", request_id=str(uuid.uuid4()))
    answer = await stub(ws).TestConnection(request)
    assert answer.connection.etag == made.etag
    assert await stub(ws).TestConnection(request) == answer
    update = cs.UpdateConnectionRequest(
        connection=co.Connection(connection_id="disk", note="x", etag=made.etag),
        update_mask=FieldMask(paths=["note"]),
    )
    changed = (await stub(ws).UpdateConnection(update)).connection
    assert changed.instance == answer.instance, "what was learned is kept"


async def test_reading_alone_makes_nothing(ws: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "usb"
    await register(ws, folder)
    unused = await check(ws, read_only=True)
    name, reason, text = failure(unused)
    assert (name, reason) == ("credentials", "BACKEND_UNAVAILABLE")
    assert "nothing was pushed" in text
    assert not folder.exists()
    await check(ws)
    before = {each: (folder / each).stat().st_mtime_ns for each in files_of(folder)}
    answer = await check(ws, read_only=True)
    assert answer.usable
    assert list(outcomes(answer)) == [
        "credentials", "instance", "format", "records_read", "objects_read", "encryption",
    ]  # fmt: skip
    before.pop("workspace.sqlite.lock")
    assert before == {each: (folder / each).stat().st_mtime_ns for each in before}


async def test_a_disk_that_is_not_mounted_is_no_new_surface(ws: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "mnt" / "usb"
    await register(ws, folder)
    absent = await check(ws)
    assert failure(absent)[:2] == ("credentials", "BACKEND_UNAVAILABLE")
    assert "mount" in failure(absent)[2]
    assert outcomes(absent) == {"credentials": FAILED} | dict.fromkeys(ALL[1:], SKIPPED)
    assert not absent.usable
    assert not absent.HasField("instance")
    assert not absent.connection.HasField("last_reached_at")
    folder.mkdir(parents=True)
    assert (await check(ws)).usable
    shutil.rmtree(folder)
    folder.mkdir()
    gone = await check(ws)
    assert "mounted" in failure(gone)[2]
    assert list(folder.iterdir()) == [], "an empty mount point stays empty"


async def test_another_disk_in_the_same_place_is_noticed(ws: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "usb"
    await register(ws, folder)
    await check(ws)
    folder.rename(tmp_path / "first")
    folder.mkdir()
    driver = await SqliteDriver.open(folder / "workspace.sqlite", portable=True)
    from services.records.instance import create_instance

    await create_instance(driver)
    await driver.close()
    swapped = await check(ws)
    assert failure(swapped)[:2] == ("instance", "SURFACE_CHANGED")
    assert swapped.connection.status == co.CONNECTION_STATUS_SURFACE_CHANGED
    shutil.rmtree(folder)
    (tmp_path / "first").rename(folder)
    back = await check(ws)
    assert back.usable
    assert back.connection.status == co.CONNECTION_STATUS_ACTIVE


async def test_a_folder_that_is_served_is_refused(ws: Workspace, tmp_path: Path) -> None:
    async with Workspace.open(tmp_path / "other") as other:
        folder = tmp_path / "other" / "wm-data"
        if other.process.settings.records != "sqlite":
            pytest.skip("capability: the records are a file (SQLite)")
        await register(ws, folder)
        name, reason, text = failure(await check(ws))
        assert (name, reason) == ("credentials", "INVALID_STATE")
        assert str(os.getpid()) in text
    assert (await check(ws)).usable, "a data folder that is not served is a surface"


async def test_a_copy_of_this_workspace_is_no_surface(ws: Workspace, tmp_path: Path) -> None:
    if ws.process.settings.records != "sqlite":
        pytest.skip("capability: the records are a file (SQLite)")
    folder = tmp_path / "copy"
    folder.mkdir()
    with (
        closing(sqlite3.connect(ws.process.settings.data_dir / "workspace.sqlite")) as source,
        closing(sqlite3.connect(folder / "workspace.sqlite")) as target,
    ):
        source.backup(target)
    await register(ws, folder)
    answer = await check(ws)
    assert failure(answer)[:2] == ("instance", "INVALID_STATE")


async def test_a_newer_format_is_a_failed_check(ws: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "usb"
    await register(ws, folder)
    await check(ws)
    await _set_format(folder, min_writer=99)
    readable = await check(ws)
    assert failure(readable)[0] == "format"
    assert outcomes(readable)["records_read"] == PASSED
    assert outcomes(readable)["records_write"] == SKIPPED
    await _set_format(folder, min_writer=99, min_reader=99)
    assert failure(await check(ws))[0] == "format"
    assert failure(await check(ws, read_only=True))[0] == "format"


async def _set_format(folder: Path, **members: int) -> None:
    import json

    driver = await SqliteDriver.open(folder / "workspace.sqlite", portable=True)
    key = Key("INSTANCE", "INSTANCE")
    item = await driver.get(key)
    assert item is not None
    body = json.dumps(json.loads(item.body) | members)
    await driver.commit(key.pk, [Put(key, Match(item.token), "instance", body)])
    await driver.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 2 MiB; needs the capability to mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("capability: mount (root)")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path) -> None:
    """From now on for reading alone."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)


def fill(path: Path) -> None:
    """A file of all the space that is left."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(512))


async def test_a_disk_mounted_for_reading_is_read(ws: Workspace, small_disk: Path) -> None:
    await register(ws, small_disk)
    assert (await check(ws)).usable
    remount(small_disk)
    answer = await check(ws)
    name, reason, text = failure(answer)
    assert (name, reason) == ("records_write", "INVALID_STATE")
    assert "cannot be written" in text
    assert outcomes(answer)["records_read"] == PASSED
    assert outcomes(answer)["objects_write"] == SKIPPED
    assert (await check(ws, read_only=True)).usable


async def test_a_full_disk_is_a_failed_check(ws: Workspace, small_disk: Path) -> None:
    await register(ws, small_disk)
    assert (await check(ws)).usable
    fill(small_disk / "filler")
    answer = await check(ws)
    reasons = {
        info.reason for each in answer.checks if each.outcome == FAILED
        if (info := error_info(each.error)) is not None
    }  # fmt: skip
    assert "ERROR_REASON_STORAGE_FULL" in reasons
    assert not answer.usable
    (small_disk / "filler").unlink()
    assert (await check(ws)).usable


async def test_a_test_uses_what_a_run_has_open(ws: Workspace, tmp_path: Path) -> None:
    made = await register(ws, tmp_path / "usb")
    opener = _opener(ws)
    async with opener(made) as surface:
        both = await asyncio.gather(check(ws), check(ws, read_only=True))
        assert all(each.usable for each in both)
        put = Put(Key("RUN", "ROW"), ABSENT, "test", "{}")
        await surface.records.put_row(put)
        assert await surface.records.get_row(put.key) is not None
        assert not surface.read_only
    async with opener(made, read_only=True) as surface:
        assert surface.read_only
        assert await surface.records.get_row(put.key) is not None


async def test_openings_at_once_share_one_file(ws: Workspace, tmp_path: Path) -> None:
    made = await register(ws, tmp_path / "usb")
    opener = _opener(ws)
    async with AsyncExitStack() as stack:
        surfaces = await asyncio.gather(
            *(stack.enter_async_context(opener(made)) for _ in range(5))
        )
        assert len({id(each.records) for each in surfaces}) == 1
    for _ in range(3):  # closed each time: a second opener would be refused otherwise
        async with opener(made):
            pass
    driver = await SqliteDriver.open(tmp_path / "usb" / "workspace.sqlite")
    await driver.close()


def _opener(ws: Workspace) -> Any:
    """The opener of the running process, as a run has it."""
    [module] = [each for each in ws.process.modules if each.name == "sync_svc"]
    [servicer] = [
        each.servicer for each in module.registrations if "Connection" in each.full_name
    ]
    return servicer._testing._tester._opening  # type: ignore[attr-defined]


async def test_a_folder_open_to_others_is_a_warning(ws: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "usb"
    folder.mkdir()
    folder.chmod(0o755)
    await register(ws, folder)
    answer = await check(ws)
    assert answer.usable
    assert outcomes(answer)["encryption"] == WARNING


def _server() -> dict[str, str]:
    """A database of its own on a real server, as settings."""
    parts = psycopg.conninfo.conninfo_to_dict(chosen_server().database())
    return {
        "host": str(parts["host"]), "port": str(parts.get("port", "5432")),
        "database": str(parts["dbname"]), "user": str(parts["user"]),
    }  # fmt: skip


async def test_a_database_with_a_folder_of_objects(ws: Workspace, tmp_path: Path) -> None:
    settings = _server()
    await register(ws, tmp_path / "objects", "postgres", **settings)
    unused = await check(ws, read_only=True)
    assert not unused.usable
    answer = await check(ws)
    assert outcomes(answer) == dict.fromkeys(ALL, PASSED)
    assert (await check(ws, read_only=True)).usable
    info = psycopg.conninfo.make_conninfo(
        host=settings["host"], port=settings["port"], dbname=settings["database"],
        user=settings["user"],
    )  # fmt: skip
    with psycopg.connect(info) as connection:
        left = connection.execute("SELECT DISTINCT family FROM items").fetchall()
    assert left == [("instance",)]


@pytest.mark.case("S10")
async def test_a_database_that_sends_us_away(
    ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _server() | {"user": "nobody-here"}
    await register(ws, tmp_path / "objects", "postgres", **settings)
    monkeypatch.setenv(password_variable("disk"), "wrong-one")
    answer = await check(ws)
    name, reason, text = failure(answer)
    assert (name, reason) == ("credentials", "BACKEND_UNAVAILABLE")
    assert "WM_CONNECTION_DISK_PASSWORD" in text or "does not answer" in text
    assert "wrong-one" not in str(answer)


async def test_a_dead_host_is_a_failed_check(ws: Workspace, tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    await register(
        ws, tmp_path / "objects", "postgres", host="127.0.0.1", port=str(port), database="x",
        user="u",
    )  # fmt: skip
    name, reason, text = failure(await check(ws))
    assert (name, reason) == ("credentials", "BACKEND_UNAVAILABLE")
    assert f"127.0.0.1:{port}" in text
