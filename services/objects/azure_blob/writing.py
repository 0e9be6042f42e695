"""Writing a stream of bytes that is read once, create-only, with bounded memory.

Up to one block goes in one Put Blob. More goes in blocks that nobody sees, four at a time,
and becomes a blob by Put Block List once the bytes are known to be those announced. What is
given up leaves blocks without a name, which the service drops after a week.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from azure.storage.blob import ContentSettings

from services.objects.azure_blob.copying import Copying, committed, new_blocks
from services.objects.azure_blob.errors import Refused, port_error
from services.objects.azure_blob.sealing import Seals
from services.objects.azure_blob.wire import Wire
from services.objects.intake import Intake, block_size, sent
from services.objects.port import ObjectExists, ObjectInfo, StoreUnavailable
from services.objects.settling import put_or_same

__all__ = ["PART_BYTES", "Writing"]

PART_BYTES = 8 * 1024 * 1024
_MAX_BLOCKS = 50_000


class Writing:
    """See the module. `part_bytes` goes in one request."""

    def __init__(self, wire: Wire, copying: Copying, seals: Seals, *, part_bytes: int) -> None:
        self._wire = wire
        self._copying = copying
        self._seals = seals
        self._part_bytes = part_bytes

    async def write(
        self, key: str, chunks: AsyncIterator[bytes], *, size: int | None, sha256: str | None,
        content_type: str,
    ) -> ObjectInfo:
        """As the port says."""
        intake = Intake(chunks, size, asyncio.to_thread)
        first = await intake.block(self._part_bytes)
        try:
            if intake.ended:
                intake.check(sha256)
                return await self._whole(key, first, intake.sha256, content_type)
            return await self._by_blocks(key, first, intake, sha256, content_type)
        except Refused as refused:
            if refused.absent:
                raise StoreUnavailable("the upload was ended by others") from refused
            if refused.of_another_kind:
                raise ObjectExists(key) from refused
            raise port_error(refused) from refused

    async def _whole(self, key: str, data: bytes, digest: str, content_type: str) -> ObjectInfo:
        blob = self._wire.blob(key)

        async def put(**keywords: Any) -> object:
            return await blob.upload_blob(
                data, length=len(data), overwrite=False,
                metadata=self._seals.metadata(key, len(data), digest),
                content_settings=ContentSettings(content_type=content_type or None), **keywords,
            )  # fmt: skip

        there = await put_or_same(
            partial(self._wire.call, put, size=len(data)),
            partial(self._copying.same, key, len(data), digest),
        )
        return there or ObjectInfo(key, len(data), digest, content_type, time.time())

    async def _by_blocks(
        self, key: str, first: bytes, intake: Intake, sha256: str | None, content_type: str
    ) -> ObjectInfo:
        blob, block_of = self._wire.blob(key), new_blocks()

        async def stage(number: int, data: bytes) -> str:
            await self._wire.call(
                blob.stage_block, block_of(number), data, len(data), size=len(data)
            )
            return block_of(number)

        blocks = await sent(first, intake, stage, step=partial(self._step, intake.size))
        intake.check(sha256)
        return await self._joined(key, blocks, intake, content_type)

    def _step(self, size: int | None, number: int) -> int:
        return block_size(size, number, least=self._part_bytes, most_blocks=_MAX_BLOCKS)

    async def _joined(
        self, key: str, blocks: list[str], intake: Intake, content_type: str
    ) -> ObjectInfo:
        """An answer that was lost is settled by a look: then the blocks are gone, too."""
        size, digest = intake.count, intake.sha256
        try:
            await committed(
                self._wire, self._seals, key, blocks, size=size, sha256=digest,
                content_type=content_type,
            )  # fmt: skip
        except Refused as refused:
            if not refused.taken and refused.code != "InvalidBlockList":
                raise
        else:
            return ObjectInfo(key, size, digest, content_type, time.time())
        there = await self._copying.same(key, size, digest)
        if there is None:
            raise StoreUnavailable("the key is being written and removed by others")
        return there
