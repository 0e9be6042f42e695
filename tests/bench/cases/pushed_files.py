"""Files that are pushed to an object store, and a push of ours."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path

from services.objects.store import ObjectStore
from sync_svc.engine.objects.parallel import in_parallel

__all__ = ["AT_ONCE", "MIB", "TYPE", "digests_of", "filled", "push_files"]

MIB, _CHUNK = 1 << 20, 256 << 10
AT_ONCE = 4
"""As many as sync moves (sync_svc/engine/objects)."""
TYPE = "application/octet-stream"


def filled(folder: Path, files: int, size: int) -> Path:
    """`folder`, made, with that many different files."""
    folder.mkdir()
    block = random.Random(size).randbytes(min(size, MIB))
    for number in range(files):
        with (folder / f"{number:04}.bin").open("wb") as file:
            for at in range(0, size, len(block)):
                file.write((at + number).to_bytes(8, "big") + block[8:])
    return folder


def digests_of(folder: Path) -> dict[Path, str]:
    """SHA-256 by file: known beforehand, as it is from records."""
    return {path: _sha256(path) for path in sorted(folder.iterdir())}


async def push_files(objects: ObjectStore, prefix: str, digests: Mapping[Path, str]) -> float:
    """Seconds of a push: size and SHA-256 known, durable and create-only."""
    sizes = await asyncio.to_thread(_sizes, digests)

    async def one(item: tuple[Path, str]) -> None:
        path, sha256 = item
        await objects.write(
            f"{prefix}/{path.name}", _chunks(path, sizes[path]), size=sizes[path],
            sha256=sha256, content_type=TYPE,
        )

    began = time.perf_counter()
    await in_parallel(digests.items(), one, concurrency=AT_ONCE)
    return time.perf_counter() - began


async def _chunks(path: Path, size: int) -> AsyncIterator[bytes]:
    if size <= _CHUNK:
        yield await asyncio.to_thread(path.read_bytes)
        return
    with await asyncio.to_thread(path.open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK):
            yield chunk


def _sizes(paths: Iterable[Path]) -> dict[Path, int]:
    return {path: path.stat().st_size for path in paths}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
