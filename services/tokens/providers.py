"""The verifiers of a deployment: local, one per remote issuer, machine tokens."""

from __future__ import annotations

import ssl
from collections.abc import Callable

from services.records.store import RecordStore
from services.settings import Settings
from services.tokens.authenticator import TokenAuthenticator
from services.tokens.claims import TokenVerifier
from services.tokens.cognito import pool_verifier
from services.tokens.entra import tenant_verifier
from services.tokens.issuers import CognitoSettings, EntraSettings
from services.tokens.local import LocalIssuer
from services.tokens.machine import MachineTokenVerifier
from services.tokens.oidc import issuer_tls, remote_verifier

__all__ = ["open_authenticator"]


def open_authenticator(
    settings: Settings, local: LocalIssuer, records: RecordStore, *, now: Callable[[], float]
) -> TokenAuthenticator:
    """Reads no key yet: an issuer that is down stops nobody else's start."""
    verifiers: list[TokenVerifier] = [local.verifier(now=now), *_remote(settings, now=now)]
    return TokenAuthenticator(verifiers, now=now, machine=MachineTokenVerifier(records, now=now))


def _remote(settings: Settings, *, now: Callable[[], float]) -> list[TokenVerifier]:
    """AWS and Entra are verified by the system's authorities: those of `oidc_ca_file`
    speak for private issuers and for emulators."""
    if not settings.oidc_issuers:
        return []
    private, public = issuer_tls(settings.oidc_ca_file), issuer_tls(None)

    def tls(endpoint: str) -> ssl.SSLContext:
        return private if endpoint else public

    verifiers = list[TokenVerifier]()
    for each in settings.oidc_issuers:
        if isinstance(each, CognitoSettings):
            url = settings.cognito_endpoint
            verifiers.append(pool_verifier(each, now=now, tls=tls(url), endpoint=url))
        elif isinstance(each, EntraSettings):
            url = settings.entra_endpoint
            verifiers.append(tenant_verifier(each, now=now, tls=tls(url), endpoint=url))
        else:
            verifiers.append(remote_verifier(each, now=now, tls=private))
    return verifiers
