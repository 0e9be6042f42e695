"""ObjectStore: what all drivers have in common, once.

Validates keys, ranges and constraints before any call, clamps the life of
URLs, and turns the driver's exceptions into reasons of the contract.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from services.model.errors import Reason, WorkspaceError, invalid_field
from services.objects.keys import validate_key, validate_prefix
from services.objects.port import (
    ByteRange,
    ObjectCapabilities,
    ObjectDriver,
    ObjectExists,
    ObjectInfo,
    ObjectMissing,
    ObjectPage,
    PartInfo,
    SignedTransfer,
    SignRequest,
    StoreFull,
    StoreUnavailable,
    WrongBytes,
)
from services.objects.tokens import max_seconds, purpose_of

__all__ = ["MAX_PAGE", "UNREVOCABLE_DOWNLOAD_SECONDS", "ObjectStore", "object_error"]

MAX_PAGE = 1000
UNREVOCABLE_DOWNLOAD_SECONDS = 300
"""Longest life of a download URL that nothing but its expiry ends. A transfer that has
begun goes on; an upload URL stays harmless: one key, its very bytes, create-only."""
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_DRIVER_ERRORS = (ObjectExists, ObjectMissing, WrongBytes, StoreFull, StoreUnavailable)


def object_error(error: Exception, key: str = "") -> WorkspaceError:
    """The WorkspaceError of a driver's exception; provider text is not passed on."""
    metadata = {"storage_key": key} if key else {}
    match error:
        case ObjectMissing():
            reason, text = Reason.ERROR_REASON_NOT_FOUND, "There is no such object."
            metadata = {"resource": key} if key else {}
        case ObjectExists():
            reason = Reason.ERROR_REASON_CHECKSUM_MISMATCH
            text = "The key holds other bytes already; nothing was overwritten. Use a new upload."
        case WrongBytes():
            reason = Reason.ERROR_REASON_CHECKSUM_MISMATCH
            text = "Length or SHA-256 of the bytes are not those announced. Send the file again."
        case StoreFull():
            reason, metadata = Reason.ERROR_REASON_STORAGE_FULL, {}
            text = "The object store has no space left; nothing was kept. Free space and repeat."
        case _:
            reason, metadata = Reason.ERROR_REASON_BACKEND_UNAVAILABLE, {"backend": "objects"}
            text = "The object store does not answer. Repeat the call later."
    return WorkspaceError(reason, text, metadata=metadata)


def corrupt(key: str) -> WorkspaceError:
    """Stored bytes are no longer the recorded ones: they are not served."""
    return WorkspaceError(
        Reason.ERROR_REASON_OBJECT_CORRUPT,
        "The stored bytes are no longer those recorded. Restore the object from a backup.",
        metadata={"storage_key": key},
    )


@contextmanager
def _translated(key: str = "", *, reading: bool = False) -> Iterator[None]:
    try:
        yield
    except _DRIVER_ERRORS as error:
        if reading and isinstance(error, WrongBytes):
            raise corrupt(key) from error
        raise object_error(error, key) from error


