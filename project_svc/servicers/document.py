"""The gRPC surface of documents."""

# ruff: noqa: N802 - the contract names the methods

from __future__ import annotations

from typing import Any

from workspace.project.v1 import document_service_pb2 as pb
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceServicer

from project_svc.documents.as_of import DocumentsAsOf
from project_svc.documents.batch_updates import BatchUpdates
from project_svc.documents.copies import DocumentCopies
from project_svc.documents.derived import DerivedArtifacts
from project_svc.documents.documents import Documents
from project_svc.documents.files import DocumentFiles
from project_svc.documents.links import Links
from project_svc.documents.lists import DocumentLists
from project_svc.documents.places import DocumentPlaces
from project_svc.documents.purge import DocumentPurge
from project_svc.documents.relocated_files import RelocatedFiles
from project_svc.documents.revisions import Revisions
from project_svc.documents.search import Search
from project_svc.documents.transfers import Transfers

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
        relocated: RelocatedFiles,
        as_of: DocumentsAsOf,
        purge: DocumentPurge,
        batches: BatchUpdates,
        copies: DocumentCopies,
        search: Search,
    ) -> None:
        self._documents = documents
        self._lists = lists
        self._places = places
        self._revisions = revisions
        self._derived = derived
        self._links = links
        self._transfers = transfers
        self._files = files
        self._relocated = relocated
        self._as_of = as_of
        self._purge = purge
        self._batches = batches
        self._copies = copies
        self._search = search

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

    async def BatchUpdateDocuments(
        self, request: pb.BatchUpdateDocumentsRequest, _: Any
    ) -> pb.BatchUpdateDocumentsResponse:
        return await self._batches.update(request)

    async def CopyDocument(
        self, request: pb.CopyDocumentRequest, _: Any
    ) -> pb.CopyDocumentResponse:
        return await self._copies.copy(request, self._documents)

    async def CopyDocumentVersion(
        self, request: pb.CopyDocumentVersionRequest, _: Any
    ) -> pb.CopyDocumentVersionResponse:
        return await self._copies.copy_version(request, self._documents)

    async def SearchDocuments(
        self, request: pb.SearchDocumentsRequest, _: Any
    ) -> pb.SearchDocumentsResponse:
        return await self._search.search(request)

    async def PurgeDocument(
        self, request: pb.PurgeDocumentRequest, _: Any
    ) -> pb.PurgeDocumentResponse:
        return await self._purge.purge(request)

    async def GetDocumentAsOf(
        self, request: pb.GetDocumentAsOfRequest, _: Any
    ) -> pb.GetDocumentAsOfResponse:
        return await self._as_of.get(request)

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

    async def ListProjectFiles(
        self, request: pb.ListProjectFilesRequest, _: Any
    ) -> pb.ListProjectFilesResponse:
        return await self._relocated.of_project(request)

    async def MoveFileKey(
        self, request: pb.MoveFileKeyRequest, _: Any
    ) -> pb.MoveFileKeyResponse:
        return await self._relocated.move(request)
