"""The clouds of the real lane: their servers of this process, and what goes wrong before them.

AWS is DynamoDB Local and versitygw behind proxies (tests/servers/faulty.py); Azure is the fake
of Cosmos DB, which goes wrong by itself, and Azurite behind such a proxy.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from services.aws.clients import AwsClients
from services.aws.place import AwsPlace
from services.azure.clients import AzureClients
from services.azure.place import AzurePlace
from services.objects.azure_blob import AzureBlobDriver
from services.objects.port import ObjectDriver
from services.objects.s3 import S3Driver
from services.records.cosmos import CosmosDriver
from services.records.cosmos.schema import container_definition
from services.records.dynamodb import DynamoDriver
from services.records.dynamodb.schema import table_definition
from services.records.port import RecordDriver
from tests.fakes.cosmos.client import CosmosControl
from tests.servers import aws, azure, containers
from tests.servers.azure_stores import DATABASE
from tests.servers.faulty import Asked, Fault, Faulty, Plan

__all__ = ["Lane", "OpenLane", "open_aws_lane", "open_azure_lane"]

_CALL_SECONDS, _PATIENT_SECONDS = 5.0, 60.0
_RATE = 0.06
_WEIGHTS = {
    Fault.THROTTLED: 4, Fault.BROKEN: 3, Fault.BROKEN_AFTER: 4, Fault.CUT: 3, Fault.CUT_AFTER: 4,
    Fault.PARTIAL: 3, Fault.EXPIRED: 1,
}  # fmt: skip
_OF_COSMOS = [
    fault.name for fault, weight in _WEIGHTS.items() for _ in range(weight)
    if fault is not Fault.PARTIAL
]  # fmt: skip


class Lane(Protocol):
    """Stores that schedules share, one after the other. `counted`: what happened in all."""

    counted: dict[str, int]

    def count(self, what: str) -> None: ...

    def go_wrong(self, rng: random.Random | None) -> None:
        """Some requests from here on, by chance; None: no more."""
        ...

    async def make(self, name: str) -> None:
        """Empty stores of this name."""
        ...

    async def records(self, name: str, *, sure: bool) -> RecordDriver:
        """`sure`: past what goes wrong, as far as there is a way."""
        ...

    async def objects(self, name: str, *, sure: bool) -> ObjectDriver: ...


OpenLane = Callable[[], AbstractAsyncContextManager[Lane]]


class _Counting:
    def __init__(self) -> None:
        self.counted: dict[str, int] = {}

    def count(self, what: str) -> None:
        self.counted[what] = self.counted.get(what, 0) + 1


class _KeptAws(AwsClients):
    """Clients that outlive their drivers: to make some takes longer than a run."""

    async def close(self) -> None: ...


class _AwsLane(_Counting):
    def __init__(self, proxies: list[Faulty]) -> None:
        super().__init__()
        self._proxies = proxies
        past = [each.url.rstrip("/") for each in (aws.dynamodb_local(), aws.versitygw())]
        self._through, self._past = (
            _KeptAws(AwsPlace(
                aws.REGION, endpoints={"dynamodb": one, "s3": other}, call_seconds=seconds
            ))
            for (one, other), seconds in (
                ([each.url for each in proxies], _CALL_SECONDS), (past, _PATIENT_SECONDS)
            )
        )  # fmt: skip

    def go_wrong(self, rng: random.Random | None) -> None:
        plan = _plan(rng)
        for proxy in self._proxies:
            proxy.plan = plan

    async def make(self, name: str) -> None:
        await self._past.call("dynamodb", "create_table", **table_definition(name))
        client = self._past.client("s3", path_style=True)
        where = {"LocationConstraint": aws.REGION}
        await asyncio.to_thread(
            client.create_bucket, Bucket=name, CreateBucketConfiguration=where
        )

    async def records(self, name: str, *, sure: bool) -> RecordDriver:
        return await DynamoDriver.open(self._past if sure else self._through, name)

    async def objects(self, name: str, *, sure: bool) -> ObjectDriver:
        clients = self._past if sure else self._through
        return await S3Driver.open(clients, name, path_style=True)

    async def close(self) -> None:
        for each in (self._through, self._past):
            await AwsClients.close(each)


class _KeptAzure(AzureClients):
    """As above: a credential is asked for once."""

    async def close(self) -> None: ...


class _AzureLane(_Counting):
    def __init__(self, account: CosmosControl, proxy: Faulty) -> None:
        super().__init__()
        self._account, self._proxy = account, proxy
        self._through, self._past = (
            _KeptAzure(AzurePlace(
                endpoints={"cosmos": account.url, "blob": blob}, ca_file=azure.ca_file(),
                call_seconds=seconds,
            ))
            for blob, seconds in (
                (proxy.url, _CALL_SECONDS),
                (azure.azurite().url.rstrip("/"), _PATIENT_SECONDS),
            )
        )  # fmt: skip

    def go_wrong(self, rng: random.Random | None) -> None:
        self._proxy.plan = _plan(rng)
        if rng is None:
            self._account.plan()
            return
        seeded: dict[str, Any] = {"seed": rng.getrandbits(32), "rate": _RATE}
        self._account.plan(seeded={**seeded, "faults": _OF_COSMOS})

    async def make(self, name: str) -> None:
        def made() -> None:
            self._account.make_container(DATABASE, container_definition(name))
            containers.new_container(name)

        await asyncio.to_thread(made)

    async def records(self, name: str, *, sure: bool) -> RecordDriver:
        clients = self._past if sure else self._through
        return await CosmosDriver.open(clients, "lane", DATABASE, name)

    async def objects(self, name: str, *, sure: bool) -> ObjectDriver:
        clients = self._past if sure else self._through
        return await AzureBlobDriver.open(clients, azure.ACCOUNT, name)

    async def close(self) -> None:
        for each in (self._through, self._past):
            await AzureClients.close(each)


@asynccontextmanager
async def open_aws_lane() -> AsyncIterator[Lane]:
    """Proxies of its own before the servers of this process."""
    proxies = [Faulty(s.url).start() for s in (aws.dynamodb_local(), aws.versitygw())]
    lane = _AwsLane(proxies)
    try:
        yield lane
    finally:
        await lane.close()
        for proxy in proxies:
            await asyncio.to_thread(proxy.stop)


@asynccontextmanager
async def open_azure_lane() -> AsyncIterator[Lane]:
    """An account of its own, and a proxy."""
    proxy = azure.faulty_blob()
    lane = _AzureLane(azure.cosmos_account(), proxy)
    try:
        yield lane
    finally:
        await lane.close()
        await asyncio.to_thread(proxy.stop)


def _plan(rng: random.Random | None) -> Plan:
    kinds, weights = list(_WEIGHTS), list(_WEIGHTS.values())

    def decide(asked: Asked) -> Fault | None:
        if rng is None or rng.random() > _RATE:
            return None
        fault = rng.choices(kinds, weights)[0]
        return None if fault is Fault.PARTIAL and asked.operation != "BatchGetItem" else fault

    return decide
