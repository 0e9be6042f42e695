"""StorageService."""

# ruff: noqa: N802 - the contract names the methods

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from workspace.storage.v1.storage_service_pb2 import (
    AbortUploadRequest,
    AbortUploadResponse,
    BatchCreateDownloadsRequest,
    BatchCreateDownloadsResponse,
    CompleteUploadRequest,
    CompleteUploadResponse,
    CopyObjectRequest,
    CopyObjectResponse,
    CreateDownloadRequest,
    CreateDownloadResponse,
    CreateMultipartUploadRequest,
    CreateMultipartUploadResponse,
    CreateUploadRequest,
    CreateUploadResponse,
    DeleteObjectRequest,
    DeleteObjectResponse,
    GetHomeUsageRequest,
    GetHomeUsageResponse,
    GetObjectInfoRequest,
    GetObjectInfoResponse,
    ListUploadPartsRequest,
    ListUploadPartsResponse,
    ListUploadsRequest,
    ListUploadsResponse,
    MarkAvailableRequest,
    MarkAvailableResponse,
    RelocateProjectRequest,
    RelocateProjectResponse,
    RevokeTransfersRequest,
    RevokeTransfersResponse,
    SignUploadPartsRequest,
    SignUploadPartsResponse,
)
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceServicer

from services.rpc.wrap import Context
from storage_svc.completion import Completion
from storage_svc.copies import ObjectCopies
from storage_svc.downloads import Downloads
from storage_svc.home_usage import HomeUsages
from storage_svc.multipart import MultipartUploads
from storage_svc.ready import Readiness
from storage_svc.relocating import Relocating
from storage_svc.revoking import Revoking
from storage_svc.stored import StoredObjects
from storage_svc.uploads import Uploads

__all__ = ["StorageServicer"]


class StorageServicer(StorageServiceServicer):
    """Transfers and their verification."""

    def __init__(
        self,
        *,
        uploads: Uploads,
        multipart: MultipartUploads,
        completion: Completion,
        downloads: Downloads,
        stored: StoredObjects,
        relocating: Relocating,
        revoking: Revoking,
        readiness: Readiness,
        usage: HomeUsages,
        copies: ObjectCopies,
    ) -> None:
        self._copies = copies
        self._uploads = uploads
        self._multipart = multipart
        self._completion = completion
        self._downloads = downloads
        self._stored = stored
        self._relocating = relocating
        self._revoking = revoking
        self._readiness = readiness
        self._usage = usage

    async def CreateUpload(self, request: CreateUploadRequest, _: Context) -> CreateUploadResponse:
        return await self._uploads.create(request)

    async def CreateMultipartUpload(
        self, request: CreateMultipartUploadRequest, _: Context
    ) -> CreateMultipartUploadResponse:
        return await self._multipart.create(request)

    async def SignUploadParts(
        self, request: SignUploadPartsRequest, _: Context
    ) -> SignUploadPartsResponse:
        return await self._multipart.sign_parts(request)

    async def ListUploadParts(
        self, request: ListUploadPartsRequest, _: Context
    ) -> ListUploadPartsResponse:
        return await self._multipart.list_parts(request)

    async def CompleteUpload(
        self, request: CompleteUploadRequest, _: Context
    ) -> CompleteUploadResponse:
        return await self._completion.complete(request)

    async def AbortUpload(self, request: AbortUploadRequest, _: Context) -> AbortUploadResponse:
        return await self._uploads.abort(request)

    async def ListUploads(self, request: ListUploadsRequest, _: Context) -> ListUploadsResponse:
        return await self._uploads.of_project(request)

    async def CreateDownload(
        self, request: CreateDownloadRequest, _: Context
    ) -> CreateDownloadResponse:
        return await self._downloads.create(request)

    async def BatchCreateDownloads(
        self, request: BatchCreateDownloadsRequest, _: Context
    ) -> BatchCreateDownloadsResponse:
        return await self._downloads.batch(request)

    async def GetObjectInfo(
        self, request: GetObjectInfoRequest, _: Context
    ) -> GetObjectInfoResponse:
        return await self._stored.info(request)

    async def CopyObject(self, request: CopyObjectRequest, _: Context) -> CopyObjectResponse:
        return await self._copies.copy(request)

    async def DeleteObject(self, request: DeleteObjectRequest, _: Context) -> DeleteObjectResponse:
        return await self._stored.delete(request)

    async def RelocateProject(
        self, request: RelocateProjectRequest, _: Context
    ) -> AsyncGenerator[RelocateProjectResponse, None]:
        async with aclosing(self._relocating.relocate(request)) as messages:
            async for message in messages:
                yield message

    async def RevokeTransfers(
        self, request: RevokeTransfersRequest, _: Context
    ) -> RevokeTransfersResponse:
        return await self._revoking.revoke(request)

    async def MarkAvailable(
        self, request: MarkAvailableRequest, _: Context
    ) -> MarkAvailableResponse:
        return await self._readiness.mark(request)

    async def GetHomeUsage(
        self, request: GetHomeUsageRequest, _: Context
    ) -> GetHomeUsageResponse:
        return await self._usage.get(request)
