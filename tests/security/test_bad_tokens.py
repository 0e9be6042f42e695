"""The bad tokens of the reference list, by T-number: each against the local and
against a generic issuer, which is a real HTTPS server.

Every one is refused, always with the same answer. Each case starts from a good
token (the positive control below) and breaks one thing, re-signed with the
right key wherever the signature is not the point.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.model.errors import WorkspaceError
from services.tokens.authenticator import TokenAuthenticator
from services.tokens.claims import TokenRefusedError, TokenVerifier
from services.tokens.compact import MAX_TOKEN_BYTES
from services.tokens.issuers import IssuerSettings
from services.tokens.local import LocalIdentity, LocalIssuer
from services.tokens.oidc import remote_verifier
from tests.oidc_issuer import HttpsIssuer, RsaKey
from tests.security.refusing import by_name, refuse

NOW = 1_800_000_000
LOCAL = LocalIssuer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))), realm="n1")
LOCAL_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(32))
CLAIMS: dict[str, Any] = {
    "aud": "workspace",
    "sub": "ann@example.com",
    "email": "ann@example.com",
    "email_verified": True,
    "name": "Ann",
    "iat": NOW - 10,
    "exp": NOW + 600,
    "jti": "j_1",
}
GONE = object()
Cases = dict[str, str | Callable[[], str]]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def dumps(members: Mapping[str, Any]) -> bytes:
    return json.dumps({k: v for k, v in members.items() if v is not GONE}).encode()


@dataclass(frozen=True)
class Kit:
    """An issuer under test: how its good tokens look, and how to sign any bytes
    with its key (`sign`) or with a key of somebody else (`foreign`)."""

    issuer: str
    algorithm: str
    other_algorithm: str
    kid: str
    sign: Callable[[bytes], bytes]
    foreign: Callable[[bytes], bytes]
    public: bytes
    pem: bytes
    max_seconds: int
    attacker_kid: str = "attacker"
    other_issuer: str = ""
    other_kid: str = "other"

    @property
    def header(self) -> dict[str, Any]:
        return {"alg": self.algorithm, "typ": "at+jwt", "kid": self.kid}

    @property
    def claims(self) -> dict[str, Any]:
        return {"iss": self.issuer} | CLAIMS

    def raw(
        self, header: bytes, payload: bytes, sign: Callable[[bytes], bytes] | None = None
    ) -> str:
        """Any bytes as header and payload, properly signed."""
        signing_input = f"{b64(header)}.{b64(payload)}"
        return f"{signing_input}.{b64((sign or self.sign)(signing_input.encode()))}"

    def token(self, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
        return self.raw(dumps(self.header | dict(header or {})), dumps(self.claims | claims))

    def attack(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
        return self.raw(dumps(header), dumps(claims), self.foreign)

    def signed_by_mac(self, key: bytes) -> str:
        signing_input = f"{b64(dumps(self.header | {'alg': 'HS256'}))}.{b64(dumps(self.claims))}"
        mac = hmac.new(key, signing_input.encode(), hashlib.sha256)
        return f"{signing_input}.{b64(mac.digest())}"


def local_kit(**more: str) -> Kit:
    public = LOCAL_KEY.public_key()
    return Kit(
        issuer="workspace-local:n1",
        algorithm="EdDSA",
        other_algorithm="ES256",
        kid=LOCAL.kid,
        sign=LOCAL_KEY.sign,
        foreign=STRANGER.sign,
        public=public.public_bytes_raw(),
        pem=public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        max_seconds=3600,
        **more,
    )


def oidc_kit(url: str, key: RsaKey, attacker: RsaKey) -> Kit:
    public = key.key.public_key()
    return Kit(
        issuer=url,
        algorithm="RS256",
        other_algorithm="ES256",
        kid=key.kid,
        sign=key.signature,
        foreign=attacker.signature,
        public=public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        pem=public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        max_seconds=86_400,
        other_issuer="workspace-local:n1",
        other_kid=LOCAL.kid,
    )


def sized(kit: Kit, size: int) -> str:
    """A good token of exactly this size."""
    for blanks in range(3):  # base64 grows in steps; those of the header's are other ones
        header = dumps(kit.header) + b" " * blanks
        more = (size - len(kit.raw(header, dumps(kit.claims | {"x": ""})))) * 3 // 4
        for padding in range(more - 2, more + 3):
            text = kit.raw(header, dumps(kit.claims | {"x": "y" * padding}))
            if len(text) == size:
                return text
    raise AssertionError(f"no token has {size} characters")


def malleable(good: str) -> str:
    """The same signature bytes in another spelling: unused bits of the last
    character set (64 or 256 bytes end in a character of which four are unused)."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet[alphabet.index(good[-1]) ^ 1]
    signature = good.rpartition(".")[2]
    assert base64.urlsafe_b64decode(signature[:-1] + last + "==") == base64.urlsafe_b64decode(
        signature + "=="
    )
    return good[:-1] + last


