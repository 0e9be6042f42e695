"""Settings of the whole suite."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.chosen_records import recycle_databases, stop_server
from tests.servers.aws import environment, stop_servers

# No per-example deadline: it would measure the machine. CI repeats the same examples.
settings.register_profile("local", deadline=None)
settings.register_profile(
    "ci", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(autouse=True)
def _databases_of_the_test() -> Iterator[None]:
    """Those that the test left (see chosen_records) are emptied when it is over."""
    yield
    recycle_databases()


@pytest.fixture
def aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials for the servers of tests/servers/aws.py, and no others."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in environment().items():
        monkeypatch.setenv(name, value)


def pytest_unconfigure() -> None:
    stop_server()
    stop_servers()
