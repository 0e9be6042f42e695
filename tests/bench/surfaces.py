"""A surface of a driver and a store of objects, whatever they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.backends import wall_millis
from services.model.clocks import HybridClock
from services.objects.store import ObjectStore
from services.records.instance import open_instance
from services.records.port import RecordDriver
from services.records.store import RecordStore
from sync_svc.surfaces.surface import Surface

__all__ = ["surface_of"]


@asynccontextmanager
async def surface_of(
    name: str, driver: RecordDriver, objects: ObjectStore
) -> AsyncIterator[Surface]:
    """They are closed with it."""
    try:
        instance = await open_instance(driver)
        records = RecordStore(driver, actor=instance.actor, clock=HybridClock(wall_millis))
        yield Surface(name, instance, records, objects)
    finally:
        await objects.close()
        await driver.close()
