"""Writing a stream of bytes that is read once, create-only, with bounded memory.

Up to one part goes in one PUT, with its SHA-256, which S3 checks and keeps. More goes in
parts, each with its SHA-256, four at a time. An announced SHA-256 is the metadata of
such an object, which is joined only if the bytes had it; one that is not known at the
beginning cannot be: those bytes are joined aside (`staging.py`) and copied to their key
inside the store.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import suppress

from services.objects.port import (
    ObjectInfo,
    ObjectMissing,
    PartInfo,
    StoreUnavailable,
    WrongBytes,
)
from services.objects.s3.copying import Copying
from services.objects.s3.digests import base64_of
from services.objects.s3.errors import Refused, port_error
from services.objects.s3.parts import Parts, Upload
from services.objects.s3.reading import Reading
from services.objects.s3.staging import STAGED
from services.objects.s3.turns import Turns
from services.objects.s3.wire import Call, Wire

__all__ = ["PART_BYTES", "Writing"]

_MIB = 1024 * 1024
PART_BYTES = 16 * _MIB
_MAX_PARTS = 10_000
_GROWS_EVERY = 1_000
_AT_ONCE = 4
_TRIES = 3


class Writing:
    """See the module. `part_bytes` is at least the 5 MiB of S3."""

    def __init__(
        self, wire: Wire, reading: Reading, parts: Parts, copying: Copying, turns: Turns, *,
        part_bytes: int,
    ) -> None:
        self._wire = wire
        self._reading = reading
        self._parts = parts
        self._copying = copying
        self._turns = turns
        self._part_bytes = part_bytes

    async def write(
        self, key: str, chunks: AsyncIterator[bytes], *, size: int | None, sha256: str | None,
        content_type: str,
    ) -> ObjectInfo:
        """As the port says."""
        intake = _Intake(chunks, size, self._wire)
        first = await intake.block(self._part_bytes)
        try:
            if intake.ended:
                _check(intake, sha256)
                return await self._whole(key, first, intake.sha256, content_type)
            return await self._by_parts(key, first, intake, sha256, content_type)
        except Refused as refused:
            if refused.absent:
                raise StoreUnavailable("the upload was ended by others") from refused
            raise port_error(refused) from refused

    async def _whole(self, key: str, data: bytes, digest: str, content_type: str) -> ObjectInfo:
        headers = {
            "if-none-match": "*", "x-amz-checksum-sha256": base64_of(digest),
            "x-amz-sdk-checksum-algorithm": "SHA256",
        }  # fmt: skip
        if content_type:
            headers["content-type"] = content_type
        call = Call("PutObject", "PUT", key, (), headers, data, digest)
        async with self._turns.of(key):
            for _ in range(_TRIES):
                try:
                    await self._wire.call(call)
                except Refused as refused:
                    if not refused.taken:
                        raise
                else:
                    return ObjectInfo(key, len(data), digest, content_type, time.time())
                there = await self._copying.same(key, len(data), digest)
                if there is not None:
                    return there
        raise StoreUnavailable("the key is being written and removed by others")

    async def _by_parts(
        self, key: str, first: bytes, intake: _Intake, sha256: str | None, content_type: str
    ) -> ObjectInfo:
        target = key if sha256 else f"{STAGED}/written/{secrets.token_hex(16)}"
        metadata = {"sha256": sha256} if sha256 else {}
        upload = await self._parts.begin(target, content_type, metadata=metadata, checked=True)
        try:
            parts = await self._send(upload, first, intake)
            _check(intake, sha256)
            if sha256:
                return await self._join(upload, parts, intake, content_type)
            with suppress(_Taken):  # joined by a try that brought no answer
                await self._completed(upload, parts, create_only=False)
        except BaseException:
            await self._drop(upload)
            raise
        return await self._copied(upload, key, intake)

    async def _send(self, upload: Upload, first: bytes, intake: _Intake) -> list[PartInfo]:
        """All parts, a few at a time. Whatever happens, none is under way afterwards."""
        tasks: list[asyncio.Task[PartInfo]] = []
        turns = asyncio.Semaphore(_AT_ONCE)
        data, number = first, 1
        try:
            while data:
                await turns.acquire()
                task = asyncio.create_task(self._part(upload, number, data))
                task.add_done_callback(lambda _: turns.release())
                tasks.append(task)
                _raise_first(tasks)
                number += 1
                data = b"" if intake.ended else await intake.block(self._step(intake, number))
        finally:
            done = await asyncio.gather(*tasks, return_exceptions=True)
        for each in done:
            if isinstance(each, BaseException):
                raise each
        return [each for each in done if isinstance(each, PartInfo)]

    async def _part(self, upload: Upload, number: int, data: bytes) -> PartInfo:
        digest = await self._wire.run(_sha256, data)
        return await self._parts.put(upload, number, data, digest)

    def _step(self, intake: _Intake, number: int) -> int:
        """The size of a part, such that 10,000 are enough."""
        if intake.size is None:
            return int(self._part_bytes * 2 ** (number // _GROWS_EVERY))
        return max(self._part_bytes, -(-intake.size // (_MAX_PARTS - 1) // _MIB) * _MIB)

    async def _join(
        self, upload: Upload, parts: list[PartInfo], intake: _Intake, content_type: str
    ) -> ObjectInfo:
        """Create-only at the key itself. An answer that was lost is seen by a look."""
        key, digest = upload.key, intake.sha256
        async with self._turns.of(key):
            there = await self._copying.same(key, intake.count, digest)
            if there is None:
                with suppress(_Taken):
                    await self._completed(upload, parts, create_only=True)
                    return ObjectInfo(key, intake.count, digest, content_type, time.time())
                there = await self._copying.same(key, intake.count, digest)
        await self._drop(upload)
        if there is None:
            raise StoreUnavailable("the key is being written and removed by others")
        return there

    async def _completed(
        self, upload: Upload, parts: list[PartInfo], *, create_only: bool
    ) -> None:
        try:
            await self._parts.complete(upload, parts, create_only=create_only)
        except Refused as refused:
            if refused.taken or refused.absent:
                raise _Taken from refused
            raise

    async def _copied(self, upload: Upload, key: str, intake: _Intake) -> ObjectInfo:
        try:
            staged = await self._reading.find(upload.key)
            if staged is None:
                raise StoreUnavailable("the joined parts are not there")
            async with self._turns.of(key):
                return await self._copying.place(staged, key, intake.sha256)
        except ObjectMissing as error:
            raise StoreUnavailable("the joined parts are gone") from error
        finally:
            await self._wire.call(Call("DeleteObject", "DELETE", upload.key))

    async def _drop(self, upload: Upload) -> None:
        """As far as the store lets us: its lifecycle does the rest."""
        with suppress(Refused):
            await self._parts.abort(upload)


class _Taken(Exception):
    """The key holds something, or the upload is over: perhaps by our own first try."""


class _Intake:
    """Blocks of a stream, with what is known of it so far."""

    def __init__(self, chunks: AsyncIterator[bytes], size: int | None, wire: Wire) -> None:
        self.size = size
        self.count = 0
        self.ended = False
        self._chunks = aiter(chunks)
        self._wire = wire
        self._digest = hashlib.sha256()
        self._rest = bytearray()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    async def block(self, length: int) -> bytes:
        """The next bytes, `length` of them or all that is left (`ended` then). Raises
        WrongBytes where there are more than announced."""
        data = self._rest
        # One byte more shows whether this is the last block.
        while len(data) <= length and not self.ended:
            chunk = await anext(self._chunks, None)
            if chunk is None:
                self.ended = True
            else:
                data += chunk
                self.count += len(chunk)
                self._check_length()
        block, self._rest = bytes(memoryview(data)[:length]), data[length:]
        if len(block) <= _MIB:
            self._digest.update(block)
        else:
            await self._wire.run(self._digest.update, block)
        if self.ended and self.size is not None and self.count != self.size:
            raise WrongBytes(f"{self.count} bytes instead of the announced {self.size}")
        if self.ended and self._rest:
            self.ended = False  # a block is still to come
        return block

    def _check_length(self) -> None:
        if self.size is not None and self.count > self.size:
            raise WrongBytes(f"more than the announced {self.size} bytes")


def _check(intake: _Intake, sha256: str | None) -> None:
    if sha256 and intake.sha256 != sha256:
        raise WrongBytes("the bytes do not have the announced SHA-256")


def _raise_first(tasks: list[asyncio.Task[PartInfo]]) -> None:
    for task in tasks:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            raise error


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
