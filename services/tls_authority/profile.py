"""What our certificates look like: ECDSA P-256, RFC 5280; a service is a SPIFFE id among
the subject alternative names."""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.model.errors import invalid_field

__all__ = [
    "SUBJECT", "URI", "host_name", "key_pem", "names_of", "new_key", "same_key",
    "sign_authority", "sign_leaf",
]  # fmt: skip

URI = x509.UniformResourceIdentifier
Key = ec.EllipticCurvePrivateKey
_AUTHORITY_DAYS = 3650
_BACKDATED = datetime.timedelta(minutes=5)
SUBJECT = x509.Name(
    [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Workspace"),
        x509.NameAttribute(NameOID.COMMON_NAME, "Workspace development authority"),
    ]
)
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*")



def new_key() -> Key:
    """A P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def host_name(text: str) -> x509.GeneralName:
    """An IP address, or a DNS name (`*.` in front is allowed). Raises INVALID_FIELD."""
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    host = text.lower().rstrip(".")
    if len(host) > 253 or not _HOST.fullmatch(host):
        raise invalid_field("host", f"{text!r} is neither a DNS name (punycode) nor an address")
    return x509.DNSName(host)


def sign_authority(key: Key, now: datetime.datetime) -> x509.Certificate:
    """A root that signs leaves, and no further authorities."""
    ends = now + datetime.timedelta(days=_AUTHORITY_DAYS)
    return (
        _builder(SUBJECT, key.public_key(), now, ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name,
    public: ec.EllipticCurvePublicKey,
    now: datetime.datetime,
    ends: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(SUBJECT)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)  # clocks of a cluster differ
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(**chosen: bool) -> x509.KeyUsage:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
        "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: chosen.get(name, False) for name in names})


def sign_leaf(
    authority: x509.Certificate,
    authority_key: Key,
    public: ec.EllipticCurvePublicKey,
    *,
    name: str,
    names: Iterable[x509.GeneralName],
    days: int,
    now: datetime.datetime,
) -> x509.Certificate:
    """For servers and clients alike; ends with its authority at the latest."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    alternatives = sorted(names, key=lambda each: (isinstance(each, URI), str(each.value)))
    ends = min(now + datetime.timedelta(days=days), authority.not_valid_after_utc)
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    return (
        _builder(subject, public, now, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(issuer, critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def names_of(leaf: x509.Certificate) -> list[x509.GeneralName]:
    """Its subject alternative names, of every type."""
    try:
        return list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def same_key(held: object, certified: object) -> bool:
    """Whether two public keys are one."""
    return _public(held) == _public(certified)


def key_pem(key: Key) -> bytes:
    """PKCS #8, without a password."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _public(key: object) -> bytes:
    written: bytes = key.public_bytes(  # type: ignore[attr-defined]  # all kinds have it
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    return written
