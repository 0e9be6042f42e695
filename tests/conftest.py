"""Settings of the whole suite."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.chosen_records import be_patient, give_time, recycle_databases, stop_server
from tests.hygiene import log_watch
from tests.security import broken_builds, reporting
from tests.servers import aws, azure

# No per-example deadline: it would measure the machine. CI repeats the same examples.
settings.register_profile("local", deadline=None)
settings.register_profile(
    "ci", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
_FIRST = (
    "simulation", "durability", "worlds", "upgrade", "e2e", "integration", "security",
    "conformance",
)  # fmt: skip
settings.load_profile("ci" if os.environ.get("CI") else "local")
# Hundreds of tests start `wm`: in a clean clone each would compile all of it anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of several processes none begins a file of minutes when the others are at their end:
    the folders with the longest files first, those with the shortest last. (xdist would
    begin with the files of most tests, which are quick ones; `--no-loadscope-reorder`.)"""
    give_time(items)
    reporting.select(config, items)
    if hasattr(config, "workerinput"):
        items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    folder = item.path.relative_to(Path(__file__).parent).parts[0]
    return _FIRST.index(folder) if folder in _FIRST else len(_FIRST)


def pytest_configure(config: pytest.Config) -> None:
    log_watch.watch_logs(config)
    reporting.register(config)
    broken_builds.apply(os.environ)
    _quieten_poller()


def pytest_runtest_setup(item: pytest.Item) -> None:
    ids = " ".join(id_ for mark in item.iter_markers("case") for id_ in mark.args)
    item.user_properties.append(("cases", ids))


def _quieten_poller() -> None:
    """gRPC's poller tells asyncio's logger, at times, that another event loop of the process was
    quicker (github.com/grpc/grpc/issues/25364): no news, and not of the test that looks at logs."""
    logging.getLogger("asyncio").addFilter(
        lambda record: "PollerCompletionQueue" not in record.getMessage()
    )


def pytest_collection_finish() -> None:
    """What is there by now stays until the end: the garbage collector need not walk through
    a million objects of modules and collected tests again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _databases_of_the_test() -> Iterator[None]:
    """Those that the test left (see chosen_records) are emptied when it is over."""
    yield
    recycle_databases()


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Emulators share the processors with the tests: calls may take longer there."""
    be_patient(monkeypatch)


@pytest.fixture
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials for the servers of tests/servers/aws.py, and no others."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in aws.environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def azure_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials for the servers of tests/servers/azure.py, and no others."""
    for name in [name for name in os.environ if name.startswith(("AZURE_", "IDENTITY_", "MSI_"))]:
        monkeypatch.delenv(name)
    for name, value in azure.environment().items():
        monkeypatch.setenv(name, value)


def pytest_unconfigure() -> None:
    stop_server()
    aws.stop_servers()
    azure.stop_servers()
