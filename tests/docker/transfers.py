"""Somebody who uploads files while something is done to a deployment, beside tests.stack.load."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc.aio
import httpx

from tests.stack.load import holds
from tests.stack.people import Person

__all__ = ["Transfers", "with_transfers"]

_PAUSE = 0.2


@dataclass
class Transfers:
    """`kept`: content by document, of uploads that were acknowledged to their end; `failures`:
    what the others ended with, in spite of retries."""

    person: Person
    project_id: str
    kept: dict[str, bytes] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    stopping: bool = False

    async def run(self) -> None:
        number = 0
        while not self.stopping:
            number += 1
            data = os.urandom(20_000)
            try:
                document = await self.person.upload(self.project_id, f"file {number}", data)
            except grpc.aio.AioRpcError as error:
                self.failures[error.code().name] += 1
            except httpx.HTTPStatusError as error:
                self.failures[f"HTTP {error.response.status_code}"] += 1
            except httpx.TransportError:  # the gateway is away: there is nobody to say so
                self.failures["UNAVAILABLE"] += 1
            else:
                self.kept[document] = data
            await asyncio.sleep(_PAUSE)

    async def until(self, uploads: int) -> None:
        """Wait for so many more uploads that were acknowledged."""
        wanted = len(self.kept) + uploads
        await holds(lambda: len(self.kept) >= wanted, 180)

    async def lost(self) -> list[str]:
        """Documents whose file is not what was uploaded."""
        return [
            document
            for document, data in self.kept.items()
            if await self.person.download(document) != data
        ]


@asynccontextmanager
async def with_transfers(person: Person, project_id: str) -> AsyncIterator[Transfers]:
    """Uploads inside of the block."""
    transfers = Transfers(person, project_id)
    running = asyncio.ensure_future(transfers.run())
    try:
        await transfers.until(1)
        yield transfers
        await transfers.until(1)
    finally:
        transfers.stopping = True
        async with asyncio.timeout(90):
            await running
