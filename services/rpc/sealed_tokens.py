"""Page tokens whose position the caller may not read.

A list that hides rows may end a page at one of them: its token would tell the
hidden id. Here the position is encrypted (AES-256-GCM, NIST SP 800-38D) before
it is signed like any other.
"""

from __future__ import annotations

import hmac
import os

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import Message

from services.model import base64url
from services.rpc.page_tokens import PageTokens

__all__ = ["SealedPageTokens"]

_NONCE_BYTES = 12


class SealedPageTokens(PageTokens):
    """See the module. `key` is the instance key, 32 bytes or more."""

    def __init__(self, key: bytes) -> None:
        super().__init__(key)
        self._cipher = AESGCM(hmac.digest(key, b"workspace.page_position.v1", "sha256"))

    def issue(self, method: str, caller_id: str, request: Message, position: str) -> str:
        """The `next_page_token`; it says nothing about `position` (not empty)."""
        if not position:
            raise ValueError("a page token needs a position")
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, position.encode(), None)
        return super().issue(method, caller_id, request, base64url.encode(sealed))

    def open(self, method: str, caller_id: str, request: Message, token: str) -> str:
        """The position in `token`; '' for an empty token. Raises
        INVALID_PAGE_TOKEN like `PageTokens.open`."""
        where = super().open(method, caller_id, request, token)
        if not where:
            return ""
        sealed = base64url.decode(where)
        return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None).decode()
