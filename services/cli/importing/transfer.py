"""One file into one document: record, upload, completion.

Every call carries a request id derived from what it is about, so that a repeat,
be it a retry or a run after a crash, finds what was begun instead of beginning
again. The steps are those of StorageService.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from enum import Enum
from typing import Any

import grpc.aio
import httpx
from workspace.project.v1.document_pb2 import DocumentStatus
from workspace.project.v1.document_service_pb2 import (
    CreateDocumentRequest,
    CreateRevisionRequest,
    GetDocumentRequest,
)
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.storage.v1.storage_service_pb2 import CompleteUploadRequest, CreateUploadRequest
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub

from services.cli.client import Session
from services.cli.failures import CliError
from services.cli.importing.multipart import send_parts
from services.cli.importing.plan import Place
from services.cli.importing.put import UrlRefused, put_bytes
from services.cli.importing.retry import with_retries
from services.cli.importing.source import Source, content_type_of
from services.cli.importing.state import Known, known_of, request_id_of
from services.rpc.errors import error_info, peer_status

__all__ = ["Outcome", "Uploader", "reason_of"]

MULTIPART_FROM = 100 * 1024 * 1024
_STALE = frozenset({"ERROR_REASON_UPLOAD_FINISHED", "ERROR_REASON_INVALID_STATE"})


class Outcome(Enum):
    """What became of a file."""

    IMPORTED = "imported"
    REVISED = "revised"
    UNCHANGED = "unchanged"


def reason_of(error: grpc.aio.AioRpcError) -> tuple[str, dict[str, str]]:
    """The reason and metadata of an error of ours; ('', {}) of any other."""
    status = peer_status(error)
    info = error_info(status) if status is not None else None
    return (info.reason, dict(info.metadata)) if info is not None else ("", {})


class Uploader:
    """Sends files into one project. `patience`: seconds to wait for a server
    that does not answer."""

    def __init__(
        self, session: Session, http: httpx.AsyncClient, project_id: str, *, patience: float
    ) -> None:
        self._session = session
        self._http = http
        self._project_id = project_id
        self._patience = patience
        self._documents = session.stub(DocumentServiceStub)
        self._storage = session.stub(StorageServiceStub)

    async def send(
        self, place: Place, source: Source, known: Known | None, *, title: str = ""
    ) -> Outcome:
        """Bring `source` to `place`. Raises Unavailable, CliError, AioRpcError."""
        if known is not None and known.sha256 == source.sha256:
            return Outcome.UNCHANGED
        try:
            return await self._send(place, source, known, title, salt="")
        except grpc.aio.AioRpcError as error:
            if reason_of(error)[0] not in _STALE:
                raise
            # The request ids led to an upload or document of an earlier time
            # that has ended since. Look again, under ids of this time.
            known = await self._find(known)
            if known is not None and known.sha256 == source.sha256:
                return Outcome.UNCHANGED
            return await self._send(place, source, known, title, salt=uuid.uuid4().hex)

    async def _send(
        self, place: Place, source: Source, known: Known | None, title: str, *, salt: str
    ) -> Outcome:
        if known is None:
            known = await self._create(place, source, title, salt)
            if known.sha256 == source.sha256:
                return Outcome.UNCHANGED
        revises = known.has_file
        if revises:
            request = CreateRevisionRequest(document_id=known.document_id)
            request.request_id = request_id_of(
                request, source.sha256, str(known.file_revision), salt
            )
            await self._call(self._documents.CreateRevision, request)
        await self._upload(place, source, known, salt)
        return Outcome.REVISED if revises else Outcome.IMPORTED

    async def _create(self, place: Place, source: Source, title: str, salt: str) -> Known:
        request = CreateDocumentRequest(
            project_id=self._project_id,
            name=place.name,
            relative_path=place.folder,
            title=title,
            mime_type=content_type_of(place.name),
        )
        request.request_id = request_id_of(request, source.sha256, salt)
        try:
            answer = await self._call(self._documents.CreateDocument, request)
        except grpc.aio.AioRpcError as error:
            reason, metadata = reason_of(error)
            if reason != "ERROR_REASON_ALREADY_EXISTS":
                raise
            return await self._occupant(metadata, error)
        return Known(answer.document.document_id)

    async def _occupant(self, metadata: dict[str, str], error: Exception) -> Known:
        """The document that holds the place already."""
        found = metadata.get("document_id") or metadata.get("resource", "").rpartition("/")[2]
        if not found:
            raise error
        request = GetDocumentRequest(document_id=found)
        document = (await self._call(self._documents.GetDocument, request)).document
        if document.status == DocumentStatus.DOCUMENT_STATUS_ARCHIVED:
            raise CliError("an archived document has this place; take it out of the archive")
        return known_of(document)

    async def _find(self, known: Known | None) -> Known | None:
        if known is None:
            return None
        request = GetDocumentRequest(document_id=known.document_id)
        return known_of((await self._call(self._documents.GetDocument, request)).document)

    async def _upload(self, place: Place, source: Source, known: Known, salt: str) -> None:
        if source.size > MULTIPART_FROM:
            upload_id = await send_parts(
                self._call, self._storage, self._http, source, place, known, salt,
                patience=self._patience,
            )
        else:
            upload_id = await self._single(place, source, known, salt)
        request = CompleteUploadRequest(upload_id=upload_id)
        request.request_id = request_id_of(request)
        await self._call(self._storage.CompleteUpload, request)

    async def _single(self, place: Place, source: Source, known: Known, salt: str) -> str:
        request = CreateUploadRequest(
            document_id=known.document_id,
            filename=place.name,
            content_type=content_type_of(place.name),
            size_bytes=source.size,
            sha256=source.sha256,
        )
        request.request_id = request_id_of(request, str(known.file_revision), salt)

        async def attempt() -> str:
            # Signed anew each time: an old URL may be used up or have expired.
            answer = await self._call(self._storage.CreateUpload, request)
            await put_bytes(self._http, answer.transfer, source)
            return str(answer.upload.upload_id)

        try:
            return await with_retries(attempt, patience=self._patience)
        except UrlRefused:
            return await with_retries(attempt, patience=self._patience)

    async def _call(self, method: Callable[..., Any], request: Any) -> Any:
        return await with_retries(
            lambda: self._session.call(method, request), patience=self._patience
        )
