"""What the drivers of object stores over a network have in common: names are looked at, and
each call goes to the part that does it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Protocol

from services.model.errors import Reason, WorkspaceError
from services.objects.keys import validate_key, validate_prefix
from services.objects.port import (
    ByteRange,
    ObjectInfo,
    ObjectMissing,
    ObjectPage,
    PartInfo,
    SignedTransfer,
    SignRequest,
)

__all__ = ["PATIENCE", "RemoteObjects"]

PATIENCE = 5.0
"""How long a failing call is tried again, in seconds: with a last attempt that cannot connect
(3 s) less than a call of a client may take, who else would hear DEADLINE_EXCEEDED, which no
policy repeats."""
_MOST_LISTED = 1000


class _Found(Protocol):
    @property
    def info(self) -> ObjectInfo: ...


class _Reads(Protocol):
    async def find(self, key: str) -> _Found | None: ...

    def read(
        self, key: str, span: ByteRange | None = None
    ) -> AsyncGenerator[bytes, None]: ...

    async def page(self, prefix: str, after: str, limit: int) -> ObjectPage: ...


class _Writes(Protocol):
    async def write(
        self, key: str, chunks: AsyncIterator[bytes], *, size: int | None, sha256: str | None,
        content_type: str,
    ) -> ObjectInfo: ...  # fmt: skip


class _Uploads(Protocol):
    async def create(self, key: str, content_type: str, sha256: str) -> str: ...

    async def parts(self, key: str, multipart_id: str) -> Sequence[PartInfo]: ...

    async def complete(
        self, key: str, multipart_id: str, parts: Sequence[PartInfo], size: int, sha256: str
    ) -> ObjectInfo: ...

    async def abort(self, key: str, multipart_id: str) -> None: ...


class RemoteObjects:
    """`what` is where objects lie, as a bucket. Who derives from it copies, deletes, probes
    and closes."""

    def __init__(
        self, what: str, *, read_only: bool, reads: _Reads, writes: _Writes, uploads: _Uploads,
        signs: Callable[[SignRequest], SignedTransfer],
    ) -> None:
        self._what = what
        self._read_only = read_only
        self._reads = reads
        self._writes = writes
        self._uploads = uploads
        self._signs = signs

    def sign(self, request: SignRequest) -> SignedTransfer:
        """See the `Transfers` of the store."""
        return self._signs(request)

    async def head(self, key: str) -> ObjectInfo:
        """The SHA-256 is one that was verified, '' otherwise. Raises ObjectMissing,
        StoreUnavailable."""
        found = await self._reads.find(validate_key(key))
        if found is None:
            raise ObjectMissing(key)
        return found.info

    async def open_read(
        self, key: str, span: ByteRange | None = None
    ) -> AsyncGenerator[bytes, None]:
        """See the `Reading` of the store."""
        async with aclosing(self._reads.read(validate_key(key), span)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def write(
        self, key: str, chunks: AsyncIterator[bytes], *, size: int | None, sha256: str | None,
        content_type: str,
    ) -> ObjectInfo:
        """As the port says; memory for about six blocks or parts."""
        self._require_writable(key)
        return await self._writes.write(
            key, chunks, size=size, sha256=sha256, content_type=content_type
        )

    async def list(self, prefix: str, after: str | None = None, limit: int = 1000) -> ObjectPage:
        """`limit` is coerced to 1..1000. Neither SHA-256 nor type are listed."""
        return await self._reads.page(
            validate_prefix(prefix), after or "", max(1, min(limit, _MOST_LISTED))
        )

    async def multipart_create(self, key: str, content_type: str, sha256: str = "") -> str:
        self._require_writable(key)
        return await self._uploads.create(key, content_type, sha256)

    async def multipart_parts(self, key: str, multipart_id: str) -> Sequence[PartInfo]:
        """Raises ObjectMissing for an unknown id or another key."""
        return await self._uploads.parts(validate_key(key), multipart_id)

    async def multipart_complete(
        self, key: str, multipart_id: str, parts: Sequence[PartInfo], *, size: int, sha256: str
    ) -> ObjectInfo:
        """Repeating a completion that was cut off finishes it."""
        self._require_writable(key)
        return await self._uploads.complete(key, multipart_id, parts, size, sha256)

    async def multipart_abort(self, key: str, multipart_id: str) -> None:
        """Only the upload of that key; anything else is left alone."""
        self._require_writable(key)
        await self._uploads.abort(key, multipart_id)

    def _require_writable(self, key: str) -> None:
        validate_key(key)
        if self._read_only:
            raise WorkspaceError(
                Reason.ERROR_REASON_INVALID_STATE, f"the {self._what} was opened for reading only"
            )
