"""The published vectors for JSON Web Signatures (wycheproof/), each through our verifier.

The whole path up to the signature: form, header, key of the set, signature. A payload of
the vectors has no claims: what a good one is refused for comes after its signature. The
keys of algorithms that we do not offer are made here, so that forms are tried with them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from services.model import base64url
from services.tokens.claims import TokenRefusedError
from services.tokens.compact import split_token
from services.tokens.signature_keys import ALGORITHMS, KeySetError, parse_key_set
from services.tokens.verifier import StrictJwtVerifier, TokenRules, VerificationKey
from tests.security.test_bad_tokens import NOW

pytestmark = pytest.mark.case("P05", "T19", "T24", "T25", "T33")

_FILE: Final = Path(__file__).parent / "wycheproof" / "json_web_signature_test.json"
_GROUPS: Final[list[dict[str, Any]]] = json.loads(_FILE.read_text())["testGroups"]
_DIGESTS: Final[Mapping[str, hashes.HashAlgorithm]] = {
    "384": hashes.SHA384(), "512": hashes.SHA512(),
}  # fmt: skip
_AFTER_THE_SIGNATURE: Final = {"json", "iss"}

# Good by the standard, and refused here: id -> the check that refuses it.
STRICTER: Final = {
    346: "alg", 347: "alg", 350: "alg", 351: "alg",  # the key is for another algorithm
    372: "shape", 373: "shape",  # characters outside of the alphabet, which some skip
    # No payload at all: there is nobody whom the token would name.
    259: "shape", 264: "shape", 268: "shape", 272: "shape", 320: "shape", 325: "shape",
}  # fmt: skip


# Said to be bad, but letter for letter a good one: the padding that they are about was lost
# when the file was made. (Padding is T05.)
SAME_AS: Final = {367: 357, 370: 357}


class _Mac:
    def __init__(self, jwk: Mapping[str, str]) -> None:
        self._key = base64url.decode(jwk["k"])

    def verify(self, signature: bytes, data: bytes) -> bool:
        return hmac.compare_digest(hmac.digest(self._key, data, hashlib.sha256), signature)


class _LongRsa:
    """RS384, RS512, PS384, PS512."""

    def __init__(self, jwk: Mapping[str, str]) -> None:
        n, e = (int.from_bytes(base64url.decode(jwk[name]), "big") for name in ("n", "e"))
        self._key = rsa.RSAPublicNumbers(e, n).public_key()
        self._digest = digest = _DIGESTS[jwk["alg"][2:]]
        pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
        self._padding = pss if jwk["alg"].startswith("PS") else padding.PKCS1v15()

    def verify(self, signature: bytes, data: bytes) -> bool:
        try:
            self._key.verify(signature, data, self._padding, self._digest)
        except InvalidSignature:
            return False
        return True


class _Keys:
    """Those of a group."""

    def __init__(self, jwk: Mapping[str, str], algorithm: str) -> None:
        self._keys: Mapping[str, VerificationKey] = {}
        if algorithm in ALGORITHMS:
            try:
                self._keys = parse_key_set(json.dumps({"keys": [jwk]}).encode(), algorithm)
            except KeySetError:
                return
        elif "k" in jwk:
            self._keys = {jwk["kid"]: _Mac(jwk)}
        elif algorithm[2:] in _DIGESTS:
            self._keys = {jwk["kid"]: _LongRsa(jwk)}

    async def key(self, kid: str) -> VerificationKey | None:
        return self._keys.get(kid)


def verifier_of(group: Mapping[str, Any]) -> StrictJwtVerifier:
    """Takes the algorithm of the group's key, and no claims."""
    jwk = group.get("public") or group["private"]
    algorithm = jwk.get("alg") or {"RSA": "RS256", "EC": "ES256"}[jwk["kty"]]
    rules = TokenRules(
        issuer="issuer", audiences=frozenset({"us"}), algorithm=algorithm,
        types=frozenset({"JWT"}), max_lifetime=60, untyped=True,
    )  # fmt: skip
    return StrictJwtVerifier(rules, _Keys(jwk, algorithm), read=_nobody, now=lambda: NOW)


def _nobody(_: Mapping[str, Any]) -> Any:
    raise AssertionError("no vector has claims")


async def refusal(verifier: StrictJwtVerifier, jws: str) -> str:
    """The check that refuses the signature; '' when it was taken."""
    try:
        split_token(jws)
    except TokenRefusedError as refused:
        return refused.check
    with pytest.raises(TokenRefusedError) as caught:
        await verifier.verify(jws)
    check = caught.value.check
    return "" if check in _AFTER_THE_SIGNATURE else check


@pytest.mark.parametrize("number", range(len(_GROUPS)))
async def test_vectors(number: int) -> None:
    group = _GROUPS[number]
    verifier = verifier_of(group)
    found = {each["tcId"]: await refusal(verifier, each["jws"]) for each in group["tests"]}
    good = {each["tcId"] for each in group["tests"] if each["result"] == "valid"}
    same = {id_ for id_, twin in SAME_AS.items() if twin in good}
    assert {id_ for id_, check in found.items() if not check} == good - STRICTER.keys() | same
    assert {id_: found[id_] for id_ in good & STRICTER.keys()} == {
        id_: check for id_, check in STRICTER.items() if id_ in good
    }


def test_the_vectors_are_all_there() -> None:
    tests = {each["tcId"]: each for group in _GROUPS for each in group["tests"]}
    results = [each["result"] for each in tests.values()]
    assert (results.count("valid"), results.count("invalid"), len(_GROUPS)) == (46, 355, 23)
    for id_, twin in SAME_AS.items():
        assert tests[id_]["jws"] == tests[twin]["jws"]
