"""How many requests of Cosmos DB a run makes: they cost money, and a round trip each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conformance.sync import kinds
from tests.conformance.sync.kinds import Rig
from tests.servers.azure_stores import Stores, new_stores
from tests.servers.marks import needs_azurite
from tests.unit.sync_svc.engine.world import Clock, document

pytestmark = [needs_azurite]
WRITES = "batch"


@pytest.fixture
def stores(azure_environment: None) -> Stores:
    """In one physical partition, as up to 50 GB are."""
    return new_stores(partitions=1)


@pytest.fixture
async def rig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stores: Stores
) -> AsyncIterator[Rig]:
    async def there(_: Path, __: Clock) -> dict[str, object]:
        return {"provider": "azure", "settings": stores.settings}

    monkeypatch.setitem(kinds.SURFACES, "azure", there)
    made = Rig(tmp_path, Clock(time.time()), surface_kind="azure", setenv=monkeypatch.setenv)
    await made.open("local", "remote")
    yield made
    await made.close()


def asked(stores: Stores) -> Counter[str]:
    """Requests by kind since the last time, those that are repeated too."""
    counts = Counter(stores.account.counts())
    stores.account.reset()
    return counts


async def test_a_push_is_a_batch_for_each_partition_and_few_reads(
    rig: Rig, stores: Stores
) -> None:
    await rig.project()
    await rig.documents(120)
    asked(stores)
    await rig.push()
    counts = asked(stores)
    # A server under load may have some repeated.
    assert 120 < counts[WRITES] <= 160
    assert counts.total() - counts[WRITES] <= 40, counts
    await rig.push()
    counts = asked(stores)
    assert counts["read"] == counts.total() <= 5, "where both were"


async def test_what_is_in_step_costs_a_few_reads(rig: Rig, stores: Stores) -> None:
    await rig.project()
    await rig.documents(3)
    await rig.push()
    await rig.pull()
    await rig.pull()
    asked(stores)
    await rig.pull()
    counts = asked(stores)
    assert counts[WRITES] == 0
    assert counts.total() <= 6, counts


@pytest.mark.parametrize("records", [3, 60])
async def test_one_change_costs_a_few_requests_among_however_many(
    rig: Rig, stores: Stores, records: int
) -> None:
    await rig.project()
    await rig.documents(records)
    await rig.push()
    await rig.pull(force=True)
    await rig.pull()
    await rig.write(document("d_1", "changed"))
    asked(stores)
    await rig.push()
    counts = asked(stores)
    assert counts.total() <= 10, counts
    await rig.pull()
    counts = asked(stores)
    assert counts.total() <= 8, counts
