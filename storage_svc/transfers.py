"""Signed URLs as the contract shows them: never a bare URL, always a Transfer."""

from __future__ import annotations

import math
from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from workspace.project.v1.document_pb2 import FileInfo
from workspace.storage.v1.transfer_pb2 import Transfer, TransferConstraint
from workspace.storage.v1.upload_pb2 import Upload

from services.objects.port import (
    Constraint,
    ConstraintKind,
    Enforcement,
    SignedTransfer,
    SignRequest,
)
from services.objects.store import ObjectStore

__all__ = ["Bearer", "Transfers", "seconds_of"]

_KINDS = {
    ConstraintKind.SIZE: TransferConstraint.KIND_SIZE,
    ConstraintKind.CONTENT_TYPE: TransferConstraint.KIND_CONTENT_TYPE,
    ConstraintKind.SHA256: TransferConstraint.KIND_SHA256,
    ConstraintKind.CREATE_ONLY: TransferConstraint.KIND_CREATE_ONLY,
}
_ENFORCEMENTS = {
    Enforcement.ENFORCED: TransferConstraint.ENFORCEMENT_ENFORCED,
    Enforcement.VERIFIED: TransferConstraint.ENFORCEMENT_VERIFIED,
    Enforcement.ADVISORY: TransferConstraint.ENFORCEMENT_ADVISORY,
}


@dataclass(frozen=True, slots=True)
class Bearer:
    """For whom a URL is signed: principal and scope (`view/p_...` or `write/p_...`),
    see `revocation.py`, and the number of the grants it was decided under."""

    principal: str
    scope: str
    revision: int


def seconds_of(asked: Duration | None, default: int) -> int:
    """Whole seconds of a wanted life, at least 1; `default` when not asked."""
    if asked is None:
        return default
    return max(1, math.floor(asked.seconds + asked.nanos / 1e9))


class Transfers:
    """Signs uploads, parts and downloads. The store clamps the life to policy
    (60 minutes up, 15 down) and to what the provider allows."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def upload(self, upload: Upload, bearer: Bearer, seconds: int) -> Transfer:
        """The PUT of a whole file, create-only."""
        return self._sign(
            SignRequest(
                method="PUT",
                key=upload.storage_key,
                expires_in=seconds,
                size=upload.size_bytes,
                content_type=upload.content_type,
                sha256=upload.sha256,
                principal=bearer.principal,
                revision_scope=bearer.scope,
                revision=bearer.revision,
            )
        )

    def part(
        self, upload: Upload, number: int, sha256: str, bearer: Bearer, seconds: int
    ) -> Transfer:
        """The PUT of part `number` (from 1); `sha256` may be empty."""
        before = upload.part_size_bytes * (number - 1)
        return self._sign(
            SignRequest(
                method="PUT",
                key=upload.storage_key,
                expires_in=seconds,
                size=min(upload.part_size_bytes, upload.size_bytes - before),
                sha256=sha256,
                upload_part=(upload.provider_upload_id, number),
                principal=bearer.principal,
                revision_scope=bearer.scope,
                revision=bearer.revision,
            )
        )

    def download(self, file: FileInfo, disposition: str, bearer: Bearer, seconds: int) -> Transfer:
        """The GET of a file of that very SHA-256."""
        return self._sign(
            SignRequest(
                method="GET",
                key=file.storage_key,
                expires_in=seconds,
                content_type=file.content_type,
                sha256=file.sha256,
                disposition=disposition,
                principal=bearer.principal,
                revision_scope=bearer.scope,
                revision=bearer.revision,
            )
        )

    def _sign(self, request: SignRequest) -> Transfer:
        return _shown(self._objects.sign(request))


def _shown(signed: SignedTransfer) -> Transfer:
    return Transfer(
        method=signed.method,
        url=signed.url,
        headers=dict(signed.headers),
        expires_at=Timestamp(seconds=signed.expires_at),
        constraints=[_constraint(each) for each in signed.constraints],
    )


def _constraint(constraint: Constraint) -> TransferConstraint:
    bare = constraint.kind is ConstraintKind.CREATE_ONLY
    return TransferConstraint(
        kind=_KINDS[constraint.kind],
        enforcement=_ENFORCEMENTS[constraint.enforcement],
        value="" if bare else constraint.value,
    )
