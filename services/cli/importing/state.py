"""What a project holds already: the state that makes an import resumable.

Nothing is kept on the client: the server knows which documents have which
bytes, and deterministic request ids find what an interrupted run had begun.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass

from google.protobuf.message import Message
from workspace.project.v1.document_pb2 import Document
from workspace.project.v1.document_service_pb2 import ListDocumentsRequest
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub

from services.cli.client import Session

__all__ = ["Known", "known_of", "load_known", "request_id_of"]

_NAMESPACE = uuid.UUID("6f0f7f5c-0c0e-5f5a-9d0e-9b1d4d7c2a11")


@dataclass(frozen=True, slots=True)
class Known:
    """A document that is there. `sha256` is '' while it waits for its file."""

    document_id: str
    size: int = 0
    sha256: str = ""
    file_revision: int = 0

    @property
    def has_file(self) -> bool:
        return bool(self.sha256)


def known_of(document: Document) -> Known:
    """What matters of a document record; a file that is being scanned counts."""
    file = document.file if document.HasField("file") else document.pending_file
    return Known(document.document_id, file.size_bytes, file.sha256, file.file_revision)


async def load_known(
    session: Session, project_id: str, into: str = ""
) -> dict[tuple[str, str], Known]:
    """(folder, name) -> document, of everything at or below the folder `into`. Of
    several at one place (nodes that synced) the one created first, which has it."""
    folder = into.strip("/")
    request = ListDocumentsRequest(project_id=project_id, relative_path_prefix=folder)
    stub = session.stub(DocumentServiceStub)
    first: dict[tuple[str, str], Document] = {}
    async for document in session.each(stub.ListDocuments, request, "documents"):
        place = (document.relative_path, document.name)
        if place not in first or _rank(document) < _rank(first[place]):
            first[place] = document
    return {place: known_of(document) for place, document in first.items()}


def _rank(document: Document) -> tuple[int, str]:
    return document.created_at.ToNanoseconds(), document.document_id


def request_id_of(request: Message, *salt: str) -> str:
    """A UUIDv5 that is the same for the same request: a repeat has one effect.

    `salt` tells apart requests that look alike but mean another file.
    """
    kind = request.DESCRIPTOR.full_name.encode()
    payload = request.SerializeToString(deterministic=True)
    parts = [kind, payload, *(text.encode() for text in salt)]
    framed = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return str(uuid.uuid5(_NAMESPACE, hashlib.sha256(framed).hexdigest()))
