"""The command line as such: help, usage errors, exit codes, JSON errors."""

from __future__ import annotations

import json
from typing import Any

import grpc
import grpc.aio
import pytest

from services.cli.describing import describe
from services.cli.exit_codes import BY_STATUS, ExitCode
from services.cli.failures import CliError
from services.cli.lazy import COMMANDS
from services.cli.main import build, run
from services.model.errors import Reason, WorkspaceError
from services.rpc.errors import CODES

Capture = pytest.CaptureFixture[str]


def every_command() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [()]
    root: Any = build()
    for name in COMMANDS:
        command = root.get_command(None, name)
        found.append((name,))
        found += [(name, inner) for inner in getattr(command, "commands", {})]
    return found


@pytest.fixture(autouse=True)
def _nobody_is_signed_in(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WM_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    for name in ("WM_SERVER", "WM_AS", "WM_DATA_DIR", "WM_DEBUG"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("command", every_command(), ids=" ".join)
def test_every_command_has_help(command: tuple[str, ...], capsys: Capture) -> None:
    assert run([*command, "--help"]) == ExitCode.OK
    shown = capsys.readouterr().out
    assert "Usage: " in shown
    assert "--json" in shown or "Commands" in shown or len(command) < 2


def test_files_is_documents() -> None:
    root: Any = build()
    documents, files = (root.get_command(None, name) for name in ("documents", "files"))
    assert sorted(documents.commands) == sorted(files.commands)


@pytest.mark.parametrize(
    "arguments",
    [
        ["projcts"],
        ["projects", "crate"],
        ["projects", "create"],
        ["projects", "list", "--nope"],
        ["projects", "list", "--status", "sleeping"],
        ["projects", "assign", "p", "--private", "--team", "t"],
        ["check", "me", "fly", "p"],
        ["grants", "give", "p", "ann@example.com"],
        ["grants", "give", "p", "ann@example.com", "writer", "--permission", "view"],
        ["import", "no-such-folder", "--project", "p"],
        ["put", "no-such-file", "--project", "p"],
        ["projects", "update", "p"],
        ["login"],
        ["init", "--provider", "cloud"],
        ["serve", "--backend", "no-such.toml"],
    ],
    ids=" ".join,
)
def test_usage_errors_exit_2_with_one_line_and_no_traceback(
    arguments: list[str], capsys: Capture
) -> None:
    assert run(arguments) == ExitCode.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("wm: ")
    assert "Traceback" not in captured.err


def test_a_mistyped_command_is_guessed(capsys: Capture) -> None:
    run(["projcts"])
    assert "'projects'" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["before", "after"])
def test_json_errors_wherever_the_flag_stands(place: str, capsys: Capture) -> None:
    arguments = ["projects", "list"]
    arguments = ["--json", *arguments] if place == "before" else [*arguments, "--json"]
    assert run(arguments) == ExitCode.NOT_SIGNED_IN
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["exit_code"] == 3
    assert error["remedy"] == "sign in: wm login --as you@example.com"


def test_not_signed_in_names_the_person_asked_for(capsys: Capture) -> None:
    assert run(["whoami", "--as", "ann@example.com"]) == ExitCode.NOT_SIGNED_IN
    assert "wm login --as ann@example.com" in capsys.readouterr().err


def test_version(capsys: Capture) -> None:
    assert run(["--version"]) == ExitCode.OK
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("reason", list(CODES))
def test_every_reason_has_a_documented_exit_code(reason: Any) -> None:
    failure = describe(WorkspaceError(reason, "text", metadata={"field": "x"}))
    assert failure.message == "text"
    assert failure.exit_code == BY_STATUS.get(CODES[reason].name, ExitCode.FAILED)
    assert failure.exit_code != ExitCode.OK


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, 3),
        (grpc.StatusCode.PERMISSION_DENIED, 4),
        (grpc.StatusCode.NOT_FOUND, 5),
        (grpc.StatusCode.ALREADY_EXISTS, 6),
        (grpc.StatusCode.FAILED_PRECONDITION, 7),
        (grpc.StatusCode.UNAVAILABLE, 8),
        (grpc.StatusCode.INTERNAL, 1),
    ],
)
def test_calls_that_fail(status: grpc.StatusCode, code: int) -> None:
    empty = grpc.aio.Metadata()
    failure = describe(grpc.aio.AioRpcError(status, empty, empty, details="said the peer"))
    assert failure.exit_code == code
    assert failure.message


def test_an_unexpected_failure_shows_nothing_of_its_text() -> None:
    failure = describe(RuntimeError("token=abc"))
    assert failure.exit_code == ExitCode.FAILED
    assert "abc" not in failure.message + failure.remedy


def test_groups_of_failures_show_the_first() -> None:
    group = ExceptionGroup("g", [CliError("inner", exit_code=ExitCode.CONFLICT)])
    assert describe(group).exit_code == ExitCode.CONFLICT


def test_debug_prints_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("WM_DEBUG", "1")
    run(["whoami"])
    assert "Traceback" in capsys.readouterr().err


def test_reasons_are_shown() -> None:
    error = WorkspaceError(Reason.ERROR_REASON_LAST_OWNER, "the last owner stays")
    assert describe(error).reason == "ERROR_REASON_LAST_OWNER"
