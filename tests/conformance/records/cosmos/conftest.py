"""A container of the fake for each test, and a driver."""

from __future__ import annotations

import pytest

from tests.conformance.records.cosmos_stores import CosmosStore, FakeContainer, SweptContainer
from tests.conformance.records.harness import Environment
from tests.fakes.cosmos.client import CosmosControl


@pytest.fixture
def place(azure_environment: None) -> FakeContainer:
    return FakeContainer()


@pytest.fixture
def fake(place: FakeContainer) -> CosmosControl:
    return place.fake


@pytest.fixture
def store(place: FakeContainer, environment: Environment) -> CosmosStore:
    return CosmosStore(environment, lambda: place)


@pytest.fixture
async def driver(store: CosmosStore, fake: CosmosControl) -> SweptContainer:
    """Warm: the SDK has what it keeps of the container, and the counters are at zero."""
    made = await store.open()
    await made.scan(None, 1)
    fake.reset()
    return made
