"""TLS of servers (reloading, optional mTLS) and of channels."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import grpc

from services.model.errors import WorkspaceError
from services.rpc.certificate_files import (
    authorities_of,
    read_pem,
    require_dates,
    require_pair,
    unusable,
)

__all__ = ["ClientPem", "ClientTls", "ServerTls"]

_log = logging.getLogger(__name__)

ClientPem = tuple[bytes | None, bytes | None, bytes | None]
"""Authorities, key and chain: the arguments of `grpc.ssl_channel_credentials`."""


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
        replacement (half written, not matching, expired) is logged and the last
        good one kept.
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
        self._told = ""

    def load(self) -> grpc.ServerCertificateConfiguration:
        return self._checked(self._read())

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC on each handshake; None keeps what is served."""
        try:
            content = self._read()
            fresh = self._checked(content) if content != self._seen else None
        except WorkspaceError as error:
            self._tell(error.message)
            return None
        self._told = ""
        return fresh

    def _read(self) -> tuple[bytes, ...]:
        tls = self._tls
        cert, key = read_pem(tls.cert_file, "cert_file"), read_pem(tls.key_file, "key_file")
        ca = tls.client_ca_file
        return (cert, key, read_pem(ca, "client_ca_file")) if ca else (cert, key)

    def _checked(self, content: tuple[bytes, ...]) -> grpc.ServerCertificateConfiguration:
        cert, key, *roots = content
        tls = self._tls
        leaf = require_pair(cert, key, tls.cert_file, tls.key_file)
        require_dates(leaf, tls.cert_file, time.time())
        for bundle in roots:
            authorities_of(bundle, "client_ca_file", tls.client_ca_file)
        self._seen = content
        return grpc.ssl_server_certificate_configuration([(key, cert)], *roots)

    def _tell(self, message: str) -> None:
        # Once: clients come back often while the files stay as they are.
        if message != self._told:
            self._told = message
            _log.warning("TLS files not reloaded: %s", message)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """How a channel trusts its peer, and what it shows for itself (mTLS).

    `ca_file` None: the system's authorities. gRPC does not reload these files:
    `renewing_channel` does.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @property
    def files(self) -> tuple[Path | None, ...]:
        """What to look at for a change."""
        return (self.ca_file, self.cert_file, self.key_file)

    def credentials(self) -> grpc.ChannelCredentials:
        """Raises WorkspaceError when a file cannot be used now."""
        return grpc.ssl_channel_credentials(*self.read())

    def read(self) -> ClientPem:
        """The content of the files: readable, a pair, valid now. Raises WorkspaceError."""
        roots = read_pem(self.ca_file, "ca_file") if self.ca_file else None
        if roots is not None:
            authorities_of(roots, "ca_file", self.ca_file)
        if self.cert_file is None and self.key_file is None:
            return roots, None, None
        if self.cert_file is None or self.key_file is None:
            raise unusable("cert_file", self.cert_file, "set both cert_file and key_file")
        cert, key = read_pem(self.cert_file, "cert_file"), read_pem(self.key_file, "key_file")
        leaf = require_pair(cert, key, self.cert_file, self.key_file)
        require_dates(leaf, self.cert_file, time.time())
        return roots, key, cert
