"""Certificates of a deployment of tests that are wrong in one way, and right ones again."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from services.tls_authority.files import install_pair
from services.tls_authority.profile import key_pem, new_key, sign_authority, sign_leaf

__all__ = ["Issuer"]

_DAY = datetime.timedelta(days=1)


class Issuer:
    """Replaces `folder/<target>/{tls.crt,tls.key}`, with the authority of the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cert = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
        key = load_pem_private_key((folder / "ca.key").read_bytes(), None)
        self._key = cast("ec.EllipticCurvePrivateKey", key)

    def issue(
        self,
        target: str,
        *,
        host: str = "localhost",
        name: str = "",
        age: int = 0,
        foreign: bool = False,
    ) -> None:
        """For `target`: of `host`, proving the service `name` (`target`), begun `age` days
        ago for ten days, by an authority that nobody knows if `foreign`."""
        now = datetime.datetime.now(datetime.UTC)
        authority, authority_key = self._cert, self._key
        if foreign:
            authority_key = new_key()
            authority = sign_authority(authority_key, now - 40 * _DAY)
        key = new_key()
        names = [
            x509.DNSName(host),
            x509.UniformResourceIdentifier(f"spiffe://workspace/{name or target}"),
        ]
        cert = sign_leaf(
            authority, authority_key, key.public_key(),
            name=target, names=names, days=10, now=now - max(age, 0) * _DAY,
        )  # fmt: skip
        folder = self._folder / target
        install_pair(folder, cert=cert.public_bytes(Encoding.PEM), key=key_pem(key))
