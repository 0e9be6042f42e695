"""A real HTTPS issuer on loopback, under an authority of its own.

Tests turn it: keys, what discovery and key set say, status, delay; it counts.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from services.model import base64url

DISCOVERY = "/.well-known/openid-configuration"
ABSENT = object()
"""In place of a claim or a member: there is none."""


def number(value: int) -> str:
    return base64url.encode(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class RsaKey:
    """A signing key and its JWK."""

    def __init__(self, kid: str, *, bits: int = 2048) -> None:
        self.kid = kid
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=bits)

    @property
    def jwk(self) -> dict[str, Any]:
        numbers = self.key.public_key().public_numbers()
        return {
            "kty": "RSA", "kid": self.kid, "use": "sig", "alg": "RS256",
            "n": number(numbers.n), "e": number(numbers.e),
        }

    def signature(self, data: bytes) -> bytes:
        return self.key.sign(data, padding.PKCS1v15(), hashes.SHA256())

    def sign(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
        parts = (json.dumps(part).encode() for part in (header, claims))
        data = ".".join(map(base64url.encode, parts))
        return f"{data}.{base64url.encode(self.signature(data.encode()))}"


@cache
def made_key(kid: str, *, of: str = "") -> RsaKey:
    """The one key of that name (`of` an issuer), made once per process."""
    return RsaKey(kid)


class HttpsIssuer:
    """The issuer. `keys` is the key set; `answers` replaces the answer of a path
    by (status, headers, body); `delay` seconds go before each answer."""

    def __init__(self, folder: Path) -> None:
        self.keys: list[dict[str, Any]] = []
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.delay = 0.0
        self.asked: list[str] = []
        self.ca_file = folder / "ca.pem"
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.port = int(self._server.server_address[1])
        self.url = f"https://127.0.0.1:{self.port}/realm"
        chain = _certificates(folder, self.ca_file)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    @property
    def tls(self) -> ssl.SSLContext:
        """What trusts this issuer alone."""
        return ssl.create_default_context(cafile=str(self.ca_file))

    @property
    def key_reads(self) -> int:
        return self.asked.count("/realm/keys")

    def put(self, path: str, content: Any, *, status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.answers[f"/realm{path}"] = (status, headers, body)

    @contextmanager
    def serving(self) -> Iterator[HttpsIssuer]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        self.asked.append(path)
        if path in self.answers:
            return self.answers[path]
        if path == f"/realm{DISCOVERY}":
            document = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
            return 200, {}, json.dumps(document).encode()
        if path == "/realm/keys":
            return 200, {}, json.dumps({"keys": self.keys}).encode()
        return 404, {}, b""

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, headers, body = issuer.answer(self.path)
                time.sleep(issuer.delay)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


class HostedIssuer(HttpsIssuer):
    """The issuer of a cloud: its `iss` is that of the cloud, and its keys alone come from
    here, without discovery. Paths of `asked` and `answers` are whole ones. Subclasses set
    `issuer`, `keys_path` and `signer`, the key of access tokens."""

    issuer: str
    keys_path: str
    signer: RsaKey

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.endpoint = f"https://127.0.0.1:{self.port}"

    def header(self, kid: str) -> dict[str, Any]:
        """As its tokens have them."""
        return {"kid": kid, "alg": "RS256"}

    def jwk(self, key: RsaKey) -> dict[str, Any]:
        """As its key set shows a key."""
        return key.jwk

    def signed(self, claims: Mapping[str, Any], *, key: RsaKey | None = None, kid: str = "") -> str:
        """A token of these claims, without those that are ABSENT."""
        signer = key or self.signer
        given = {name: value for name, value in claims.items() if value is not ABSENT}
        return signer.sign(self.header(kid or signer.kid), given)

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if path == self.keys_path and path not in self.answers:
            self.asked.append(path)
            return 200, {}, json.dumps({"keys": self.keys}).encode()
        return super().answer(path)


def _certificates(folder: Path, ca_file: Path) -> Path:
    """Writes the authority; returns the PEM of key and certificate of the server."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca = _certificate("Test CA", ca_key, issuer="Test CA", signer=ca_key, ca=True)
    leaf = _certificate("issuer", key, issuer="Test CA", signer=ca_key, ca=False)
    pem = serialization.Encoding.PEM
    ca_file.write_bytes(ca.public_bytes(pem))
    chain = folder / "server.pem"
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain.write_bytes(private + leaf.public_bytes(pem))
    return chain


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, *, issuer: str,
    signer: ec.EllipticCurvePrivateKey, ca: bool,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([loopback]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()),
            critical=False,
        )
    )
    return builder.sign(signer, hashes.SHA256())
