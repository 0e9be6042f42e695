"""How many requests of DynamoDB a run makes: they cost money, and a round trip each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.aws.clients import AwsClients
from tests.conformance.sync.kinds import Rig
from tests.servers.marks import needs_servers
from tests.unit.sync_svc.engine.world import Clock, document

pytestmark = [
    needs_servers,
]
WRITES = "transact_write_items"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Calls by operation, those that are repeated too."""
    counted, call = Counter[str](), AwsClients.call

    async def counting(self: AwsClients, service: str, operation: str, **given: Any) -> Any:
        counted[operation] += 1
        return await call(self, service, operation, **given)

    monkeypatch.setattr(AwsClients, "call", counting)
    return counted


@pytest.fixture
async def rig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aws_environment: None
) -> AsyncIterator[Rig]:
    made = Rig(tmp_path, Clock(time.time()), surface_kind="aws", setenv=monkeypatch.setenv)
    await made.open("local", "remote")
    yield made
    await made.close()


async def test_a_push_is_a_transaction_for_each_partition_and_few_reads(
    rig: Rig, asked: Counter[str]
) -> None:
    await rig.project()
    await rig.documents(120)
    asked.clear()
    await rig.push()
    # A server under load may have some repeated.
    assert 120 < asked[WRITES] <= 160
    assert asked.total() - asked[WRITES] <= 40, asked
    asked.clear()
    await rig.push()
    assert asked == {"batch_get_item": 1}


async def test_what_is_in_step_costs_a_few_reads(rig: Rig, asked: Counter[str]) -> None:
    await rig.project()
    await rig.documents(3)
    await rig.push()
    await rig.pull()
    await rig.pull()
    asked.clear()
    await rig.pull()
    assert asked[WRITES] == 0
    assert asked.total() <= 6, asked


@pytest.mark.parametrize("records", [3, 60])
async def test_one_change_costs_a_few_requests_among_however_many(
    rig: Rig, asked: Counter[str], records: int
) -> None:
    await rig.project()
    await rig.documents(records)
    await rig.push()
    await rig.pull(force=True)
    await rig.pull()
    await rig.write(document("d_1", "changed"))
    asked.clear()
    await rig.push()
    assert asked.total() <= 6, asked
    asked.clear()
    await rig.pull()
    assert asked.total() <= 7, asked
