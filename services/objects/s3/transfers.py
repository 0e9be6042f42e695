"""Signed URLs: what is bound, by which header, and for how long."""

from __future__ import annotations

from collections.abc import Callable

from botocore.exceptions import BotoCoreError

from services.model.errors import invalid_field
from services.objects.disposition import is_safe_disposition
from services.objects.keys import validate_key
from services.objects.port import (
    Constraint,
    ConstraintKind,
    Enforcement,
    ObjectMissing,
    SignedTransfer,
    SignRequest,
    StoreUnavailable,
)
from services.objects.s3.addressing import Address
from services.objects.s3.digests import base64_of
from services.objects.s3.errors import unanswered
from services.objects.s3.identities import MARGIN_SECONDS, Identities
from services.objects.s3.signing import MAX_URL_SECONDS, Identity, Signer
from services.objects.s3.staging import staged_upload

__all__ = ["Transfers"]

_OPERATIONS = {"PUT": "PutObject", "GET": "GetObject", "HEAD": "HeadObject"}
_MAX_PART_NUMBER = 10_000
_OURS = [("response-cache-control", "private, no-store"), ("response-content-encoding", "identity")]
"""In place of what an uploader may have sent along, which S3 keeps and no URL can forbid:
a gzip encoding would make other bytes of those that were verified, in every browser."""


class Transfers:
    """Signs for one bucket at `address`: the one that those who are given the URLs
    reach, since the Host is part of a signature. `now` returns unix seconds."""

    def __init__(
        self, address: Address, *, signer: Signer, identities: Identities,
        now: Callable[[], float],
    ) -> None:
        self._address = address
        self._signer = signer
        self._identities = identities
        self._now = now

    def sign(self, request: SignRequest) -> SignedTransfer:
        """A URL of S3 for one method on one key, and the headers that go with it. Its
        life ends with the credentials that signed it: `expires_at` says when.

        Raises INVALID_FIELD for what cannot be bound, ObjectMissing for a part of an
        upload that does not belong to the key, StoreUnavailable without credentials.
        """
        validate_key(request.key)
        if request.method not in _OPERATIONS:
            raise invalid_field("method", "must be PUT, GET or HEAD")
        if request.expires_in <= 0:
            raise invalid_field("expires_in", "must be a positive number of seconds")
        key, query = _target(request)
        headers = _headers(request)
        identity, at = self._identity(request), int(self._now())
        seconds = _life(request.expires_in, identity, at)
        path = self._address.path(key)
        signed = self._signer.query(
            identity, request.method, self._address.host, path,
            query=query, headers=headers, at=at, expires=seconds,
        )
        url = f"{self._address.url}{path}?{signed}"
        return SignedTransfer(request.method, url, headers, at + seconds, _constraints(request))

    def _identity(self, request: SignRequest) -> Identity:
        try:
            return self._identities.current()
        except BotoCoreError as error:
            refused = unanswered(_OPERATIONS[request.method], error)
            raise StoreUnavailable(str(refused.failure)) from error


def _life(asked: int, identity: Identity, at: int) -> int:
    seconds = min(asked, MAX_URL_SECONDS)
    if identity.expires_at is not None:
        seconds = min(seconds, int(identity.expires_at) - MARGIN_SECONDS - at)
    if seconds <= 0:
        raise StoreUnavailable("the session of the credentials ends: sign in again")
    return seconds


def _target(request: SignRequest) -> tuple[str, list[tuple[str, str]]]:
    if request.method == "PUT":
        if request.size is None or request.size < 0:
            raise invalid_field("size", "must be the exact number of bytes of the upload")
        return _upload(request)
    query = list(_OURS)
    if request.disposition:
        if not is_safe_disposition(request.disposition):
            raise invalid_field("disposition", "must be a plain Content-Disposition value")
        query.append(("response-content-disposition", request.disposition))
    if request.content_type:
        query.append(("response-content-type", request.content_type))
    return request.key, query


def _upload(request: SignRequest) -> tuple[str, list[tuple[str, str]]]:
    if request.upload_part is None:
        return request.key, []
    multipart_id, number = request.upload_part
    if not 1 <= number <= _MAX_PART_NUMBER:
        raise invalid_field("upload_part", f"must be a part from 1 to {_MAX_PART_NUMBER}")
    try:
        upload = staged_upload(request.key, multipart_id)
    except ObjectMissing:
        raise invalid_field("upload_part", "must be an upload of this store") from None
    return upload.key, [("partNumber", str(number)), ("uploadId", upload.upload_id)]


def _headers(request: SignRequest) -> dict[str, str]:
    """Of a PUT: all of them are signed, so all of them must be sent as they are."""
    if request.method != "PUT":
        return {}
    headers = {"Content-Length": str(request.size)}
    if request.upload_part is not None:
        return headers
    if request.content_type:
        headers["Content-Type"] = request.content_type
    if request.sha256:
        headers["x-amz-checksum-sha256"] = base64_of(request.sha256)
    return headers | {"If-None-Match": "*"}


def _constraints(request: SignRequest) -> tuple[Constraint, ...]:
    """Parts are bound by their length; their bytes are verified when they are joined."""
    if request.method != "PUT":
        return ()
    whole = request.upload_part is None
    bound = (
        (ConstraintKind.SIZE, str(request.size), True),
        (ConstraintKind.CONTENT_TYPE, request.content_type, whole),
        (ConstraintKind.SHA256, request.sha256, whole),
        (ConstraintKind.CREATE_ONLY, "true" if whole else "", True),
    )
    return tuple(
        Constraint(kind, value, Enforcement.ENFORCED if enforced else Enforcement.VERIFIED)
        for kind, value, enforced in bound
        if value
    )
