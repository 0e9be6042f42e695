"""docs/guides/aws.md works when pasted, from nothing to a served workspace (on moto)."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.serving import ROOT
from tests.servers.aws import environment, moto

GUIDE = ROOT / "docs/guides/aws.md"
BLOCK = re.compile(r"<!-- run: (\w+) -->\n```sh\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"^(wm .*?)(?:\s+#.*)?$|`(wm [^`]*)`", re.MULTILINE)


def blocks() -> dict[str, str]:
    return dict(BLOCK.findall(GUIDE.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("aws")


@pytest.fixture(scope="module")
def prefix() -> str:
    return f"wm-{secrets.token_hex(4)}"


@pytest.mark.parametrize("name", ["setup", "serve"])
def test_the_examples_work_when_pasted(folder: Path, prefix: str, name: str) -> None:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("WM_", "AWS_"))}
    url = moto().url.removesuffix("moto-api/").rstrip("/")
    env = kept | environment() | {
        "PREFIX": prefix, "WM_AWS_ENDPOINT": url, "WM_CONFIG_DIR": str(folder / "config"),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "protos/gen/python")]),
        "WM_GRPC_PORT": "0", "WM_HTTP_PORT": "0", "PYTHONIOENCODING": "utf-8",
    }  # fmt: skip
    del env["AWS_DEFAULT_REGION"]
    # A program, not a function: the guide ends the process that it started.
    tool = folder / "bin" / "wm"
    tool.parent.mkdir(exist_ok=True)
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m services.cli.main "$@"\n')
    tool.chmod(0o755)
    env["PATH"] = f"{tool.parent}{os.pathsep}{env['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-c", blocks()[name]], env=env, cwd=folder,
        capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout, done.stderr)
    if name == "setup":
        assert "Nothing was changed" in done.stdout
        assert "Nothing to change" in done.stdout
    else:
        assert "Healthy" in done.stdout
        assert " is serving" in done.stdout  # its own process is no fault of the ports


def test_every_block_of_the_guide_that_runs_is_run() -> None:
    assert list(blocks()) == ["setup", "serve"]


def test_every_command_that_the_guide_names_exists() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    named = {left or right for left, right in COMMAND.findall(text)}
    assert len(named) > 8
    from services.cli.lazy import COMMANDS

    for command in named:
        assert command.split()[1] in COMMANDS, command
