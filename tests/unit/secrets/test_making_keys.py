"""Key files that cannot be made: told, so that a process may wait for them."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.model.errors import Reason, WorkspaceError
from services.objects.keyring import Keyring, Purpose
from services.private_files import load_or_create_secret
from services.secrets.key_files import INSTANCE_KEY_FILE, new_keys, read_keys
from services.tokens.local import LocalIssuer
from services.tokens.local_secret import LocalSecret

MAKERS: dict[str, Callable[[Path], object]] = {
    "instance": lambda folder: load_or_create_secret(folder / INSTANCE_KEY_FILE),
    "issuer": lambda folder: LocalIssuer.open(folder, realm="r"),
    "secret": lambda folder: LocalSecret.open(folder, now=time.time),
    "signing": Keyring.open,
}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_folder_in_which_nothing_can_be_made(tmp_path: Path, kind: str) -> None:
    """As one that is mounted to be read, before the keys are in it."""
    folder = tmp_path / "keys"
    folder.write_bytes(b"")
    with pytest.raises(WorkspaceError) as caught:
        MAKERS[kind](folder)
    assert caught.value.reason == Reason.ERROR_REASON_INVALID_STATE, "what a start waits for"
    assert str(folder) in caught.value.message
    assert "cannot be made" in caught.value.message


def test_processes_that_start_at_once_on_an_empty_folder_have_the_same_keys(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "keys"

    def opened(_: int) -> tuple[bytes, str, str]:
        secret = load_or_create_secret(folder / INSTANCE_KEY_FILE)
        kid = LocalIssuer.open(folder, realm="r").kid
        LocalSecret.open(folder, now=time.time)
        return secret, kid, Keyring.open(folder).current(Purpose.DOWNLOAD).kid

    with ThreadPoolExecutor(16) as threads:
        assert len(set(threads.map(opened, range(64)))) == 1
    assert read_keys(folder).keys() == new_keys().keys()
