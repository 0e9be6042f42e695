"""The scenarios run on every kind of backup (see backups.py)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.sync.backups import Backups, Clouds, Folders, chosen_kinds
from tests.integration.sync.backups_azure import AzureClouds
from tests.servers.marks import needs_azurite, needs_servers

EVERY_DAY = ("scenario_5_", "scenario_8_", "scenario_13_")
"""On the clouds too in every run of the tests; the others with WM_TEST_SURFACE=aws, azure."""

_MARKS = {
    "aws": [needs_servers, pytest.mark.timeout(900)],
    "azure": [needs_azurite, pytest.mark.timeout(900)],
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backups" in metafunc.fixturenames:
        every_day = any(each in metafunc.function.__name__ for each in EVERY_DAY)
        params = [
            pytest.param(kind, marks=_MARKS.get(kind, []), id=f"on-{kind}")
            for kind in chosen_kinds(every_day=every_day)
        ]
        metafunc.parametrize("backups", params, indirect=True)


@pytest.fixture
def backups(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, aws_environment: None,
    azure_environment: None,
) -> Iterator[Backups]:  # fmt: skip
    if request.param == "folder":
        yield Folders()
        return
    # Nothing here is about deadlines, and a machine may be busy.
    for cloud in ("aws", "azure"):
        monkeypatch.setattr(f"sync_svc.surfaces.{cloud}._OPEN_SECONDS", 90.0)
        monkeypatch.setattr(f"sync_svc.surfaces.{cloud}._CALL_SECONDS", 30.0)
    made = Clouds(monkeypatch.setenv) if request.param == "aws" else AzureClouds()
    yield made
    made.close()
