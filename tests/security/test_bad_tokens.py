"""The bad tokens of the reference list that apply to the local issuer, by T-number.

Every one is refused, always with the same answer. Each case starts from a good
token (the positive control below) and breaks one thing, re-signed with the
right key wherever the signature is not the point.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.model.errors import Reason, WorkspaceError
from services.rpc.authentication import bearer_of
from services.tokens.authenticator import TokenAuthenticator
from services.tokens.claims import TokenRefusedError
from services.tokens.compact import MAX_TOKEN_BYTES
from services.tokens.local import LocalIdentity, LocalIssuer

NOW = 1_800_000_000
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ISSUER = LocalIssuer(KEY, instance_id="n1")
ATTACKER = LocalIssuer(Ed25519PrivateKey.from_private_bytes(bytes(32)), instance_id="n1")
HEADER = {"alg": "EdDSA", "typ": "at+jwt", "kid": ISSUER.kid}
CLAIMS: dict[str, Any] = {
    "iss": "workspace-local:n1",
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


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def raw(header: bytes, payload: bytes, key: Ed25519PrivateKey = KEY) -> str:
    """Any bytes as header and payload, properly signed."""
    signing_input = f"{b64(header)}.{b64(payload)}"
    return f"{signing_input}.{b64(key.sign(signing_input.encode()))}"


def dumps(members: Mapping[str, Any]) -> bytes:
    return json.dumps({k: v for k, v in members.items() if v is not GONE}).encode()


def token(header: Mapping[str, Any] | None = None, **claims: Any) -> str:
    return raw(dumps(HEADER | dict(header or {})), dumps(CLAIMS | claims))


def payload(text: str) -> str:
    return raw(dumps(HEADER), text.encode())


def with_header(text: str) -> str:
    return raw(text.encode(), dumps(CLAIMS))


def doubled(name: str, first: Any) -> str:
    """The payload with a member twice; the second is the good one."""
    return payload(f'{{"{name}": {json.dumps(first)}, ' + dumps(CLAIMS).decode()[1:])


GOOD = token()
_HEAD, _BODY, _SIGNATURE = GOOD.split(".")


def signed_by_mac(key: bytes) -> str:
    signing_input = f"{b64(dumps(HEADER | {'alg': 'HS256'}))}.{_BODY}"
    return f"{signing_input}.{b64(hmac.new(key, signing_input.encode(), hashlib.sha256).digest())}"


def malleable() -> str:
    """The same signature bytes in another spelling: unused bits of the last
    character set (64 bytes end in a character of which four bits are unused)."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet[alphabet.index(GOOD[-1]) ^ 1]
    assert base64.urlsafe_b64decode(_SIGNATURE[:-1] + last + "==") == base64.urlsafe_b64decode(
        _SIGNATURE + "=="
    )
    return GOOD[:-1] + last


PUBLIC = KEY.public_key().public_bytes_raw()
NAME_PADDING = "x" * 200

