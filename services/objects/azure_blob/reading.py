"""Heads, reads and lists of a container.

Bytes come in ranges of 4 MiB, all of the version that the first one told of. The SHA-256
of a blob is known where we sealed it (`sealing.py`); it is then held to.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from azure.core import MatchConditions

from services.objects.azure_blob.errors import Refused, Replaced, port_error
from services.objects.azure_blob.ordering import in_byte_order, start_of
from services.objects.azure_blob.sealing import Seals
from services.objects.azure_blob.wire import STEP, Headers, Wire
from services.objects.keys import key_error
from services.objects.port import (
    ByteRange,
    ObjectInfo,
    ObjectPage,
    StoreUnavailable,
    WrongBytes,
)

__all__ = ["Digest", "Found", "Reading"]

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", re.ASCII)
_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_MOST_LISTED = 5_000
_MOST_EMPTY = 1_000
_QUICK = 64 * 1024
_FILLING = "the service is still copying bytes into the blob: they are not known yet"


@dataclass(frozen=True, slots=True)
class Found:
    """A blob, and the tag that names this very content. `filling`: see `_is_filling`."""

    info: ObjectInfo
    etag: str
    filling: bool = False


@dataclass(frozen=True, slots=True)
class Digest:
    """Size and SHA-256 of what was read, and the MD5 of each of its blocks."""

    size: int
    sha256: str
    md5: tuple[bytes, ...] = ()


class Reading:
    """See the module."""

    def __init__(self, wire: Wire, seals: Seals) -> None:
        self._wire = wire
        self._seals = seals

    async def find(self, key: str) -> Found | None:
        """None where there is nothing. Raises StoreUnavailable."""
        try:
            _, headers = await self._wire.asked(self._wire.blob(key).get_blob_properties)
        except Refused as refused:
            if refused.absent:
                return None
            raise port_error(refused) from refused
        return self._found(key, headers, _number(headers.get("content-length", "")))

    async def read(
        self, key: str, span: ByteRange | None = None, *, etag: str = ""
    ) -> AsyncGenerator[bytes, None]:
        """Chunks of at most 4 MiB. One of the whole blob raises WrongBytes instead of its
        last chunk when the bytes do not have the SHA-256 that is known."""
        at, last = (span.first, span.last) if span else (0, None)
        digest, found = hashlib.sha256(), None
        while True:
            length = STEP if last is None else min(STEP, last + 1 - at)
            piece = await self._piece(key, at, length, found.etag if found else etag)
            if piece is None:
                if found is not None:
                    raise StoreUnavailable("the store answers nothing in the midst of a blob")
                if span is None:
                    await self._empty(key)
                return
            found, chunk = found or piece[0], piece[1]
            at += len(chunk)
            ended = at >= found.info.size or (last is not None and at > last)
            if span is None:
                await _update(digest, chunk)
                if ended and found.info.sha256 not in ("", digest.hexdigest()):
                    raise WrongBytes("the stored bytes no longer have their SHA-256")
            yield chunk
            if ended:
                return

    async def digest(self, key: str, *, etag: str = "", every: int = 0) -> Digest:
        """Over the bytes that are there; `every`: bytes of a block whose MD5 is wanted, a
        multiple of 4 MiB."""
        whole, size, blocks = hashlib.sha256(), 0, list[bytes]()
        block = hashlib.md5(usedforsecurity=False)
        async with aclosing(self.read(key, etag=etag)) as chunks:
            async for chunk in chunks:
                if every and size and size % every == 0:
                    blocks.append(block.digest())
                    block = hashlib.md5(usedforsecurity=False)
                await _update(whole, chunk)
                if every:
                    await _update(block, chunk)
                size += len(chunk)
        if every and size:
            blocks.append(block.digest())
        return Digest(size, whole.hexdigest(), tuple(blocks))

    async def page(self, prefix: str, after: str, limit: int) -> ObjectPage:
        """Keys in byte order; what is no key of ours is left out, as are parts."""
        objects: list[ObjectInfo] = []
        listed = in_byte_order(self._listed(prefix, start_of(after), limit))
        try:
            async with aclosing(listed):
                async for info in listed:
                    if after and info.key.encode() <= after.encode():
                        continue
                    if len(objects) == limit:
                        return ObjectPage(tuple(objects), objects[-1].key)
                    objects.append(info)
        except Refused as refused:
            raise port_error(refused) from refused
        return ObjectPage(tuple(objects), None)

    async def _listed(
        self, prefix: str, start: str, limit: int
    ) -> AsyncGenerator[ObjectInfo, None]:
        """As the service has them, from `start` on."""
        marker, last, empty = "", "", 0
        while True:
            names, following = await self._wire.call(
                self._segment, prefix, start, marker, min(limit + 2, _MOST_LISTED)
            )
            if names and names[-1].key == last:
                raise StoreUnavailable("the store lists the same blobs again and again")
            for info in names:
                if info.key.startswith(prefix) and not key_error(info.key):
                    yield info
            if not following:
                return
            empty = 0 if names else empty + 1
            if following == marker or empty > _MOST_EMPTY:
                raise StoreUnavailable("the store lists the same blobs again and again")
            marker, last = following, names[-1].key if names else last

    async def _segment(
        self, prefix: str, start: str, marker: str, count: int, **keywords: Any
    ) -> tuple[list[ObjectInfo], str]:
        options: dict[str, Any] = {"results_per_page": count, **keywords}
        if start > prefix:
            options["start_from"] = start
        pages: Any = self._wire.blobs.list_blobs(prefix or None, **options).by_page(marker or None)
        names = [
            ObjectInfo(each.name, int(each.size or 0), "", "", _instant(each.last_modified))
            async for each in await anext(pages)
        ]
        return names, str(pages.continuation_token or "")

    async def _piece(
        self, key: str, at: int, length: int, etag: str
    ) -> tuple[Found, bytes] | None:
        """At most `length` bytes from `at`; None behind the end."""
        condition: dict[str, Any] = {}
        if etag:
            condition = {"etag": etag, "match_condition": MatchConditions.IfNotModified}

        async def get(**keywords: Any) -> bytes:
            stream = await self._wire.blob(key).download_blob(
                at, length, decompress=False, **condition, **keywords
            )
            return bytes(await stream.readall())

        try:
            data, headers = await self._wire.asked(get, size=length)
        except Refused as refused:
            if refused.status == 416:
                return None
            if refused.taken:
                raise Replaced("the blob was replaced while it was read") from refused
            raise port_error(refused) from refused
        return self._ranged(key, headers, data, at, length)

    def _ranged(
        self, key: str, headers: Headers, data: bytes, at: int, length: int
    ) -> tuple[Found, bytes] | None:
        if _is_filling(headers):
            raise WrongBytes(_FILLING)
        match = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
        if match is None and not data:  # the SDK's own way with an empty blob
            return None
        first, last, size = (int(each) for each in match.groups()) if match else (-1, -1, -1)
        if first != at or last - first + 1 != len(data) or last != min(at + length, size) - 1:
            raise StoreUnavailable("the store answers another range than was asked for")
        return self._found(key, headers, size), data

    async def _empty(self, key: str) -> None:
        """Nothing was there to read: is it the blob that should be empty?"""
        found = await self.find(key)
        if found is not None and found.filling:
            raise WrongBytes(_FILLING)
        if found is not None and found.info.size:
            raise StoreUnavailable("the store answers nothing for a blob that has bytes")
        if found is not None and found.info.sha256 not in ("", _EMPTY_SHA256):
            raise WrongBytes("the stored bytes no longer have their SHA-256")

    def _found(self, key: str, headers: Headers, size: int) -> Found:
        filling = _is_filling(headers)
        sha256 = "" if filling else self._seals.sha256(key, size, headers)
        info = ObjectInfo(key, size, sha256, headers.get("content-type", ""), _modified(headers))
        return Found(info, headers.get("etag", ""), filling)


def _is_filling(headers: Headers) -> bool:
    """Whether the service still copies into the blob (Copy Blob): who may create one may have
    it filled from any URL, for two weeks. Until then it shows no bytes, or zeros: what is
    read now is not what will be there."""
    return headers.get("x-ms-copy-status", "") == "pending"


async def _update(digest: Any, chunk: bytes) -> None:
    if len(chunk) <= _QUICK:
        digest.update(chunk)
    else:
        await asyncio.to_thread(digest.update, chunk)


def _number(text: str) -> int:
    if not text.isdecimal():
        raise StoreUnavailable("the store does not tell the length of a blob")
    return int(text)


def _modified(headers: Mapping[str, str]) -> float:
    try:
        return parsedate_to_datetime(headers.get("last-modified", "")).timestamp()
    except (ValueError, TypeError):
        return 0.0


def _instant(moment: Any) -> float:
    return float(moment.timestamp()) if moment is not None else 0.0
