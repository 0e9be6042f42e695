"""Copies inside the store, create-only.

Put Block From URL and Put Block List: nothing is at the target before the last call, which
makes it only where nothing is. The source is read by a URL of ours for this one blob, and
by its tag, so that no other content is taken; where its bytes were read before, the service
checks the MD5 of every block. Sources: Microsoft Learn, "Put Block From URL", "Put Block
List".
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from azure.core import MatchConditions
from azure.storage.blob import BlobBlock, ContentSettings

from services.objects.azure_blob.errors import Refused, Replaced, port_error
from services.objects.azure_blob.reading import Digest, Found, Reading
from services.objects.azure_blob.sealing import Seals
from services.objects.azure_blob.wire import Wire
from services.objects.port import ObjectInfo, ObjectMissing, StoreUnavailable
from services.objects.settling import same_bytes

__all__ = ["BLOCK_BYTES", "Copying", "committed", "new_blocks"]

_MIB = 1024 * 1024
BLOCK_BYTES = 64 * _MIB
_MOST_BLOCKS = 50_000
_AT_ONCE = 4
_TRIES = 3


def new_blocks() -> Callable[[int], str]:
    """Ids of blocks that no other write has. All of one length, as Azure wants it of the
    blocks of a blob."""
    nonce = secrets.token_hex(12)
    return lambda number: f"{nonce}-{number:06d}"


async def committed(
    wire: Wire, seals: Seals, key: str, blocks: list[str], *, size: int, sha256: str,
    content_type: str,
) -> None:
    """Join blocks to a blob, create-only, with the seal of its bytes. Raises Refused."""
    blob = wire.blob(key)

    async def commit(**keywords: Any) -> object:
        return await blob.commit_block_list(
            [BlobBlock(block_id=each) for each in blocks],
            content_settings=ContentSettings(content_type=content_type or None),
            metadata=seals.metadata(key, size, sha256),
            match_condition=MatchConditions.IfMissing, **keywords,
        )  # fmt: skip

    await wire.call(commit)


class Copying:
    """`source_url` gives a URL that may read a blob of the container."""

    def __init__(
        self, wire: Wire, reading: Reading, seals: Seals,
        source_url: Callable[[str], Awaitable[str]],
    ) -> None:
        self._wire = wire
        self._reading = reading
        self._seals = seals
        self._source_url = source_url

    async def same(self, key: str, size: int, sha256: str) -> ObjectInfo | None:
        """What is under the key if it is these bytes; None where there is nothing.
        Raises ObjectExists for others."""
        found = await self._reading.find(key)
        if found is None:
            return None

        async def digest() -> str:
            return (await self._reading.digest(key, etag=found.etag)).sha256

        return await same_bytes(found.info, size, sha256, digest)

    async def place(
        self, source: Found, target: str, digest: Digest, content_type: str
    ) -> ObjectInfo:
        """Copy that very content, whose `digest` has been verified. The same bytes at the
        target are a success. Raises Replaced when the source is another now."""
        size, sha256 = digest.size, digest.sha256
        for _ in range(_TRIES):
            there = await self.same(target, size, sha256)
            if there is not None:
                return there
            try:
                blocks = await self._copied(source, target, digest)
                await committed(
                    self._wire, self._seals, target, blocks, size=size, sha256=sha256,
                    content_type=content_type,
                )  # fmt: skip
            except Refused as refused:
                if refused.taken or refused.of_another_kind or refused.code == "InvalidBlockList":
                    continue  # by others, who took our blocks with them
                if refused.source_taken or refused.wrong:
                    raise Replaced("the blob was replaced while it was copied") from refused
                if refused.status == 404:
                    raise ObjectMissing(source.info.key) from refused
                raise port_error(refused) from refused
        there = await self.same(target, size, sha256)
        if there is not None:
            return there
        raise StoreUnavailable("the key is being written by others")

    async def _copied(self, source: Found, target: str, digest: Digest) -> list[str]:
        """Blocks at the target, that nobody sees yet."""
        size = source.info.size
        step = BLOCK_BYTES
        if not digest.md5:
            step = max(step, -(-size // _MOST_BLOCKS // _MIB) * _MIB)
        turns, block_of, failed = asyncio.Semaphore(_AT_ONCE), new_blocks(), list[Refused]()
        url = await self._source_url(source.info.key) if size else ""

        async def one(number: int, first: int) -> str:
            async with turns:
                if failed:
                    raise failed[0]  # thousands more would be asked for, each with patience
                length = min(step, size - first)
                md5 = digest.md5[number - 1] if digest.md5 else None
                try:
                    await self._wire.call(
                        self._wire.blob(target).stage_block_from_url, block_of(number),
                        url, first, length, md5, size=length,
                        headers={"x-ms-source-if-match": source.etag},
                        read_timeout=300,
                    )  # fmt: skip
                except Refused as refused:
                    failed.append(refused)
                    raise
            return block_of(number)

        starts = enumerate(range(0, size, step), 1)
        done = await asyncio.gather(
            *(one(number, first) for number, first in starts), return_exceptions=True
        )
        for each in done:
            if isinstance(each, BaseException):
                raise each
        return [each for each in done if isinstance(each, str)]
