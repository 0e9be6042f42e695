"""The controls: what the same work costs without us.

Run as a module it is the bare gRPC server: `grpc.aio` on uvloop, the null RPC,
no interceptors, no options.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

import grpc.aio

from tests.bench.null_service import NullServicer, add_null_service
from tests.bench.served import announce_and_wait, run

__all__ = [
    "BARE_IMPORTS",
    "copy_tree_with_checksums",
    "copy_with_checksum",
    "import_seconds",
    "write_with_checksum",
]

BARE_IMPORTS = "import grpc, starlette, sqlalchemy"
_CHUNK = 1 << 20


class Readable(Protocol):
    """An open file, or the answer of a server."""

    def read(self, amount: int, /) -> bytes: ...


def import_seconds() -> float:
    """Seconds until a Python process has imported the three big dependencies."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", BARE_IMPORTS], check=True)
    return time.perf_counter() - began


def copy_with_checksum(source: Path, target: Path) -> str:
    """Copy one file durably, hashing on the way: SHA-256 in hex."""
    with source.open("rb") as reader:
        return write_with_checksum(reader, target)


def write_with_checksum(reader: Readable, target: Path) -> str:
    """The writing half of the copy, also for what a socket brings."""
    digest = hashlib.sha256()
    with target.open("wb") as writer:
        while chunk := reader.read(_CHUNK):
            digest.update(chunk)
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()


def copy_tree_with_checksums(source: Path, target: Path) -> int:
    """`cp -r`, then SHA-256 of every copy; the number of files."""
    subprocess.run(["cp", "-r", str(source), str(target)], check=True)
    files = [path for path in target.rglob("*") if path.is_file()]
    for path in files:
        hashlib.sha256(path.read_bytes()).hexdigest()
    return len(files)


async def _serve() -> None:
    server = grpc.aio.server()
    add_null_service(NullServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await announce_and_wait(grpc=f"127.0.0.1:{port}")
    await server.stop(None)


if __name__ == "__main__":
    run(_serve())
