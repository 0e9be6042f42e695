"""64 MiB up and down through signed URLs, by a file copy with a checksum."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from workspace.storage.v1.storage_service_pb2 import CreateDownloadRequest
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub
from workspace.storage.v1.transfer_pb2 import Transfer

from tests.bench.case import Bench
from tests.bench.controls import copy_with_checksum, write_with_checksum
from tests.bench.figures import Figure, Result, interleave
from tests.bench.people import TRANSFER_METHODS, signed_in
from tests.bench.servers import Server, workspace

TITLE = "Upload and download of 64 MiB, by a file copy with SHA-256 and fsync"
_MIB = 64
_CHUNK = 1 << 20
_EMAIL = "ann@example.com"


def run(bench: Bench) -> Result:
    """MiB per second. The upload is the PUT, stored and verified; the download
    is written to a file, hashed and synced like the copy."""
    source = bench.folder / "source.bin"
    source.write_bytes(random.Random(64).randbytes(_MIB << 20))
    with workspace(bench.folder) as server:
        if not server.serves(*TRANSFER_METHODS):
            return Result(skipped=["the storage services are not installed"])
        sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
        paths = _Paths(bench.folder, source, sha256)
        taken = interleave(
            bench.rounds,
            {
                "copy": lambda: _rate(paths.copied),
                "upload": lambda: _upload(server, paths),
                "download": lambda: _download(server, paths),
            },
        )
    control = "copy with SHA-256 and fsync"
    return Result(
        [
            Figure("upload of 64 MiB", "MiB/s", control, taken["upload"], taken["copy"]),
            Figure("download of 64 MiB", "MiB/s", control, taken["download"], taken["copy"]),
        ]
    )


class _Paths:
    """The file, its checksum, where copies go, and the document of the last upload."""

    def __init__(self, folder: Path, source: Path, sha256: str) -> None:
        self.source = source
        self.target = folder / "copy.bin"
        self.sha256 = sha256
        self.document_id = ""

    def copied(self) -> None:
        """The control."""
        self.verify(copy_with_checksum(self.source, self.target))

    def verify(self, sha256: str) -> None:
        """Other bytes would be the wrong thing to measure."""
        if sha256 != self.sha256:
            raise RuntimeError("the bytes are not the same")


def _rate(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return _MIB / (time.perf_counter() - began)


def _upload(server: Server, paths: _Paths) -> float:
    upload_id, transfer = asyncio.run(_announced(server, paths))
    rate = _rate(lambda: _put(transfer, paths.source))
    asyncio.run(_completed(server, upload_id))
    return rate


def _download(server: Server, paths: _Paths) -> float:
    transfer = asyncio.run(_prepared(server, paths.document_id))
    return _rate(lambda: paths.verify(_get(transfer, paths.target)))


def _put(transfer: Transfer, source: Path) -> None:
    connection = _connection(transfer)
    with source.open("rb") as body:
        connection.request("PUT", _target(transfer), body=body, headers=dict(transfer.headers))
    _answer(connection).read()
    connection.close()


def _get(transfer: Transfer, target: Path) -> str:
    connection = _connection(transfer)
    connection.request("GET", _target(transfer), headers=dict(transfer.headers))
    answer = _answer(connection)
    sha256 = write_with_checksum(answer, target)
    connection.close()
    return sha256


def _connection(transfer: Transfer) -> http.client.HTTPConnection:
    place = urlsplit(transfer.url)
    return http.client.HTTPConnection(place.hostname or "", place.port, blocksize=_CHUNK)


def _target(transfer: Transfer) -> str:
    place = urlsplit(transfer.url)
    return f"{place.path}?{place.query}"


def _answer(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
    answer = connection.getresponse()
    if answer.status not in (200, 201, 204):
        raise RuntimeError(f"the data plane answered {answer.status}: {answer.read()[:500]!r}")
    return answer


async def _announced(server: Server, paths: _Paths) -> tuple[str, Transfer]:
    async with signed_in(server, _EMAIL) as [ann]:
        project_id = await ann.project(f"data {time.monotonic_ns()}")
        paths.document_id = await ann.document(project_id, "source.bin")
        return await ann.announce(paths.document_id, _MIB << 20, paths.sha256)


async def _completed(server: Server, upload_id: str) -> None:
    async with signed_in(server, _EMAIL) as [ann]:
        await ann.complete(upload_id)


async def _prepared(server: Server, document_id: str) -> Transfer:
    async with signed_in(server, _EMAIL) as [ann]:
        prepared = await ann.stub(StorageServiceStub).CreateDownload(
            CreateDownloadRequest(document_id=document_id)
        )
        return cast("Transfer", prepared.transfer)
