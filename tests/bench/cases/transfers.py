"""Announcing uploads and preparing downloads, by the null RPC of the same process."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import httpx
from google.protobuf import empty_pb2
from workspace.storage.v1.storage_service_pb2 import (
    BatchCreateDownloadsRequest,
    CreateUploadRequest,
)
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub

from tests.bench.case import Bench
from tests.bench.figures import Figure, Goal, Result, interleave
from tests.bench.load import Call, PythonLoad
from tests.bench.null_service import METHOD
from tests.bench.people import TRANSFER_METHODS, Person, each, signed_in
from tests.bench.servers import Server, workspace

TITLE = "CreateUpload and BatchCreateDownloads, by the null RPC"
_SERVICE = "/workspace.storage.v1.StorageService"
_CALLS = 600
_FILES = 500
_BATCHES = 6
_SEQUENTIAL = 300
_MS = 1e3


@dataclass(frozen=True, slots=True)
class _World:
    token: str
    empty_document: str
    documents: Sequence[str]


def run(bench: Bench) -> Result:
    """Calls per second, 32 callers; and milliseconds for 500 signed URLs, by
    500 null RPCs one after the other."""
    with workspace(bench.folder) as server:
        if not server.serves(*TRANSFER_METHODS):
            return Result(skipped=["the storage services are not installed"])
        world = asyncio.run(_build(server))
        single = _single(bench, server, world)
        batch = _batch(bench, server, world)
    figures = [
        Figure(
            "CreateUpload, one durable write", "calls/s", "null RPC",
            single["upload"], single["null"], goal=Goal("ratio", at_least=0.6),
        ),
        Figure(
            "BatchCreateDownloads of 500", "ms", "500 null RPCs in a row",
            batch["batch"], batch["null"], more_is_better=False,
            goal=Goal("value", at_most=40),
        ),
    ]
    return Result(figures, bench.skipped)


def _single(bench: Bench, server: Server, world: _World) -> dict[str, list[float]]:
    request = CreateUploadRequest(
        document_id=world.empty_document, filename="bench.bin", size_bytes=1,
        sha256=hashlib.sha256(b"x").hexdigest(), content_type="application/octet-stream",
    )
    null = Call(server.grpc, METHOD, empty_pb2.Empty(), _CALLS, bearer=world.token)
    ours = Call(server.grpc, f"{_SERVICE}/CreateUpload", request, _CALLS, bearer=world.token)
    sides = {"null": lambda: bench.load.rate(null), "upload": lambda: bench.load.rate(ours)}
    return interleave(bench.rounds, sides)


def _batch(bench: Bench, server: Server, world: _World) -> dict[str, list[float]]:
    request = BatchCreateDownloadsRequest(document_ids=world.documents)
    batch = Call(server.grpc, f"{_SERVICE}/BatchCreateDownloads", request, _BATCHES, 1, world.token)
    null = Call(server.grpc, METHOD, empty_pb2.Empty(), _SEQUENTIAL, 1, world.token)
    client = PythonLoad()
    return interleave(
        bench.rounds,
        {
            "null": lambda: _FILES * _MS / client.rate(null),
            "batch": lambda: _MS / client.rate(batch),
        },
    )


async def _build(server: Server) -> _World:
    async with signed_in(server, "ann@example.com") as [ann], httpx.AsyncClient(timeout=60) as http:
        project_id = await ann.project()
        empty = await ann.document(project_id, "empty.bin")
        names = [f"file-{number}.bin" for number in range(_FILES)]
        documents = await each(lambda name: ann.file(project_id, name, http), names)
        await _verify(ann, documents)
        return _World(ann.token, empty, documents)


async def _verify(ann: Person, documents: Sequence[str]) -> None:
    answer = await ann.stub(StorageServiceStub).BatchCreateDownloads(
        BatchCreateDownloadsRequest(document_ids=documents)
    )
    bad = [result.document_id for result in answer.results if not result.HasField("download")]
    if bad or len(answer.results) != len(documents):
        raise RuntimeError(f"{len(bad)} of {len(documents)} documents cannot be downloaded")
