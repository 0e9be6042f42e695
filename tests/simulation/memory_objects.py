"""An object driver in memory, with multipart uploads and copies."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from services.objects.keys import split_key, validate_prefix
from services.objects.port import (
    ByteRange,
    ConstraintKind,
    ObjectCapabilities,
    ObjectExists,
    ObjectInfo,
    ObjectMissing,
    ObjectPage,
    PartInfo,
    SignedTransfer,
    SignRequest,
    WrongBytes,
)

__all__ = ["CHUNK", "MemoryObjects", "ObjectsSnapshot"]

CHUNK = 1 << 20
_EARLY = 0.0

ObjectsSnapshot = dict[str, tuple[bytes, ObjectInfo]]


@dataclass
class _Upload:
    key: str
    content_type: str
    sha256: str
    parts: dict[int, bytes]


class MemoryObjects:
    """`ObjectDriver` over a dictionary. `sign` makes URLs that lead nowhere unless
    a `signer` is given (the conformance suite gives one)."""

    name = "memory"
    capabilities = ObjectCapabilities(
        enforces=frozenset(ConstraintKind),
        stores_sha256=True,
        max_url_seconds=3600,
        revocable_urls=True,
    )

    def __init__(
        self,
        *,
        clock: Callable[[], float] = lambda: _EARLY,
        signer: Callable[[SignRequest], SignedTransfer] | None = None,
    ) -> None:
        self._clock = clock
        self._signer = signer
        self._objects: ObjectsSnapshot = {}
        self._uploads: dict[str, _Upload] = {}
        self._made = 0
        self.hidden: set[str] = set()
        """Keys of objects that are said not to be there: a disk that is away."""

    def snapshot(self) -> ObjectsSnapshot:
        """Everything, to restore or clone from."""
        return dict(self._objects)

    def restore(self, snapshot: ObjectsSnapshot) -> None:
        """Go back to (or become) what the snapshot shows."""
        self._objects = dict(snapshot)

    def hide(self, choice: float) -> None:
        """Let one of the newest objects be away; `choice` (0 to 1) says which."""
        keys = list(self._objects)[-3:]
        if keys:
            self.hidden.add(keys[int(choice * len(keys))])

    def peek(self, key: str) -> ObjectInfo | None:
        """The object without being a call of the port."""
        found = self._objects.get(key)
        return found[1] if found else None

    def sign(self, request: SignRequest) -> SignedTransfer:
        assert self._signer is not None, "no signed URLs in a simulation"
        return self._signer(request)

    async def head(self, key: str) -> ObjectInfo:
        return self._found(key)[1]

    async def open_read(
        self, key: str, span: ByteRange | None = None
    ) -> AsyncGenerator[bytes, None]:
        data, info = self._found(key)
        first = span.first if span else 0
        end = len(data) if span is None or span.last is None else span.last + 1
        if span is None and hashlib.sha256(data).hexdigest() != info.sha256:
            raise WrongBytes("the stored bytes no longer have their SHA-256")
        data = data[first:end]
        for at in range(0, max(len(data), 1), CHUNK):
            yield data[at : at + CHUNK]

    async def write(
        self,
        key: str,
        chunks: AsyncIterator[bytes],
        *,
        size: int | None,
        sha256: str | None,
        content_type: str,
    ) -> ObjectInfo:
        return await self.create(
            key, chunks, size=size, sha256=sha256, content_type=content_type, exclusive=False
        )

    async def create(
        self,
        key: str,
        chunks: AsyncIterator[bytes],
        *,
        size: int | None,
        sha256: str | None,
        content_type: str,
        exclusive: bool = True,
        before_publish: Callable[[], Awaitable[None]] | None = None,
    ) -> ObjectInfo:
        """What the data plane calls for a PUT."""
        split_key(key)
        data = await _gathered(chunks, size, sha256)
        if before_publish is not None:
            await before_publish()
        return self._publish(key, data, content_type, exclusive=exclusive)

    async def copy(self, source: str, target: str) -> ObjectInfo:
        data, info = self._found(source)
        return self._publish(target, data, info.content_type)

    async def delete(self, key: str) -> None:
        self._objects.pop(key, None)

    async def list(self, prefix: str, after: str | None = None, limit: int = 1000) -> ObjectPage:
        validate_prefix(prefix)
        beyond = (after or "").encode()
        mine = [key for key in self._objects if key.startswith(prefix) and key.encode() > beyond]
        keys = sorted((key for key in mine if key not in self.hidden), key=str.encode)
        page = tuple(self._objects[key][1] for key in keys[:limit])
        return ObjectPage(page, page[-1].key if len(keys) > limit else None)

    async def multipart_create(self, key: str, content_type: str, sha256: str = "") -> str:
        split_key(key)
        self._made += 1
        upload = hashlib.sha256(str(self._made).encode()).hexdigest()[:32]
        self._uploads[upload] = _Upload(key, content_type, sha256, {})
        return upload

    async def multipart_parts(self, key: str, multipart_id: str) -> Sequence[PartInfo]:
        parts = self._upload(key, multipart_id).parts
        return tuple(_part(number, parts[number]) for number in sorted(parts))

    async def multipart_put(
        self,
        key: str,
        multipart_id: str,
        number: int,
        chunks: AsyncIterator[bytes],
        *,
        size: int | None,
        sha256: str | None,
    ) -> PartInfo:
        """What the data plane calls for a part."""
        upload = self._upload(key, multipart_id)
        upload.parts[number] = await _gathered(chunks, size, sha256)
        return _part(number, upload.parts[number])

    async def multipart_complete(
        self, key: str, multipart_id: str, parts: Sequence[PartInfo], *, size: int, sha256: str
    ) -> ObjectInfo:
        there = self._objects.get(key)
        done = there is not None and (there[1].size, there[1].sha256) == (size, sha256)
        if there is not None and done and multipart_id not in self._uploads:
            return there[1]
        upload = self._upload(key, multipart_id)
        if upload.sha256 not in ("", sha256):
            raise WrongBytes("another SHA-256 was announced at the beginning")
        if [part.number for part in parts] != sorted({part.number for part in parts}):
            raise WrongBytes("the parts are out of order")
        for part in parts:
            if _part(part.number, upload.parts.get(part.number, b"")) != part:
                raise WrongBytes("a part is not the one that was received")
        data = b"".join(upload.parts[part.number] for part in parts)
        if (len(data), hashlib.sha256(data).hexdigest()) != (size, sha256):
            raise WrongBytes("the joined parts are not what was announced")
        info = self._publish(key, data, upload.content_type)
        del self._uploads[multipart_id]
        return info

    async def multipart_abort(self, key: str, multipart_id: str) -> None:
        upload = self._uploads.get(multipart_id)
        if upload is not None and upload.key == key:
            del self._uploads[multipart_id]

    async def probe(self) -> None: ...

    async def close(self) -> None: ...

    def _found(self, key: str) -> tuple[bytes, ObjectInfo]:
        found = self._objects.get(key)
        if found is None or key in self.hidden:
            raise ObjectMissing(key)
        return found

    def _upload(self, key: str, multipart_id: str) -> _Upload:
        upload = self._uploads.get(multipart_id)
        if upload is None or upload.key != key:
            raise ObjectMissing("multipart upload")
        return upload

    def _publish(
        self, key: str, data: bytes, content_type: str, *, exclusive: bool = False
    ) -> ObjectInfo:
        there = self._objects.get(key)
        if there is not None and (exclusive or there[0] != data):
            raise ObjectExists(key)
        if there is None:
            digest = hashlib.sha256(data).hexdigest()
            info = ObjectInfo(key, len(data), digest, content_type, self._clock())
            self._objects[key] = there = (data, info)
        self.hidden.discard(key)
        return there[1]


async def _gathered(chunks: AsyncIterator[bytes], size: int | None, sha256: str | None) -> bytes:
    data = bytearray()
    async for chunk in chunks:
        data += chunk
        if size is not None and len(data) > size:
            raise WrongBytes(f"more than the announced {size} bytes")
    if size is not None and len(data) != size:
        raise WrongBytes(f"{len(data)} bytes instead of the announced {size}")
    if sha256 and hashlib.sha256(data).hexdigest() != sha256:
        raise WrongBytes("the bytes do not have the announced SHA-256")
    return bytes(data)


def _part(number: int, data: bytes) -> PartInfo:
    digest = hashlib.sha256(data).hexdigest()
    return PartInfo(number, len(data), digest, digest)
