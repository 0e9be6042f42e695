"""Copies inside the store, create-only.

S3 takes `If-None-Match: *` for the target of a copy; a store that does not know it
leaves the time between our look and the copy to other processes (inside this one, the
writers of a key take turns).
"""

from __future__ import annotations

import asyncio

from services.objects.port import (
    ObjectInfo,
    ObjectMissing,
    PartInfo,
    StoreUnavailable,
    WrongBytes,
)
from services.objects.s3.addressing import Address
from services.objects.s3.errors import Refused, port_error
from services.objects.s3.parts import Parts, Upload
from services.objects.s3.reading import Found, Reading
from services.objects.s3.wire import Call, Wire
from services.objects.settling import same_bytes

__all__ = ["Copying"]

_MIB = 1024 * 1024
WHOLE_BYTES = 256 * _MIB
"""Above this in parts: S3's limit is 5 GiB, but one such copy takes a minute."""
_MAX_PARTS = 10_000
_AT_ONCE = 4
_TRIES = 3


class Copying:
    """`bucket` is that of both ends."""

    def __init__(self, wire: Wire, reading: Reading, parts: Parts, *, bucket: str) -> None:
        self._wire = wire
        self._reading = reading
        self._parts = parts
        self._bucket = bucket

    async def same(self, key: str, size: int, sha256: str) -> ObjectInfo | None:
        """What is under the key if it is these bytes; None where there is nothing.
        Raises ObjectExists for others."""
        found = await self._reading.find(key)
        if found is None:
            return None

        async def digest() -> str:
            return (await self._reading.digest(key, etag=found.etag))[1]

        return await same_bytes(found.info, size, sha256, digest)

    async def place(self, source: Found, target: str, sha256: str) -> ObjectInfo:
        """Copy that very content, of which `sha256` has been verified. The same bytes at
        the target are a success."""
        for _ in range(_TRIES):
            there = await self.same(target, source.info.size, sha256)
            if there is not None:
                return there
            try:
                await self._copied(source, target, sha256)
            except Refused as refused:
                if refused.taken:
                    continue
                if refused.absent:
                    # The source; or an upload in parts that an earlier try completed.
                    there = await self.same(target, source.info.size, sha256)
                    if there is None:
                        raise ObjectMissing(source.info.key) from refused
                    return there
                raise port_error(refused) from refused
            return await self._checked(source, target, sha256)
        if await self._reading.find(source.info.key) is None:
            raise ObjectMissing(source.info.key)
        raise StoreUnavailable("the key is being written by others")

    async def _copied(self, source: Found, target: str, sha256: str) -> None:
        headers = {
            "x-amz-copy-source": self._source(source),
            "x-amz-copy-source-if-match": source.etag,
        }
        if source.info.size > WHOLE_BYTES:
            await self._in_parts(source, target, headers, sha256)
            return
        headers |= {
            "x-amz-metadata-directive": "REPLACE", "x-amz-meta-sha256": sha256,
            "x-amz-checksum-algorithm": "SHA256", "if-none-match": "*",
        }  # fmt: skip
        if source.info.content_type:
            headers["content-type"] = source.info.content_type
        await self._wire.call(Call("CopyObject", "PUT", target, (), headers, slow=True))

    async def _checked(self, source: Found, target: str, sha256: str) -> ObjectInfo:
        """S3 computes the SHA-256 of a copy: it must be that of the source."""
        found = await self._reading.find(target)
        if found is None:
            raise StoreUnavailable("the copy is not there")
        info = found.info
        known = info.sha256 or (await self._reading.digest(target, etag=found.etag))[1]
        if (info.size, known) == (source.info.size, sha256):
            return ObjectInfo(target, info.size, sha256, info.content_type, info.modified_at)
        await self._wire.call(Call("DeleteObject", "DELETE", target))
        raise WrongBytes("the copy has not the bytes of its source")

    async def _in_parts(
        self, source: Found, target: str, headers: dict[str, str], sha256: str
    ) -> None:
        size = source.info.size
        step = max(WHOLE_BYTES, -(-size // _MAX_PARTS // _MIB) * _MIB)
        upload = await self._parts.begin(
            target, source.info.content_type, metadata={"sha256": sha256}, checked=True
        )
        try:
            parts = await self._ranges(upload, headers, size, step)
            await self._parts.complete(upload, parts, create_only=True)
        except BaseException:
            await self._parts.abort(upload)
            raise

    async def _ranges(
        self, upload: Upload, headers: dict[str, str], size: int, step: int
    ) -> list[PartInfo]:
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(number: int, first: int) -> PartInfo:
            async with turns:
                last = min(first + step, size) - 1
                return await self._parts.copy(upload, number, headers, first, last)

        starts = enumerate(range(0, size, step), 1)
        done = await asyncio.gather(
            *(one(number, first) for number, first in starts), return_exceptions=True
        )
        for each in done:
            if isinstance(each, BaseException):
                raise each
        return [each for each in done if isinstance(each, PartInfo)]

    def _source(self, source: Found) -> str:
        return Address("", "", f"/{self._bucket}/").path(source.info.key)
