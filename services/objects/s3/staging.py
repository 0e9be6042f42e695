"""Uploads in parts by URLs: received aside, verified, then copied to their key.

Who holds the URL of a part may send other bytes, also in the last moment, and a store
knows no SHA-256 of all parts together. So the parts belong to a staged object that
nobody can name. It is joined, read back whole, and only bytes of the announced length
and SHA-256 are copied to the key, in one step and create-only: what is at a key has been
verified, whenever a process dies. The bucket's lifecycle removes what is left here
(`.multipart/`, after 8 days), as it ends uploads that nobody completes.

The id is `{sha256 or -}.{nonce}.{id of S3}`; the staged key holds a digest of the key, so
that an id belongs to its key.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from services.objects.port import ObjectInfo, ObjectMissing, PartInfo, WrongBytes
from services.objects.s3.copying import Copying
from services.objects.s3.errors import Refused, port_error
from services.objects.s3.parts import Parts, Upload
from services.objects.s3.reading import Found, Reading
from services.objects.s3.turns import Turns
from services.objects.s3.wire import Call, Wire
from services.objects.settling import check_parts

__all__ = ["STAGED", "Staging", "staged_upload"]

STAGED = ".multipart"
_ID = re.compile(r"(-|[0-9a-f]{64})\.([0-9a-f]{32})\.([!-~]{1,800})", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Staged:
    upload: Upload
    announced: str


def staged_upload(key: str, multipart_id: str) -> Upload:
    """The upload of S3 behind an id. Raises ObjectMissing for what is no id."""
    return _parse(key, multipart_id).upload


class Staging:
    """See the module."""

    def __init__(
        self, wire: Wire, reading: Reading, parts: Parts, copying: Copying, turns: Turns
    ) -> None:
        self._wire = wire
        self._reading = reading
        self._parts = parts
        self._copying = copying
        self._turns = turns

    async def create(self, key: str, content_type: str, sha256: str) -> str:
        """Begin; `sha256` is the announced one, '' where none is."""
        nonce = secrets.token_hex(16)
        try:
            # Not checked: S3 would refuse parts whose sender gave no SHA-256.
            upload = await self._parts.begin(
                _staged_key(key, nonce), content_type, metadata={}, checked=False
            )
        except Refused as refused:
            raise port_error(refused) from refused
        return f"{sha256 or '-'}.{nonce}.{upload.upload_id}"

    async def parts(self, key: str, multipart_id: str) -> Sequence[PartInfo]:
        """Raises ObjectMissing for an unknown id or another key."""
        try:
            return await self._parts.list(_parse(key, multipart_id).upload)
        except Refused as refused:
            raise port_error(refused) from refused

    async def complete(
        self, key: str, multipart_id: str, parts: Sequence[PartInfo], size: int, sha256: str
    ) -> ObjectInfo:
        """Join, verify, copy. What was cut off goes on where it was. Bytes that are not
        those announced end the upload."""
        staged = _parse(key, multipart_id)
        _check(staged, parts, size, sha256)
        try:
            async with self._turns.of(key):
                info = await self._completed(staged, key, parts, size, sha256)
            await self._drop(staged.upload)
        except Refused as refused:
            raise port_error(refused) from refused
        return info

    async def abort(self, key: str, multipart_id: str) -> None:
        """Drop the parts, joined or not; anything else is left alone."""
        try:
            await self._drop(_parse(key, multipart_id).upload)
        except ObjectMissing:
            return
        except Refused as refused:
            raise port_error(refused) from refused

    async def _completed(
        self, staged: _Staged, key: str, parts: Sequence[PartInfo], size: int, sha256: str
    ) -> ObjectInfo:
        there = await self._copying.same(key, size, sha256)
        if there is not None:
            return there
        try:
            found = await self._joined(staged.upload, parts)
            await self._verify(found, size, sha256)
            return await self._copying.place(found, key, sha256)
        except ObjectMissing:
            # Another process may have done it in the meantime.
            there = await self._copying.same(key, size, sha256)
            if there is None:
                raise
            return there

    async def _joined(self, upload: Upload, parts: Sequence[PartInfo]) -> Found:
        """The staged object. Raises ObjectMissing where the upload is over without one."""
        if all(part.tag for part in parts):
            try:
                await self._parts.complete(upload, parts, create_only=False)
            except Refused as refused:
                if not refused.absent:
                    raise
        found = await self._reading.find(upload.key)
        if found is None:
            raise ObjectMissing("multipart upload")
        return found

    async def _verify(self, found: Found, size: int, sha256: str) -> None:
        wrong = found.info.size != size
        if not wrong:
            wrong = await self._reading.digest(found.info.key, etag=found.etag) != (size, sha256)
        if wrong:
            await self._wire.call(Call("DeleteObject", "DELETE", found.info.key))
            raise WrongBytes("the joined parts are not the announced bytes")

    async def _drop(self, upload: Upload) -> None:
        with suppress(ObjectMissing):
            await self._parts.abort(upload)
        await self._wire.call(Call("DeleteObject", "DELETE", upload.key))


def _parse(key: str, multipart_id: str) -> _Staged:
    match = _ID.fullmatch(multipart_id)
    if match is None:
        raise ObjectMissing("multipart upload")
    announced, nonce, upload_id = match.groups()
    upload = Upload(_staged_key(key, nonce), upload_id, checked=False)
    return _Staged(upload, "" if announced == "-" else announced)


def _staged_key(key: str, nonce: str) -> str:
    return f"{STAGED}/{hashlib.sha256(key.encode()).hexdigest()[:32]}/{nonce}"


def _check(staged: _Staged, parts: Sequence[PartInfo], size: int, sha256: str) -> None:
    check_parts(parts, size)
    if staged.announced not in ("", sha256):
        raise WrongBytes("another SHA-256 was announced at the beginning")
