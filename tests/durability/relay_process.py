"""A process that commits and relays until it is killed: `relay_process.py FOLDER COMMITS`.

The consumer appends `partition sequence event_id` to a file and syncs it before it
returns, so what it took is known after a kill -9. With COMMITS 0 it only relays
until everything was delivered, then prints `done`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry

from services.events.feed import Feed
from services.events.outbox import OutboxEvent
from services.events.relay import Relay, RelayMetrics
from services.model.clocks import HybridClock
from services.records.instance import open_instance
from services.records.record import Activity
from services.records.sql import SqliteDriver
from services.records.store import RecordStore


class File:
    name = "file"

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def deliver(self, events: Sequence[OutboxEvent]) -> None:
        lines = [f"{e.pk} {e.event.partition_sequence} {e.event_id}\n" for e in events]
        for line in lines:
            os.write(self._file, line.encode())
        await asyncio.sleep(0)


async def main(folder: Path, commits: int) -> None:
    driver = await SqliteDriver.open(folder / "store.sqlite")
    instance = await open_instance(driver)
    clock = HybridClock(lambda: int(time.time() * 1000))
    records = RecordStore(driver, actor=instance.actor, clock=clock)
    relay = Relay(
        File(folder / "delivered"), records=records, feed=Feed(records, now=time.time),
        metrics=RelayMetrics(CollectorRegistry()), now=time.time, linger=0.001,
    )  # fmt: skip
    await relay.register()
    running = asyncio.ensure_future(relay.run())
    print("started", flush=True)

    async def write(partition: int) -> None:
        for _ in range(commits):
            pk = f"P#{partition}"
            await records.commit(pk, [], activity=Activity("some.thing", pk))

    await asyncio.gather(*(write(partition) for partition in range(8)))
    if not commits:
        print("done", flush=True)
    await running


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
