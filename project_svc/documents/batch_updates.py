"""BatchUpdateDocuments: single updates side by side, one result each.

Each item is a call of its own with a request id that derives from the batch's,
so a repeat of the batch finds every item that went through. The batch's id and
payload are noted first, in a partition of their own: another payload under the
same id is refused before anything happens.
"""

from __future__ import annotations

import asyncio
import uuid

import grpc.aio
from workspace.project.v1.document_service_pb2 import (
    BatchUpdateDocumentsRequest,
    BatchUpdateDocumentsResponse,
    BatchUpdateResult,
    UpdateDocumentRequest,
)

from project_svc.documents.changes import DocumentChanges
from project_svc.documents.documents import Documents
from services.model.errors import WorkspaceError, invalid_field
from services.records.record import Activity
from services.rpc.context import current_call
from services.rpc.errors import to_status

__all__ = ["BatchUpdates"]

_AT_ONCE = 8


class BatchUpdates:
    """The use case of BatchUpdateDocuments."""

    def __init__(self, *, changes: DocumentChanges, documents: Documents) -> None:
        self._changes = changes
        self._documents = documents

    async def update(self, request: BatchUpdateDocumentsRequest) -> BatchUpdateDocumentsResponse:
        """One result per item, in order. Raises INVALID_FIELD when a document
        occurs twice."""
        _refuse_twice(request)
        token = await self._note(request) if request.request_id else ""
        gate = asyncio.Semaphore(_AT_ONCE)
        tasks = [
            asyncio.ensure_future(self._one(gate, _item(request, each)))
            for each in request.requests
        ]
        try:
            done = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        tokens = [each_token for _, each_token in done if each_token]
        return BatchUpdateDocumentsResponse(
            results=[result for result, _ in done], consistency_token=(tokens or [token])[-1]
        )

    async def _note(self, request: BatchUpdateDocumentsRequest) -> str:
        """The claim of the request id. Raises REQUEST_ID_REUSED."""
        mutation = self._changes.begin(request)
        pk = f"BATCH#{mutation.new_id('b')}"
        done = await mutation.replay(pk, BatchUpdateDocumentsResponse)
        if done is None:
            done = await mutation.commit(
                pk,
                [],
                activity=Activity("documents.batch_updated", "documents"),
                answer=lambda _: BatchUpdateDocumentsResponse(),
            )
        return done.consistency_token

    async def _one(
        self, gate: asyncio.Semaphore, request: UpdateDocumentRequest
    ) -> tuple[BatchUpdateResult, str]:
        async with gate:
            try:
                done = await self._documents.update(request)
            except (WorkspaceError, grpc.aio.AioRpcError) as error:
                status = to_status(error, current_call().request_id)
                return BatchUpdateResult(error=status), ""
        return BatchUpdateResult(document=done.document), done.consistency_token


def _item(
    request: BatchUpdateDocumentsRequest, each: UpdateDocumentRequest
) -> UpdateDocumentRequest:
    """The item under a request id that a repeat of the batch derives again."""
    item = UpdateDocumentRequest()
    item.CopyFrom(each)
    item.request_id = ""
    if request.request_id:
        name = each.document.document_id
        item.request_id = str(uuid.uuid5(uuid.UUID(request.request_id), name))
    return item


def _refuse_twice(request: BatchUpdateDocumentsRequest) -> None:
    seen: set[str] = set()
    for number, each in enumerate(request.requests):
        document_id = each.document.document_id
        if document_id in seen:
            raise invalid_field(
                f"requests[{number}].document.document_id",
                f"'{document_id}' occurs twice; put its changes into one item",
            )
        seen.add(document_id)
