"""Uploads in parts by URLs: received aside, verified, then copied to their key.

A part is a block of a staged blob that nobody can name, one for each upload: Azure keeps
the blocks of all uploads to one name together. Who holds the URL of a part may send other
bytes, also in the last moment, and may do to the staged blob whatever writing allows. So it
is joined, read back whole, and only bytes of the announced length and SHA-256 are copied to
the key, by the tag of what was read, in one step and create-only: what is at a key has been
verified, whenever a process dies.

`{staged}.upload` beside it holds what was announced; an upload is over when it is gone.
Blocks that nobody joins go after a week by themselves, the rest of what is left here
(`.multipart/`) by the lifecycle of the account. ADR 0024.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from azure.storage.blob import BlobBlock

from services.objects.azure_blob.copying import BLOCK_BYTES, Copying
from services.objects.azure_blob.errors import Refused, Replaced, port_error
from services.objects.azure_blob.reading import Digest, Found, Reading
from services.objects.azure_blob.wire import Wire
from services.objects.port import ObjectInfo, ObjectMissing, PartInfo, StoreUnavailable, WrongBytes
from services.objects.settling import check_parts

__all__ = ["MAX_PARTS", "STAGED", "Staging", "block_id", "deleted", "staged_name"]

STAGED = ".multipart"
MAX_PARTS = 10_000
_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_BLOCK = re.compile(r"part-([0-9]{5})", re.ASCII)
_MOST_BYTES = 16 * 1024
_TRIES = 3


@dataclass(frozen=True, slots=True)
class _Upload:
    name: str
    content_type: str
    announced: str


def staged_name(key: str, multipart_id: str) -> str:
    """The staged blob of an upload, which belongs to its key. Raises ObjectMissing for what
    is no id."""
    if not _ID.fullmatch(multipart_id):
        raise ObjectMissing("multipart upload")
    return f"{STAGED}/{hashlib.sha256(key.encode()).hexdigest()[:32]}/{multipart_id}"


def block_id(number: int) -> str:
    """Of a part, before it is encoded."""
    return f"part-{number:05d}"


async def deleted(wire: Wire, name: str) -> None:
    """Delete a blob with its snapshots, also one that somebody leased, or has copied into:
    a URL that may write may do that as well. An absent one is a success. Raises Refused."""
    blob = wire.blob(name)
    try:
        try:
            await wire.call(blob.delete_blob, "include")
        except Refused as refused:
            if refused.code not in _HELD:
                raise
            await wire.call(_HELD[refused.code], blob)
            await wire.call(blob.delete_blob, "include")
    except Refused as refused:
        if not refused.absent:
            raise


class Staging:
    """See the module."""

    def __init__(self, wire: Wire, reading: Reading, copying: Copying) -> None:
        self._wire = wire
        self._reading = reading
        self._copying = copying

    async def create(self, key: str, content_type: str, sha256: str) -> str:
        """Begin; `sha256` is the announced one, '' where none is."""
        multipart_id = secrets.token_hex(16)
        state = json.dumps({"content_type": content_type, "sha256": sha256}).encode()
        name = f"{staged_name(key, multipart_id)}.upload"
        try:
            await self._wire.call(self._wire.blob(name).upload_blob, state, overwrite=True)
        except Refused as refused:
            raise port_error(refused) from refused
        return multipart_id

    async def parts(self, key: str, multipart_id: str) -> Sequence[PartInfo]:
        """Raises ObjectMissing for an unknown id or another key."""
        try:
            return await self._parts(await self._upload(key, multipart_id))
        except Refused as refused:
            raise port_error(refused) from refused

    async def complete(
        self, key: str, multipart_id: str, parts: Sequence[PartInfo], size: int, sha256: str
    ) -> ObjectInfo:
        """Join, verify, copy. What was cut off goes on where it was. Bytes that are not
        those announced end the upload."""
        staged_name(key, multipart_id)
        check_parts(parts, size)
        try:
            info = await self._copying.same(key, size, sha256)
            if info is None:
                info = await self._completed(key, multipart_id, parts, size, sha256)
            await self._drop(staged_name(key, multipart_id))
        except Refused as refused:
            raise port_error(refused) from refused
        return info

    async def abort(self, key: str, multipart_id: str) -> None:
        """Drop the parts, joined or not; anything else is left alone."""
        try:
            await self._drop(staged_name(key, multipart_id))
        except ObjectMissing:
            return
        except Refused as refused:
            raise port_error(refused) from refused

    async def _completed(
        self, key: str, multipart_id: str, parts: Sequence[PartInfo], size: int, sha256: str
    ) -> ObjectInfo:
        try:
            upload = await self._upload(key, multipart_id)
            if upload.announced not in ("", sha256):
                raise WrongBytes("another SHA-256 was announced at the beginning")
            await self._require(upload, parts)
            found = await self._joined(upload, parts)
            for _ in range(_TRIES):
                try:
                    digest = await self._verified(upload, found, size, sha256)
                    return await self._copying.place(found, key, digest, upload.content_type)
                except Replaced:
                    # By another completion, say: joined once more, it would fail there.
                    found = await self._there(upload)
        except ObjectMissing:
            # Another process may have done it in the meantime.
            there = await self._copying.same(key, size, sha256)
            if there is None:
                raise
            return there
        raise StoreUnavailable("the parts are being changed by others")

    async def _upload(self, key: str, multipart_id: str) -> _Upload:
        name = staged_name(key, multipart_id)

        async def read(**keywords: Any) -> bytes:
            blob = self._wire.blob(f"{name}.upload")
            stream = await blob.download_blob(0, _MOST_BYTES, **keywords)
            return bytes(await stream.readall())

        try:
            state = json.loads(await self._wire.call(read))
            return _Upload(name, str(state["content_type"]), str(state["sha256"]))
        except Refused as refused:
            if refused.absent:
                raise ObjectMissing("multipart upload") from refused
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise StoreUnavailable("the record of the upload cannot be read") from error

    async def _parts(self, upload: _Upload) -> tuple[PartInfo, ...]:
        """Also those of a staged blob that was joined and not yet copied. One of another kind,
        which the URL of a part can make, has none and takes none: it is removed, so that they
        can be sent again."""
        try:
            blocks = await self._wire.call(self._wire.blob(upload.name).get_block_list, "all")
        except Refused as refused:
            if refused.of_another_kind:
                await deleted(self._wire, upload.name)
            elif not refused.absent:
                raise
            return ()
        found: dict[int, PartInfo] = {}
        for block in (*blocks[0], *blocks[1]):  # what came later counts
            match = _BLOCK.fullmatch(str(block.id))
            if match is not None:
                number = int(match.group(1))
                found[number] = PartInfo(number, int(block.size or 0), "", match.group())
        return tuple(found[number] for number in sorted(found))

    async def _require(self, upload: _Upload, parts: Sequence[PartInfo]) -> None:
        there = {(part.number, part.size, part.tag) for part in await self._parts(upload)}
        for part in parts:
            if (part.number, part.size, part.tag or block_id(part.number)) not in there:
                raise WrongBytes("a part is not there, or no longer the one that was listed")

    async def _joined(self, upload: _Upload, parts: Sequence[PartInfo]) -> Found:
        blocks = [BlobBlock(block_id=block_id(part.number)) for part in parts]
        try:
            await self._wire.call(self._wire.blob(upload.name).commit_block_list, blocks)
        except Refused as refused:
            if refused.of_another_kind:
                raise WrongBytes("the parts have been replaced since they were listed") from refused
            raise
        return await self._there(upload)

    async def _there(self, upload: _Upload) -> Found:
        """The staged blob as it is joined."""
        found = await self._reading.find(upload.name)
        if found is None:
            raise ObjectMissing("multipart upload")
        return found

    async def _verified(
        self, upload: _Upload, found: Found, size: int, sha256: str
    ) -> Digest:
        digest = Digest(found.info.size, "")
        if found.info.size == size:
            digest = await self._reading.digest(upload.name, etag=found.etag, every=BLOCK_BYTES)
        if (digest.size, digest.sha256) != (size, sha256):
            await self._drop(upload.name)
            raise WrongBytes("the joined parts are not the announced bytes")
        return digest

    async def _drop(self, name: str) -> None:
        """The record first: an upload that has none is over, and is not half of one."""
        await deleted(self._wire, f"{name}.upload")
        await deleted(self._wire, name)


async def _break_lease(blob: Any, **keywords: Any) -> None:
    from azure.storage.blob.aio import BlobLeaseClient

    await BlobLeaseClient(blob).break_lease(0, **keywords)


async def _stop_copy(blob: Any, **keywords: Any) -> None:
    """Of a copy that has ended meanwhile there is nothing to stop."""
    found = await blob.get_blob_properties(**keywords)
    if found.copy.status == "pending":
        await blob.abort_copy(found.copy.id, **keywords)


_HELD = {"LeaseIdMissing": _break_lease, "PendingCopyOperation": _stop_copy}
"""By the code of the refusal: what lets go of a blob."""
