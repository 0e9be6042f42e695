"""From a bearer token to the caller, over all active providers."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from services.elapsed import Elapsed, Moment
from services.model.ids import user_id
from services.rpc.context import Caller
from services.rpc.headers import unauthenticated
from services.tokens.claims import TokenRefusedError, TokenVerifier, VerifiedClaims
from services.tokens.compact import parse_json, split_token
from services.tokens.machine import MACHINE_PREFIX, MachineTokenVerifier

__all__ = ["TokenAuthenticator"]

_REMEMBERED: Final = 4096
_REMEMBER_SECONDS: Final = 60.0
_log = logging.getLogger("workspace.audit")


class TokenAuthenticator:
    """Chooses the verifier by the exact `iss`, which decides nothing else.

    A verified token is remembered for at most a minute (by SHA-256 of its one
    spelling), because every call between services presents it again, and never
    longer than it lives, even where the clock is set back. Whether
    its user may still come in is asked on every call, by admission. Machine
    tokens are not remembered: whether one is revoked is asked on every call.
    """

    def __init__(
        self,
        verifiers: Sequence[TokenVerifier],
        *,
        now: Callable[[], float],
        machine: MachineTokenVerifier | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._machine = machine
        self._verifiers = {verifier.issuer: verifier for verifier in verifiers}
        if not verifiers or len(self._verifiers) != len(verifiers) or "" in self._verifiers:
            raise ValueError("each provider needs an issuer of its own")
        self._elapsed = Elapsed(now, monotonic=monotonic)
        self._known: OrderedDict[bytes, tuple[Moment, Caller]] = OrderedDict()

    async def authenticate(self, bearer: str) -> Caller:
        """The caller. Raises UNAUTHENTICATED, with one audit line that holds
        the failed check and a hash, never the token."""
        digest = hashlib.sha256(bearer.encode()).digest()
        known = self._remembered(digest)
        if known is not None:
            return known
        machine = self._machine if bearer.startswith(MACHINE_PREFIX) else None
        try:
            if machine is not None:
                return await machine.verify(bearer)
            caller = caller_of(await self._verify(bearer))
        except TokenRefusedError as refused:
            _log.info(
                "token refused",
                extra={"check": refused.check, "token_hash": digest.hex()[:16]},
            )
            raise unauthenticated() from None
        self._remember(digest, caller)
        return caller

    async def _verify(self, bearer: str) -> VerifiedClaims:
        issuer = parse_json(split_token(bearer).payload).get("iss")
        verifier = self._verifiers.get(issuer) if isinstance(issuer, str) else None
        if verifier is None:
            raise TokenRefusedError("iss")
        return await verifier.verify(bearer)

    def _remembered(self, digest: bytes) -> Caller | None:
        since, caller = self._known.get(digest, (None, None))
        if since is None or caller is None:
            return None
        life = min(_REMEMBER_SECONDS, caller.expires_at - since.wall)
        return caller if self._elapsed.since(since) < life else None

    def _remember(self, digest: bytes, caller: Caller) -> None:
        self._known[digest] = (self._elapsed.moment(), caller)
        self._known.move_to_end(digest)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)


def caller_of(claims: VerifiedClaims) -> Caller:
    """The person of these claims; known by issuer and subject alone."""
    return Caller(
        user_id=user_id(claims.issuer, claims.subject),
        issuer=claims.issuer,
        subject=claims.subject,
        email=claims.email,
        email_verified=claims.email_verified,
        name=claims.name,
        groups=claims.groups,
        provider=claims.provider,
        groups_incomplete=claims.groups_incomplete,
        token_id=claims.token_id,
        issued_at=claims.issued_at,
        expires_at=claims.expires_at,
        dated_back=claims.dated_back,
    )
