"""`wm init` writes what `wm serve` reads, and never a secret."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from services.cli.exit_codes import ExitCode
from services.cli.init import render_toml
from services.cli.main import run
from services.config import load_selection
from services.model.selection import backend_selection

Capture = pytest.CaptureFixture[str]
PLACES: list[dict[str, Any]] = [
    {"provider": "local"},
    {"provider": "aws", "environment": "prod", "region": "eu-central-1"},
    {"provider": "azure", "prefix": "plan", "location": "westeurope"},
]


@pytest.mark.parametrize("arguments", PLACES, ids=lambda a: a["provider"])
def test_what_is_written_parses_back(arguments: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "backend.toml"
    flags = [text for name, value in arguments.items() for text in (f"--{name}", value)]
    assert run(["init", *flags, "--write", str(path)]) == ExitCode.OK
    text = path.read_text(encoding="utf-8")
    assert tomllib.loads(text) == backend_selection(**arguments)
    assert "no secrets" in text


def test_strings_are_escaped() -> None:
    selection = {"a": 'quote " back \\ line \n del \x7f', "t": {"b": "ü"}}
    assert tomllib.loads(render_toml(selection)) == selection


def test_serve_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "backend.toml"
    run(["init", "--provider", "local", "--write", str(path)])
    assert load_selection(path)["provider"] == "local"


def test_a_file_is_not_replaced_unless_asked(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "backend.toml"
    path.write_text("mine", encoding="utf-8")
    command = ["init", "--provider", "local", "--write", str(path)]
    assert run(command) == ExitCode.CONFLICT
    assert "--force" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == "mine"
    assert run([*command, "--force"]) == ExitCode.OK
    assert "provider" in path.read_text(encoding="utf-8")


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine", encoding="utf-8")
    (tmp_path / "backend.toml").symlink_to(victim)
    command = ["init", "--provider", "local", "--write", str(tmp_path / "backend.toml"), "--force"]
    assert run(command) == ExitCode.FAILED
    assert victim.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("flag", ["--prefix", "--environment"])
def test_secrets_are_refused_and_not_repeated(flag: str, tmp_path: Path, capsys: Capture) -> None:
    secret = "AKIA" + "ABCDEFGHIJKLMNOP"
    path = tmp_path / "backend.toml"
    assert run(["init", "--provider", "aws", flag, secret, "--write", str(path)]) == ExitCode.USAGE
    assert secret not in capsys.readouterr().err
    assert not path.exists()
