"""`wm parity` shows against which line a test failed."""

from __future__ import annotations

import json

import pytest

from services.cli import parity
from services.cli.exit_codes import ExitCode
from services.cli.main import run
from services.model.parity import LINES

REPORT = """<testsuites><testsuite>
<testcase classname="tests.a.test_one" name="test_good" />
<testcase classname="tests.a.test_one" name="test_some[x]"><skipped/></testcase>
<testcase classname="tests.a.test_one" name="test_some[y]" />
<testcase classname="tests.a.test_one" name="test_none[x]"><skipped/></testcase>
<testcase classname="tests.a.test_one" name="test_bad[x]" />
<testcase classname="tests.a.test_one" name="test_bad[y]"><failure/></testcase>
<testcase classname="tests.a.test_one" name="test_broken"><error/></testcase>
</testsuite></testsuites>"""


def test_a_check_is_the_sum_of_its_parameters() -> None:
    assert parity.results_of(REPORT) == {
        "tests/a/test_one.py::test_good": "passed",
        "tests/a/test_one.py::test_some": "passed",
        "tests/a/test_one.py::test_none": "skipped",
        "tests/a/test_one.py::test_bad": "failed",
        "tests/a/test_one.py::test_broken": "failed",
    }


def test_no_report_means_nothing_passed() -> None:
    assert parity.results_of("") == {}


@pytest.mark.parametrize("result", ["passed", "failed"])
def test_a_failed_test_turns_the_cells_of_its_lines(
    result: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = next(line for line in LINES if line.concern == "upload_after_permission")
    (check,) = line.checks

    def ran(tests: list[str]) -> dict[str, str]:
        return {each: result if each == check else "passed" for each in tests}

    monkeypatch.setattr(parity, "_run", ran)
    code = run(["parity", "--json"])
    told = json.loads(capsys.readouterr().out)
    cells = {each["concern"]: each["providers"] for each in told["lines"]}
    bad = {name for name, each in cells.items() if each["local"].startswith("failed")}
    if result == "passed":
        assert (code, told["tests_passed"], bad) == (ExitCode.OK, True, set())
    else:
        assert (code, told["tests_passed"]) == (ExitCode.FAILED, False)
        assert bad == {"upload_after_permission"}
        assert "test_view_is_not_enough" in cells["upload_after_permission"]["aws"]


def test_what_one_provider_does_in_its_own_way_turns_its_cell_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = next(line for line in LINES if line.concern == "email")
    (check,) = line.own["azure"]

    def ran(tests: list[str]) -> dict[str, str]:
        return {each: "failed" if each == check else "passed" for each in tests}

    monkeypatch.setattr(parity, "_run", ran)
    assert run(["parity", "--json"]) == ExitCode.FAILED
    told = json.loads(capsys.readouterr().out)
    cells = {each["concern"]: each["providers"] for each in told["lines"]}
    assert cells["email"] == {
        "local": "covered", "aws": "covered", "azure": f"failed: {check.partition('::')[2]}",
    }  # fmt: skip
