"""The key and secret files of a local deployment."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from services.model.errors import Reason, WorkspaceError
from services.private_files import load_or_create_secret
from services.secrets.key_files import INSTANCE_KEY_FILE
from services.tokens.local import LOCAL_KEY_FILE, LocalIssuer
from services.tokens.local_secret import LOCAL_SECRET_FILE, LocalSecret


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("name", [LOCAL_KEY_FILE, LOCAL_SECRET_FILE])
def test_files_are_made_once_and_only_the_owner_reads_them(tmp_path: Path, name: str) -> None:
    keys = tmp_path / "keys"
    first = LocalIssuer.open(keys, realm="n1")
    LocalSecret.open(keys, now=Clock())
    before = (keys / name).read_bytes()
    again = LocalIssuer.open(keys, realm="n1")
    LocalSecret.open(keys, now=Clock())
    assert (keys / name).read_bytes() == before
    assert first.kid == again.kid
    assert stat.S_IMODE((keys / name).stat().st_mode) == 0o600
    assert not [path for path in keys.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", [LOCAL_KEY_FILE, LOCAL_SECRET_FILE])
@pytest.mark.parametrize("damage", ["readable", "short"])
def test_a_readable_or_damaged_file_stops_the_start(
    tmp_path: Path, name: str, damage: str
) -> None:
    LocalIssuer.open(tmp_path, realm="n1")
    LocalSecret.open(tmp_path, now=Clock())
    if damage == "readable":
        (tmp_path / name).chmod(0o640)
    else:
        (tmp_path / name).write_bytes(b"short")

    def start() -> None:
        LocalIssuer.open(tmp_path, realm="n1")
        LocalSecret.open(tmp_path, now=Clock())

    with pytest.raises(WorkspaceError) as caught:
        start()
    assert caught.value.reason == Reason.ERROR_REASON_INVALID_STATE
    assert name in caught.value.message


@pytest.mark.case("Y06")
@pytest.mark.parametrize("name", [LOCAL_KEY_FILE, LOCAL_SECRET_FILE, INSTANCE_KEY_FILE])
@pytest.mark.parametrize("key", ["\0", "0", "changeme", "secret"])
def test_a_key_that_everybody_knows_stops_the_start(tmp_path: Path, name: str, key: str) -> None:
    def start() -> None:
        LocalIssuer.open(tmp_path, realm="n1")
        LocalSecret.open(tmp_path, now=Clock())
        load_or_create_secret(tmp_path / INSTANCE_KEY_FILE)

    start()
    length = 43 if name == LOCAL_SECRET_FILE else 32
    typed = (key * length)[:length].encode()
    (tmp_path / name).write_bytes(typed)
    with pytest.raises(WorkspaceError) as caught:
        start()
    assert caught.value.reason == Reason.ERROR_REASON_INVALID_STATE
    assert name in caught.value.message
    assert typed.decode() not in caught.value.message


def test_the_secret_has_256_bits_and_matches_itself_alone(tmp_path: Path) -> None:
    secret = LocalSecret.open(tmp_path, now=Clock())
    text = (tmp_path / LOCAL_SECRET_FILE).read_text().strip()
    assert len(text) == 43
    assert secret.matches(text)
    for wrong in ("", text[:-1], text + "a", text.swapcase(), "a" * 43, "ü"):
        assert not secret.matches(wrong)


def test_wrong_secrets_are_limited_but_never_lock_the_operator_out(tmp_path: Path) -> None:
    clock = Clock()
    secret = LocalSecret.open(tmp_path, now=clock)
    text = (tmp_path / LOCAL_SECRET_FILE).read_text().strip()
    for _ in range(10):
        assert not secret.matches("wrong")
    with pytest.raises(WorkspaceError) as caught:
        secret.matches("wrong")
    assert caught.value.reason == Reason.ERROR_REASON_LIMIT_EXCEEDED
    assert secret.matches(text)
    clock.now += 61
    assert not secret.matches("wrong")


def test_the_secret_is_in_no_repr(tmp_path: Path) -> None:
    secret = LocalSecret.open(tmp_path, now=Clock())
    text = (tmp_path / LOCAL_SECRET_FILE).read_text().strip()
    assert text not in repr(vars(secret))
