"""Heads, reads and lists of a bucket, with the SHA-256 that is known of an object.

S3 keeps a SHA-256 over all bytes for an object of one PUT or one copy; that it checked
itself. For one made of parts it has a checksum of checksums only: there our own metadata
`sha256` counts, which only a completion of ours writes, after it has verified every byte
(`writing.py`, `staging.py`). On an object of one PUT that metadata means nothing: who
holds a URL of a careless store might add it.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from urllib.parse import unquote_plus
from xml.etree.ElementTree import Element

from urllib3.exceptions import HTTPError

from services.objects.keys import key_error
from services.objects.port import (
    ByteRange,
    ObjectInfo,
    ObjectPage,
    StoreUnavailable,
    WrongBytes,
)
from services.objects.s3.digests import hex_of
from services.objects.s3.errors import Refused, document, port_error, text_of, unanswered
from services.objects.s3.signing import EMPTY_SHA256
from services.objects.s3.wire import Answer, Body, Call, Wire

__all__ = ["CHUNK", "Found", "Reading"]

CHUNK = 1024 * 1024
_ATTEMPTS = 5
_OF_PARTS = re.compile(r'"[^"]*-[0-9]+"')
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MODE = {"x-amz-checksum-mode": "ENABLED"}


@dataclass(frozen=True, slots=True)
class Found:
    """An object, and the tag that names this very content."""

    info: ObjectInfo
    etag: str


class Reading:
    """See the module."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def find(self, key: str) -> Found | None:
        """None where there is nothing. Raises StoreUnavailable."""
        try:
            answer = await self._wire.call(Call("HeadObject", "HEAD", key, headers=_MODE))
        except Refused as refused:
            if refused.absent:
                return None
            raise port_error(refused) from refused
        return _found(key, answer.headers)

    async def read(
        self, key: str, span: ByteRange | None = None, *, etag: str = ""
    ) -> AsyncGenerator[bytes, None]:
        """Chunks of at most 1 MiB. A read that breaks off goes on where it was. One of
        the whole object raises WrongBytes instead of its last chunk when the bytes do
        not have the SHA-256 that is known."""
        place = _Place(key, span, etag)
        digest = hashlib.sha256()
        while True:
            opened = await self._open(place)
            if opened is None:
                return
            answer, body = opened
            try:
                place.learn(answer)
                async for chunk in self._chunks(place, body):
                    digest.update(chunk)
                    if place.complete and place.sha256 not in ("", digest.hexdigest()):
                        raise WrongBytes("the stored bytes no longer have their SHA-256")
                    yield chunk
            finally:
                await asyncio.to_thread(body.close)  # also when the store is closed
            if place.complete:
                if place.end == 0 and place.sha256 not in ("", EMPTY_SHA256):
                    raise WrongBytes("the stored bytes no longer have their SHA-256")
                return
            place.failures += 1
            if place.failures > _ATTEMPTS:
                raise StoreUnavailable("the store breaks off while an object is read")

    async def digest(self, key: str, *, etag: str = "") -> tuple[int, str]:
        """(size, SHA-256) over the bytes that are there."""
        digest, size = hashlib.sha256(), 0
        async with aclosing(self.read(key, etag=etag)) as chunks:
            async for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
        return size, digest.hexdigest()

    async def page(self, prefix: str, after: str, limit: int) -> ObjectPage:
        """Keys in byte order; what is no key of ours is left out, as are parts."""
        objects: list[ObjectInfo] = []
        position = after
        while True:
            query = [
                ("list-type", "2"), ("max-keys", str(limit)), ("encoding-type", "url"),
                ("prefix", prefix),
            ]  # fmt: skip
            before = position
            if position:
                query.append(("start-after", position))
            root = document((await self._called(Call("ListObjectsV2", "GET", "", query))).body)
            url = text_of(root, "EncodingType") == "url"
            keys = [] if root is None else list(root.iter("Contents"))
            for each in keys:
                position = _plain(text_of(each, "Key"), url)
                if not key_error(position):
                    objects.append(_listed(position, each))
                if len(objects) == limit:
                    more = each is not keys[-1] or text_of(root, "IsTruncated") == "true"
                    return ObjectPage(tuple(objects), position if more else None)
            if text_of(root, "IsTruncated") != "true" or not keys:
                return ObjectPage(tuple(objects), None)
            if position.encode() <= before.encode():
                raise StoreUnavailable("the store lists the same keys again and again")

    async def _called(self, call: Call) -> Answer:
        try:
            return await self._wire.call(call)
        except Refused as refused:
            raise port_error(refused) from refused

    async def _open(self, place: _Place) -> tuple[Answer, Body] | None:
        try:
            return await self._wire.open(Call("GetObject", "GET", place.key, headers=place.asked()))
        except Refused as refused:
            if refused.status == 416:
                return None
            if refused.status == 412:
                raise WrongBytes("the object was replaced while it was read") from refused
            raise port_error(refused) from refused

    async def _chunks(self, place: _Place, body: Body) -> AsyncGenerator[bytes, None]:
        """Until the end, or where it breaks off."""
        while not place.complete:
            try:
                chunk = await self._wire.run(body.read, min(CHUNK, place.end - place.at))
            except (HTTPError, OSError) as error:
                if place.failures >= _ATTEMPTS:
                    raise port_error(unanswered("GetObject", error)) from error
                return
            if not chunk:
                return
            place.at += len(chunk)
            yield chunk


