"""What a verified token says, the same for every provider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["TokenRefusedError", "TokenVerifier", "VerifiedClaims"]


class TokenRefusedError(Exception):
    """The token does not verify. `check` names the rule for the audit line; it
    is never shown to the caller and never holds anything of the token."""

    def __init__(self, check: str) -> None:
        super().__init__(check)
        self.check = check


@dataclass(frozen=True, slots=True)
class VerifiedClaims:
    """Identity and times of a token that verified. Times are unix seconds.

    `groups` are recorded as deployment claims and grant nothing;
    `groups_incomplete`: the issuer left some out. `dated_back`: by how much, at
    most, the issuer dates its tokens earlier than it makes them.
    """

    provider: str
    issuer: str
    subject: str
    issued_at: int
    expires_at: int
    token_id: str = ""
    email: str = ""
    email_verified: bool = False
    name: str = ""
    groups: tuple[str, ...] = ()
    groups_incomplete: bool = False
    dated_back: int = 0


class TokenVerifier(Protocol):
    """One issuer's verifier: one algorithm, one key set, one audience."""

    @property
    def issuer(self) -> str:
        """The exact `iss` of its tokens; never empty."""
        ...

    async def verify(self, token: str) -> VerifiedClaims:
        """The claims. Raises TokenRefusedError; WorkspaceError BACKEND_UNAVAILABLE
        when keys have never been loaded and cannot be now."""
        ...
