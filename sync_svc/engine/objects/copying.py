"""One object from store to store: streamed, verified, repeated when a store fails.

At most one chunk per object is in memory. A read that breaks off goes on where it
was, by range. The target gets size and SHA-256 with the bytes and publishes nothing
that differs; that the source is whole is seen here, chunk by chunk, before the last
one is handed over. Drivers' `write` takes any size: a provider whose single PUT is
limited (`capabilities.max_single_put`) splits the stream into parts by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from services.model.errors import Reason, WorkspaceError
from services.objects.keys import key_error
from services.objects.port import ByteRange, ObjectExists, ObjectInfo
from services.objects.store import ObjectStore
from sync_svc.engine.objects.needed import NeededObject, Presence
from sync_svc.surfaces.backoff import Backoff

__all__ = [
    "OtherBytes",
    "Progress",
    "SourceDamaged",
    "SourceMissing",
    "copy_object",
    "find",
    "look",
]

Progress = Callable[[int], None]
"""Told of bytes that were read; negative when they are to be read again."""

_NOT_FOUND = Reason.ERROR_REASON_NOT_FOUND
_CORRUPT = Reason.ERROR_REASON_OBJECT_CORRUPT
_AWAY = Reason.ERROR_REASON_BACKEND_UNAVAILABLE
_AGAIN = (_AWAY, Reason.ERROR_REASON_CHECKSUM_MISMATCH)
"""The latter: bytes that were whole at the source came to harm on the way."""


class SourceMissing(Exception):
    """The source has no such object."""


class SourceDamaged(Exception):
    """What the source has is not what the record says, or no longer what it was."""


class OtherBytes(Exception):
    """The target has other bytes under the key."""


async def find(store: ObjectStore, key: str) -> ObjectInfo | None:
    """Like `head`, None for an absent object."""
    try:
        return await store.head(key)
    except WorkspaceError as error:
        if error.reason != _NOT_FOUND:
            raise
        return None


async def look(store: ObjectStore, needed: NeededObject) -> Presence:
    """What a store has under the key. A store without checksums is read."""
    if key_error(needed.key):
        return Presence.OTHER
    info = await find(store, needed.key)
    if info is None:
        return Presence.ABSENT
    if needed.size is not None and info.size != needed.size:
        return Presence.OTHER
    if not needed.sha256:
        return Presence.SAME
    sha256 = info.sha256 or await _digest_of(store, needed.key)
    return Presence.SAME if sha256 == needed.sha256 else Presence.OTHER


async def copy_object(
    needed: NeededObject,
    *,
    source: ObjectStore,
    target: ObjectStore,
    backoff: Backoff,
    progress: Progress,
) -> None:
    """Copy create-only; the same bytes at the target already are a success.

    Raises SourceMissing, SourceDamaged, OtherBytes, and STORAGE_FULL or
    BACKEND_UNAVAILABLE of either store after the retries.
    """
    if key_error(needed.key):
        raise OtherBytes(needed.key)
    attempt = 0
    while True:
        reader = _Reader(source, needed, backoff, progress)
        try:
            await _write(target, reader, await reader.open())
        except WorkspaceError as error:
            reader.forget()
            _translate(error, reader)
            if error.reason not in _AGAIN or reader.failed or not await backoff.wait(attempt):
                raise
        except BaseException:
            reader.forget()
            raise
        else:
            return
        attempt += 1


async def _write(target: ObjectStore, reader: _Reader, info: ObjectInfo) -> None:
    needed = reader.needed
    async with aclosing(reader.chunks()) as chunks:
        await target.write(
            needed.key,
            chunks,
            size=info.size,
            sha256=reader.expected or None,
            content_type=needed.content_type or info.content_type,
        )


def _translate(error: WorkspaceError, reader: _Reader) -> None:
    """Raise what a failure means, if it is about the bytes."""
    if isinstance(error.__cause__, ObjectExists):
        raise OtherBytes(reader.needed.key) from error
    if reader.failed and error.reason == _NOT_FOUND:
        raise SourceMissing(reader.needed.key) from error
    if error.reason == _CORRUPT:
        raise SourceDamaged(reader.needed.key) from error


class _Reader:
    """The bytes of an object. `failed`: the failure came from this side."""

    def __init__(
        self, source: ObjectStore, needed: NeededObject, backoff: Backoff, progress: Progress
    ) -> None:
        self.needed = needed
        self.failed = False
        self._source = source
        self._backoff = backoff
        self._progress = progress
        self._done = 0
        self._size = 0
        self.expected = ""
        self._digest = hashlib.sha256()

    async def open(self) -> ObjectInfo:
        """Look at it before the target begins. Raises SourceMissing, SourceDamaged."""
        try:
            info = await find(self._source, self.needed.key)
        except WorkspaceError:
            self.failed = True
            raise
        if info is None:
            raise SourceMissing(self.needed.key)
        wrong_size = self.needed.size is not None and info.size != self.needed.size
        if wrong_size or (info.sha256 and self.needed.sha256 not in ("", info.sha256)):
            raise SourceDamaged(self.needed.key)
        self._size = info.size
        self.expected = self.needed.sha256 or info.sha256
        return info

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """All bytes in order; the last chunk only when they have their SHA-256."""
        attempt = 0
        while True:
            before = self._done
            try:
                async with aclosing(self._read()) as read:
                    async for chunk in read:
                        yield chunk
            except WorkspaceError as error:
                attempt = 0 if self._done > before else attempt
                if error.reason != _AWAY or not await self._backoff.wait(attempt):
                    self.failed = True
                    raise
                attempt += 1
            else:
                return

    def forget(self) -> None:
        """The bytes will be read again."""
        self._progress(-self._done)
        self._done = 0

    async def _read(self) -> AsyncGenerator[bytes, None]:
        span = ByteRange(self._done) if self._done else None
        async with aclosing(self._source.open_read(self.needed.key, span)) as chunks:
            async for chunk in chunks:
                self._done += len(chunk)
                self._digest.update(chunk)
                self._progress(len(chunk))
                if self._done >= self._size:
                    self._check()
                yield chunk
        if self._done < self._size:
            raise SourceDamaged(self.needed.key)

    def _check(self) -> None:
        right = self.expected in ("", self._digest.hexdigest())
        if self._done > self._size or not right:
            raise SourceDamaged(self.needed.key)


async def _digest_of(store: ObjectStore, key: str) -> str:
    digest = hashlib.sha256()
    async with aclosing(store.open_read(key)) as chunks:
        async for chunk in chunks:
            digest.update(chunk)
    return digest.hexdigest()

