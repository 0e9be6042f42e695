"""The object store in a folder: plain files, create-only, durable, verified.

An object is one file at its key, byte for byte what was uploaded, so a folder
copied away is usable without this program. Promises, and where they are kept:

- nothing outside the root is reachable, links and special files are refused
  (`tree.py`);
- a write is complete, verified and fsynced, folder included, before it is
  acknowledged, or leaves nothing (`blobs.py`);
- SHA-256 and content type travel with the file (`labels.py`); every full read
  is checked against the SHA-256, and its last chunk is withheld on a mismatch;
- after a failed fsync the store refuses writes until it is opened again
  (`health.py`).

Names that start with "." are ours: temporary files and `.multipart/`. A key
may not be a folder of another key (`a` and `a/b`): ObjectExists. Hard links
are not told apart from files: backup tools make them.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from urllib.parse import quote

from services.model.errors import invalid_field
from services.objects.filesystem.blobs import CHUNK, Blobs, TempFile
from services.objects.filesystem.health import Health, require_room
from services.objects.filesystem.labels import Label
from services.objects.filesystem.listing import list_page, sweep_temporary
from services.objects.filesystem.multipart import Multipart
from services.objects.filesystem.offload import Offload
from services.objects.filesystem.syscalls import Syscalls
from services.objects.filesystem.tree import Tree
from services.objects.keys import split_key, validate_prefix
from services.objects.port import (
    ByteRange,
    Constraint,
    ConstraintKind,
    Enforcement,
    ObjectCapabilities,
    ObjectInfo,
    ObjectMissing,
    ObjectPage,
    PartInfo,
    SignedTransfer,
    SignRequest,
    WrongBytes,
)
from services.objects.tokens import MAX_UPLOAD_SECONDS, UrlSigner

__all__ = ["DATA_PREFIX", "FilesystemDriver"]

DATA_PREFIX = "/data/objects/"
THREADS = 4
TEMP_GRACE_SECONDS = 60.0
_LARGE = 64 * 1024 * 1024
"""Bytes of a file for which the disk is asked first."""
_SLICE = 32 * CHUNK  # joining work per thread job, so that others get a turn

_CAPABILITIES = ObjectCapabilities(
    enforces=frozenset(ConstraintKind),
    stores_sha256=True,
    max_url_seconds=MAX_UPLOAD_SECONDS,
    revocable_urls=True,
)


class FilesystemDriver:
    """`ObjectDriver` over files beneath `root` (made when absent).

    `public_url` is the configured external address of the gateway, never
    taken from a request. Opening starts a sweep, in a thread, of temporary
    files that dead writers left, unless `sweep` is False (a store that is only
    read). `linked`: files may have other names outside, as in backups that share what did
    not change; else they are refused. `calls` and `clock` exist for fault tests.
    """

    def __init__(
        self,
        root: Path,
        *,
        signer: UrlSigner,
        public_url: str,
        calls: Syscalls | None = None,
        clock: Callable[[], float] = time.time,
        sweep: bool = True,
        linked: bool = False,
    ) -> None:
        self._root = root
        self._signer = signer
        self._public_url = public_url.rstrip("/")
        self._health = Health()
        calls = calls or Syscalls()
        self._tree = Tree(root, calls=calls, health=self._health, linked=linked)
        self._blobs = Blobs(self._tree, calls=calls, health=self._health)
        self._multipart = Multipart(self._blobs)
        self._threads = Offload(threads=THREADS)
        self._stop: list[bool] = []
        if sweep:
            self._threads.submit(lambda: self.sweep(older_than=clock() - TEMP_GRACE_SECONDS))

    @property
    def name(self) -> str:
        return "filesystem"

    @property
    def capabilities(self) -> ObjectCapabilities:
        return _CAPABILITIES

    async def probe(self) -> None:
        self._health.require_writable()

    @property
    def degraded(self) -> str:
        """Why writes are refused, or ''. For readiness."""
        return self._health.degraded

    def sweep(self, *, older_than: float) -> int:
        """Remove temporary files of dead writers; how many. Blocking."""
        return sweep_temporary(self._blobs, older_than=older_than, stop=self._stop)

    def sign(self, request: SignRequest) -> SignedTransfer:
        """A URL of the gateway's data plane; every constraint is ENFORCED.

        A PUT must name its exact size. Raises WorkspaceError (INVALID_FIELD)
        for what cannot be bound.
        """
        maximum = self.capabilities.max_single_put
        if request.method == "PUT" and (request.size or 0) > maximum:
            raise invalid_field("size", f"is over {maximum} bytes; use a multipart upload")
        token, expires_at = self._signer.issue(request)
        url = f"{self._public_url}{DATA_PREFIX}{quote(request.key, safe='/')}?token={token}"
        return SignedTransfer(
            request.method, url, _headers(request), expires_at, _constraints(request)
        )

    async def head(self, key: str) -> ObjectInfo:
        """Raises ObjectMissing, StoreUnavailable."""
        return await self._threads.run(self._describe, key)

    async def open_read(
        self, key: str, span: ByteRange | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Chunks of at most 1 MiB. A read of the whole object raises
        WrongBytes instead of its last chunk when the bytes have changed."""
        fd, info = await self._threads.run(self._open, key, undo=self._close_opened)
        try:
            first, end = _bounds(span, info.size)
            digest = hashlib.sha256() if end - first == info.size else None
            while first < end or digest is not None:
                data = await self._threads.run(self._read, fd, first, min(CHUNK, end - first))
                first += len(data)
                if digest is not None:
                    digest.update(data)
                if first >= end and digest is not None and digest.hexdigest() != info.sha256:
                    raise WrongBytes("the stored bytes no longer have their SHA-256")
                if first >= end:
                    digest = None
                yield data
        finally:
            await self._threads.run(self._blobs.calls.close, fd)

    async def write(
        self,
        key: str,
        chunks: AsyncIterator[bytes],
        *,
        size: int | None,
        sha256: str | None,
        content_type: str,
    ) -> ObjectInfo:
        """As the port says."""
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
        """As `write`, but with `exclusive` even the same bytes raise
        ObjectExists: exactly one of any number of callers succeeds.
        `before_publish` runs when the bytes are complete; what it raises
        keeps them invisible."""
        folders, name = split_key(key)
        temp = await self._threads.run(self._blobs.begin, folders, undo=TempFile.discard)
        try:
            await self._fill(temp, chunks, size, sha256)
            if before_publish is not None:
                await before_publish()
            label = await self._threads.run(self._publish, temp, name, content_type, exclusive)
        finally:
            await self._threads.run(temp.discard)
        return ObjectInfo(key, label.size, label.sha256, label.content_type, time.time())

    async def copy(self, source: str, target: str) -> ObjectInfo:
        """The bytes are verified against the source's SHA-256 on the way."""
        info = await self.head(source)
        async with aclosing(self.open_read(source)) as chunks:
            return await self.write(
                target,
                chunks,
                size=info.size,
                sha256=info.sha256,
                content_type=info.content_type,
            )

    async def delete(self, key: str) -> None:
        """Durable when it returns; empty folders go, too."""
        await self._threads.run(self._delete, key)

    async def list(self, prefix: str, after: str | None = None, limit: int = 1000) -> ObjectPage:
        """`limit` is coerced to 1..1000; `sha256` is '' where it would have to
        be computed."""
        limit = max(1, min(limit, 1000))
        prefix = validate_prefix(prefix)
        return await self._threads.run(list_page, self._blobs, prefix, after or "", limit)

    async def multipart_create(self, key: str, content_type: str, sha256: str = "") -> str:
        split_key(key)
        self._health.require_writable()
        return await self._threads.run(self._multipart.create, key, content_type, sha256)

    async def multipart_parts(self, key: str, multipart_id: str) -> Sequence[PartInfo]:
        """Raises ObjectMissing for an unknown id or another key."""
        return await self._threads.run(self._multipart.parts, key, multipart_id)

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
        """Receive one part; durable when it returns. The data plane's call."""
        begin = self._multipart.begin_part
        temp = await self._threads.run(begin, key, multipart_id, undo=TempFile.discard)
        try:
            await self._fill(temp, chunks, size, sha256)
            return await self._threads.run(self._multipart.keep_part, temp, number)
        finally:
            await self._threads.run(temp.discard)

    async def multipart_complete(
        self, key: str, multipart_id: str, parts: Sequence[PartInfo], *, size: int, sha256: str
    ) -> ObjectInfo:
        """Repeating a completion whose answer was lost succeeds. `parts` must
        be in ascending order; parts that are not named are dropped."""
        try:
            state = self._multipart.announced
            content_type, announced = await self._threads.run(state, key, multipart_id)
        except ObjectMissing:
            return await self._completed_before(key, size, sha256)
        if announced not in ("", sha256):
            raise WrongBytes("another SHA-256 was announced at the beginning")
        numbers = [part.number for part in parts]
        if numbers != sorted(set(numbers)) or sum(part.size for part in parts) != size:
            raise WrongBytes("the parts are out of order or do not add up to the size")
        info = await self._join(key, multipart_id, parts, sha256, content_type)
        await self._threads.run(self._multipart.drop, multipart_id)
        return info

    async def multipart_abort(self, key: str, multipart_id: str) -> None:
        """Only the upload of that key; anything else is left alone."""
        try:
            await self._threads.run(self._multipart.announced, key, multipart_id)
        except ObjectMissing:
            return
        await self._threads.run(self._multipart.drop, multipart_id)

    async def close(self) -> None:
        """Wait for running file work; afterwards nothing may be called."""
        if not self._stop:
            self._stop.append(True)
            await self._threads.close()
            self._tree.close()

    async def _fill(
        self, temp: TempFile, chunks: AsyncIterator[bytes], size: int | None, sha256: str | None
    ) -> None:
        if size is not None and size >= _LARGE:
            await self._threads.run(require_room, self._root, size)
        async for data in _gather(chunks):
            if size is not None and temp.size + len(data) > size:
                raise WrongBytes(f"more than the announced {size} bytes")
            await self._threads.run(temp.append, data)
        if size is not None and temp.size != size:
            raise WrongBytes(f"{temp.size} bytes instead of the announced {size}")
        if sha256 and temp.sha256 != sha256:
            raise WrongBytes("the bytes do not have the announced SHA-256")

    async def _join(
        self,
        key: str,
        multipart_id: str,
        parts: Sequence[PartInfo],
        sha256: str,
        content_type: str,
    ) -> ObjectInfo:
        folders, name = split_key(key)
        temp = await self._threads.run(self._blobs.begin, folders, undo=TempFile.discard)
        try:
            for part in parts:
                await self._append_part(temp, multipart_id, part)
            for offset in range(0, temp.size, _SLICE):
                count = min(_SLICE, temp.size - offset)
                await self._threads.run(temp.rehash, offset, count)
            if temp.sha256 != sha256:
                raise WrongBytes("the joined parts do not have the announced SHA-256")
            label = await self._threads.run(self._publish, temp, name, content_type, False)
        finally:
            await self._threads.run(temp.discard)
        return ObjectInfo(key, label.size, label.sha256, label.content_type, time.time())

    async def _append_part(self, temp: TempFile, multipart_id: str, part: PartInfo) -> None:
        close = self._blobs.calls.close
        open_part = self._multipart.open_part
        fd = await self._threads.run(open_part, multipart_id, part, undo=close)
        try:
            for offset in range(0, part.size, _SLICE):
                count = min(_SLICE, part.size - offset)
                await self._threads.run(temp.append_from, fd, offset, count)
        finally:
            await self._threads.run(close, fd)

    async def _completed_before(self, key: str, size: int, sha256: str) -> ObjectInfo:
        info = await self.head(key)
        if (info.size, info.sha256) != (size, sha256):
            raise ObjectMissing("multipart upload")
        return info

    def _publish(self, temp: TempFile, name: str, content_type: str, exclusive: bool) -> Label:
        return self._blobs.publish(temp, name, content_type, exclusive=exclusive)

    def _describe(self, key: str) -> ObjectInfo:
        folders, name = split_key(key)
        with self._tree.folder(folders) as folder:
            return self._blobs.describe(key, folder, name)

    def _open(self, key: str) -> tuple[int, ObjectInfo]:
        folders, name = split_key(key)
        with self._tree.folder(folders) as folder:
            fd = self._tree.open_file(folder, name)
        try:
            return fd, self._blobs.describe_open(key, fd)
        except BaseException:
            self._blobs.calls.close(fd)
            raise

    def _close_opened(self, opened: tuple[int, ObjectInfo]) -> None:
        self._blobs.calls.close(opened[0])

    def _read(self, fd: int, offset: int, count: int) -> bytes:
        with self._health.guard("read"):
            data = self._blobs.calls.read(fd, count, offset)
        if not data and count:
            raise WrongBytes("the stored file is shorter than it was")
        return data

    def _delete(self, key: str) -> None:
        folders, name = split_key(key)
        try:
            with self._tree.folder(folders) as folder:
                if self._tree.remove(folder, name):
                    self._tree.sync(folder)
        except ObjectMissing:
            return
        self._tree.prune(folders)


