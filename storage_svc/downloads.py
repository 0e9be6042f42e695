"""Downloads: a transfer for a file that the caller may view. Nothing is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import grpc.aio
from google.protobuf.duration_pb2 import Duration
from workspace.project.v1.document_service_pb2 import (
    AuthorizeFileResponse,
    BatchAuthorizeFilesResult,
    FilePurpose,
)
from workspace.storage.v1.storage_service_pb2 import (
    BatchCreateDownloadsRequest,
    BatchCreateDownloadsResponse,
    CreateDownloadRequest,
    CreateDownloadResponse,
    Disposition,
    Download,
    DownloadResult,
)

from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError
from services.objects.disposition import content_disposition
from services.rpc.context import current_call
from services.rpc.errors import to_status
from storage_svc.announcing import bearer_of
from storage_svc.awaited import AwaitedFiles, still_to_come
from storage_svc.epochs import Epochs
from storage_svc.gate import ProjectGate
from storage_svc.transfers import Transfers, seconds_of

__all__ = ["INLINE_TYPES", "Downloads", "disposition_of", "file_name"]

INLINE_TYPES = frozenset(
    {"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "text/plain"}
)
"""Media types that no browser executes; all others are sent as attachments."""


def file_name(decision: AuthorizeFileResponse) -> str:
    """The name to save under: the artifact's, the document's, the key's."""
    artifact = decision.artifact.name if decision.HasField("artifact") else ""
    return artifact or decision.document.name or decision.file.filename


def disposition_of(filename: str, content_type: str, wanted: Disposition.ValueType) -> str:
    """The Content-Disposition (RFC 6266): inline only where asked and safe."""
    bare = content_type.split(";")[0].strip().lower()
    inline = wanted == Disposition.DISPOSITION_INLINE and bare in INLINE_TYPES
    return content_disposition(filename, inline=inline)


class Downloads:
    """See the module."""

    def __init__(self, *, kernel: Kernel, gate: ProjectGate) -> None:
        self._gate = gate
        self._epochs = Epochs(kernel.records)
        self._awaited = AwaitedFiles(records=kernel.records, objects=kernel.objects)
        self._transfers = Transfers(kernel.objects)
        self._default_seconds = kernel.settings.download_seconds

    async def create(self, request: CreateDownloadRequest) -> CreateDownloadResponse:
        """A transfer of a document's or an artifact's file."""
        decision = await self._gate.authorize(
            request.document_id,
            FilePurpose.FILE_PURPOSE_DOWNLOAD,
            artifact_id=request.artifact_id,
            file_revision=request.file_revision,
        )
        for connection_id in (await self._awaited.among([decision.file])).values():
            raise still_to_come(request.document_id, connection_id)
        asked = request.expires_in if request.HasField("expires_in") else None
        epoch = await self._epochs.of(decision.document.project_id)
        made = self._prepare(decision, request.disposition, asked, epoch)
        return CreateDownloadResponse(
            transfer=made.transfer,
            filename=made.filename,
            size_bytes=made.size_bytes,
            sha256=made.sha256,
            content_type=made.content_type,
        )

    async def batch(self, request: BatchCreateDownloadsRequest) -> BatchCreateDownloadsResponse:
        """One outcome per document, in the order asked."""
        asked = request.expires_in if request.HasField("expires_in") else None
        try:
            decided = await self._gate.authorize_downloads(request.document_ids)
        except grpc.aio.AioRpcError as error:
            results = [_failed(document_id, error) for document_id in request.document_ids]
        else:
            epochs = await self._epochs_of(decided)
            awaited = await self._awaited.among([each.decision.file for each in decided])
            results = [
                self._result(each, request.disposition, asked, epochs, awaited)
                for each in decided
            ]
        return BatchCreateDownloadsResponse(results=results)

    async def _epochs_of(self, decided: Sequence[BatchAuthorizeFilesResult]) -> dict[str, str]:
        projects = {each.decision.document.project_id for each in decided}
        return {each: await self._epochs.of(each) for each in projects if each}

    def _result(
        self,
        decided: BatchAuthorizeFilesResult,
        disposition: Disposition.ValueType,
        asked: Duration | None,
        epochs: Mapping[str, str],
        awaited: Mapping[str, str],
    ) -> DownloadResult:
        if decided.HasField("error"):
            return DownloadResult(document_id=decided.document_id, error=decided.error)
        if connection_id := awaited.get(decided.decision.file.storage_key):
            return _failed(decided.document_id, still_to_come(decided.document_id, connection_id))
        try:
            epoch = epochs[decided.decision.document.project_id]
            download = self._prepare(decided.decision, disposition, asked, epoch)
        except WorkspaceError as error:
            if error.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE:
                raise  # the provider signs nothing at all now
            return _failed(decided.document_id, error)
        return DownloadResult(document_id=decided.document_id, download=download)

    def _prepare(
        self,
        decision: AuthorizeFileResponse,
        disposition: Disposition.ValueType,
        asked: Duration | None,
        epoch: str,
    ) -> Download:
        file, name = decision.file, file_name(decision)
        transfer = self._transfers.download(
            file,
            disposition_of(name, file.content_type, disposition),
            bearer_of(decision, "view", epoch),
            seconds_of(asked, self._default_seconds),
        )
        return Download(
            transfer=transfer,
            filename=name,
            size_bytes=file.size_bytes,
            sha256=file.sha256,
            content_type=file.content_type,
        )


def _failed(document_id: str, error: Exception) -> DownloadResult:
    return DownloadResult(
        document_id=document_id, error=to_status(error, current_call().request_id)
    )
