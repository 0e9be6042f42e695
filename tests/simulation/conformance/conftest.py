"""The fixtures that the suites ask for, with drivers in memory."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from services.http.dataplane import dataplane_routes
from services.objects.filesystem import FilesystemDriver
from services.objects.keyring import Keyring
from services.objects.store import ObjectStore
from services.objects.tokens import UrlSigner
from services.records.port import ChangePage, Item
from tests.conformance.objects.rigs import Rig, Row
from tests.conformance.records.harness import (
    Clock,
    CollectingDriver,
    DriverCase,
    Environment,
    Store,
)
from tests.simulation.memory_objects import MemoryObjects
from tests.simulation.memory_records import MemoryRecords


class YieldingRecords(MemoryRecords):
    """A read of the feed lets others go on, as every real driver does."""

    async def changes(self, cursor: str | None, limit: int) -> ChangePage:
        await asyncio.sleep(0)
        return await super().changes(cursor, limit)


class MemoryStore:
    """One database: opening it again finds what was there."""

    def __init__(self, environment: Environment, *, unordered: bool = False) -> None:
        self._driver = YieldingRecords(
            uuid.uuid4().hex, clock=environment.clock, unordered=unordered
        )

    async def open(self) -> MemoryRecords:
        return self._driver

    def snapshot(self, *, page: int) -> AsyncIterator[list[Item]]:
        return self._driver.pages(page)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path, lambda: "")


@pytest.fixture(params=["memory", "memory-unordered"])
def case(request: pytest.FixtureRequest) -> DriverCase:
    if request.param == "memory":
        return DriverCase(MemoryRecords.capabilities, MemoryStore)
    return DriverCase(
        MemoryRecords.unordered_capabilities,
        lambda environment: MemoryStore(environment, unordered=True),
    )


@pytest.fixture
def clock(environment: Environment) -> Clock:
    return environment.clock


@pytest.fixture
def store(case: DriverCase, environment: Environment) -> Store:
    return case.store(environment)


@pytest.fixture
async def driver(store: Store) -> CollectingDriver:
    return await store.open()


@pytest.fixture
def row() -> Row:
    return Row(open=lambda folder: None, capabilities=MemoryObjects.capabilities)  # type: ignore[arg-type,return-value]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    signer = UrlSigner(Keyring.open(tmp_path / "keys"))
    files = FilesystemDriver(tmp_path / "none", signer=signer, public_url="http://memory")
    driver = MemoryObjects(signer=files.sign)
    routes = dataplane_routes(
        driver, signer, is_revoked=_never, max_inflight=64, grace_seconds=30.0
    )
    transport = httpx.ASGITransport(app=Starlette(routes=routes))
    async with httpx.AsyncClient(transport=transport) as client:
        yield Rig(driver=driver, store=ObjectStore(driver), client=client)
    await files.close()


async def _never(principal: str, scope: str, revision: int) -> bool:
    return False