def cases(kit: Kit) -> Cases:
    """Every bad token of this issuer by its name."""
    token, raw, HEADER, CLAIMS = kit.token, kit.raw, kit.header, kit.claims  # noqa: N806
    GOOD = token()  # noqa: N806
    _HEAD, _BODY, _SIGNATURE = GOOD.split(".")  # noqa: N806

    def payload(text: str) -> str:
        return raw(dumps(HEADER), text.encode())

    def with_header(text: str) -> str:
        return raw(text.encode(), dumps(CLAIMS))

    def doubled(name: str, first: Any) -> str:
        """The payload with a member twice; the second is the good one."""
        return payload(f'{{"{name}": {json.dumps(first)}, ' + dumps(CLAIMS).decode()[1:])

    return {
        "T01 empty": "",
        "T02 one segment": _HEAD,
        "T02 two segments": f"{_HEAD}.{_BODY}",
        "T02 four segments": f"{GOOD}.{_BODY}",
        "T02 five segments": f"{GOOD}.{_BODY}.{_BODY}",
        "T03 empty header": f".{_BODY}.{_SIGNATURE}",
        "T03 empty payload": f"{_HEAD}..{_SIGNATURE}",
        "T03 empty signature": f"{_HEAD}.{_BODY}.",
        "T04 flattened JSON": json.dumps(
            {"protected": _HEAD, "payload": _BODY, "signature": _SIGNATURE}
        ),
        "T04 general JSON": json.dumps(
            {"payload": _BODY, "signatures": [{"protected": _HEAD, "signature": _SIGNATURE}]}
        ),
        "T05 padded signature": f"{GOOD}==",
        "T05 padded header": f"{_HEAD}=.{_BODY}.{_SIGNATURE}",
        "T05 padded payload": f"{_HEAD}.{_BODY}=.{_SIGNATURE}",
        "T06 plus": f"{_HEAD}.{_BODY}.+{_SIGNATURE[1:]}",
        "T06 slash": f"{_HEAD}.{_BODY}./{_SIGNATURE[1:]}",
        "T07 leading space": f" {GOOD}",
        "T07 trailing newline": f"{GOOD}\n",
        "T07 inner newline": f"{_HEAD}\n.{_BODY}.{_SIGNATURE}",
        "T08 unused bits": lambda: malleable(GOOD),
        "T09 17 KiB": lambda: token(x="y" * 17 * 1024),
        "T09 5 MB": lambda: token(x="y" * 5_000_000),
        "T10 array payload": payload("[1]"),
        "T10 number payload": payload("1"),
        "T10 string payload": payload('"x"'),
        "T10 null payload": payload("null"),
        "T10 array header": with_header("[1]"),
        "T10 string header": with_header('"x"'),
        "T11 BOM payload": raw(dumps(HEADER), b"\xef\xbb\xbf" + dumps(CLAIMS)),
        "T11 BOM header": raw(b"\xef\xbb\xbf" + dumps(HEADER), dumps(CLAIMS)),
        "T11 UTF-16 payload": raw(dumps(HEADER), dumps(CLAIMS).decode().encode("utf-16")),
        "T11 invalid UTF-8": raw(dumps(HEADER), dumps(CLAIMS)[:-1] + b', "x": "\xff"}'),
        "T12 duplicate sub": doubled("sub", "root@example.com"),
        "T12 duplicate in depth": payload(dumps(CLAIMS).decode()[:-1] + ', "x": {"a": 1, "a": 2}}'),
        "T13 duplicate exp": doubled("exp", 1),
        "T14 duplicate alg": with_header('{"alg": "none", ' + dumps(HEADER).decode()[1:]),
        "T15 nested payload": payload('{"x": ' + "[" * 6000 + "]" * 6000 + "}"),
        "T15 nested header": with_header('{"x": ' + "[" * 5000 + "]" * 5000 + "}"),
        "T15 seventeen levels": payload(
            dumps(CLAIMS).decode()[:-1] + ', "x": ' + "[" * 16 + "]" * 16 + "}"
        ),
        "T16 20 digits": payload(dumps(CLAIMS).decode()[:-1] + ', "x": ' + "1" * 20 + "}"),
        "T44 1e999 elsewhere": payload(dumps(CLAIMS).decode()[:-1] + ', "x": 1e999}'),
        "T16 long integer": payload(dumps(CLAIMS).decode()[:-1] + ', "x": ' + "1" * 5000 + "}"),
        "T19 none unsigned": f"{b64(dumps(HEADER | {'alg': 'none'}))}.{_BODY}.",
        "T19 none": token({"alg": "none"}),
        "T19 None": token({"alg": "None"}),
        "T19 NONE": token({"alg": "NONE"}),
        "T19 nOnE": token({"alg": "nOnE"}),
        "T20 alg missing": token({"alg": GONE}),
        "T20 alg list": token({"alg": [kit.algorithm]}),
        "T20 alg number": token({"alg": 1}),
        "T20 alg lower case": token({"alg": kit.algorithm.lower()}),
        "T21 HS256 with the public key": kit.signed_by_mac(kit.public),
        "T21 HS256 with its PEM": kit.signed_by_mac(kit.pem),
        "T21 HS256 with its base64": kit.signed_by_mac(b64(kit.public).encode()),
        "T22 another algorithm": token({"alg": kit.other_algorithm}),
        "T22 PS256": token({"alg": "PS256"}),
        "T22 alias of the algorithm": token({"alg": "Ed25519"}),
        "T22 RS512": token({"alg": "RS512"}),
        "T23 another issuer": token(iss="https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_X"),
        "T23 another instance": token(iss="workspace-local:n2"),
        "T23 the issuer of the other kit": token(iss=kit.other_issuer),
        "T32 the kid of the other kit": token({"kid": kit.other_kid}),
        "T48 iss http": token(iss=kit.issuer.replace("https://", "http://") + "#"),
        "T48 iss without port": token(iss=kit.issuer.rpartition(":")[0]),
        "T27 header jwk": kit.attack(
            HEADER | {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": "AA"}}, CLAIMS
        ),
        "T27 header jwk, our signature": token({"jwk": {"kty": "OKP"}}),
        "T28 jku": token({"jku": "http://127.0.0.1:9/keys"}),
        "T28 x5u": token({"x5u": "http://127.0.0.1:9/cert"}),
        "T29 x5c": token({"x5c": ["AA"]}),
        "T30 kid path": token({"kid": "../../etc/passwd"}),
        "T30 kid SQL": token({"kid": "' OR 1=1--"}),
        "T30 kid pipe": token({"kid": "|id"}),
        "T30 kid 10 KB": token({"kid": "k" * 10_000}),
        "T30 kid NUL": token({"kid": kit.kid + "\0"}),
        "T31 kid integer": token({"kid": 1}),
        "T31 kid null": token({"kid": None}),
        "T31 kid missing": token({"kid": GONE}),
        "T31 kid empty": token({"kid": ""}),
        "T32 another key": kit.attack(HEADER, CLAIMS),
        "T32 another key under its own kid": kit.attack(HEADER | {"kid": kit.attacker_kid}, CLAIMS),
        "T37 crit": token({"crit": ["exp2"]}),
        "T37 crit empty": token({"crit": []}),
        "T37 crit not a list": token({"crit": "exp2"}),
        "T38 b64 false": token({"b64": False}),
        "T38 detached payload": f"{_HEAD}..{_SIGNATURE}",
        "T39 zip": token({"zip": "DEF"}),
        "T40 cty": token({"cty": "JWT"}),
        "T41 dpop+jwt": token({"typ": "dpop+jwt"}),
        "T41 logout+jwt": token({"typ": "logout+jwt"}),
        "T41 secevent+jwt": token({"typ": "secevent+jwt"}),
        "T41 JWS": token({"typ": "JWS"}),
        "T41 typ missing": token({"typ": GONE}),
        "T41 typ list": token({"typ": ["at+jwt"]}),
        "T41 unknown header member": token({"nonce": "1"}),
        "T42 no exp": token(exp=GONE),
        "T43 exp a second ago": token(exp=NOW - 1),
        "T43 exp now": token(exp=NOW),
        "T44 exp string": token(exp=str(NOW + 600)),
        "T44 exp float": token(exp=NOW + 600.5),
        "T44 exp whole float": token(exp=float(NOW + 600)),
        "T44 exp true": token(exp=True),
        "T44 exp negative": token(exp=-1),
        "T44 exp 10^18": token(exp=10**18),
        "T44 exp NaN": payload(dumps(CLAIMS | {"exp": GONE}).decode()[:-1] + ', "exp": NaN}'),
        "T44 exp Infinity": payload(
            dumps(CLAIMS | {"exp": GONE}).decode()[:-1] + ', "exp": Infinity}'
        ),
        "T44 exp 1e999": payload(dumps(CLAIMS | {"exp": GONE}).decode()[:-1] + ', "exp": 1e999}'),
        "T44 exp null": token(exp=None),
        "T45 lifetime too long": token(iat=NOW - 10, exp=NOW - 10 + kit.max_seconds + 1),
        "T45 exp before iat": token(iat=NOW + 50, exp=NOW + 40),
        "T46 no iat": token(iat=GONE),
        "T46 iat 61 s ahead": token(iat=NOW + 61, exp=NOW + 600),
        "T46 iat an hour ahead": token(iat=NOW + 3600, exp=NOW + 3700),
        "T46 iat string": token(iat=str(NOW)),
        "T46 iat zero": token(iat=0),
        "T47 nbf ahead": token(nbf=NOW + 61),
        "T47 nbf string": token(nbf="1"),
        "T47 nbf zero": token(nbf=0),
        "T48 iss missing": token(iss=GONE),
        "T48 iss list": token(iss=[kit.issuer]),
        "T48 iss trailing slash": token(iss=kit.issuer + "/"),
        "T48 iss case": token(iss=kit.issuer[0].upper() + kit.issuer[1:]),
        "T48 iss with a port": token(iss=f"{kit.issuer}:443"),
        "T48 iss prefix": token(iss=kit.issuer[:-1]),
        "T48 iss longer": token(iss=kit.issuer + "2"),
        "T48 iss percent-encoded": token(iss=kit.issuer.replace(":", "%3A")),
        "T48 iss look-alike": token(iss=kit.issuer.replace("-", "\u2010").replace("r", "\u0433")),
        "T48 iss empty": token(iss=""),
        "T48 iss null": token(iss=None),
        "T49 aud missing": token(aud=GONE),
        "T49 aud empty": token(aud=""),
        "T50 aud list with ours": token(aud=["workspace", "other"]),
        "T50 aud list of ours": token(aud=["workspace"]),
        "T51 aud of another": token(aud="workspace2"),
        "T52 sub missing": token(sub=GONE),
        "T52 sub empty": token(sub="", email=""),
        "T52 sub integer": token(sub=1, email=1),
        "T52 sub null": token(sub=None, email=None),
        "T53 sub NUL": token(sub="ann\0@example.com", email="ann\0@example.com"),
        "T53 sub control": token(sub="ann\n@example.com", email="ann\n@example.com"),
        "T53 sub trailing newline": token(sub="ann@example.com\n", email="ann@example.com\n"),
        "T53 sub bidi": token(sub="ann\u202e@example.com", email="ann\u202e@example.com"),
        "T53 sub space": token(sub="ann @example.com", email="ann @example.com"),
        "T53 sub not ASCII": token(sub="änn@example.com", email="änn@example.com"),
        "T53 sub 10 KB": token(sub="a" * 10_000, email="a" * 10_000),
        "T53 sub 256 characters": token(sub="a" * 256, email="a" * 256),
        "jti list": token(jti=["j"]),
        "name not text": token(name={"x": 1}),
        "name of 256 characters": token(name="n" * 256),
        "a changed signature": f"{_HEAD}.{_BODY}.{'A' * len(_SIGNATURE)}",
        "a changed payload": f"{_HEAD}.{b64(dumps(CLAIMS | {'name': 'Bob'}))}.{_SIGNATURE}",
        "a short signature": f"{_HEAD}.{_BODY}.{_SIGNATURE[:-4]}",
    }


def local_cases(kit: Kit) -> Cases:
    """What only the local provider refuses, whose subject is the address."""
    return {
        "T41 JWT": kit.token({"typ": "JWT"}),
        "T68 e-mail of another": kit.token(email="root@example.com"),
        "no jti": kit.token(jti=GONE),
    }


def oidc_cases(kit: Kit) -> Cases:
    """What needs a key set, or an RSA key."""
    wide = lambda data: kit.sign(data) + b"\0"  # noqa: E731
    cut = lambda data: kit.sign(data)[:-1]  # noqa: E731
    header, claims = dumps(kit.header), dumps(kit.claims)
    modulus = kit.public[-261:-5]  # of the DER: its end but for the exponent
    return {
        "T25 a byte more": kit.raw(header, claims, wide),
        "T25 a byte less": kit.raw(header, claims, cut),
        "T25 zeros": kit.raw(header, claims, lambda _: bytes(256)),
        "T25 one": kit.raw(header, claims, lambda _: bytes(255) + b"\1"),
        "T21 HS256 with the modulus": kit.signed_by_mac(modulus),
        "T21 HS256 with the JWK": kit.signed_by_mac(dumps({"kty": "RSA", "n": b64(modulus)})),
        "T33 a key for encryption": kit.raw(dumps(kit.header | {"kid": "enc"}), claims),
        "e-mail not text": kit.token(email=["ann@example.com"]),
    }


NAMES = {
    "local": [*cases(local_kit()), *local_cases(local_kit())],
    "oidc": [*cases(local_kit()), *oidc_cases(local_kit())],
}
ALL = [(kind, name) for kind, names in NAMES.items() for name in names]


@dataclass(frozen=True)
class Bench:
    """Both issuers behind one authenticator, with all their bad tokens."""

    authenticator: TokenAuthenticator
    kits: dict[str, Kit]
    verifiers: dict[str, TokenVerifier]
    bad: dict[str, Cases]

    def text(self, kind: str, name: str) -> str:
        found = self.bad[kind][name]
        return found if isinstance(found, str) else found()


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpsIssuer]:
    with HttpsIssuer(tmp_path_factory.mktemp("issuer")).serving() as serving:
        yield serving


