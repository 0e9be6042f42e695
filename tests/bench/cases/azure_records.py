"""Commits and joins in the fake of Cosmos DB, by plain loops of the SDK that write the same.

A commit is a document: its row, the event of its making, and HEAD, which are one
transactional batch. The controls are the SDK's own asynchronous client as it comes (on
loopback it verifies no certificate), rows made beforehand:

* `batch`: `execute_item_batch` of the same three rows, each to be created, one batch after
  another;
* `read and batch`: `read_item` of HEAD first, as a record store has to.

`processor time`: of this process alone, making rows included; other work on the machine
touches it least. `distant`: everything through a proxy that holds each answer back for
10 ms, about what a batch takes in the same region of Azure.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import uvloop
from azure.cosmos.aio import CosmosClient
from azure.cosmos.exceptions import CosmosResourceNotFoundError

from services.azure.clients import AzureClients
from services.records.cosmos.codec import document_of
from services.records.cosmos.ids import id_of
from tests.bench.case import Bench
from tests.bench.cases.azure_stores import (
    CONTAINER,
    DATABASE,
    MISSING_NPM,
    container,
    cosmos_clients,
    opened_records,
    servers,
)
from tests.bench.cases.delay import Delay
from tests.bench.cases.record_commits import Commits, rate
from tests.bench.figures import Figure, Goal, Result, interleave
from tests.servers import azure

TITLE = "Records in Cosmos DB (the fake), by plain loops of the SDK"
_COMMITS = 100
_JOINS = 256
_AT_ONCE = 128  # partitions at once, as sync joins them (sync_svc/engine/applying.py)
_DELAY_SECONDS = 0.010


def run(bench: Bench) -> Result:
    """Rows are counted as records: a document and its event are two."""
    if MISSING_NPM:
        return Result(skipped=[MISSING_NPM])
    with servers():
        near, spent = _measured(bench, "")
        with Delay(azure.cosmos().url, _DELAY_SECONDS) as distant:
            far, _ = _measured(bench, distant.url)  # the proxy is in this process
    return Result(
        [*_figures(near, ""), *_processor(spent), *_figures(far, ", distant")],
        notes={
            "commits": str(_COMMITS), "at once": str(_AT_ONCE),
            "distant": f"{_DELAY_SECONDS} s a request",
        },
    )


def _figures(taken: Mapping[str, list[float]], where: str) -> list[Figure]:
    unit, one = "records/s", Goal("ratio", at_least=1)
    loop, read = "SDK batch loop", "SDK read and batch loop"
    return [
        Figure(f"driver.commit, one by one{where}", unit, loop, taken["driver"],
               taken["batch"], goal=one),
        Figure(f"RecordStore.commit, one by one{where}", unit, read, taken["store"],
               taken["read"], goal=one),
        Figure(f"Replica.join in parallel{where}", unit, loop, taken["join"],
               taken["batch"], goal=Goal("ratio", at_least=5)),
    ]  # fmt: skip


def _processor(spent: Mapping[str, list[float]]) -> list[Figure]:
    loop, read = "SDK batch loop", "SDK read and batch loop"
    named = (
        ("driver.commit", "driver", loop, "batch"),
        ("RecordStore.commit", "store", read, "read"),
        ("Replica.join", "join", read, "read"),
    )
    return [
        Figure(f"{name}, processor time", "us/commit", control, spent[side][1:],
               spent[other][1:], more_is_better=False)
        for name, side, control, other in named
    ]  # fmt: skip


def _measured(bench: Bench, distant: str) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """(rates, microseconds of processor time a commit, the round that warms up included)."""
    spent: dict[str, list[float]] = defaultdict(list)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        work = runner.run(_Work.opened(container(distant)))

        def side(name: str, commits: int, run: Callable[[int], Any]) -> Callable[[], float]:
            def measure() -> float:
                began = time.process_time()
                found: float = runner.run(run(commits))
                spent[name].append((time.process_time() - began) / commits * 1e6)
                return found

            return measure

        sides = {
            "batch": side("batch", _COMMITS, work.batches),
            "driver": side("driver", _COMMITS, work.ours.of_driver),
            "read": side("read", _COMMITS, partial(work.batches, read=True)),
            "store": side("store", _COMMITS, work.ours.of_store),
            "join": side("join", _JOINS, partial(work.ours.joins, at_once=_AT_ONCE)),
        }
        try:
            return interleave(bench.rounds, sides), spent
        finally:
            runner.run(work.close())


class _Work:
    """One container, ours and the SDK's."""

    def __init__(self, commits: Commits, clients: AzureClients, sdk: CosmosClient) -> None:
        self.ours, self._clients, self._sdk = commits, clients, sdk
        self._proxy: Any = sdk.get_database_client(DATABASE).get_container_client(CONTAINER)

    @classmethod
    async def opened(cls, url: str) -> _Work:
        clients = cosmos_clients(url)
        sdk = CosmosClient(url, clients.credential)
        await sdk.__aenter__()
        return cls(Commits(await opened_records(url)), clients, sdk)

    async def close(self) -> None:
        await self.ours.driver.close()
        await self._sdk.close()
        await self._clients.close()

    async def batches(self, commits: int, *, read: bool = False) -> float:
        """The control: the same rows and conditions, the SDK, and nothing else."""
        proxy, now, head = self._proxy, int(time.time()), id_of("#HEAD")
        made = [
            (puts[0].key.pk, [document_of(put, rev, now) for put in puts])
            for puts in self.ours.made(commits)
            for rev in [secrets.token_hex(12)]
        ]
        began = time.perf_counter()
        for pk, rows in made:
            if read:
                with suppress(CosmosResourceNotFoundError):
                    await proxy.read_item(head, partition_key=pk)
            await proxy.execute_item_batch(
                [("create", (row,)) for row in rows], partition_key=pk
            )
        return rate(commits, began)
