"""Consistency tokens: "at least as fresh as this write" (see consistency.proto).

A token names a partition, its sequence number after the write, and the commit
time. It is `base64url(version | tag | pseq | time | pk)`; the tag is an HMAC
under a key bound to the instance, so a token of another instance, an edited one
and garbage are the same error.
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass

from services.model import base64url
from services.model.errors import Reason, WorkspaceError

__all__ = ["ConsistencyToken", "ConsistencyTokens"]

_VERSION = b"\x01"
_TAG_BYTES = 16
_NUMBERS = struct.Struct(">QQ")
_MAX_TOKEN = 512  # the bound in consistency.proto


@dataclass(frozen=True, slots=True)
class ConsistencyToken:
    """A write: partition key, its sequence number, commit time in unix milliseconds."""

    pk: str
    pseq: int
    commit_time_ms: int


def _foreign() -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_FOREIGN_CONSISTENCY_TOKEN,
        "consistency: the token was not issued by this instance; ask for fully_consistent instead",
        metadata={"field": "consistency"},
    )


class ConsistencyTokens:
    """Issues and verifies the tokens of one instance. `key`: 32 bytes or more."""

    def __init__(self, key: bytes, instance_id: str) -> None:
        if len(key) < 32 or not instance_id:
            raise ValueError("consistency tokens need a key of 32 bytes or more and an instance id")
        label = b"workspace.consistency_token.v1\0" + instance_id.encode()
        self._key = hmac.digest(key, label, "sha256")

    def issue(self, pk: str, pseq: int, commit_time_ms: int) -> str:
        """The token of a committed write. ValueError when it would exceed 512 bytes."""
        body = _NUMBERS.pack(pseq, commit_time_ms) + pk.encode()
        data = _VERSION + self._tag(body) + body
        token = base64url.encode(data)
        if len(token) > _MAX_TOKEN:
            raise ValueError("the partition key is too long for a consistency token")
        return token

    def verify(self, token: str) -> ConsistencyToken:
        """What the token says. Raises FOREIGN_CONSISTENCY_TOKEN."""
        data = _decode(token)
        tag, body = data[1 : 1 + _TAG_BYTES], data[1 + _TAG_BYTES :]
        known = data[:1] == _VERSION and len(body) >= _NUMBERS.size
        if not known or not hmac.compare_digest(tag, self._tag(body)):
            raise _foreign()
        pseq, commit_time_ms = _NUMBERS.unpack_from(body)
        return ConsistencyToken(body[_NUMBERS.size :].decode(), pseq, commit_time_ms)

    def _tag(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")[:_TAG_BYTES]


def _decode(token: str) -> bytes:
    if len(token) > _MAX_TOKEN:
        raise _foreign()
    try:
        return base64url.decode(token)
    except ValueError:
        raise _foreign() from None