@pytest.fixture(scope="module")
def kits(issuer: HttpsIssuer) -> dict[str, Kit]:
    key, attacker = RsaKey("r1"), RsaKey("r1")
    issuer.keys = [key.jwk, key.jwk | {"kid": "enc", "use": "enc"}]
    return {
        "local": local_kit(other_issuer=issuer.url, other_kid="r1"),
        "oidc": oidc_kit(issuer.url, key, attacker),
    }


@pytest.fixture(scope="module")
def bad(kits: dict[str, Kit]) -> dict[str, Cases]:
    return {
        "local": cases(kits["local"]) | local_cases(kits["local"]),
        "oidc": cases(kits["oidc"]) | oidc_cases(kits["oidc"]),
    }


@pytest.fixture
def bench(issuer: HttpsIssuer, kits: dict[str, Kit], bad: dict[str, Cases]) -> Bench:
    settings = IssuerSettings(issuer=issuer.url, audience="workspace")
    verifiers: dict[str, TokenVerifier] = {
        "local": LOCAL.verifier(now=lambda: NOW),
        "oidc": remote_verifier(settings, now=lambda: NOW, tls=issuer.tls),
    }
    authenticator = TokenAuthenticator(list(verifiers.values()), now=lambda: NOW)
    return Bench(authenticator, kits, verifiers, bad)


