"""A store that is down is said to be UNAVAILABLE, before the call that waits for it is over."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from unittest.mock import AsyncMock

import pytest

from services.aws.clients import AwsClients
from services.aws.place import AwsPlace
from services.objects.port import StoreUnavailable
from services.objects.s3.driver import S3Driver
from services.rpc.deadline import DeadlineLimits


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of somebody who accepts no connection and refuses none: its queue is full."""
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = listener.getsockname()
        for _ in range(4):
            one = opened.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(address)
        yield address[1]


async def test_a_store_that_swallows_packets(
    silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "A" * 16)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setattr("services.objects.s3.driver.check_bucket", AsyncMock())  # it was there
    clients = AwsClients(AwsPlace("eu-central-1", endpoints={"s3": f"http://127.0.0.1:{silent}"}))
    driver = await S3Driver.open(clients, "bucket")
    try:
        async with asyncio.timeout(DeadlineLimits().default_unary):
            with pytest.raises(StoreUnavailable):
                await driver.head("k")
    finally:
        await driver.close()
