"""`wm transfers` and `wm parity` against a real `wm serve`."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.model.parity import LINES
from tests.e2e.serving import ANN, Serving


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    served = Serving(tmp_path)
    served.start()
    yield served
    if served.process is not None:
        served.end(signal.SIGKILL)


def test_owners_revoke_the_urls_of_their_project_and_nobody_all(serving: Serving) -> None:
    serving.wm("login", "--as", ANN, "--name", "Ann")
    serving.wm("projects", "create", "Plans")
    answer = serving.json("transfers", "revoke", "Plans", "--note", "laptop lost")
    (result,) = answer["results"]
    assert (result["storage_provider"], result["method"]) == (
        "local", "REVOCATION_METHOD_DATA_PLANE",
    )  # fmt: skip
    assert "our data plane refuses them" in serving.wm("transfers", "revoke", "Plans")
    serving.wm("transfers", "revoke", code=4)


def test_parity_is_printed_for_all_providers(serving: Serving) -> None:
    shown = serving.json("parity", "--no-run")
    assert shown["tests_passed"] is None
    assert [line["concern"] for line in shown["lines"]] == [line.concern for line in LINES]
    states = {line["concern"]: line["providers"] for line in shown["lines"]}
    assert states["files"] == {"local": "covered", "aws": "covered", "azure": "covered"}
    assert states["conditional_update_aws"]["azure"] == "-"
    assert "tests not run" in serving.wm("parity", "--no-run")
