"""Losers kept as documents of their own, for the choice `both`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

import grpc.aio
from google.protobuf.json_format import ParseDict
from workspace.project.v1.document_pb2 import Document
from workspace.project.v1.document_service_pb2 import CopyDocumentVersionRequest

from services.events.outbox import instance_of
from services.model.versions import Version
from sync_svc.conflicts.found import FoundConflict

if TYPE_CHECKING:  # the generated class exists for type checkers only
    from workspace.project.v1.document_service_pb2_grpc import DocumentServiceAsyncStub

__all__ = ["LoserCopies", "kept_name", "numbered"]

_NAMES_TRIED = 20
_MAX_NAME = 200


class LoserCopies:
    """Asks project_svc, on behalf of the user, for one document a loser."""

    def __init__(self, documents: DocumentServiceAsyncStub) -> None:
        self._documents = documents

    async def make(
        self, found: FoundConflict, losers: Sequence[Version], *, name: str, seed: str
    ) -> list[str]:
        """Ids of the new documents. The same `seed` makes the same ones.
        `name` '': the loser's own name with the node that wrote it. Raises
        ALREADY_EXISTS when a name that was asked for is taken."""
        return [
            await self._one(found, loser, numbered(name, at), f"{seed}/{loser.dot[0]}")
            for at, loser in enumerate(losers)
        ]

    async def _one(self, found: FoundConflict, loser: Version, name: str, seed: str) -> str:
        version = Document()
        ParseDict(json.loads(loser.body), version, ignore_unknown_fields=True)
        for attempt in range(_NAMES_TRIED):
            request = CopyDocumentVersionRequest(
                document_id=found.row["document_id"],
                version=version,
                name=name or kept_name(version.name, instance_of(loser.dot[0]), attempt),
                request_id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{seed}/{attempt}")),
            )
            try:
                answer = await self._documents.CopyDocumentVersion(request)
            except grpc.aio.AioRpcError as error:
                taken = error.code() is grpc.StatusCode.ALREADY_EXISTS
                if name or not taken or attempt + 1 == _NAMES_TRIED:
                    raise
                continue
            return answer.document.document_id
        raise AssertionError("unreachable")


def numbered(name: str, at: int) -> str:
    """The name that was asked for, of several losers: `plan.txt`, `plan 2.txt`."""
    if not name or not at:
        return name
    stem, dot, extension = name.rpartition(".")
    return f"{stem} {at + 1}{dot}{extension}" if stem else f"{name} {at + 1}"


def kept_name(name: str, node: str, attempt: int = 0) -> str:
    """`plan.txt` of node `n12ab...` becomes `plan (n12ab).txt`, then `plan (n12ab 2).txt`."""
    stem, dot, extension = name.rpartition(".")
    if not stem:
        stem, dot, extension = name, "", ""
    mark = node[:6] if not attempt else f"{node[:6]} {attempt + 1}"
    suffix = f" ({mark}){dot}{extension}"
    return stem[: _MAX_NAME - len(suffix)] + suffix
