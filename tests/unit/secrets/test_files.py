"""Secrets in files, as containers are given them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from services.config import load_settings
from services.model.errors import Reason, WorkspaceError
from services.secrets.port import SecretProblem
from services.secrets.reference import Reference, Service
from services.secrets.resolve import resolve_secrets
from services.secrets.stores import open_stores

SECRET = "postgresql://me:s3cret@db/workspace"


async def dsn(tmp_path: Path, reference: str) -> str:
    settings = load_settings(data_dir=tmp_path / "data", records_dsn=reference)
    resolved = await resolve_secrets(settings)
    assert resolved.records_dsn is not None
    assert "s3cret" not in repr(resolved)
    return resolved.records_dsn.get_secret_value()


async def refused(tmp_path: Path, reference: str) -> WorkspaceError:
    with pytest.raises(WorkspaceError) as caught:
        await dsn(tmp_path, reference)
    assert caught.value.metadata["field"] == "WM_RECORDS_DSN"
    assert reference.partition("#")[0] in caught.value.message
    assert "s3cret" not in caught.value.message
    return caught.value


async def test_a_secret_is_what_the_file_holds_without_its_last_line_end(tmp_path: Path) -> None:
    (tmp_path / "dsn").write_text(f"{SECRET}\n")
    assert await dsn(tmp_path, f"file:{tmp_path}/dsn") == SECRET


async def test_a_link_is_followed_as_kubernetes_makes_them(tmp_path: Path) -> None:
    (tmp_path / "..data").write_text(SECRET)
    (tmp_path / "dsn").symlink_to("..data")
    assert await dsn(tmp_path, f"file:{tmp_path}/dsn") == SECRET


async def test_a_member_of_the_json_in_a_file_with_blanks_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "the db.json").write_text(json.dumps({"dsn": SECRET}))
    assert await dsn(tmp_path, f"file:{tmp_path}/the db.json#dsn") == SECRET


async def test_a_file_that_comes_later_mends_it(tmp_path: Path) -> None:
    """So a process that waits for it goes on by itself."""
    reference = f"file:{tmp_path}/dsn"
    error = await refused(tmp_path, reference)
    assert "is not there" in error.message
    assert error.reason == Reason.ERROR_REASON_INVALID_STATE
    (tmp_path / "dsn").write_text(SECRET)
    assert await dsn(tmp_path, reference) == SECRET


@pytest.mark.parametrize(
    ("content", "member", "said"),
    [
        (b"", "", "is empty"), (b"\n\n", "", "is empty"), (b"\xff\xfe", "", "is no text"),
        (b"s3cret", "#dsn", "no JSON object"), (b"s3cret" * 20_000, "", "too long"),
    ],
)  # fmt: skip
async def test_a_file_of_no_use_is_named(
    tmp_path: Path, content: bytes, member: str, said: str
) -> None:
    (tmp_path / "dsn").write_bytes(content)
    assert said in (await refused(tmp_path, f"file:{tmp_path}/dsn{member}")).message


async def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    assert "is a folder" in (await refused(tmp_path, f"file:{tmp_path}")).message
    (tmp_path / "plain").write_text("x")
    error = await refused(tmp_path, f"file:{tmp_path}/plain/dsn")
    assert "cannot be read: not a directory" in error.message


async def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "dsn")
    assert "is empty" in (await refused(tmp_path, f"file:{tmp_path}/dsn")).message


async def test_a_file_of_somebody_else_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> int:  # root, who runs the tests, may read everything
        raise PermissionError

    monkeypatch.setattr("services.secrets.files.os.open", denied)
    error = await refused(tmp_path, f"file:{tmp_path}/dsn")
    assert f"may not be read by user {os.geteuid()}: change its owner" in error.message


async def test_files_are_only_read(tmp_path: Path) -> None:
    stores = open_stores(load_settings(data_dir=tmp_path))
    reference = Reference(Service.FILE, f"{tmp_path}/keys")
    with pytest.raises(SecretProblem, match="cannot be written"):
        await stores.of(reference).create(reference, "s3cret")
    assert not (tmp_path / "keys").exists()
