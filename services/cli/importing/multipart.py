"""Large files in parts; parts that the store holds already are not sent again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
from workspace.storage.v1.storage_service_pb2 import (
    CreateMultipartUploadRequest,
    ListUploadPartsRequest,
    SignUploadPartsRequest,
)
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub

from services.cli.importing.put import UrlRefused, put_part
from services.cli.importing.retry import with_retries
from services.cli.importing.source import Source, content_type_of
from services.cli.importing.state import Known, request_id_of

__all__ = ["send_parts"]

Call = Callable[[Callable[..., Any], Any], Awaitable[Any]]
_PARALLEL = 4
_PAGE = 500


async def send_parts(
    call: Call,
    storage: StorageServiceStub,
    http: httpx.AsyncClient,
    source: Source,
    place: Any,
    known: Known,
    salt: str,
    *,
    patience: float,
) -> str:
    """Send what is missing; answers the upload to complete."""
    request = CreateMultipartUploadRequest(
        document_id=known.document_id,
        filename=place.name,
        content_type=content_type_of(place.name),
        size_bytes=source.size,
        sha256=source.sha256,
    )
    request.request_id = request_id_of(request, str(known.file_revision), salt)
    upload = (await call(storage.CreateMultipartUpload, request)).upload
    there = await _held(call, storage, upload.upload_id)
    missing = [n for n in range(1, upload.part_count + 1) if n not in there]
    for numbers in _batches(missing, _PARALLEL):
        await _send_batch(call, storage, http, source, upload, numbers, patience=patience)
    return str(upload.upload_id)


async def _held(call: Call, storage: StorageServiceStub, upload_id: str) -> set[int]:
    held: set[int] = set()
    request = ListUploadPartsRequest(upload_id=upload_id, page_size=_PAGE)
    while True:
        answer = await call(storage.ListUploadParts, request)
        held |= {part.part_number for part in answer.parts}
        request.page_token = answer.next_page_token
        if not request.page_token:
            return held


async def _send_batch(
    call: Call,
    storage: StorageServiceStub,
    http: httpx.AsyncClient,
    source: Source,
    upload: Any,
    numbers: list[int],
    *,
    patience: float,
) -> None:
    async def attempt(number: int) -> None:
        request = SignUploadPartsRequest(upload_id=upload.upload_id, part_numbers=[number])
        [part] = (await call(storage.SignUploadParts, request)).parts
        first = (number - 1) * upload.part_size_bytes
        length = min(upload.part_size_bytes, source.size - first)
        await put_part(http, part.transfer, source, first, length)

    async def send(number: int) -> None:
        try:
            await with_retries(lambda: attempt(number), patience=patience)
        except UrlRefused:
            await with_retries(lambda: attempt(number), patience=patience)

    async with asyncio.TaskGroup() as group:
        for number in numbers:
            group.create_task(send(number))


def _batches(numbers: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]
