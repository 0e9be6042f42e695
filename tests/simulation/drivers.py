"""The ports as one node sees one store: every call waits its turn and may fail."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass

from services.objects.port import (
    ByteRange,
    ObjectCapabilities,
    ObjectInfo,
    ObjectPage,
    PartInfo,
    SignedTransfer,
    SignRequest,
    StoreUnavailable,
)
from services.records.port import (
    Capabilities,
    ChangePage,
    ConditionFailed,
    DriverUnavailable,
    Index,
    Item,
    ItemPage,
    Key,
    Put,
)
from tests.simulation.memory_objects import MemoryObjects
from tests.simulation.memory_records import MemoryRecords
from tests.simulation.network import Fault, Life, Network

__all__ = ["Line", "SimObjects", "SimRecords"]


@dataclass(frozen=True)
class Line:
    """From one life of a node to one store."""

    network: Network
    life: Life
    store: str

    async def call(self, label: str, kind: str) -> Fault:
        return await self.network.call(self.life, f"{self.store} {label}", kind)


class SimRecords:
    """`RecordDriver` over a store in memory, along a line."""

    name = "memory"

    def __init__(self, inner: MemoryRecords, line: Line) -> None:
        self.inner = inner
        self._line = line

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    async def get(self, key: Key) -> Item | None:
        await self._read(f"get {key.pk} {key.sk}")
        return self.inner.peek(key)

    async def batch_get(self, keys: Sequence[Key]) -> list[Item | None]:
        if not keys:
            return []
        await self._read(f"batch_get {len(keys)} {keys[0].pk} {keys[0].sk}")
        return await self.inner.batch_get(keys)

    async def query(
        self,
        index: Index,
        partition: str,
        *,
        lower: str = "",
        upper: str | None = None,
        limit: int = 100,
        after: str | None = None,
        descending: bool = False,
    ) -> ItemPage:
        fault = await self._read(f"query {index.value} {partition}", "list")
        page = await self.inner.query(
            index, partition, lower=lower, upper=upper, limit=limit, after=after,
            descending=descending,
        )
        return ItemPage(self._listed(page.items, fault), page.next)

    async def commit(self, pk: str, puts: Sequence[Put]) -> list[str]:
        fault = await self._line.call(f"commit {pk} {len(puts)} {puts[-1].key.sk}", "write")
        if fault is Fault.UNAVAILABLE:
            raise DriverUnavailable("simulated")
        if fault is Fault.LOST_BEFORE:
            raise DriverUnavailable("simulated", ambiguous=True)
        try:
            tokens = await self.inner.commit(pk, puts)
        except ConditionFailed as failed:
            if fault is Fault.LOST_AFTER:
                raise DriverUnavailable("simulated", ambiguous=True) from failed
            raise
        if fault is Fault.LOST_AFTER:
            raise DriverUnavailable("simulated", ambiguous=True)
        return tokens

    async def changes(self, cursor: str | None, limit: int) -> ChangePage:
        fault = await self._read("changes", "list")
        if fault is Fault.INCOMPLETE:  # the newest are held back, as on PostgreSQL
            page = await self.inner.changes(cursor, max(1, limit // 2))
            return ChangePage(page.items, page.cursor, complete=False)
        return await self.inner.changes(cursor, limit)

    async def tail(self) -> str:
        await self._read("tail")
        return await self.inner.tail()

    async def scan(self, after: Key | None, limit: int) -> Sequence[Item]:
        fault = await self._read("scan", "list")
        items = await self.inner.scan(after, limit)
        return self._listed(items, fault)

    async def identity(self) -> str:
        await self._read("identity")
        return await self.inner.identity()

    async def close(self) -> None: ...

    async def _read(self, label: str, kind: str = "read") -> Fault:
        fault = await self._line.call(label, kind)
        if fault is Fault.UNAVAILABLE:
            raise DriverUnavailable("simulated")
        return fault

    def _listed(self, items: Sequence[Item], fault: Fault) -> Sequence[Item]:
        """All of the items, or with a few left out (never the last: it is where the
        next page begins)."""
        if fault is not Fault.INCOMPLETE:
            return items
        rng = self._line.network.rng
        return [*(item for item in items[:-1] if rng.random() > 0.2), *items[-1:]]


class SimObjects:
    """`ObjectDriver` over a store in memory, along a line."""

    name = "memory"

    def __init__(self, inner: MemoryObjects, line: Line) -> None:
        self.inner = inner
        self._line = line

    @property
    def capabilities(self) -> ObjectCapabilities:
        return self.inner.capabilities

    def sign(self, request: SignRequest) -> SignedTransfer:
        return self.inner.sign(request)

    async def head(self, key: str) -> ObjectInfo:
        await self._call(f"head {key}", "read")
        return await self.inner.head(key)

    async def open_read(
        self, key: str, span: ByteRange | None = None
    ) -> AsyncGenerator[bytes, None]:
        await self._call(f"read {key}", "read")
        async for chunk in self.inner.open_read(key, span):
            yield chunk

    async def write(
        self,
        key: str,
        chunks: AsyncIterator[bytes],
        *,
        size: int | None,
        sha256: str | None,
        content_type: str,
    ) -> ObjectInfo:
        data = [chunk async for chunk in chunks]
        fault = await self._call(f"write {key}", "write")
        info = await self.inner.write(
            key, _again(data), size=size, sha256=sha256, content_type=content_type
        )
        if fault is Fault.LOST_AFTER:
            raise StoreUnavailable("simulated")
        return info

    async def copy(self, source: str, target: str) -> ObjectInfo:
        await self._call(f"copy {source} {target}", "write")
        return await self.inner.copy(source, target)

    async def delete(self, key: str) -> None:
        await self._call(f"delete {key}", "write")
        await self.inner.delete(key)

    async def list(self, prefix: str, after: str | None = None, limit: int = 1000) -> ObjectPage:
        fault = await self._call(f"list {prefix}", "list")
        page = await self.inner.list(prefix, after, limit)
        if fault is not Fault.INCOMPLETE:
            return page
        kept = tuple(each for each in page.objects if self._line.network.rng.random() > 0.2)
        return ObjectPage(kept, page.next)

    async def multipart_create(self, key: str, content_type: str, sha256: str = "") -> str:
        await self._call(f"multipart_create {key}", "write")
        return await self.inner.multipart_create(key, content_type, sha256)

    async def multipart_parts(self, key: str, multipart_id: str) -> Sequence[PartInfo]:
        await self._call(f"multipart_parts {key}", "read")
        return await self.inner.multipart_parts(key, multipart_id)

    async def multipart_complete(
        self, key: str, multipart_id: str, parts: Sequence[PartInfo], *, size: int, sha256: str
    ) -> ObjectInfo:
        await self._call(f"multipart_complete {key}", "write")
        return await self.inner.multipart_complete(
            key, multipart_id, parts, size=size, sha256=sha256
        )

    async def multipart_abort(self, key: str, multipart_id: str) -> None:
        await self._call(f"multipart_abort {key}", "write")
        await self.inner.multipart_abort(key, multipart_id)

    async def probe(self) -> None:
        await self.inner.probe()

    async def close(self) -> None: ...

    async def _call(self, label: str, kind: str) -> Fault:
        fault = await self._line.call(f"objects {label}", kind)
        if fault in (Fault.UNAVAILABLE, Fault.LOST_BEFORE):
            raise StoreUnavailable("simulated")
        return fault


async def _again(chunks: list[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