class ObjectStore:
    """The port's calls, validated, with WorkspaceError for every failure:
    INVALID_FIELD, NOT_FOUND, CHECKSUM_MISMATCH (the key holds other bytes, or
    bytes are not those announced), OBJECT_CORRUPT (on reads), STORAGE_FULL,
    BACKEND_UNAVAILABLE."""

    def __init__(self, driver: ObjectDriver) -> None:
        self._driver = driver

    @property
    def driver(self) -> ObjectDriver:
        """The driver, for what is put around it."""
        return self._driver

    @property
    def name(self) -> str:
        """The driver's name, for records and metrics."""
        return self._driver.name

    @property
    def capabilities(self) -> ObjectCapabilities:
        """What the driver declares."""
        return self._driver.capabilities

    def sign(self, request: SignRequest) -> SignedTransfer:
        """A URL for one method on one key. `expires_in` is clamped to 15
        minutes (GET, HEAD; 5 where URLs cannot be revoked) or 60 (PUT) and to
        what the provider allows."""
        validate_key(request.key)
        if purpose_of(request.method) is None:
            raise invalid_field("method", "must be PUT, GET or HEAD")
        if request.expires_in <= 0:
            raise invalid_field("expires_in", "must be a positive number of seconds")
        _check_sha256(request.sha256)
        if request.method == "PUT":
            self._check_upload(request)
        longest = self._longest(request.method)
        with _translated(request.key):
            return self._driver.sign(replace(request, expires_in=min(request.expires_in, longest)))

    def _longest(self, method: str) -> int:
        longest = min(max_seconds(method), self.capabilities.max_url_seconds)
        if method == "PUT" or self.capabilities.revocable_urls:
            return longest
        return min(longest, UNREVOCABLE_DOWNLOAD_SECONDS)

    async def head(self, key: str) -> ObjectInfo:
        """Size and checksum as the store has them."""
        with _translated(validate_key(key)):
            return await self._driver.head(key)

    async def open_read(
        self, key: str, span: ByteRange | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The bytes in chunks; a full read is verified by the driver."""
        validate_key(key)
        if span is not None and (
            span.first < 0 or (span.last is not None and span.last < span.first)
        ):
            raise invalid_field("span", "must be first..last with 0 <= first <= last")
        with _translated(key, reading=True):
            async for chunk in self._driver.open_read(key, span):
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
        """Create-only and durable; the same bytes again are a success."""
        validate_key(key)
        _check_sha256(sha256 or "")
        _check_size(size)
        with _translated(key):
            return await self._driver.write(
                key, chunks, size=size, sha256=sha256, content_type=content_type
            )

    async def copy(self, source: str, target: str) -> ObjectInfo:
        """Create-only copy; NOT_FOUND is about the source."""
        validate_key(source, "source")
        validate_key(target, "target")
        try:
            return await self._driver.copy(source, target)
        except ObjectMissing as error:
            raise object_error(error, source) from error
        except _DRIVER_ERRORS as error:
            raise object_error(error, target) from error

    async def delete(self, key: str) -> None:
        """An absent key is a success."""
        with _translated(validate_key(key)):
            await self._driver.delete(key)

    async def list(
        self, prefix: str, after: str | None = None, limit: int = MAX_PAGE
    ) -> ObjectPage:
        """Keys in byte order; `limit` is coerced to 1000, below 1 is an error."""
        validate_prefix(prefix)
        if limit < 1:
            raise invalid_field("limit", "must be at least 1")
        with _translated():
            return await self._driver.list(prefix, after, min(limit, MAX_PAGE))

    async def multipart_create(self, key: str, content_type: str, sha256: str = "") -> str:
        """Begin a multipart upload; its id. `sha256`: that of all bytes, if announced."""
        _check_sha256(sha256)
        with _translated(validate_key(key)):
            return await self._driver.multipart_create(key, content_type, sha256)

    async def multipart_parts(self, key: str, multipart_id: str) -> Sequence[PartInfo]:
        """Parts received so far; NOT_FOUND for an unknown id."""
        with _translated(validate_key(key)):
            return await self._driver.multipart_parts(key, multipart_id)

    async def multipart_complete(
        self, key: str, multipart_id: str, parts: Sequence[PartInfo], *, size: int, sha256: str
    ) -> ObjectInfo:
        """Join and verify; create-only."""
        validate_key(key)
        _check_size(size)
        _check_sha256(sha256)
        if not parts:
            raise invalid_field("parts", "must name at least one part")
        with _translated(key):
            return await self._driver.multipart_complete(
                key, multipart_id, parts, size=size, sha256=sha256
            )

    async def multipart_abort(self, key: str, multipart_id: str) -> None:
        """Drop the parts; an unknown id is a success."""
        with _translated(validate_key(key)):
            await self._driver.multipart_abort(key, multipart_id)

    async def close(self) -> None:
        """Release the driver's resources."""
        await self._driver.close()

    def _check_upload(self, request: SignRequest) -> None:
        maximum = self.capabilities.max_single_put
        _check_size(request.size)
        if request.size is None:
            raise invalid_field("size", "must be the exact number of bytes of the upload")
        if request.size > maximum:
            raise invalid_field("size", f"is over {maximum} bytes; use a multipart upload")


def _check_sha256(sha256: str) -> None:
    if sha256 and not _SHA256.fullmatch(sha256):
        raise invalid_field("sha256", "must be 64 lower-case hexadecimal digits")


def _check_size(size: int | None) -> None:
    if size is not None and size < 0:
        raise invalid_field("size", "must not be negative")