@pytest.mark.parametrize(("kind", "case"), [by_name(*each) for each in ALL])
async def test_bad_token_is_refused(kind: str, case: str, bench: Bench) -> None:
    authenticator = bench.authenticator
    await authenticator.authenticate(bench.kits[kind].token())  # a remembered one helps no other
    await refuse(authenticator, bench.text(kind, case))


@pytest.mark.parametrize(
    ("kind", "case"), [by_name(*pair) for pair in ALL if pair[1].startswith(("T23", "T48"))]
)
async def test_a_verifier_refuses_other_issuers_by_itself(
    kind: str, case: str, bench: Bench
) -> None:
    """Choosing the verifier by `iss` is not what the check rests on."""
    with pytest.raises(TokenRefusedError, match=r"^iss$"):
        await bench.verifiers[kind].verify(bench.text(kind, case))


@pytest.mark.case("P02")
@pytest.mark.parametrize("kind", NAMES)
async def test_positive_control(kind: str, bench: Bench) -> None:
    authenticate, token = bench.authenticator.authenticate, bench.kits[kind].token
    caller = await authenticate(token())
    assert caller.subject == "ann@example.com"
    assert caller.provider == kind
    longest = bench.kits[kind].max_seconds
    assert await authenticate(token(iat=NOW + 60, exp=NOW + 60 + longest))
    assert await authenticate(token(nbf=NOW + 60))
    assert await authenticate(token(sub="a" * 255, email="a" * 255))


