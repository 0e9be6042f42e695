"""Signed URLs: what is bound, by which header, and for how long."""

from __future__ import annotations

import base64
from collections.abc import Callable
from urllib.parse import quote

from services.model.errors import invalid_field
from services.objects.azure_blob.clock import ServiceClock
from services.objects.azure_blob.delegation_key import HeldKey
from services.objects.azure_blob.signing import CREATE, READ, WRITE, Signer
from services.objects.azure_blob.staging import MAX_PARTS, block_id, staged_name
from services.objects.azure_blob.wire import Wire
from services.objects.disposition import is_safe_disposition
from services.objects.keys import validate_key
from services.objects.port import (
    Constraint,
    ConstraintKind,
    Enforcement,
    ObjectMissing,
    SignedTransfer,
    SignRequest,
)

__all__ = ["Transfers"]

_METHODS = frozenset({"PUT", "GET", "HEAD"})
_OURS = {"cache_control": "private, no-store", "content_encoding": "identity"}
"""In place of what an uploader may have sent along, which the service keeps and no URL can
forbid: a gzip encoding would make other bytes of those that were verified, in every browser."""


class Transfers:
    """Signs for one container; `held` gives the key to sign with."""

    def __init__(
        self, wire: Wire, signer: Signer, clock: ServiceClock, held: Callable[[], HeldKey]
    ) -> None:
        self._wire = wire
        self._signer = signer
        self._clock = clock
        self._held = held

    def sign(self, request: SignRequest) -> SignedTransfer:
        """A URL for one blob, and the headers that go with it. One to read allows GET and
        HEAD: Azure has one permission for both. It ends before the key that signed it:
        `expires_at` says when.

        Raises INVALID_FIELD for what cannot be bound or is a part of an upload that does
        not belong to the key, StoreUnavailable without a key to sign with.
        """
        validate_key(request.key)
        if request.method not in _METHODS:
            raise invalid_field("method", "must be PUT, GET or HEAD")
        if request.expires_in <= 0:
            raise invalid_field("expires_in", "must be a positive number of seconds")
        if request.method == "PUT":
            return self._upload(request)
        return self._signed(request, request.key, READ, answer=_answer(request))

    def _upload(self, request: SignRequest) -> SignedTransfer:
        if request.size is None or request.size < 0:
            raise invalid_field("size", "must be the exact number of bytes of the upload")
        if request.upload_part is None:
            return self._signed(request, request.key, CREATE)
        multipart_id, number = request.upload_part
        if not 1 <= number <= MAX_PARTS:
            raise invalid_field("upload_part", f"must be a part from 1 to {MAX_PARTS}")
        try:
            staged = staged_name(request.key, multipart_id)
        except ObjectMissing:
            raise invalid_field("upload_part", "must be an upload of this store") from None
        encoded = quote(base64.b64encode(block_id(number).encode()), safe="")
        return self._signed(request, staged, WRITE, query=f"comp=block&blockid={encoded}&")

    def _signed(
        self, request: SignRequest, name: str, permission: str, *, query: str = "",
        answer: dict[str, str] | None = None,
    ) -> SignedTransfer:
        held, now = self._held(), self._clock()
        sas, end = self._signer.query(held, name, permission, request.expires_in, now, answer)
        return SignedTransfer(
            request.method, f"{self._wire.url(name)}?{query}{sas}", _headers(request),
            int(self._clock.ours(end)), _constraints(request),
        )  # fmt: skip


def _answer(request: SignRequest) -> dict[str, str]:
    answer = dict(_OURS)
    if request.disposition:
        if not is_safe_disposition(request.disposition):
            raise invalid_field("disposition", "must be a plain Content-Disposition value")
        answer["content_disposition"] = request.disposition
    if request.content_type:
        answer["content_type"] = request.content_type
    return answer


def _headers(request: SignRequest) -> dict[str, str]:
    """Of a PUT: the service refuses one without the type of the blob."""
    if request.method != "PUT":
        return {}
    headers = {"Content-Length": str(request.size)}
    if request.upload_part is not None:
        return headers
    if request.content_type:
        headers["Content-Type"] = request.content_type
    return headers | {"If-None-Match": "*", "x-ms-blob-type": "BlockBlob"}


def _constraints(request: SignRequest) -> tuple[Constraint, ...]:
    """The permission to create cannot overwrite; all else is looked at by our completion,
    and the type by nobody: downloads get the recorded one (`rsct`). ADR 0024."""
    if request.method != "PUT":
        return ()
    whole = request.upload_part is None
    bound = (
        (ConstraintKind.SIZE, str(request.size), Enforcement.VERIFIED),
        (ConstraintKind.CONTENT_TYPE, request.content_type if whole else "", Enforcement.ADVISORY),
        (ConstraintKind.SHA256, request.sha256, Enforcement.VERIFIED),
        (ConstraintKind.CREATE_ONLY, "true" if whole else "", Enforcement.ENFORCED),
    )
    return tuple(Constraint(*each) for each in bound if each[1])
