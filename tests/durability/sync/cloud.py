"""Backups in clouds, on the servers of this pytest process: DynamoDB and S3, Cosmos DB and
Blob Storage."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import Protocol

from services.objects.store import ObjectStore
from services.records.port import RecordDriver
from tests.servers import aws, azure, azure_stores

__all__ = ["Aws", "Azure", "Cloud", "new_aws", "new_azure"]


class Cloud(Protocol):
    """One backup."""

    @property
    def settings(self) -> dict[str, str]:
        """Those of a connection to it."""
        ...

    async def records(self) -> RecordDriver:
        """Opened to look."""
        ...

    async def objects(self) -> ObjectStore:
        """Likewise."""
        ...


@dataclass(frozen=True)
class Aws:
    """Table and bucket have the same name."""

    name: str

    @property
    def settings(self) -> dict[str, str]:
        return {
            "region": aws.REGION, "table": self.name, "bucket": self.name, "path_style": "true",
            "dynamodb_endpoint": aws.dynamodb_local().url.rstrip("/"),
            "s3_endpoint": aws.versitygw().url.rstrip("/"),
        }  # fmt: skip

    async def records(self) -> RecordDriver:
        from services.records.dynamodb import DynamoDriver

        clients = aws.clients_of(aws.dynamodb_local())
        return await DynamoDriver.open(clients, self.name, read_only=True)

    async def objects(self) -> ObjectStore:
        from services.objects.s3 import S3Driver

        clients = aws.clients_of(aws.versitygw())
        driver = await S3Driver.open(clients, self.name, path_style=True, read_only=True)
        return ObjectStore(driver)


@dataclass(frozen=True)
class Azure:
    """An account of the fake of Cosmos DB, and a container of Azurite."""

    stores: azure_stores.Stores

    @property
    def settings(self) -> dict[str, str]:
        return self.stores.settings

    async def records(self) -> RecordDriver:
        from services.azure.clients import AzureClients
        from services.records.cosmos import CosmosDriver

        clients = AzureClients(azure.place({"cosmos": self.stores.account.url}))
        name = self.stores.name
        return await CosmosDriver.open(
            clients, name, azure_stores.DATABASE, name, read_only=True
        )

    async def objects(self) -> ObjectStore:
        from services.azure.clients import AzureClients
        from services.objects.azure_blob import AzureBlobDriver

        driver = await AzureBlobDriver.open(
            AzureClients(azure.place()), azure.ACCOUNT, self.stores.name, read_only=True
        )
        return ObjectStore(driver)


async def new_aws() -> Cloud:
    """An empty one."""
    made = Aws(f"lives-{uuid.uuid4().hex[:16]}")
    await asyncio.to_thread(aws.make_table, aws.dynamodb_local(), made.name)
    await asyncio.to_thread(aws.make_bucket, aws.versitygw(), made.name)
    return made


async def new_azure() -> Cloud:
    """An empty one."""
    return Azure(await asyncio.to_thread(azure_stores.new_stores, "lives"))
