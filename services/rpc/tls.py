"""TLS of servers (reloading, optional mTLS) and of channels."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import grpc

from services.model.errors import Reason, WorkspaceError

__all__ = ["ClientTls", "ServerTls"]

_log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """PEM files of a listener. With `client_ca_file` every client has to show a
    certificate of that authority (mTLS); its names are in `auth_context()`."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """Credentials that pick up replaced files at the next connection.

        Raises WorkspaceError when the files cannot be used now. Later a bad
        replacement (half written, not matching) is logged and the last good
        one kept.
        """
        loader = _Loader(self)
        return grpc.dynamic_ssl_server_credentials(
            loader.load(),
            loader.fetch,  # type: ignore[arg-type]  # None is allowed: "unchanged"
            require_client_authentication=self.client_ca_file is not None,
        )


class _Loader:
    def __init__(self, tls: ServerTls) -> None:
        self._tls = tls
        self._seen: tuple[bytes, ...] = ()

    def load(self) -> grpc.ServerCertificateConfiguration:
        cert = _read(self._tls.cert_file, "cert_file")
        key = _read(self._tls.key_file, "key_file")
        ca = self._tls.client_ca_file
        roots = _read(ca, "client_ca_file") if ca else None
        from cryptography import x509  # long to import, and needed only for TLS

        _require_pair(cert, key, self._tls)
        if roots is not None:
            _parsed(lambda: x509.load_pem_x509_certificates(roots), "client_ca_file", ca)
        self._seen = (cert, key, roots or b"")
        return grpc.ssl_server_certificate_configuration([(key, cert)], roots)

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC on each handshake; None keeps what is served."""
        try:
            before = self._seen
            fresh = self.load()
        except WorkspaceError as error:
            _log.warning("TLS files not reloaded: %s", error.message)
            return None
        return fresh if self._seen != before else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """How a channel trusts its peer, and what it shows for itself (mTLS).

    `ca_file` None: the system's authorities. gRPC does not reload these;
    a rotated client certificate needs a new channel.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises WorkspaceError when a file cannot be used."""
        if (self.cert_file is None) != (self.key_file is None):
            raise _unusable("cert_file", self.cert_file, "set both cert_file and key_file")
        return grpc.ssl_channel_credentials(
            root_certificates=_read(self.ca_file, "ca_file") if self.ca_file else None,
            private_key=_read(self.key_file, "key_file") if self.key_file else None,
            certificate_chain=_read(self.cert_file, "cert_file") if self.cert_file else None,
        )


def _require_pair(cert: bytes, key: bytes, tls: ServerTls) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_private_key,
    )

    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    load_cert = lambda: x509.load_pem_x509_certificates(cert)[0].public_key()  # noqa: E731
    load_key = lambda: load_pem_private_key(key, None).public_key()  # noqa: E731
    certified = _parsed(load_cert, "cert_file", tls.cert_file)
    held = _parsed(load_key, "key_file", tls.key_file)
    if certified.public_bytes(*spki) != held.public_bytes(*spki):
        raise _unusable("key_file", tls.key_file, "is not the key of the certificate")


def _parsed(parse: Callable[[], T], field: str, path: Path | None) -> T:
    try:
        return parse()
    except (ValueError, TypeError) as error:
        raise _unusable(field, path, "is not an unencrypted PEM file") from error


def _read(path: Path, field: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unusable(field, path, error.strerror or "cannot be read") from error


def _unusable(field: str, path: Path | None, why: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE,
        f"TLS {field} {path}: {why}",
        metadata={"field": field},
    )
