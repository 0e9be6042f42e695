"""Signing keys: made once, never repaired, followed by other processes."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from services.model.errors import Reason, WorkspaceError
from services.objects import keyring as module
from services.objects.keyring import KEY_FILE, Keyring, Purpose


def edit(path: Path, **changes: object) -> None:
    document = json.loads(path.read_bytes())
    document.update(changes)
    path.write_text(json.dumps(document))


def entry(secret: bytes, kid: str = "00000001") -> dict[str, str]:
    return {"kid": kid, "secret": base64.b64encode(secret).decode()}


def refused(directory: Path, **options: bool) -> str:
    with pytest.raises(WorkspaceError) as caught:
        Keyring.open(directory, **options)
    assert caught.value.reason == Reason.ERROR_REASON_INVALID_STATE
    assert KEY_FILE in caught.value.message
    return caught.value.message


@pytest.mark.case("U01")
def test_first_start_makes_private_distinct_keys(tmp_path: Path) -> None:
    keys = Keyring.open(tmp_path / "keys")
    assert (tmp_path / "keys" / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    upload, download = keys.current(Purpose.UPLOAD), keys.current(Purpose.DOWNLOAD)
    assert len(upload.secret) == len(download.secret) == 32
    assert upload.secret != download.secret
    assert upload.kid != download.kid
    assert [path.name for path in (tmp_path / "keys").iterdir()] == [KEY_FILE]


def test_second_start_loads_the_same_keys(tmp_path: Path) -> None:
    first, second = Keyring.open(tmp_path), Keyring.open(tmp_path, create=False)
    for purpose in Purpose:
        assert first.current(purpose) == second.current(purpose)


def test_a_kid_is_found_under_its_purpose_only(tmp_path: Path) -> None:
    keys = Keyring.open(tmp_path)
    kid = keys.current(Purpose.UPLOAD).kid
    assert keys.find(Purpose.UPLOAD, kid) is not None
    assert keys.find(Purpose.DOWNLOAD, kid) is None


@pytest.mark.case("U10")
def test_secrets_are_not_shown(tmp_path: Path) -> None:
    key = Keyring.open(tmp_path).current(Purpose.UPLOAD)
    assert repr(key) == f"SigningKey(kid='{key.kid}')"


def test_two_keys_live_through_a_rotation(tmp_path: Path) -> None:
    keys = Keyring.open(tmp_path)
    first = keys.current(Purpose.DOWNLOAD).kid
    second = keys.rotate(Purpose.DOWNLOAD)
    assert keys.current(Purpose.DOWNLOAD).kid == second
    assert keys.find(Purpose.DOWNLOAD, first) is not None
    keys.rotate(Purpose.DOWNLOAD)
    assert keys.find(Purpose.DOWNLOAD, first) is None
    assert keys.find(Purpose.DOWNLOAD, second) is not None
    assert Keyring.open(tmp_path).find(Purpose.DOWNLOAD, second) is not None


def test_revoking_leaves_one_key(tmp_path: Path) -> None:
    keys = Keyring.open(tmp_path)
    first = keys.current(Purpose.UPLOAD).kid
    keys.rotate(Purpose.UPLOAD, keep_previous=False)
    assert keys.find(Purpose.UPLOAD, first) is None


@pytest.mark.case("U25")
def test_another_process_follows_a_rotation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = Keyring.open(tmp_path), Keyring.open(tmp_path)
    kid = other.rotate(Purpose.UPLOAD, keep_previous=False)
    monkeypatch.setattr(module, "REFRESH_SECONDS", -1.0)
    assert mine.current(Purpose.UPLOAD).kid == kid


@pytest.mark.case("U01")
def test_a_key_file_damaged_at_run_time_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Keyring.open(tmp_path)
    (tmp_path / KEY_FILE).write_text("{}")
    monkeypatch.setattr(module, "REFRESH_SECONDS", -1.0)
    with pytest.raises(WorkspaceError):
        keys.current(Purpose.UPLOAD)


@pytest.mark.case("U01")
def test_a_missing_file_is_refused_without_create(tmp_path: Path) -> None:
    assert "is missing" in refused(tmp_path, create=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o602, 0o777])
@pytest.mark.case("U01")
def test_a_readable_file_is_refused(tmp_path: Path, mode: int) -> None:
    Keyring.open(tmp_path)
    (tmp_path / KEY_FILE).chmod(mode)
    assert "chmod 600" in refused(tmp_path)


@pytest.mark.case("U01")
def test_a_link_is_refused(tmp_path: Path) -> None:
    Keyring.open(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / KEY_FILE).symlink_to(tmp_path / "a" / KEY_FILE)
    assert "plain file" in refused(tmp_path / "b")


GOOD = bytes(range(32))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"upload": []}, "lacks a key"),
        ({"download": []}, "lacks a key"),
        ({"upload": [entry(GOOD, str(n)) for n in range(3)]}, "lacks a key"),
        ({"upload": [entry(b"")]}, "32 bytes"),
        ({"upload": [entry(GOOD[:31])]}, "32 bytes"),
        ({"upload": [entry(GOOD + b"x")]}, "32 bytes"),
        ({"upload": [entry(bytes(32))]}, "default key"),
        ({"upload": [entry(b"changeme" * 4)]}, "default key"),
        ({"upload": [entry(GOOD)], "download": [entry(GOOD, "2")]}, "same key twice"),
        ({"upload": [entry(GOOD)], "download": [entry(GOOD[::-1])]}, "key id twice"),
        ({"version": 2}, "unknown version"),
        ({"upload": [{"kid": "1", "secret": "***"}]}, "not a key file"),
        ({"upload": "x"}, "not a key file"),
        ({"upload": [{"kid": 1, "secret": "x"}]}, "not a key file"),
    ],
)
@pytest.mark.case("U01", "Y06")
def test_bad_keys_are_refused(tmp_path: Path, changes: dict[str, object], problem: str) -> None:
    Keyring.open(tmp_path)
    edit(tmp_path / KEY_FILE, **changes)
    assert problem in refused(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "null", "{", '{"version": 1}', "[" * 100_000])
@pytest.mark.case("U01")
def test_a_file_that_is_not_a_key_file_is_refused(tmp_path: Path, content: str) -> None:
    Keyring.open(tmp_path)
    (tmp_path / KEY_FILE).write_text(content)
    refused(tmp_path)
