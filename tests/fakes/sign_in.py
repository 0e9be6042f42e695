"""Sign-in to Azure as services see it: the endpoint of a managed identity (Microsoft Learn,
"How to use managed identities for App Service", REST endpoint 2019-08-01), and the check of
the tokens that it gives.

A token is bound to its resource, to an identity and to an hour. `Identity.refuse` ends
sign-in as a missing identity does; `Identity.who` signs in as somebody else.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import jwt

__all__ = ["OBJECT_ID", "TENANT_ID", "SignIn", "claims_of"]

TENANT_ID = "11111111-2222-4333-8444-555555555555"
OBJECT_ID = "99999999-8888-4777-8666-555555555555"
_HEADER = "header-of-the-tests"
_KEY = "a key that signs tokens in tests and nowhere else"
_LIFE = 3600


@dataclass
class SignIn:
    """The endpoint. `start` and `stop` it; `environment` leads the SDK to it. `asked` are
    the resources for which it gave tokens."""

    who: str = OBJECT_ID
    tenant: str = TENANT_ID
    refuse: bool = False
    life: int = _LIFE
    asked: list[str] = field(default_factory=list)

    def start(self) -> SignIn:
        outer = self

        class Handler(_Handler):
            sign_in = outer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def environment(self) -> dict[str, str]:
        """Variables with which the chain of the SDK finds this identity and nothing else."""
        port = self._server.server_address[1]
        return {
            "IDENTITY_ENDPOINT": f"http://127.0.0.1:{port}/msi/token",
            "IDENTITY_HEADER": _HEADER,
        }

    def token(self, resource: str) -> tuple[str, int]:
        """A token and the unix second of its end."""
        now = int(time.time())
        claims = {
            "iss": f"https://sts.windows.net/{self.tenant}/", "aud": resource, "tid": self.tenant,
            "oid": self.who, "sub": self.who, "iat": now, "nbf": now - 60, "exp": now + self.life,
            "ver": "1.0",
        }  # fmt: skip
        return jwt.encode(claims, _KEY, algorithm="HS256"), now + self.life


def claims_of(authorization: str, audience: str) -> dict[str, object] | None:
    """The claims of a header `Bearer TOKEN` for a resource; None for one that is not good."""
    kind, _, token = authorization.partition(" ")
    if kind.lower() != "bearer":
        return None
    try:
        return dict(jwt.decode(token, _KEY, algorithms=["HS256"], audience=audience))
    except jwt.InvalidTokenError:
        return None


class _Handler(BaseHTTPRequestHandler):
    sign_in: SignIn

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        resource = asked.get("resource", [""])[0]
        if self.headers.get("X-IDENTITY-HEADER") != _HEADER or not resource:
            self._send(401, {"error": "unauthorized"})
        elif self.sign_in.refuse:
            self._send(400, {"error": "identity_not_found", "error_description": "no identity"})
        else:
            self.sign_in.asked.append(resource)
            token, end = self.sign_in.token(resource)
            self._send(
                200,
                {
                    "access_token": token, "expires_on": str(end), "resource": resource,
                    "token_type": "Bearer", "client_id": "00000000-0000-4000-8000-000000000001",
                },
            )  # fmt: skip

    def log_message(self, *_args: object) -> None:
        """Not on the tests' output."""

    def _send(self, status: int, answer: dict[str, object]) -> None:
        content = json.dumps(answer).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
