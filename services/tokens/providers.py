"""The verifiers of a deployment: local, one per remote issuer, machine tokens."""

from __future__ import annotations

from collections.abc import Callable

from services.config import Settings
from services.records.store import RecordStore
from services.tokens.authenticator import TokenAuthenticator
from services.tokens.claims import TokenVerifier
from services.tokens.local import LocalIssuer
from services.tokens.machine import MachineTokenVerifier
from services.tokens.oidc import issuer_tls, remote_verifier

__all__ = ["open_authenticator"]


def open_authenticator(
    settings: Settings, local: LocalIssuer, records: RecordStore, *, now: Callable[[], float]
) -> TokenAuthenticator:
    """Reads no key yet: an issuer that is down stops nobody else's start."""
    verifiers: list[TokenVerifier] = [local.verifier(now=now)]
    if settings.oidc_issuers:
        tls = issuer_tls(settings.oidc_ca_file)
        verifiers += [remote_verifier(each, now=now, tls=tls) for each in settings.oidc_issuers]
    return TokenAuthenticator(verifiers, now=now, machine=MachineTokenVerifier(records, now=now))
