"""Page tokens that only their caller can use, for the same arguments.

A token is `base64url(version | HMAC-SHA256 | position)`, the position deflated
(RFC 1950) where the text would be over 4,096 characters. The HMAC covers the
method, the caller, and the request without its paging fields (AIP-158: the
arguments must not change while paging). The position is a keyset position, here
signed, not encrypted; a process issues `SealedPageTokens`, which hide it, because
the last row that was looked at may be one that the caller may not see.
"""

from __future__ import annotations

import hashlib
import hmac
import zlib
from typing import Protocol

from google.protobuf.message import Message

from services.model import base64url
from services.model.errors import FieldViolation, Reason, WorkspaceError, invalid_field

__all__ = ["DEFAULT_PAGE_SIZE", "MAX_PAGE_SIZE", "PageTokens", "Paged", "page_size"]

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 500
_VERSION = b"\x01"
_DEFLATED = b"\x02"
_TAG_BYTES = 32
_MAX_TOKEN = 4096
_MAX_WHERE = _MAX_TOKEN * 3 // 4 - 1 - _TAG_BYTES
_PAGE_FIELDS = ("page_size", "page_token")


class Paged(Protocol):
    """A list request."""

    @property
    def page_size(self) -> int:
        """Items wanted; 0 for the default."""


def page_size(request: Paged) -> int:
    """Items per page: default 50, coerced to 500. Negative raises INVALID_FIELD."""
    if request.page_size < 0:
        raise invalid_field("page_size", "must not be negative; leave it 0 for the default")
    return min(request.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def _arguments(request: Message) -> bytes:
    """The request without its paging fields, in deterministic bytes."""
    copy = type(request)()
    copy.CopyFrom(request)
    for name in _PAGE_FIELDS:
        if name in copy.DESCRIPTOR.fields_by_name:
            copy.ClearField(name)
    return copy.SerializeToString(deterministic=True)


def _invalid() -> WorkspaceError:
    text = "is not valid for this caller and these arguments; start again without it"
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_PAGE_TOKEN,
        f"page_token: {text}",
        metadata={"field": "page_token"},
        violations=[FieldViolation("page_token", text)],
    )


class PageTokens:
    """Issues and opens page tokens. `key` is the instance key, 32 bytes or more."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 32:
            raise ValueError("the key of page tokens must have 32 bytes or more")
        self._key = hmac.digest(key, b"workspace.page_token.v1", "sha256")

    def issue(self, method: str, caller_id: str, request: Message, position: str) -> str:
        """The `next_page_token` that leads on from `position` (not empty).

        Raises ValueError for a position whose token `open` would refuse.
        """
        if not position:
            raise ValueError("a page token needs a position")
        where, version = self._pack(position.encode()), _VERSION
        if len(where) > _MAX_WHERE:
            where, version = self._pack(zlib.compress(position.encode(), 9)), _DEFLATED
        if len(where) > _MAX_WHERE:
            raise ValueError(f"a position of {len(position)} characters is too long for a token")
        tag = self._tag(method, caller_id, request, where)
        return base64url.encode(version + tag + where)

    def open(self, method: str, caller_id: str, request: Message, token: str) -> str:
        """The position in `token`; '' for an empty token (the first page).

        Raises INVALID_PAGE_TOKEN when it was edited, or made for another
        method, caller or other arguments.
        """
        if not token:
            return ""
        data = _decode(token)
        tag, where = data[1 : 1 + _TAG_BYTES], data[1 + _TAG_BYTES :]
        known = data[:1] in (_VERSION, _DEFLATED) and len(tag) == _TAG_BYTES and where
        wanted = self._tag(method, caller_id, request, where)
        if not known or not hmac.compare_digest(tag, wanted):
            raise _invalid()
        try:  # the HMAC does not cover the version
            where = self._unpack(where)
            return (where if data[:1] == _VERSION else zlib.decompress(where)).decode()
        except (zlib.error, ValueError):
            raise _invalid() from None

    def _pack(self, where: bytes) -> bytes:
        """The position as the token holds it."""
        return where

    def _unpack(self, packed: bytes) -> bytes:
        """The reverse of `_pack`. Raises ValueError for what it did not make."""
        return packed

    def _tag(self, method: str, caller_id: str, request: Message, position: bytes) -> bytes:
        arguments = hashlib.sha256(_arguments(request)).digest()
        parts = (method.encode(), caller_id.encode(), arguments, position)
        framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._key, framed, "sha256")


def _decode(token: str) -> bytes:
    if len(token) > _MAX_TOKEN:
        raise _invalid()
    try:
        return base64url.decode(token)
    except ValueError:
        raise _invalid() from None
