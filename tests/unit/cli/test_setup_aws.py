"""`wm setup aws` on the command line: what it prints, asks, writes and ends with."""

from __future__ import annotations

import json
import secrets
import tomllib
from pathlib import Path
from typing import Any

import pytest

from services.aws.clients import AwsClients
from services.cli.exit_codes import ExitCode
from services.cli.main import run
from tests.integration.aws.rigs import answered, endpoint
from tests.servers.aws import REGION

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def setup(
    aws_environment: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> list[str]:
    """The command with names of its own, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WM_AWS_ENDPOINT", endpoint())
    return ["setup", "aws", "--prefix", f"wm-{secrets.token_hex(4)}", "--region", REGION]


def test_plan_make_write_check(setup: list[str], capsys: Capture, tmp_path: Path) -> None:
    assert run([*setup, "--dry-run"]) == ExitCode.OK
    assert "create  bucket" in capsys.readouterr().out
    assert run([*setup, "--check"]) == ExitCode.FAILED
    assert not (tmp_path / "backend.toml").exists()
    assert run([*setup, "--yes", "--write"]) == ExitCode.OK
    said = capsys.readouterr().out
    assert "16/16" in said
    selection = tomllib.loads((tmp_path / "backend.toml").read_text())
    assert selection["storage"]["bucket"] == f"{setup[3]}-dev-documents"
    assert run(["setup", "aws", "--check"]) == ExitCode.OK, "the file names the same"
    assert "Nothing to change" in capsys.readouterr().out


def test_json_has_the_plan_and_what_was_done(setup: list[str], capsys: Capture) -> None:
    assert run([*setup, "--dry-run", "--json"]) == ExitCode.OK
    plan = json.loads(capsys.readouterr().out)
    assert (plan["made"], plan["dry_run"]) == (0, True)
    assert plan["changes"] == sum(step["action"] == "create" for step in plan["steps"])
    assert run([*setup, "--yes", "--json"]) == ExitCode.OK
    done = json.loads(capsys.readouterr().out)
    assert done["made"] == plan["changes"]
    assert done["selection"]["provider"] == "aws"


def test_without_a_yes_nothing_is_made(
    setup: list[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("no\n"))
    assert run(setup) == ExitCode.USAGE
    assert "not confirmed" in capsys.readouterr().err
    assert run([*setup, "--check"]) == ExitCode.FAILED
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    assert run(setup) == ExitCode.OK
    assert run([*setup, "--check"]) == ExitCode.OK


@pytest.mark.parametrize("as_json", [False, True])
def test_what_was_done_before_a_failure_is_said_and_the_next_run_goes_on(
    setup: list[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    real = AwsClients.call

    async def denied(self: Any, service: str, operation: str, **parameters: Any) -> Any:
        if operation == "create_table":
            raise answered("AccessDeniedException")()
        return await real(self, service, operation, **parameters)

    command = [*setup, "--yes", *(["--json"] if as_json else [])]
    with monkeypatch.context() as patch:
        patch.setattr(AwsClients, "call", denied)
        assert run(command) == ExitCode.DENIED
    said = capsys.readouterr()
    assert "dynamodb:CreateTable" in said.err
    if as_json:
        told = json.loads(said.out)
        assert 0 < told["made"] < told["changes"]
    else:
        assert "Stopped after 9 of 16 changes" in said.out
    assert run(command) == ExitCode.OK


def test_a_selection_of_other_resources_is_not_replaced_unless_asked(
    setup: list[str], capsys: Capture, tmp_path: Path
) -> None:
    run(["init", "--provider", "aws", "--prefix", "other"])
    before = (tmp_path / "backend.toml").read_text()
    assert run([*setup, "--yes", "--write"]) == ExitCode.CONFLICT
    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "backend.toml").read_text() == before
    assert run([*setup, "--yes", "--write", "--force"]) == ExitCode.OK
    assert setup[3] in (tmp_path / "backend.toml").read_text()


def test_a_file_that_says_the_same_keeps_what_else_is_in_it(
    setup: list[str], tmp_path: Path, capsys: Capture
) -> None:
    assert run([*setup, "--yes", "--write"]) == ExitCode.OK
    path = tmp_path / "backend.toml"
    more = '\n[[identity.issuers]]\nissuer = "https://id.example.com"\naudience = "w"\n'
    path.write_text(path.read_text() + more)
    assert run(["setup", "aws", "--write", "--force"]) == ExitCode.OK
    assert path.read_text().endswith(more)
    command = ["setup", "aws", "--prefix", "other", "--yes", "--write", "--force"]
    assert run(command) == ExitCode.CONFLICT
    assert "by hand" in capsys.readouterr().err
    assert path.read_text().endswith(more)


@pytest.mark.parametrize("which", ["setup", "workspace", "surface"])
def test_policies_are_printed_without_a_call(
    setup: list[str], capsys: Capture, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WM_AWS_ENDPOINT", "http://127.0.0.1:9")
    assert run([*setup, "--policy", which]) == ExitCode.OK
    policy = json.loads(capsys.readouterr().out)
    assert len(policy["Statement"]) >= 3
    assert all("*" not in action for each in policy["Statement"] for action in each["Action"])
    assert run([*setup, "--policy", "all"]) == ExitCode.USAGE


def test_init_says_the_next_step(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "other.toml"
    assert run(["init", "--provider", "aws", "--write", str(path)]) == ExitCode.OK
    assert f"wm setup aws --backend {path} --dry-run" in capsys.readouterr().out
