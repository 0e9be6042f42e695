"""Resume tokens of streams: only their caller can use them, for the same arguments.

Like page tokens (`page_tokens.py`), around a position in the change feed. The
HMAC covers method, caller and the request without its `resume_token`.
"""

from __future__ import annotations

import hashlib
import hmac

from google.protobuf.message import Message

from services.model import base64url
from services.model.errors import FieldViolation, Reason, WorkspaceError

__all__ = ["ResumeTokens", "cursor_lost"]

_VERSION = b"\x01"
_TAG_BYTES = 32
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
        parts = (b"workspace.resume_token.v1", method.encode(), caller.encode(), digest)
        framed = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        self._key = hmac.digest(key, framed, "sha256")

    def issue(self, cursor: str) -> str:
        """The token that goes on after `cursor`."""
        where = cursor.encode()
        return base64url.encode(_VERSION + self._tag(where) + where)

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
        tag, where = data[1 : 1 + _TAG_BYTES], data[1 + _TAG_BYTES :]
        if data[:1] != _VERSION or not hmac.compare_digest(tag, self._tag(where)):
            raise _foreign()
        return where.decode()

    def _tag(self, where: bytes) -> bytes:
        return hmac.digest(self._key, where, "sha256")
