"""Stores of every driver; one PostgreSQL server per test process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.conformance.records.harness import (
    DRIVERS,
    LIVE_AWS,
    LIVE_AZURE,
    Clock,
    CollectingDriver,
    DriverCase,
    Environment,
    PostgresServer,
    Store,
)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Callable[[], PostgresServer]]:
    """Starts the server on first use: a run of SQLite alone needs none."""

    @cache
    def start() -> PostgresServer:
        return PostgresServer()

    yield start
    if start.cache_info().currsize:
        start().stop()


@pytest.fixture(autouse=True)
def _credentials(request: pytest.FixtureRequest) -> None:
    """Those of the servers of the tests, except where an account is meant."""
    if not LIVE_AWS:
        request.getfixturevalue("aws_environment")
    if not LIVE_AZURE:
        request.getfixturevalue("azure_environment")


@pytest.fixture
async def environment(
    tmp_path: Path, postgres_server: Callable[[], PostgresServer]
) -> AsyncIterator[Environment]:
    made = Environment(tmp_path, lambda: postgres_server().database())
    yield made
    await made.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The suites above the port need no second server of the same kind."""
    if "case" in metafunc.fixturenames:
        every = metafunc.module.__name__.rpartition(".")[2].startswith("test_driver_")
        names = [name for name, row in sorted(DRIVERS.items()) if every or not row.driver_only]
        metafunc.parametrize("case", names, indirect=True)


@pytest.fixture
def case(request: pytest.FixtureRequest) -> DriverCase:
    found: DriverCase = DRIVERS[request.param]
    if found.missing:
        pytest.skip(f"capability: {found.missing}")
    return found


@pytest.fixture
def clock(environment: Environment) -> Clock:
    return environment.clock


@pytest.fixture
def store(case: DriverCase, environment: Environment) -> Store:
    return case.store(environment)


@pytest.fixture
async def driver(store: Store) -> CollectingDriver:
    return await store.open()