async def _gather(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Join small chunks to about 1 MiB: one thread job each."""
    waiting: list[bytes] = []
    length = 0
    async for chunk in chunks:
        waiting.append(chunk)
        length += len(chunk)
        if length >= CHUNK:
            yield b"".join(waiting)
            waiting, length = [], 0
    if length:
        yield b"".join(waiting)


def _bounds(span: ByteRange | None, size: int) -> tuple[int, int]:
    if span is None:
        return 0, size
    end = size if span.last is None else min(span.last + 1, size)
    return min(span.first, end), end


def _headers(request: SignRequest) -> dict[str, str]:
    if request.method != "PUT":
        return {}
    headers = {"Content-Length": str(request.size)}
    if request.content_type:
        headers["Content-Type"] = request.content_type
    return headers


def _constraints(request: SignRequest) -> tuple[Constraint, ...]:
    if request.method != "PUT":
        return ()
    bound = {
        ConstraintKind.SIZE: str(request.size),
        ConstraintKind.CONTENT_TYPE: request.content_type,
        ConstraintKind.SHA256: request.sha256,
        ConstraintKind.CREATE_ONLY: "" if request.upload_part else "true",
    }
    return tuple(
        Constraint(kind, value, Enforcement.ENFORCED) for kind, value in bound.items() if value
    )
