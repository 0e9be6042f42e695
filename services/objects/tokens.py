"""Signed transfer tokens of our own data plane: `v1.kid.payload.mac`.

`payload` is canonical JSON (sorted keys, no spaces, every field present) in
unpadded base64url; `mac` is HMAC-SHA-256 over everything before it, under a
key of the token's purpose. Verification compares canonical text, so a token
has exactly one spelling and no bit of it can change.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from services.model.errors import invalid_field
from services.objects.disposition import is_safe_disposition
from services.objects.keyring import Keyring, Purpose, SigningKey
from services.objects.keys import key_error, validate_key
from services.objects.port import SignRequest

__all__ = [
    "MAX_DOWNLOAD_SECONDS",
    "MAX_TOKEN_CHARS",
    "MAX_UPLOAD_SECONDS",
    "SKEW_SECONDS",
    "Claims",
    "TokenError",
    "UrlSigner",
    "max_seconds",
    "purpose_of",
]

MAX_DOWNLOAD_SECONDS = 15 * 60
MAX_UPLOAD_SECONDS = 60 * 60
SKEW_SECONDS = 60
MAX_TOKEN_CHARS = 8192
MAX_PART_NUMBER = 10_000

_DOMAIN = b"workspace.data-plane."
_SHAPE = re.compile(r"v1\.([0-9a-f]{8})\.([A-Za-z0-9_-]{2,})\.([A-Za-z0-9_-]{43})", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MULTIPART_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_MEDIA_TYPE = re.compile(r"[!#$&^_.+A-Za-z0-9-]+/[!#$&^_.+A-Za-z0-9-]+(; ?[ !#-~\"]*)?", re.ASCII)
_PURPOSES = {"PUT": Purpose.UPLOAD, "GET": Purpose.DOWNLOAD, "HEAD": Purpose.DOWNLOAD}


class TokenError(Exception):
    """The token does not allow this call. `cause` is for counters, not people."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token binds. Times in unix seconds, `size` in bytes (None for
    downloads), `part` = (multipart id, part number) or None."""

    method: str
    key: str
    size: int | None
    content_type: str
    sha256: str
    disposition: str
    part: tuple[str, int] | None
    nbf: int
    exp: int
    principal: str
    revision_scope: str
    revision: int
    jti: str
    ver: int = 1

    def allows(self, method: str) -> bool:
        """A GET token also answers HEAD; nothing else crosses."""
        return method == self.method or (method == "HEAD" and self.method == "GET")


_CLAIMS = tuple(each.name for each in fields(Claims))


def purpose_of(method: str) -> Purpose | None:
    """The key purpose of an HTTP method; None where no URL exists for it."""
    return _PURPOSES.get(method)


def max_seconds(method: str) -> int:
    """The longest life of a URL: 60 minutes for uploads, 15 for downloads."""
    return MAX_UPLOAD_SECONDS if method == "PUT" else MAX_DOWNLOAD_SECONDS


class UrlSigner:
    """Makes and checks tokens. `clock` returns unix seconds."""

    def __init__(self, keyring: Keyring, *, clock: Callable[[], float] = time.time) -> None:
        self._keyring = keyring
        self._clock = clock

    def issue(self, request: SignRequest) -> tuple[str, int]:
        """(token, expiry in unix seconds), the expiry clamped to `max_seconds`.

        Raises WorkspaceError (INVALID_FIELD) for a request that cannot be
        bound as asked: nothing is dropped silently.
        """
        purpose = _check_request(request)
        claims = self._claims(request)
        token = _assemble(self._keyring.current(purpose), purpose, _text(claims).decode())
        if len(token) > MAX_TOKEN_CHARS:
            raise invalid_field("key", "and disposition together are too long for a URL")
        return token, claims.exp

    def verify(self, token: str, method: str) -> Claims:
        """The claims of a token that allows `method` now; else TokenError.

        Shape and key id come first; no step costs more than one HMAC.
        """
        purpose = purpose_of(method)
        match = _SHAPE.fullmatch(token) if len(token) <= MAX_TOKEN_CHARS else None
        if purpose is None or match is None:
            raise TokenError("shape")
        key = self._keyring.find(purpose, match[1])
        if key is None:
            raise TokenError("kid")
        expected = _assemble(key, purpose, match[2])
        if not hmac.compare_digest(expected.encode(), token.encode()):
            raise TokenError("mac")
        claims = _parse(match[2])
        self._check_use(claims, method)
        return claims

    def is_live(self, token: str, method: str) -> bool:
        """Whether the key of a token that `verify` accepted is live still: a transfer may
        outlast it. Its time does not count, what has begun in time goes on."""
        purpose, match = purpose_of(method), _SHAPE.fullmatch(token)
        return bool(purpose and match and self._keyring.find(purpose, match[1]))

    def _claims(self, request: SignRequest) -> Claims:
        now = int(self._clock())
        return Claims(
            method=request.method,
            key=request.key,
            size=request.size if request.method == "PUT" else None,
            content_type=request.content_type,
            sha256=request.sha256,
            disposition=request.disposition,
            part=request.upload_part,
            nbf=now,
            exp=now + min(request.expires_in, max_seconds(request.method)),
            principal=request.principal,
            revision_scope=request.revision_scope,
            revision=request.revision,
            jti=secrets.token_hex(8),
        )

    def _check_use(self, claims: Claims, method: str) -> None:
        now = self._clock()
        if not claims.allows(method):
            raise TokenError("method")
        if not 0 < claims.exp - claims.nbf <= max_seconds(claims.method):
            raise TokenError("life")
        if now < claims.nbf - SKEW_SECONDS:
            raise TokenError("not_yet")
        if now >= claims.exp + SKEW_SECONDS:
            raise TokenError("expired")


def _check_request(request: SignRequest) -> Purpose:
    purpose = purpose_of(request.method)
    if purpose is None:
        raise invalid_field("method", "must be PUT, GET or HEAD")
    validate_key(request.key)
    if request.expires_in <= 0:
        raise invalid_field("expires_in", "must be a positive number of seconds")
    if request.sha256 and not _SHA256.fullmatch(request.sha256):
        raise invalid_field("sha256", "must be 64 lower-case hexadecimal digits")
    if request.content_type and not _MEDIA_TYPE.fullmatch(request.content_type):
        raise invalid_field("content_type", "must be a media type such as text/plain")
    _check_transfer(request)
    return purpose


def _check_transfer(request: SignRequest) -> None:
    upload = request.method == "PUT"
    if upload and (request.size is None or request.size < 0):
        raise invalid_field("size", "must be the exact number of bytes of the upload")
    if upload and request.disposition:
        raise invalid_field("disposition", "is for downloads only")
    if request.disposition and not is_safe_disposition(request.disposition):
        raise invalid_field("disposition", "must be made by content_disposition()")
    if request.upload_part is not None:
        _check_part(upload, request.upload_part)


def _check_part(upload: bool, part: tuple[str, int]) -> None:
    multipart_id, number = part
    if not upload or not _MULTIPART_ID.fullmatch(multipart_id):
        raise invalid_field("upload_part", "must be the id of a multipart upload, for PUT only")
    if not 1 <= number <= MAX_PART_NUMBER:
        raise invalid_field("upload_part", f"must have a number from 1 to {MAX_PART_NUMBER}")


def _b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _canonical(members: dict[str, Any]) -> bytes:
    return json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _text(claims: Claims) -> bytes:
    return _b64(_canonical({name: getattr(claims, name) for name in _CLAIMS}))


def _assemble(key: SigningKey, purpose: Purpose, payload: str) -> str:
    """The one token of that key and payload."""
    signed = f"v1.{key.kid}.{payload}"
    message = _DOMAIN + purpose.value.encode() + b"\n" + signed.encode()
    mac = hmac.new(key.secret, message, hashlib.sha256).digest()
    return f"{signed}.{_b64(mac).decode()}"


def _parse(payload: str) -> Claims:
    """Claims from an authenticated payload; strict all the same."""
    try:
        raw = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        members = json.loads(raw)
        part = members.pop("part")
        claims = Claims(**members, part=None if part is None else (part[0], part[1]))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise TokenError("payload") from error
    if not _well_typed(claims) or _text(claims).decode() != payload:
        raise TokenError("payload")
    return claims


def _well_typed(claims: Claims) -> bool:
    texts = (claims.method, claims.key, claims.content_type, claims.sha256, claims.disposition)
    ids = (claims.principal, claims.revision_scope, claims.jti)
    numbers = (claims.nbf, claims.exp, claims.revision, claims.ver)
    return (
        all(type(text) is str for text in (*texts, *ids))
        and all(type(number) is int for number in numbers)
        and (claims.size is None or (type(claims.size) is int and claims.size >= 0))
        and (claims.part is None or tuple(map(type, claims.part)) == (str, int))
        and claims.ver == 1
        and not key_error(claims.key)
    )
