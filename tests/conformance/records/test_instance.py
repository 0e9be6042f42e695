"""The instance record: identity, generations, restored and cloned stores."""

from __future__ import annotations

import asyncio
import json

import pytest

from services.model.errors import WorkspaceError
from services.records.instance import open_instance
from services.records.port import ABSENT, Key, Match, Put, RecordDriver


async def test_every_start_is_a_new_generation_of_the_same_instance(driver: RecordDriver) -> None:
    first, second = await open_instance(driver), await open_instance(driver)
    assert (first.generation, second.generation) == (1, 2)
    assert first.actor == second.actor


async def test_starts_at_once_get_different_generations(driver: RecordDriver) -> None:
    begun = await asyncio.gather(*(open_instance(driver) for _ in range(5)))
    assert sorted(i.generation for i in begun) == [1, 2, 3, 4, 5]
    assert len({i.instance_id for i in begun}) == 1


class Moved:
    """The same rows behind another provider identity: a restored copy."""

    def __init__(self, inner: RecordDriver) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def identity(self) -> str:
        return "somewhere else"


async def test_a_restored_copy_gets_a_new_incarnation(driver: RecordDriver) -> None:
    first = await open_instance(driver)
    copy = await open_instance(Moved(driver))  # type: ignore[arg-type]
    assert copy.instance_id == first.instance_id
    assert copy.incarnation != first.incarnation
    again = await open_instance(Moved(driver))  # type: ignore[arg-type]
    assert again.incarnation == copy.incarnation


async def test_a_newer_format_is_refused(driver: RecordDriver) -> None:
    await open_instance(driver)
    key = Key("INSTANCE", "INSTANCE")
    item = await driver.get(key)
    assert item is not None
    body = json.loads(item.body) | {"format": 9, "min_writer": 9}
    await driver.commit(
        key.pk, [Put(key, Match(item.token) if item else ABSENT, "instance", json.dumps(body))]
    )
    with pytest.raises(WorkspaceError, match="has format 9"):
        await open_instance(driver)
