"""Public keys of a JWK set (RFC 7517, 7518, 8037), each bound to one algorithm.

A key that does not fit is left out; what makes the whole set doubtful (a `kid`
that occurs twice, no usable key) refuses the set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from services.model import base64url
from services.tokens.claims import TokenRefusedError
from services.tokens.compact import parse_json
from services.tokens.verifier import MAX_KID_CHARS, VerificationKey

__all__ = ["ALGORITHMS", "Ed25519Key", "KeySetError", "parse_key_set"]

ALGORITHMS: Final = ("RS256", "PS256", "ES256", "ES384", "EdDSA")
_RSA_BITS: Final = range(2048, 8193)
_CURVES: Final[dict[str, tuple[str, type[ec.EllipticCurve], type[hashes.HashAlgorithm]]]] = {
    "ES256": ("P-256", ec.SECP256R1, hashes.SHA256),
    "ES384": ("P-384", ec.SECP384R1, hashes.SHA384),
}


class KeySetError(Exception):
    """The set cannot be used; the text says why and holds nothing secret."""


class _Rsa:
    def __init__(self, key: rsa.RSAPublicKey, *, pss: bool) -> None:
        self._key = key
        self._padding: Any = (
            padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256().digest_size)
            if pss
            else padding.PKCS1v15()
        )

    def verify(self, signature: bytes, data: bytes) -> bool:
        try:
            self._key.verify(signature, data, self._padding, hashes.SHA256())
        except InvalidSignature:
            return False
        return True


class _Ec:
    """The signature is r and s, each as long as the curve's order (RFC 7518 3.4)."""

    def __init__(self, key: ec.EllipticCurvePublicKey, digest: hashes.HashAlgorithm) -> None:
        self._key = key
        self._digest = ec.ECDSA(digest)
        self._size = (key.curve.key_size + 7) // 8

    def verify(self, signature: bytes, data: bytes) -> bool:
        if len(signature) != 2 * self._size:
            return False
        r, s = (
            int.from_bytes(part, "big")
            for part in (signature[: self._size], signature[self._size :])
        )
        if not (r and s):
            return False
        try:
            self._key.verify(encode_dss_signature(r, s), data, self._digest)
        except InvalidSignature:
            return False
        return True


class Ed25519Key:
    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key

    def verify(self, signature: bytes, data: bytes) -> bool:
        try:
            self._key.verify(signature, data)
        except InvalidSignature:
            return False
        return True


def parse_key_set(
    body: bytes, algorithm: str, *, issuers: frozenset[str] = frozenset()
) -> Mapping[str, VerificationKey]:
    """The keys of this algorithm by `kid`. `issuers`, where keys may say by a member
    `issuer` for whom they sign (Entra): all that are for us. Raises KeySetError."""
    if algorithm not in ALGORITHMS:
        raise ValueError(f"{algorithm} is not an algorithm for tokens; use {ALGORITHMS}")
    try:
        entries = parse_json(body).get("keys")
    except TokenRefusedError:
        raise KeySetError("the key set is not a JSON object") from None
    if not isinstance(entries, list):
        raise KeySetError("the key set has no list `keys`")
    found: dict[str, VerificationKey] = {}
    kids = set[str]()
    for entry in entries:
        kid = _kid(entry)
        if kid in kids:
            raise KeySetError("a `kid` occurs twice")
        key = _key(entry, algorithm) if kid and _is_ours(entry, issuers) else None
        if key is not None:
            found[kid] = key
        kids |= {kid} - {""}
    if not found:
        raise KeySetError(f"no usable key for {algorithm}")
    return found


def _kid(entry: Any) -> str:
    kid = entry.get("kid") if isinstance(entry, dict) else None
    return kid if isinstance(kid, str) and len(kid) <= MAX_KID_CHARS else ""


def _is_ours(entry: Mapping[str, Any], issuers: frozenset[str]) -> bool:
    """Whether the key may sign for one of these issuers; '' stands for no member."""
    issuer = entry.get("issuer", "")
    return not issuers or (isinstance(issuer, str) and issuer in issuers | {""})


def _key(entry: Mapping[str, Any], algorithm: str) -> VerificationKey | None:
    """None for a key that is for something else, too weak, or no key at all."""
    if entry.get("use", "sig") != "sig" or entry.get("alg", algorithm) != algorithm:
        return None
    if entry.get("key_ops", ["verify"]) != ["verify"] or "d" in entry or "k" in entry:
        return None
    try:
        if algorithm in ("RS256", "PS256"):
            return _rsa(entry, pss=algorithm == "PS256")
        if algorithm == "EdDSA":
            return _ed25519(entry)
        return _ec(entry, algorithm)
    except ValueError:
        return None


def _rsa(entry: Mapping[str, Any], *, pss: bool) -> VerificationKey | None:
    if entry.get("kty") != "RSA":
        return None
    modulus, exponent = _integer(entry, "n"), _integer(entry, "e")
    if modulus.bit_length() not in _RSA_BITS or exponent.bit_length() > 32:
        return None
    return _Rsa(rsa.RSAPublicNumbers(exponent, modulus).public_key(), pss=pss)


def _ec(entry: Mapping[str, Any], algorithm: str) -> VerificationKey | None:
    name, curve, digest = _CURVES[algorithm]
    if entry.get("kty") != "EC" or entry.get("crv") != name:
        return None
    numbers = ec.EllipticCurvePublicNumbers(_integer(entry, "x"), _integer(entry, "y"), curve())
    return _Ec(numbers.public_key(), digest())


def _ed25519(entry: Mapping[str, Any]) -> VerificationKey | None:
    if entry.get("kty") != "OKP" or entry.get("crv") != "Ed25519":
        return None
    return Ed25519Key(Ed25519PublicKey.from_public_bytes(_bytes(entry, "x")))


def _integer(entry: Mapping[str, Any], member: str) -> int:
    return int.from_bytes(_bytes(entry, member), "big")


def _bytes(entry: Mapping[str, Any], member: str) -> bytes:
    value = entry.get(member)
    if not isinstance(value, str) or not value:
        raise ValueError(f"`{member}` is missing")
    return base64url.decode(value)
