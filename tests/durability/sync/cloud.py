"""A backup in DynamoDB and S3, on the servers of this pytest process."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass

from services.objects.store import ObjectStore
from services.records.port import RecordDriver
from tests.servers import aws

__all__ = ["Cloud", "new_cloud"]


@dataclass(frozen=True)
class Cloud:
    """Table and bucket have the same name."""

    name: str

    @property
    def settings(self) -> dict[str, str]:
        """Those of a connection to it."""
        return {
            "region": aws.REGION, "table": self.name, "bucket": self.name, "path_style": "true",
            "dynamodb_endpoint": aws.dynamodb_local().url.rstrip("/"),
            "s3_endpoint": aws.versitygw().url.rstrip("/"),
        }  # fmt: skip

    async def records(self) -> RecordDriver:
        """The table, opened to look."""
        from services.records.dynamodb import DynamoDriver

        clients = aws.clients_of(aws.dynamodb_local())
        return await DynamoDriver.open(clients, self.name, read_only=True)

    async def objects(self) -> ObjectStore:
        """The bucket, likewise."""
        from services.objects.s3 import S3Driver

        clients = aws.clients_of(aws.versitygw())
        driver = await S3Driver.open(clients, self.name, path_style=True, read_only=True)
        return ObjectStore(driver)


async def new_cloud() -> Cloud:
    """An empty one."""
    made = Cloud(f"lives-{uuid.uuid4().hex[:16]}")
    await asyncio.to_thread(aws.make_table, aws.dynamodb_local(), made.name)
    await asyncio.to_thread(aws.make_bucket, aws.versitygw(), made.name)
    return made
