"""`wm parity`: the parity checklist, and whether its checks hold here."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree  # of pytest's own report

import typer

from services.cli.exit_codes import ExitCode
from services.cli.options import options_of
from services.cli.output import print_json, print_line, print_rows
from services.model.catalog import PROVIDERS
from services.model.parity import LINES, Line, faults_of

__all__ = ["app", "results_of"]

app = typer.Typer(add_completion=False)

Faults = Mapping[str, Mapping[str, str]]
"""Concern -> provider -> what was found against it, '' for nothing."""

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
    Exit code 1 when a check fails.
    """
    options = options_of(ctx)
    tests = sorted({check for line in LINES for check in line.all_checks if "::" in check})
    results = _run(tests) if run and _has_tests() else None
    passed = None if results is None else "failed" not in results.values()
    faults = {line.concern: _faults(line, results or {}) for line in LINES}
    if options.json:
        print_json({"lines": [_members(line, faults) for line in LINES], "tests_passed": passed})
    else:
        _print(faults)
        print_line(_summary(results, len(tests)))
    failed = any(any(each.values()) for each in faults.values()) or passed is False
    raise typer.Exit(ExitCode.FAILED if failed else ExitCode.OK)


def _has_tests() -> bool:
    return (_ROOT / "tests").is_dir() and importlib.util.find_spec("pytest") is not None


def _run(tests: Sequence[str]) -> dict[str, str]:
    """Check -> `passed`, `failed`, or `skipped` when this machine can run none of it.
    Their output goes to standard error."""
    with tempfile.TemporaryDirectory(prefix="wm-parity-") as folder:
        report = Path(folder) / "report.xml"
        command = [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
            f"--junitxml={report}", *tests,
        ]
        subprocess.run(command, cwd=_ROOT, stdout=sys.stderr, check=False)  # noqa: S603
        text = report.read_text(encoding="utf-8") if report.exists() else ""
    found = results_of(text)
    return {check: found.get(check, "failed") for check in tests}


def results_of(report: str) -> dict[str, str]:
    """The results in a report of pytest's; a check is the sum of its parameters."""
    found: dict[str, set[str]] = {}
    for case in ElementTree.fromstring(report).iter("testcase") if report else ():  # noqa: S314
        file = case.get("classname", "").replace(".", "/")
        check = f"{file}.py::{case.get('name', '').partition('[')[0]}"
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        found.setdefault(check, set()).update(kinds or {"passed"})
    return {check: _sum(kinds) for check, kinds in found.items()}


def _sum(kinds: set[str]) -> str:
    if kinds & {"failure", "error"}:
        return "failed"
    return "passed" if "passed" in kinds else "skipped"


def _faults(line: Line, results: Mapping[str, str]) -> dict[str, str]:
    """Provider -> what the probes and its tests found against a line."""
    probed = faults_of(line)
    found = {}
    for provider in PROVIDERS:
        checks = line.checks_of(provider.key)
        bad = [check.partition("::")[2] for check in checks if results.get(check) == "failed"]
        found[provider.key] = "; ".join([*probed, *bad])
    return found


def _state(line: Line, provider: str, faults: Faults) -> str:
    if line.only not in ("", provider):
        return "-"
    fault = faults[line.concern][provider]
    return f"failed: {fault}" if fault else "covered"


def _members(line: Line, faults: Faults) -> dict[str, object]:
    states = {each.key: _state(line, each.key, faults) for each in PROVIDERS}
    members = {"concern": line.concern, "section": line.section, "text": line.text}
    return {**members, "checks": list(line.all_checks), "providers": states}


def _print(faults: Faults) -> None:
    names = [provider.key for provider in PROVIDERS]
    rows = [
        (line.concern, *(_state(line, name, faults) for name in names), line.text)
        for line in LINES
    ]
    print_rows(("concern", *names, "line"), rows)


def _summary(results: Mapping[str, str] | None, tests: int) -> str:
    if results is None:
        return f"Probes made; {tests} tests not run (they need a checkout with the dev tools)."
    count = Counter(results.values())
    text = f"Probes made; {count['passed']} of {tests} tests passed"
    if count["skipped"]:
        text += f", {count['skipped']} cannot run on this machine"
    return f"{text}, {count['failed']} FAILED, see above." if count["failed"] else f"{text}."
