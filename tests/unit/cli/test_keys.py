"""`wm keys new`: key files for a secret that processes mount."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from services.cli.exit_codes import ExitCode
from services.cli.main import run
from services.secrets.key_files import KEY_FILES, read_keys


def test_all_key_files_are_made_for_this_user_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "keys"
    assert run(["keys", "new", str(folder), "--json"]) == ExitCode.OK
    assert sorted(json.loads(capsys.readouterr().out)["files"]) == sorted(KEY_FILES)
    assert sorted(read_keys(folder)) == sorted(KEY_FILES)
    for file in folder.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_keys_that_are_there_are_not_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "keys"
    assert run(["keys", "new", str(folder)]) == ExitCode.OK
    before = read_keys(folder)
    assert run(["keys", "new", str(folder)]) == ExitCode.USAGE
    assert "has key files already" in capsys.readouterr().err
    assert read_keys(folder) == before