class _Place:
    """How far a read has come: bytes `at` to `end`."""

    def __init__(self, key: str, span: ByteRange | None, etag: str) -> None:
        self.key = key
        self.at = span.first if span else 0
        self.end = -1
        self.sha256 = ""
        self.failures = 0
        self._etag = etag
        self._span = span

    @property
    def complete(self) -> bool:
        return self.end >= 0 and self.at >= self.end

    def asked(self) -> dict[str, str]:
        headers = dict(_MODE)
        if self._etag:
            headers["if-match"] = self._etag
        if self._span is not None or self.at:
            last = "" if self._span is None or self._span.last is None else str(self._span.last)
            headers["range"] = f"bytes={self.at}-{last}"
            del headers["x-amz-checksum-mode"]
        return headers

    def learn(self, answer: Answer) -> None:
        """What the first answer says holds for those that go on."""
        if (answer.status == 206) != ("range" in self.asked()):
            raise StoreUnavailable("the store answers another range than was asked for")
        if self.end >= 0:
            return
        if "content-length" not in answer.headers:
            raise StoreUnavailable("the store does not tell the length of an object")
        self.end = self.at + int(answer.headers.get("content-length", "0"))
        self._etag = self._etag or answer.headers.get("etag", "")
        if self._span is None:
            self.sha256 = _sha256(answer.headers)


def _found(key: str, headers: Mapping[str, str]) -> Found:
    info = ObjectInfo(
        key, int(headers.get("content-length", "0")), _sha256(headers),
        headers.get("content-type", ""), _modified(headers.get("last-modified", "")),
    )
    return Found(info, headers.get("etag", ""))


def _sha256(headers: Mapping[str, str]) -> str:
    whole = headers.get("x-amz-checksum-sha256", "")
    if not _OF_PARTS.fullmatch(headers.get("etag", "")):
        composite = headers.get("x-amz-checksum-type", "") == "COMPOSITE"
        return "" if composite else hex_of(whole)
    told = headers.get("x-amz-meta-sha256", "")
    return told if _HEX.fullmatch(told) else ""


def _modified(text: str) -> float:
    try:
        return parsedate_to_datetime(text).timestamp()
    except ValueError:
        return 0.0


def _listed(key: str, each: Element) -> ObjectInfo:
    size = int(text_of(each, "Size") or 0)
    return ObjectInfo(key, size, "", "", _instant(text_of(each, "LastModified")))


def _instant(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def _plain(text: str, url: bool) -> str:
    return unquote_plus(text) if url else text
