"""Local files as something to hash and to send."""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
import os
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SMALL", "Source", "content_type_of", "open_source"]

SMALL = 1 << 20
"""Files up to this size are read once and held in memory."""
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """A file as it was hashed. `data` holds its bytes when it is small."""

    path: Path
    size: int
    sha256: str
    data: bytes | None = None

    async def chunks(self, first: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Bytes first..first+length. A file that shrank gives fewer."""
        left = self.size - first if length is None else length
        fd = await asyncio.to_thread(os.open, self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while left > 0:
                data = await asyncio.to_thread(os.pread, fd, min(_CHUNK, left), first)
                if not data:
                    return
                yield data
                first += len(data)
                left -= len(data)
        finally:
            os.close(fd)


async def open_source(path: Path, executor: Executor) -> Source:
    """Read and hash in a thread. Raises OSError."""
    return await asyncio.get_running_loop().run_in_executor(executor, _hash, path)


def content_type_of(name: str) -> str:
    """By the extension; `application/octet-stream` when it says nothing."""
    return mimetypes.guess_type(name, strict=True)[0] or "application/octet-stream"


def _hash(path: Path) -> Source:
    # O_NOFOLLOW: what was a file in the walk may be a link by now.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(fd, "rb") as file:
        size = os.fstat(fd).st_size
        if size <= SMALL:
            data = file.read()
            return Source(path, len(data), hashlib.sha256(data).hexdigest(), data)
        digest = hashlib.sha256()
        total = 0
        while data := file.read(_CHUNK):
            digest.update(data)
            total += len(data)
        return Source(path, total, digest.hexdigest())
