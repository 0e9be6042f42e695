"""Page tokens whose position the caller may not read.

A list that hides rows may end a page at one of them: its token would tell the
hidden id. Here the position is encrypted (AES-256-GCM, NIST SP 800-38D) before
it is signed like any other.
"""

from __future__ import annotations

import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.rpc.page_tokens import PageTokens

__all__ = ["SealedPageTokens"]

_NONCE_BYTES = 12


class SealedPageTokens(PageTokens):
    """See the module. `key` is the instance key, 32 bytes or more."""

    def __init__(self, key: bytes) -> None:
        super().__init__(key)
        self._cipher = AESGCM(hmac.digest(key, b"workspace.page_position.v1", "sha256"))

    def _pack(self, where: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, where, None)

    def _unpack(self, packed: bytes) -> bytes:
        try:
            return self._cipher.decrypt(packed[:_NONCE_BYTES], packed[_NONCE_BYTES:], None)
        except InvalidTag:  # issued before positions were sealed
            raise ValueError("not a sealed position") from None
