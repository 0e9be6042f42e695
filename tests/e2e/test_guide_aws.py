"""docs/guides/aws.md works when pasted, from nothing to a served workspace (on moto)."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from services.cli.lazy import COMMANDS
from tests.e2e.guides import blocks, commands, pasted, shell
from tests.servers.aws import environment, moto

GUIDE = "aws.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("aws")


@pytest.fixture(scope="module")
def prefix() -> str:
    return f"wm-{secrets.token_hex(4)}"


@pytest.mark.parametrize("name", ["setup", "serve"])
def test_the_examples_work_when_pasted(folder: Path, prefix: str, name: str) -> None:
    url = moto().url.removesuffix("moto-api/").rstrip("/")
    env = shell(folder, without=("WM_", "AWS_")) | environment() | {
        "PREFIX": prefix, "WM_AWS_ENDPOINT": url,
    }  # fmt: skip
    del env["AWS_DEFAULT_REGION"]
    said = pasted(blocks(GUIDE)[name], folder, env)
    if name == "setup":
        assert "Nothing was changed" in said
        assert "Nothing to change" in said
    else:
        assert "Healthy" in said
        assert " is serving" in said  # its own process is no fault of the ports


def test_every_block_of_the_guide_that_runs_is_run() -> None:
    assert list(blocks(GUIDE)) == ["setup", "serve"]


def test_every_command_that_the_guide_names_exists() -> None:
    named = commands(GUIDE)
    assert len(named) > 8
    for command in named:
        assert command.split()[1] in COMMANDS, command
