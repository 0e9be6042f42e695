"""A probe of the certificate that a process shows: readiness is down, and says why,
while it is missing, outside of its life, not a pair with its key, or of another name."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Gauge

from services.rpc.certificate_files import (
    Stamps,
    authorities_of,
    read_pem,
    require_dates,
    require_pair,
    shown_time,
    stamps_of,
    unusable,
    uris_of,
)

if TYPE_CHECKING:  # long to import, and needed only for TLS
    from cryptography import x509

__all__ = ["CertificateProbe"]

_log = logging.getLogger("workspace.certificates")
_WARN_SECONDS = 7 * 86_400.0
_WARN_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class _Found:
    """What the files hold. `trusted_until` is when the last authority ends. Unix times."""

    leaf: x509.Certificate
    warn_at: float
    trusted_until: float


class CertificateProbe:
    """A `Probe` of one certificate; cheap while its files stay the same.

    `ca_file` holds the authorities of peers (None: those of the system); `names` are
    URIs that the certificate has to prove. One line of warning per certificate when
    7 days or a tenth of its life are left, whichever is less.

    `workspace_certificate_expires_seconds{file}` is the Unix time at which a certificate
    or the last authority of a bundle ends. A registry takes one such gauge: a second
    probe gets `expires` of the first.
    """

    def __init__(
        self,
        cert_file: Path,
        key_file: Path,
        ca_file: Path | None = None,
        names: frozenset[str] = frozenset(),
        *,
        registry: CollectorRegistry | None = None,
        expires: Gauge | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._cert_file = cert_file
        self._key_file = key_file
        self._ca_file = ca_file
        self._names = names
        self._now = now
        self._stamps: Stamps = ()
        self._found: _Found | None = None
        self._warned_of = 0
        self.expires = expires or Gauge(
            "workspace_certificate_expires_seconds",
            "Unix time at which the certificates of a file end.",
            ("file",),
            registry=registry,
        )

    async def __call__(self) -> None:
        """Raises WorkspaceError (INVALID_STATE) that names the file, what is wrong with
        it and the remedy."""
        stamps = stamps_of((self._cert_file, self._key_file, self._ca_file))
        if self._found is None or stamps != self._stamps:
            self._found = None
            self._found = self._read()
            self._stamps = stamps
        self._judge(self._found)

    def _read(self) -> _Found:
        cert, key = read_pem(self._cert_file, "cert_file"), read_pem(self._key_file, "key_file")
        leaf = require_pair(cert, key, self._cert_file, self._key_file)
        ends = leaf.not_valid_after_utc.timestamp()
        life = ends - leaf.not_valid_before_utc.timestamp()
        self.expires.labels(str(self._cert_file)).set(ends)
        self._require_names(uris_of(leaf))
        return _Found(
            leaf=leaf,
            warn_at=ends - min(_WARN_SECONDS, life * _WARN_SHARE),
            trusted_until=self._trusted_until(),
        )

    def _require_names(self, present: frozenset[str]) -> None:
        missing = sorted(self._names - present)
        if missing:
            there = ", ".join(sorted(present)) or "no URI"
            why = f"lacks the name {', '.join(missing)} (it has {there}); issue it for that name"
            raise unusable("cert_file", self._cert_file, why)

    def _trusted_until(self) -> float:
        if self._ca_file is None:
            return float("inf")
        bundle = authorities_of(read_pem(self._ca_file, "ca_file"), "ca_file", self._ca_file)
        last = max(each.not_valid_after_utc.timestamp() for each in bundle)
        self.expires.labels(str(self._ca_file)).set(last)
        return last

    def _judge(self, found: _Found) -> None:
        now = self._now()
        require_dates(found.leaf, self._cert_file, now)
        if now > found.trusted_until:
            why = "every authority of it has expired; add the one that signs now"
            raise unusable("ca_file", self._ca_file, why)
        if now >= found.warn_at and self._warned_of != found.leaf.serial_number:
            self._warned_of = found.leaf.serial_number
            end = shown_time(found.leaf.not_valid_after_utc)
            _log.warning("certificate %s ends at %s; renew it", self._cert_file, end)
