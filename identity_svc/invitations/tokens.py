"""Tokens of invitations: 256 bits that can be made again, and are not kept.

A token is `{invitation_id}.{base64url(HMAC-SHA256(key, id, generation))}`: the id
finds the record, whose `token_hash` (SHA-256) the token has to fit. Whoever may
show or send a token again (a replay, the mail) makes it anew with `token_of`; a
new generation ends the token before.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Final

from workspace.identity.v1.invitation_pb2 import Invitation

__all__ = ["InvitationTokens", "id_in"]

_TOKEN: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]{0,63})\.([A-Za-z0-9_-]{43})")
_NO_HASH: Final = "0" * 64


class InvitationTokens:
    """Makes and checks tokens. `instance_key` is the secret of the deployment; the
    key of tokens derives from it (HKDF-expand of one block, RFC 5869)."""

    def __init__(self, instance_key: bytes) -> None:
        if not instance_key:
            raise ValueError("the key must not be empty")
        self._key = _mac(instance_key, b"workspace:invitations\x01")

    def token_of(self, invitation: Invitation) -> str:
        """The token of the invitation's present generation."""
        identity = invitation.invitation_id
        secret = _mac(self._key, f"{identity} {invitation.generation}".encode())
        return f"{identity}.{base64.urlsafe_b64encode(secret).decode().rstrip('=')}"

    def hash_of(self, invitation: Invitation) -> str:
        """What is kept of the token: SHA-256, lower-case hex."""
        return _hash(self.token_of(invitation))

    def matches(self, token: str, invitation: Invitation | None) -> bool:
        """Whether this is the invitation's present token. Takes the same time for
        every token, and without an invitation."""
        kept = invitation.token_hash if invitation else ""
        equal = hmac.compare_digest(_hash(token), kept or _NO_HASH)
        return equal and bool(kept)


def id_in(token: str) -> str:
    """The id that a token embeds; empty for a text that is no token."""
    found = _TOKEN.fullmatch(token)
    return found[1] if found else ""


def _mac(key: bytes, text: bytes) -> bytes:
    return hmac.new(key, text, hashlib.sha256).digest()


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