@pytest.mark.case("P04")
@pytest.mark.parametrize("kind", NAMES)
async def test_a_token_of_exactly_the_limit_is_taken(kind: str, bench: Bench) -> None:
    kit = bench.kits[kind]
    assert await bench.authenticator.authenticate(sized(kit, MAX_TOKEN_BYTES))
    await refuse(bench.authenticator, sized(kit, MAX_TOKEN_BYTES + 1))


def test_what_oidc_takes_that_local_does_not(bench: Bench) -> None:
    """The local list is the stricter one by exactly these."""
    assert set(bench.bad["local"]) - set(bench.bad["oidc"]) == {
        "T41 JWT", "T68 e-mail of another", "no jti",
    }


@pytest.mark.case("T70", "P03")
async def test_claims_of_a_generic_issuer(bench: Bench) -> None:
    token, authenticate = bench.kits["oidc"].token, bench.authenticator.authenticate
    caller = await authenticate(token(groups=["a", "b"], email_verified="true"))
    assert (caller.groups, caller.groups_incomplete) == (("a", "b"), False)
    assert not caller.email_verified  # a text is not true
    assert (await authenticate(token(email=GONE))).email == ""
    for unknown in ("admin", {"a": 1}):
        caller = await authenticate(token(groups=unknown))
        assert (caller.groups, caller.groups_incomplete) == ((), True)
    caller = await authenticate(token(groups=["a", 1, ""]))
    assert (caller.groups, caller.groups_incomplete) == (("a",), True)
    assert (await authenticate(token(groups=["a"], hasgroups=True))).groups_incomplete
    many = [f"group-{number}" for number in range(200)]
    assert (await authenticate(token(groups=many))).groups == tuple(many)