CASES: dict[str, str | Callable[[], str]] = {
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
    "T08 unused bits": malleable,
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
    "T20 alg list": token({"alg": ["EdDSA"]}),
    "T20 alg number": token({"alg": 1}),
    "T20 alg lower case": token({"alg": "eddsa"}),
    "T21 HS256 with the public key": signed_by_mac(PUBLIC),
    "T21 HS256 with its base64": signed_by_mac(b64(PUBLIC).encode()),
    "T22 another algorithm": token({"alg": "ES256"}),
    "T22 alias of the algorithm": token({"alg": "Ed25519"}),
    "T23 another issuer": token(iss="https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_X"),
    "T23 another instance": token(iss="workspace-local:n2"),
    "T27 header jwk": ATTACKER.sign(
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
    "T30 kid NUL": token({"kid": ISSUER.kid + "\0"}),
    "T31 kid integer": token({"kid": 1}),
    "T31 kid null": token({"kid": None}),
    "T31 kid missing": token({"kid": GONE}),
    "T31 kid empty": token({"kid": ""}),
    "T32 another key": ATTACKER.sign(HEADER, CLAIMS),
    "T32 another key under its own kid": ATTACKER.sign(HEADER | {"kid": ATTACKER.kid}, CLAIMS),
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
    "T41 JWT": token({"typ": "JWT"}),
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
    "T44 exp Infinity": payload(dumps(CLAIMS | {"exp": GONE}).decode()[:-1] + ', "exp": Infinity}'),
    "T44 exp 1e999": payload(dumps(CLAIMS | {"exp": GONE}).decode()[:-1] + ', "exp": 1e999}'),
    "T44 exp null": token(exp=None),
    "T45 lifetime over an hour": token(iat=NOW - 10, exp=NOW - 10 + 3601),
    "T45 exp before iat": token(iat=NOW + 50, exp=NOW + 40),
    "T46 no iat": token(iat=GONE),
    "T46 iat 61 s ahead": token(iat=NOW + 61, exp=NOW + 600),
    "T46 iat an hour ahead": token(iat=NOW + 3600, exp=NOW + 3700),
    "T46 iat string": token(iat=str(NOW)),
    "T46 iat zero": token(iat=0),
    "T47 nbf ahead": token(nbf=NOW + 61),
    "T47 nbf string": token(nbf="1"),
    "T48 iss missing": token(iss=GONE),
    "T48 iss list": token(iss=["workspace-local:n1"]),
    "T48 iss trailing slash": token(iss="workspace-local:n1/"),
    "T48 iss case": token(iss="Workspace-local:n1"),
    "T48 iss prefix": token(iss="workspace-local:n"),
    "T48 iss longer": token(iss="workspace-local:n12"),
    "T48 iss percent-encoded": token(iss="workspace-local%3An1"),
    "T48 iss look-alike": token(iss="workspace\u2010local:n1"),
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
    "T68 e-mail of another": token(email="root@example.com"),
    "no jti": token(jti=GONE),
    "jti list": token(jti=["j"]),
    "name not text": token(name={"x": 1}),
    "a changed signature": f"{_HEAD}.{_BODY}.{'A' * len(_SIGNATURE)}",
    "a changed payload": f"{_HEAD}.{b64(dumps(CLAIMS | {'name': 'Bob'}))}.{_SIGNATURE}",
    "a short signature": f"{_HEAD}.{_BODY}.{_SIGNATURE[:-4]}",
}


@pytest.fixture
def authenticator() -> TokenAuthenticator:
    return TokenAuthenticator([ISSUER.verifier(now=lambda: NOW)], now=lambda: NOW)


@pytest.mark.parametrize("case", CASES)
async def test_bad_token_is_refused(case: str, authenticator: TokenAuthenticator) -> None:
    bad = CASES[case]
    text = bad if isinstance(bad, str) else bad()
    await authenticator.authenticate(GOOD)  # a remembered good one helps no bad one
    with pytest.raises(WorkspaceError) as caught:
        await authenticator.authenticate(text)
    assert caught.value.reason == Reason.ERROR_REASON_UNAUTHENTICATED
    assert caught.value.message == "Valid credentials are required; sign in again."
    assert not caught.value.metadata


@pytest.mark.parametrize("case", [name for name in CASES if name.startswith(("T23", "T48"))])
async def test_a_verifier_refuses_other_issuers_by_itself(case: str) -> None:
    """Choosing the verifier by `iss` is not what the check rests on."""
    with pytest.raises(TokenRefusedError, match=r"^iss$"):
        await ISSUER.verifier(now=lambda: NOW).verify(str(CASES[case]))


async def test_positive_control(authenticator: TokenAuthenticator) -> None:
    caller = await authenticator.authenticate(GOOD)
    assert caller.subject == "ann@example.com"
    assert await authenticator.authenticate(token(iat=NOW + 60, exp=NOW + 3660))
    assert await authenticator.authenticate(token(nbf=NOW + 60))
    assert await authenticator.authenticate(token(sub="a" * 255, email="a" * 255))


async def test_a_token_of_exactly_the_limit_is_taken(authenticator: TokenAuthenticator) -> None:
    size, padding = 0, 11_000
    while size != MAX_TOKEN_BYTES:
        text = token(x="y" * padding)
        size = len(text)
        padding += 1 if size < MAX_TOKEN_BYTES else -1
        if size == MAX_TOKEN_BYTES + 1:  # base64 grows in steps: shift them with the header
            pytest.fail("no padding gives exactly the limit")
    assert await authenticator.authenticate(text)
    with pytest.raises(WorkspaceError):
        await authenticator.authenticate(token(x="y" * (padding + 2)))


@pytest.mark.parametrize(
    "entries",
    [
        [("authorization", "Bearer")],
        [("authorization", "Bearer ")],
        [("authorization", "Basic YTpi")],
        [("authorization", GOOD)],
        [("authorization", f"Bearer {GOOD}"), ("authorization", "Bearer x")],
        [("authorization", "Bearer x"), ("authorization", f"Bearer {GOOD}")],
    ],
    ids=["T01 nothing", "T01 blank", "T01 basic", "T01 no scheme", "T17 good+bad", "T17 bad+good"],
)
def test_bad_authorization_metadata(entries: list[tuple[str, str | bytes]]) -> None:
    with pytest.raises(WorkspaceError) as caught:
        bearer_of(entries)
    assert caught.value.reason == Reason.ERROR_REASON_UNAUTHENTICATED


def test_t01_the_scheme_is_case_insensitive() -> None:
    assert bearer_of([("authorization", f"bearer {GOOD}")]) == GOOD


async def test_t28_no_token_opens_a_connection(
    authenticator: TokenAuthenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []
    monkeypatch.setattr("socket.socket.connect", lambda *args: opened.append(args))
    monkeypatch.setattr("socket.getaddrinfo", lambda *args, **_: opened.append(args))
    for case in ("T28 jku", "T28 x5u", "T23 another issuer", "T27 header jwk"):
        with pytest.raises(WorkspaceError):
            await authenticator.authenticate(str(CASES[case]))
    assert not opened


async def test_an_issuer_of_another_instance_has_another_key(tmp_path: Path) -> None:
    other = LocalIssuer.open(tmp_path, instance_id="n1")
    foreign = other.issue(
        LocalIdentity("ann@example.com", "Ann"), token_id="j", issued_at=NOW, seconds=60
    )
    authenticator = TokenAuthenticator([ISSUER.verifier(now=lambda: NOW)], now=lambda: NOW)
    with pytest.raises(WorkspaceError):
        await authenticator.authenticate(foreign)
