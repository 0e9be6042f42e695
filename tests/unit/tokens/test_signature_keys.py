"""Keys of a set for each algorithm, and signatures that are none (T22, T24, T26)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from services.model import base64url
from services.tokens.signature_keys import KeySetError, parse_key_set
from tests.oidc_issuer import RsaKey

P256, P384 = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
EDWARDS = Ed25519PrivateKey.generate()
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
DATA = b"header.payload"


def ec_jwk(key: ec.EllipticCurvePrivateKey, curve: str) -> dict[str, Any]:
    numbers, size = key.public_key().public_numbers(), (key.curve.key_size + 7) // 8
    x, y = (base64url.encode(each.to_bytes(size, "big")) for each in (numbers.x, numbers.y))
    return {"kty": "EC", "kid": "k", "crv": curve, "x": x, "y": y}


def keys_of(jwk: dict[str, Any], algorithm: str) -> Any:
    return parse_key_set(json.dumps({"keys": [jwk]}).encode(), algorithm)["k"]


def raw(key: ec.EllipticCurvePrivateKey, digest: hashes.HashAlgorithm) -> bytes:
    size = (key.curve.key_size + 7) // 8
    r, s = decode_dss_signature(key.sign(DATA, ec.ECDSA(digest)))
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def test_each_algorithm_verifies_its_own_signatures() -> None:
    edwards = {
        "kty": "OKP", "crv": "Ed25519", "kid": "k",
        "x": base64url.encode(EDWARDS.public_key().public_bytes_raw()),
    }
    rsa = RsaKey("k")
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    for jwk, algorithm, signature in (
        (ec_jwk(P256, "P-256"), "ES256", raw(P256, hashes.SHA256())),
        (ec_jwk(P384, "P-384"), "ES384", raw(P384, hashes.SHA384())),
        (edwards, "EdDSA", EDWARDS.sign(DATA)),
        (rsa.jwk, "RS256", rsa.signature(DATA)),
        (rsa.jwk | {"alg": "PS256"}, "PS256", rsa.key.sign(DATA, pss, hashes.SHA256())),
    ):
        key = keys_of(jwk, algorithm)
        assert key.verify(signature, DATA), algorithm
        assert not key.verify(signature, DATA + b"x"), algorithm
        assert not key.verify(signature[:-1], DATA), algorithm
        assert not key.verify(b"", DATA), algorithm


@pytest.mark.case("T22", "T25")
def test_a_padding_of_another_algorithm_is_no_signature() -> None:
    rsa = RsaKey("k")
    pss = rsa.key.sign(DATA, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    assert not keys_of(rsa.jwk, "RS256").verify(pss, DATA)
    assert not keys_of(rsa.jwk | {"alg": "PS256"}, "PS256").verify(rsa.signature(DATA), DATA)
    rs512 = rsa.key.sign(DATA, padding.PKCS1v15(), hashes.SHA512())
    assert not keys_of(rsa.jwk, "RS256").verify(rs512, DATA)


@pytest.mark.parametrize(
    ("r", "s"), [(0, 0), (0, 1), (1, 0), (ORDER, 1), (1, ORDER), (ORDER, ORDER), (1, 1)]
)
@pytest.mark.case("T24")
def test_psychic_signatures_are_none(r: int, s: int) -> None:
    key = keys_of(ec_jwk(P256, "P-256"), "ES256")
    assert not key.verify(r.to_bytes(32, "big") + s.to_bytes(32, "big"), DATA)


@pytest.mark.case("T24")
def test_ecdsa_signatures_have_one_form() -> None:
    key, good = keys_of(ec_jwk(P256, "P-256"), "ES256"), raw(P256, hashes.SHA256())
    der = P256.sign(DATA, ec.ECDSA(hashes.SHA256()))
    for other in (der, b"\0" + good, good + b"\0", good[:32] + b"\0" + good[32:]):
        assert not key.verify(other, DATA)


@pytest.mark.parametrize(
    "jwk",
    [
        ec_jwk(P384, "P-384"),
        ec_jwk(P384, "P-384") | {"crv": "P-256"},
        ec_jwk(P256, "P-256") | {"x": base64url.encode(bytes(32))},
        ec_jwk(P256, "P-256") | {"use": "enc"},
        ec_jwk(P256, "P-256") | {"key_ops": ["deriveKey"]},
        ec_jwk(P256, "P-256") | {"kid": 1},
        ec_jwk(P256, "P-256") | {"kid": "k" * 129},
        ec_jwk(P256, "P-256") | {"y": ""},
        RsaKey("k").jwk,
        {},
    ],
)
@pytest.mark.case("T26", "T33")
def test_keys_that_do_not_fit_make_no_set(jwk: dict[str, Any]) -> None:
    with pytest.raises(KeySetError):
        keys_of(jwk, "ES256")


def test_an_unknown_algorithm_is_a_mistake_of_ours() -> None:
    for algorithm in ("none", "HS256", "ES512", ""):
        with pytest.raises(ValueError, match="algorithm"):
            parse_key_set(b"{}", algorithm)
