"""An EventBridge bus on moto, and a queue that sees what was put on it."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from typing import Any

from services.aws.clients import AwsClients
from tests.servers import aws

__all__ = ["Bus"]


class Bus:
    """A bus with a rule for all of a source, whose target is a queue."""

    def __init__(self, clients: AwsClients, name: str, queue_url: str) -> None:
        self.clients = clients
        self.name = name
        self._queue_url = queue_url
        self._found: list[dict[str, Any]] = []

    @classmethod
    async def open(cls, *, source: str = "workspace.") -> Bus:
        clients = aws.clients_of(aws.moto_of_messages())
        name = f"bus-{secrets.token_hex(6)}"
        await clients.call("events", "create_event_bus", Name=name)
        queue = await clients.call(
            "sqs", "create_queue", QueueName=f"{name}.fifo",
            Attributes={"FifoQueue": "true", "ContentBasedDeduplication": "true"},
        )  # fmt: skip
        url = queue["QueueUrl"]
        found = await clients.call(
            "sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=["QueueArn"]
        )
        await clients.call(
            "events", "put_rule", Name="all", EventBusName=name,
            EventPattern=json.dumps({"source": [{"prefix": source}]}),
        )  # fmt: skip
        target = {
            "Id": "queue",
            "Arn": found["Attributes"]["QueueArn"],
            "SqsParameters": {"MessageGroupId": "all"},
        }
        await clients.call(
            "events", "put_targets", Rule="all", EventBusName=name, Targets=[target]
        )
        return cls(clients, name, url)

    async def published(self) -> list[dict[str, Any]]:
        """All that came to the queue until now, in its order."""
        while True:
            answer = await self.clients.call(
                "sqs", "receive_message", QueueUrl=self._queue_url, MaxNumberOfMessages=10,
                WaitTimeSeconds=0,
            )  # fmt: skip
            messages = answer.get("Messages", [])
            if not messages:
                return self._found
            self._found += [json.loads(each["Body"]) for each in messages]
            for each in messages:
                await self.clients.call(
                    "sqs", "delete_message", QueueUrl=self._queue_url,
                    ReceiptHandle=each["ReceiptHandle"],
                )  # fmt: skip

    async def until(self, count: int) -> list[dict[str, Any]]:
        """`published`, once there are so many."""
        return await self.when(lambda found: len(found) >= count)

    async def when(self, ready: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """`published`, once it is what is waited for."""
        while not ready(found := await self.published()):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
        return found

    async def close(self) -> None:
        await self.clients.close()
