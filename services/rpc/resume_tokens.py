"""Resume tokens of streams: only their caller can use them, for the same arguments.

A token is `base64url(version | nonce | AES-256-GCM(position))` (NIST SP 800-38D)
around a position in the change feed, which names rows that the caller may not see.
Its key is derived from method, caller and the request without its `resume_token`:
what was made for others does not open.
"""

from __future__ import annotations

import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import Message

from services.model import base64url
from services.model.errors import FieldViolation, Reason, WorkspaceError

__all__ = ["ResumeTokens", "cursor_lost"]

_VERSION = b"\x01"
_NONCE_BYTES = 12
_MAX_TOKEN = 4096
_FIELD = "resume_token"


def cursor_lost() -> WorkspaceError:
    """What a token that leads nowhere any more is answered with."""
    return WorkspaceError(
        Reason.ERROR_REASON_CURSOR_LOST,
        "resume_token: is too old or of another store; read everything again and start without it",
        metadata={"field": _FIELD},
    )


def _foreign() -> WorkspaceError:
    text = "is not valid for this caller and these arguments; start again without it"
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_PAGE_TOKEN,
        f"{_FIELD}: {text}",
        metadata={"field": _FIELD},
        violations=[FieldViolation(_FIELD, text)],
    )


class ResumeTokens:
    """The tokens of one stream of one caller. `key`: 32 bytes or more."""

    def __init__(self, key: bytes, *, method: str, caller: str, request: Message) -> None:
        if len(key) < 32:
            raise ValueError("the key of resume tokens must have 32 bytes or more")
        arguments = type(request)()
        arguments.CopyFrom(request)
        arguments.ClearField(_FIELD)
        digest = hashlib.sha256(arguments.SerializeToString(deterministic=True)).digest()
        parts = (b"workspace.resume_token.v2", method.encode(), caller.encode(), digest)
        framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        self._cipher = AESGCM(hmac.digest(key, framed, "sha256"))

    def issue(self, cursor: str) -> str:
        """The token that goes on after `cursor`."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, cursor.encode(), _VERSION)
        return base64url.encode(_VERSION + nonce + sealed)

    def open(self, token: str) -> str | None:
        """The cursor in `token`; None for an empty token (from now on).

        Raises INVALID_PAGE_TOKEN when it was edited, or made for another method,
        caller or other arguments.
        """
        if not token:
            return None
        if len(token) > _MAX_TOKEN:
            raise _foreign()
        try:
            data = base64url.decode(token)
        except ValueError:
            raise _foreign() from None
        nonce, sealed = data[1 : 1 + _NONCE_BYTES], data[1 + _NONCE_BYTES :]
        if data[:1] != _VERSION or len(nonce) != _NONCE_BYTES:
            raise _foreign()
        try:
            return self._cipher.decrypt(nonce, sealed, _VERSION).decode()
        except InvalidTag:
            raise _foreign() from None