@pytest.mark.case("T68")
async def test_t68_the_same_address_is_another_person(bench: Bench) -> None:
    callers = {
        (await bench.authenticator.authenticate(token)).user_id
        for token in (
            bench.kits["local"].token(),
            bench.kits["oidc"].token(),
            bench.kits["oidc"].token(sub="somebody"),
        )
    }
    assert len(callers) == 3


@pytest.mark.case("T28")
async def test_t28_no_token_opens_a_connection(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.authenticator.authenticate(bench.kits["oidc"].token())  # the keys are there
    opened: list[Any] = []
    monkeypatch.setattr("socket.socket.connect", lambda *args: opened.append(args))
    monkeypatch.setattr("socket.getaddrinfo", lambda *args, **_: opened.append(args))
    for kind in NAMES:
        for case in ("T28 jku", "T28 x5u", "T23 another issuer", "T27 header jwk"):
            with pytest.raises(WorkspaceError):
                await bench.authenticator.authenticate(bench.text(kind, case))
    assert not opened


async def test_an_issuer_of_another_instance_has_another_key(tmp_path: Path) -> None:
    other = LocalIssuer.open(tmp_path, realm="n1")
    foreign = other.issue(
        LocalIdentity("ann@example.com", "Ann"), token_id="j", issued_at=NOW, seconds=60
    )
    authenticator = TokenAuthenticator([LOCAL.verifier(now=lambda: NOW)], now=lambda: NOW)
    with pytest.raises(WorkspaceError):
        await authenticator.authenticate(foreign)
