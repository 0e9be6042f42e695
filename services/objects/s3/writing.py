"""Writing a stream of bytes that is read once, create-only, with bounded memory.

Up to one part goes in one PUT, with its SHA-256, which S3 checks and keeps. More goes in
parts, each with its SHA-256, four at a time. An announced SHA-256 is the metadata of
such an object, which is joined only if the bytes had it; one that is not known at the
beginning cannot be: those bytes are joined aside (`staging.py`) and copied to their key
inside the store.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial

from services.objects.intake import Intake, block_size, sent
from services.objects.port import ObjectInfo, ObjectMissing, PartInfo, StoreUnavailable
from services.objects.s3.copying import Copying
from services.objects.s3.digests import base64_of
from services.objects.s3.errors import Refused, port_error
from services.objects.s3.parts import Parts, Upload
from services.objects.s3.reading import Reading
from services.objects.s3.staging import STAGED
from services.objects.s3.turns import Turns
from services.objects.s3.wire import Call, Wire
from services.objects.settling import put_or_same

__all__ = ["PART_BYTES", "Writing"]

_MIB = 1024 * 1024
PART_BYTES = 16 * _MIB
_MAX_PARTS = 10_000


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
        intake = Intake(chunks, size, self._wire.run)
        first = await intake.block(self._part_bytes)
        try:
            if intake.ended:
                intake.check(sha256)
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
            there = await put_or_same(
                partial(self._wire.call, call),
                partial(self._copying.same, key, len(data), digest),
            )
        return there or ObjectInfo(key, len(data), digest, content_type, time.time())

    async def _by_parts(
        self, key: str, first: bytes, intake: Intake, sha256: str | None, content_type: str
    ) -> ObjectInfo:
        target = key if sha256 else f"{STAGED}/written/{secrets.token_hex(16)}"
        metadata = {"sha256": sha256} if sha256 else {}
        upload = await self._parts.begin(target, content_type, metadata=metadata, checked=True)
        try:
            parts = await sent(
                first, intake, partial(self._part, upload), step=partial(self._step, intake.size)
            )
            intake.check(sha256)
            if sha256:
                return await self._join(upload, parts, intake, content_type)
            with suppress(_Taken):  # joined by a try that brought no answer
                await self._completed(upload, parts, create_only=False)
        except BaseException:
            await self._drop(upload)
            raise
        return await self._copied(upload, key, intake)

    async def _part(self, upload: Upload, number: int, data: bytes) -> PartInfo:
        digest = await self._wire.run(_sha256, data)
        return await self._parts.put(upload, number, data, digest)

    def _step(self, size: int | None, number: int) -> int:
        return block_size(size, number, least=self._part_bytes, most_blocks=_MAX_PARTS)

    async def _join(
        self, upload: Upload, parts: list[PartInfo], intake: Intake, content_type: str
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

    async def _copied(self, upload: Upload, key: str, intake: Intake) -> ObjectInfo:
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


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
