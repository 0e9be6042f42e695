"""The gRPC surface of documents."""

# ruff: noqa: N802 - the contract names the methods

from __future__ import annotations

from typing import Any

from workspace.project.v1 import document_service_pb2 as pb
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceServicer

from project_svc.derived import DerivedArtifacts
from project_svc.document_files import DocumentFiles
from project_svc.document_lists import DocumentLists
from project_svc.document_places import DocumentPlaces
from project_svc.documents import Documents
from project_svc.links import Links
from project_svc.revisions import Revisions
from project_svc.transfers import Transfers

__all__ = ["DocumentServicer"]


class DocumentServicer(DocumentServiceServicer):
    """Answers DocumentService from the use cases."""

    def __init__(
        self,
        *,
        documents: Documents,
        lists: DocumentLists,
        places: DocumentPlaces,
        revisions: Revisions,
        derived: DerivedArtifacts,
        links: Links,
        transfers: Transfers,
        files: DocumentFiles,
    ) -> None:
        self._documents = documents
        self._lists = lists
        self._places = places
        self._revisions = revisions
        self._derived = derived
        self._links = links
        self._transfers = transfers
        self._files = files

    async def CreateDocument(
        self, request: pb.CreateDocumentRequest, _: Any
    ) -> pb.CreateDocumentResponse:
        return await self._documents.create(request)

    async def GetDocument(
        self, request: pb.GetDocumentRequest, _: Any
    ) -> pb.GetDocumentResponse:
        return await self._documents.get(request)

    async def ListDocuments(
        self, request: pb.ListDocumentsRequest, _: Any
    ) -> pb.ListDocumentsResponse:
        return await self._lists.list(request)

    async def UpdateDocument(
        self, request: pb.UpdateDocumentRequest, _: Any
    ) -> pb.UpdateDocumentResponse:
        return await self._documents.update(request)

    async def ArchiveDocument(
        self, request: pb.ArchiveDocumentRequest, _: Any
    ) -> pb.ArchiveDocumentResponse:
        return await self._documents.archive(request)

    async def MoveDocument(
        self, request: pb.MoveDocumentRequest, _: Any
    ) -> pb.MoveDocumentResponse:
        return await self._places.move(request)

    async def DeleteDocument(
        self, request: pb.DeleteDocumentRequest, _: Any
    ) -> pb.DeleteDocumentResponse:
        return await self._places.delete(request)

    async def RestoreDocument(
        self, request: pb.RestoreDocumentRequest, _: Any
    ) -> pb.RestoreDocumentResponse:
        return await self._places.restore(request)

    async def CreateRevision(
        self, request: pb.CreateRevisionRequest, _: Any
    ) -> pb.CreateRevisionResponse:
        return await self._revisions.create(request)

    async def ListRevisions(
        self, request: pb.ListRevisionsRequest, _: Any
    ) -> pb.ListRevisionsResponse:
        return await self._revisions.list(request)

    async def CreateDerivedArtifact(
        self, request: pb.CreateDerivedArtifactRequest, _: Any
    ) -> pb.CreateDerivedArtifactResponse:
        return await self._derived.create(request)

    async def ListDerivedArtifacts(
        self, request: pb.ListDerivedArtifactsRequest, _: Any
    ) -> pb.ListDerivedArtifactsResponse:
        return await self._derived.list(request)

    async def LinkObjects(
        self, request: pb.LinkObjectsRequest, _: Any
    ) -> pb.LinkObjectsResponse:
        return await self._links.link(request)

    async def UnlinkObjects(
        self, request: pb.UnlinkObjectsRequest, _: Any
    ) -> pb.UnlinkObjectsResponse:
        return await self._links.unlink(request)

    async def ListLinks(
        self, request: pb.ListLinksRequest, _: Any
    ) -> pb.ListLinksResponse:
        return await self._links.list(request)

    async def AuthorizeFile(
        self, request: pb.AuthorizeFileRequest, _: Any
    ) -> pb.AuthorizeFileResponse:
        return await self._transfers.authorize(request)

    async def BatchAuthorizeFiles(
        self, request: pb.BatchAuthorizeFilesRequest, _: Any
    ) -> pb.BatchAuthorizeFilesResponse:
        return await self._transfers.batch(request)

    async def AttachFile(
        self, request: pb.AttachFileRequest, _: Any
    ) -> pb.AttachFileResponse:
        if request.artifact_id:
            return await self._derived.attach(request)
        return await self._files.attach(request)
