"""`wm parity`: the parity checklist, and whether its checks hold here."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from services.cli.exit_codes import ExitCode
from services.cli.options import options_of
from services.cli.output import print_json, print_line, print_rows
from services.model.catalog import PROVIDERS
from services.model.parity import LINES, PLANNED, Line, faults_of

app = typer.Typer(add_completion=False)

_ROOT = Path(__file__).resolve().parents[2]


@app.command()
def parity(
    ctx: typer.Context,
    run: bool = typer.Option(
        True, "--run/--no-run", help="Run the tests, too, where there are any (a checkout)."
    ),
) -> None:
    """Print the parity checklist and make its checks.

    Probes are always made, tests in a checkout with the development tools.
    What is planned is shown as planned, never as covered. Exit code 1 when a
    check fails.
    """
    options = options_of(ctx)
    faults = {line.concern: "; ".join(faults_of(line)) for line in LINES}
    tests = sorted({check for line in LINES for check in line.checks if "::" in check})
    ran = run and _has_tests()
    passed = _run(tests) if ran else None
    if options.json:
        print_json({"lines": [_members(line, faults) for line in LINES], "tests_passed": passed})
    else:
        _print(faults)
        print_line(_summary(passed, len(tests)))
    failed = any(faults.values()) or passed is False
    raise typer.Exit(ExitCode.FAILED if failed else ExitCode.OK)


def _has_tests() -> bool:
    return (_ROOT / "tests").is_dir() and importlib.util.find_spec("pytest") is not None


def _run(tests: Sequence[str]) -> bool:
    """Whether they all pass. Their output goes to standard error."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=_ROOT, stdout=sys.stderr, check=False)  # noqa: S603
    return done.returncode == 0


def _state(line: Line, provider: str, faults: dict[str, str]) -> str:
    if line.only not in ("", provider):
        return "-"
    if provider in PLANNED:
        return PLANNED[provider]
    return f"failed: {faults[line.concern]}" if faults[line.concern] else "covered"


def _members(line: Line, faults: dict[str, str]) -> dict[str, object]:
    states = {each.key: _state(line, each.key, faults) for each in PROVIDERS}
    members = {"concern": line.concern, "section": line.section, "text": line.text}
    return {**members, "checks": list(line.checks), "providers": states}


def _print(faults: dict[str, str]) -> None:
    names = [provider.key for provider in PROVIDERS]
    rows = [
        (line.concern, *(_state(line, name, faults) for name in names), line.text)
        for line in LINES
    ]
    print_rows(("concern", *names, "line"), rows)


def _summary(passed: bool | None, tests: int) -> str:
    if passed is None:
        return f"Probes made; {tests} tests not run (they need a checkout with the dev tools)."
    return f"Probes made; {tests} tests {'passed' if passed else 'FAILED, see above'}."
