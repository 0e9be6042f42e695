"""An object driver whose calls go through a valve."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from services.objects.port import (
    ByteRange,
    ObjectCapabilities,
    ObjectDriver,
    ObjectInfo,
    ObjectPage,
    PartInfo,
    SignedTransfer,
    SignRequest,
)
from sync_svc.surfaces.valve import Traffic, Valve

__all__ = ["LimitedObjects"]


class LimitedObjects:
    """`ObjectDriver` around another one."""

    def __init__(self, driver: ObjectDriver, valve: Valve) -> None:
        self._driver = driver
        self._valve = valve

    @property
    def name(self) -> str:
        return self._driver.name

    @property
    def capabilities(self) -> ObjectCapabilities:
        return self._driver.capabilities

    @property
    def traffic(self) -> Traffic:
        """What went through so far."""
        return self._valve.traffic

    def sign(self, request: SignRequest) -> SignedTransfer:
        return self._driver.sign(request)

    async def head(self, key: str) -> ObjectInfo:
        return await self._valve.objects(lambda: self._driver.head(key))

    async def open_read(
        self, key: str, span: ByteRange | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Not repeated here: who reads knows where to go on."""
        chunks = self._driver.open_read(key, span)
        try:
            chunk = await self._valve.objects(lambda: anext(chunks, None), again=False)
            while chunk is not None:
                await self._valve.read(len(chunk))
                yield chunk
                chunk = await anext(chunks, None)
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()

    async def write(
        self,
        key: str,
        chunks: AsyncIterator[bytes],
        *,
        size: int | None,
        sha256: str | None,
        content_type: str,
    ) -> ObjectInfo:
        return await self._valve.objects(
            lambda: self._driver.write(
                key, self._going(chunks), size=size, sha256=sha256, content_type=content_type
            ),
            again=False,
        )

    async def copy(self, source: str, target: str) -> ObjectInfo:
        return await self._valve.objects(lambda: self._driver.copy(source, target))

    async def delete(self, key: str) -> None:
        await self._valve.objects(lambda: self._driver.delete(key))

    async def list(self, prefix: str, after: str | None = None, limit: int = 1000) -> ObjectPage:
        return await self._valve.objects(lambda: self._driver.list(prefix, after, limit))

    async def multipart_create(self, key: str, content_type: str, sha256: str = "") -> str:
        return await self._valve.objects(
            lambda: self._driver.multipart_create(key, content_type, sha256), again=False
        )

    async def multipart_parts(self, key: str, multipart_id: str) -> Sequence[PartInfo]:
        return await self._valve.objects(lambda: self._driver.multipart_parts(key, multipart_id))

    async def multipart_complete(
        self, key: str, multipart_id: str, parts: Sequence[PartInfo], *, size: int, sha256: str
    ) -> ObjectInfo:
        return await self._valve.objects(
            lambda: self._driver.multipart_complete(
                key, multipart_id, parts, size=size, sha256=sha256
            )
        )

    async def multipart_abort(self, key: str, multipart_id: str) -> None:
        await self._valve.objects(lambda: self._driver.multipart_abort(key, multipart_id))

    async def probe(self) -> None:
        await self._driver.probe()

    async def close(self) -> None:
        await self._driver.close()

    async def _going(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        async for chunk in chunks:
            await self._valve.write(len(chunk))
            yield chunk
