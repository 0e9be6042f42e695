"""A real store, and short words to commit to it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from workspace.project.v1.project_pb2 import Project

from services.events.feed import Feed
from services.model.clocks import HybridClock
from services.model.families import FAMILIES
from services.records.port import Key
from services.records.record import Activity, Committed, Write
from services.records.store import RecordStore
from tests.chosen_records import open_chosen

Commit = Callable[..., Awaitable[Committed]]


@pytest.fixture
async def records(tmp_path: Path) -> AsyncIterator[RecordStore]:
    driver = await open_chosen(tmp_path)
    store = RecordStore(
        driver, actor="n_one.i_one", clock=HybridClock(lambda: int(time.time() * 1000))
    )
    yield store
    await store.close()


@pytest.fixture
def feed(records: RecordStore) -> Feed:
    return Feed(records, now=time.time, poll=0.05)


@pytest.fixture
def commit(records: RecordStore) -> Commit:
    """Commit a new version of a project; `of` is another store on the same driver."""

    async def write(project_id: str, name: str = "", of: Any = None) -> Committed:
        store, family = of or records, FAMILIES["project"]
        message = Project(project_id=project_id, account_id="a_one", name=name or "x")
        base = await store.get(family, Key(*family.key_of(message)))
        return await store.commit(  # type: ignore[no-any-return]
            f"PROJECT#{project_id}",
            [Write(family, message, base=base)],
            activity=Activity("project.written", f"projects/{project_id}", project_id=project_id),
        )

    return write

