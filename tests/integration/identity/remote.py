"""A workspace that trusts a real HTTPS issuer besides its own."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from services.rpc.local import LocalChannel
from services.tokens.issuers import IssuerSettings
from tests.harness import BearerChannel, Workspace
from tests.oidc_issuer import HttpsIssuer, RsaKey

AUDIENCE = "workspace-test"


class Remote:
    """People of the issuer, by subject, in a workspace."""

    def __init__(self, ws: Workspace, issuer: HttpsIssuer, key: RsaKey) -> None:
        self.ws = ws
        self.issuer = issuer
        self.key = key

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path, **settings: Any) -> AsyncIterator[Remote]:
        issuer, key = HttpsIssuer(folder), RsaKey("r1")
        issuer.keys = [key.jwk]
        trusted = (IssuerSettings(issuer=issuer.url, audience=AUDIENCE),)
        settings = {"oidc_issuers": trusted, "oidc_ca_file": issuer.ca_file} | settings
        with issuer.serving():
            async with Workspace.open(folder, **settings) as ws:
                yield cls(ws, issuer, key)

    def token(self, subject: str, **claims: Any) -> str:
        now = int(time.time())
        given = {
            "iss": self.issuer.url, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 600,
            "email": f"{subject}@corp.test", "email_verified": True, "name": subject.title(),
        }
        header = {"alg": "RS256", "typ": "JWT", "kid": self.key.kid}
        return self.key.sign(header, given | claims)

    def stub(self, bearer: str, kind: Any = IdentityServiceStub) -> Any:
        return kind(BearerChannel(LocalChannel(self.ws.process.local, service=""), bearer))

    async def sign_in(self, bearer: str) -> ids.NormalizeIdentityResponse:
        answer: ids.NormalizeIdentityResponse = await self.stub(bearer).NormalizeIdentity(
            ids.NormalizeIdentityRequest()
        )
        return answer

    async def who(self, bearer: str) -> str:
        session = await self.stub(bearer).GetSession(ids.GetSessionRequest())
        return str(session.session.user.user_id)
