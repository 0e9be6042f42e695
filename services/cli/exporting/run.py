"""An export from beginning to end: list, compare, fetch in parallel, verify."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc.aio
import httpx
from workspace.project.v1.document_pb2 import Document, DocumentStatus
from workspace.project.v1.document_service_pb2 import ListDocumentsRequest
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.storage.v1.storage_service_pb2 import (
    BatchCreateDownloadsRequest,
    CreateDownloadRequest,
)
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub

from services.cli.client import Session
from services.cli.describing import describe
from services.cli.exporting.fetch import CHUNK, opened, verify
from services.cli.exporting.names import distinct_names
from services.cli.exporting.tree import ExportTree, Part
from services.cli.failures import CliError
from services.cli.importing.progress import Progress
from services.cli.importing.put import UrlRefused, http_client
from services.cli.importing.retry import Unavailable, with_retries
from services.rpc.errors import error_info

__all__ = ["Export", "Summary"]

_BATCH = 16
_STATUS = DocumentStatus


@dataclass(slots=True)
class Summary:
    """What an export did. `failed` and `skipped` are (path, reason)."""

    exported: int = 0
    unchanged: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    not_tried: int = 0
    bytes_received: int = 0
    seconds: float = 0.0
    unavailable: bool = False


class Export:
    """Brings a project's files into `tree` with `workers` under way at a time."""

    def __init__(
        self,
        session: Session,
        project_id: str,
        tree: ExportTree,
        *,
        archived: bool = False,
        workers: int = 8,
        patience: float = 30.0,
        shown: bool = True,
    ) -> None:
        self._session = session
        self._project_id = project_id
        self._tree = tree
        self._archived = archived
        self._workers = workers
        self._patience = patience
        self._shown = shown
        self._storage = session.stub(StorageServiceStub)
        self.summary = Summary()
        """What was done until now, also when the run is cancelled."""

    async def run(self) -> Summary:
        """Bring the files. Failures are in the summary, not raised."""
        summary = self.summary
        documents = distinct_names(_with_files(await self._list(), summary))
        waiting = _batches(documents)
        size = sum(document.file.size_bytes for document in documents)
        with Progress("Exporting", files=len(documents), size=size, shown=self._shown) as progress:
            try:
                reached = self._session.reached
                async with (
                    http_client(self._workers * 2, reached) as http,
                    asyncio.TaskGroup() as group,
                ):
                    for _ in range(self._workers):
                        group.create_task(self._work(waiting, http, summary, progress))
            finally:
                tried = summary.exported + summary.unchanged + len(summary.failed)
                summary.not_tried = len(documents) - tried
                summary.bytes_received, summary.seconds = progress.sent, progress.seconds
        return summary

    async def _list(self) -> list[Document]:
        stub = self._session.stub(DocumentServiceStub)
        request = ListDocumentsRequest(project_id=self._project_id)
        found = await self._session.pages(stub.ListDocuments, request, "documents")
        if self._archived:
            request.status = _STATUS.DOCUMENT_STATUS_ARCHIVED
            found += await self._session.pages(stub.ListDocuments, request, "documents")
        return found

    async def _work(
        self,
        waiting: Iterator[list[Document]],
        http: httpx.AsyncClient,
        summary: Summary,
        progress: Progress,
    ) -> None:
        for batch in waiting:
            if summary.unavailable:
                return
            wanted = [d for d in batch if not await self._is_there(d, summary, progress)]
            try:
                downloads = await self._prepare(wanted)
            except (Unavailable, grpc.aio.AioRpcError) as error:
                self._fail(wanted, error, summary, progress)
                continue
            for document in wanted:
                await self._one(document, downloads, http, summary, progress)

    async def _is_there(self, document: Document, summary: Summary, progress: Progress) -> bool:
        """Whether nothing is to be done: it is there, or cannot be put there."""
        try:
            there = await asyncio.to_thread(
                self._tree.is_there, document.relative_path, document.name,
                size=document.file.size_bytes, sha256=document.file.sha256,
            )
        except Exception as error:
            self._fail([document], error, summary, progress)
            return True
        if there:
            summary.unchanged += 1
            progress.done(document.file.size_bytes)
        return there

    async def _prepare(self, documents: Sequence[Document]) -> dict[str, Any]:
        if not documents:
            return {}
        request = BatchCreateDownloadsRequest(document_ids=[d.document_id for d in documents])
        call = self._session.call
        answer = await with_retries(
            lambda: call(self._storage.BatchCreateDownloads, request), patience=self._patience
        )
        return {result.document_id: result for result in answer.results}

    async def _one(
        self,
        document: Document,
        downloads: dict[str, Any],
        http: httpx.AsyncClient,
        summary: Summary,
        progress: Progress,
    ) -> None:
        result = downloads.get(document.document_id)
        try:
            await self._fetch(document, _download_of(result), http)
        except Exception as error:
            self._fail([document], error, summary, progress)
            return
        summary.exported += 1
        progress.done(document.file.size_bytes, sent=True)

    async def _fetch(self, document: Document, download: Any, http: httpx.AsyncClient) -> None:
        async def attempt() -> None:
            nonlocal download
            try:
                await self._write(document, download, http)
            except UrlRefused:  # it expired while others were under way
                request = CreateDownloadRequest(document_id=document.document_id)
                download = await self._session.call(self._storage.CreateDownload, request)
                await self._write(document, download, http)

        await with_retries(attempt, patience=self._patience)

    async def _write(self, document: Document, download: Any, http: httpx.AsyncClient) -> None:
        async with opened(http, download.transfer) as response:
            if download.size_bytes <= CHUNK:
                data = await response.aread()
                await asyncio.to_thread(self._write_small, document, download, data)
                return
            place = (document.relative_path, document.name, document.document_id)
            with self._tree.part(*place) as part:
                async for chunk in response.aiter_bytes(CHUNK):
                    await asyncio.to_thread(part.append, chunk)
                _check(document, download, part)

    def _write_small(self, document: Document, download: Any, data: bytes) -> None:
        place = (document.relative_path, document.name, document.document_id)
        with self._tree.part(*place) as part:
            part.append(data)
            _check(document, download, part)

    def _fail(
        self,
        documents: Sequence[Document],
        error: BaseException,
        summary: Summary,
        progress: Progress,
    ) -> None:
        if isinstance(error, Unavailable):
            summary.unavailable = True
            return
        failure = describe(error)
        reason = f" ({failure.reason})" if failure.reason else ""
        for document in documents:
            summary.failed.append((_path(document), failure.message + reason))
            progress.done(document.file.size_bytes)


def _download_of(result: Any) -> Any:
    if result is None or result.WhichOneof("outcome") != "download":
        raise CliError(_said(result.error) if result else "there is no answer for it")
    return result.download


def _said(status: Any) -> str:
    info = error_info(status)
    return str(status.message) + (f" ({info.reason})" if info else "")


def _check(document: Document, download: Any, part: Part) -> None:
    verify(download, part.size, part.sha256)
    if part.sha256 != document.file.sha256:
        raise CliError("got a new file meanwhile; run the export again")


def _with_files(documents: Sequence[Document], summary: Summary) -> list[Document]:
    """Those that have a file; the others are reported."""
    found = []
    for document in documents:
        if document.HasField("file"):
            found.append(document)
        else:
            summary.skipped.append((_path(document), "has no file yet"))
    return found


def _path(document: Document) -> str:
    folder = document.relative_path
    return f"{folder}/{document.name}" if folder else document.name


def _batches(documents: list[Document]) -> Iterator[list[Document]]:
    for start in range(0, len(documents), _BATCH):
        yield documents[start : start + _BATCH]
