"""Tokens have one spelling, one purpose and a short life."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.model.errors import WorkspaceError
from services.objects.keyring import Keyring, Purpose
from services.objects.port import SignRequest
from services.objects.tokens import SKEW_SECONDS, TokenError, UrlSigner

NOW = 1_800_000_000.0
PUT = SignRequest(
    "PUT",
    "a/b.txt",
    600,
    size=5,
    content_type="text/plain",
    sha256="ab" * 32,
    principal="u_1",
    revision_scope="PROJECT#p_1",
    revision=7,
)
GET = SignRequest("GET", "a/b.txt", 600, disposition='attachment; filename="b.txt"')


class Time:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def keys(tmp_path: Path) -> Keyring:
    return Keyring.open(tmp_path)


@pytest.fixture
def signer(keys: Keyring, clock: Time) -> UrlSigner:
    return UrlSigner(keys, clock=clock)


def cause(signer: UrlSigner, token: str, method: str) -> str:
    with pytest.raises(TokenError) as caught:
        signer.verify(token, method)
    return caught.value.cause


def test_claims_come_back(signer: UrlSigner) -> None:
    token, expires_at = signer.issue(PUT)
    claims = signer.verify(token, "PUT")
    assert (claims.key, claims.size, claims.content_type) == ("a/b.txt", 5, "text/plain")
    assert (claims.sha256, claims.principal, claims.revision_scope) == (
        PUT.sha256,
        "u_1",
        "PROJECT#p_1",
    )
    assert (claims.revision, claims.nbf, claims.exp) == (7, NOW, expires_at)


def test_two_tokens_of_one_request_differ(signer: UrlSigner) -> None:
    assert signer.issue(GET)[0] != signer.issue(GET)[0]


def flips(token: str) -> list[str]:
    raw = token.encode()
    return [
        (raw[:i] + bytes([raw[i] ^ 1 << bit]) + raw[i + 1 :]).decode("latin-1")
        for i in range(len(raw))
        for bit in range(8)
    ]


@pytest.mark.parametrize("request_", [PUT, GET], ids=["put", "get"])
@pytest.mark.case("U05")
def test_every_single_bit_flip_is_refused(signer: UrlSigner, request_: SignRequest) -> None:
    token, _ = signer.issue(request_)
    for changed in flips(token):
        cause(signer, changed, request_.method)
    assert signer.verify(token, request_.method)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.case("U05")
def test_no_edit_of_a_token_is_accepted(signer: UrlSigner, data: st.DataObject) -> None:
    token, _ = signer.issue(PUT)
    start = data.draw(st.integers(0, len(token)))
    end = data.draw(st.integers(start, min(len(token), start + 8)))
    changed = token[:start] + data.draw(st.text(max_size=8)) + token[end:]
    if changed != token:
        cause(signer, changed, "PUT")


@pytest.mark.parametrize(
    "token",
    [
        *("", ".", "...", "v1...", "v1.00000000.AA.", "v2.00000000.AAAA." + "A" * 43),
        *("v1.00000000.AAAA." + "A" * 42, "v1.00000000.AAAA." + "A" * 44),
        *("v1.0000000g.AAAA." + "A" * 43, "v1.00000000.AA==." + "A" * 43, "x" * 100_000),
        *("v1.00000000.AAAA." + "A" * 43 + "\n", "\u0661" * 60),
    ],
)
@pytest.mark.case("U08")
def test_shapes_are_refused_without_an_exception_of_ours(signer: UrlSigner, token: str) -> None:
    assert cause(signer, token, "GET") in ("shape", "kid")


@pytest.mark.parametrize("cut", [1, 2, 10, 42, 43])
@pytest.mark.case("U08")
def test_truncated_macs_are_refused(signer: UrlSigner, cut: int) -> None:
    assert cause(signer, signer.issue(GET)[0][:-cut], "GET") == "shape"


@pytest.mark.case("U02", "U03")
def test_purposes_do_not_cross(signer: UrlSigner) -> None:
    assert cause(signer, signer.issue(GET)[0], "PUT") == "kid"
    assert cause(signer, signer.issue(PUT)[0], "GET") == "kid"
    assert cause(signer, signer.issue(PUT)[0], "HEAD") == "kid"
    head, _ = signer.issue(SignRequest("HEAD", "a", 60))
    assert cause(signer, head, "GET") == "method"
    assert signer.verify(signer.issue(GET)[0], "HEAD").method == "GET"
    for other in ("DELETE", "POST", "PATCH", "OPTIONS", "get", ""):
        assert cause(signer, signer.issue(GET)[0], other) == "shape"


def test_keys_of_another_instance_do_not_verify(
    signer: UrlSigner, tmp_path: Path, clock: Time
) -> None:
    other = UrlSigner(Keyring.open(tmp_path / "other"), clock=clock)
    assert cause(signer, other.issue(GET)[0], "GET") == "kid"


def test_tokens_live_through_one_rotation(signer: UrlSigner, keys: Keyring) -> None:
    token, _ = signer.issue(GET)
    keys.rotate(Purpose.DOWNLOAD)
    assert signer.verify(token, "GET")
    keys.rotate(Purpose.DOWNLOAD)
    assert cause(signer, token, "GET") == "kid"


@pytest.mark.case("U12", "U13")
@pytest.mark.case("A24")
def test_time_window_with_skew(signer: UrlSigner, clock: Time) -> None:
    token, expires_at = signer.issue(GET)
    for moment, wanted in (
        (NOW - SKEW_SECONDS, ""),
        (NOW - SKEW_SECONDS - 1, "not_yet"),
        (expires_at + SKEW_SECONDS - 1, ""),
        (expires_at + SKEW_SECONDS, "expired"),
        (expires_at + 86_400, "expired"),
        (NOW - 86_400, "not_yet"),
    ):
        clock.now = moment
        if wanted:
            assert cause(signer, token, "GET") == wanted
        else:
            assert signer.verify(token, "GET")


@pytest.mark.parametrize(("method", "longest"), [("GET", 900), ("HEAD", 900), ("PUT", 3600)])
@pytest.mark.case("U12")
def test_the_issuer_clamps(signer: UrlSigner, method: str, longest: int) -> None:
    request = SignRequest(method, "a", 10**12, size=1 if method == "PUT" else None)
    assert signer.issue(request)[1] == NOW + longest


def forge(keys: Keyring, change: Callable[[dict[str, object]], object], text: str = "") -> str:
    """A token with a right MAC over fields that the signer would not issue."""
    token, _ = UrlSigner(keys, clock=Time()).issue(GET)
    payload = token.split(".")[2]
    fields = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    change(fields)
    raw = text.encode() or json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    key = keys.current(Purpose.DOWNLOAD)
    signed = f"v1.{key.kid}.{base64.urlsafe_b64encode(raw).rstrip(b'=').decode()}"
    message = b"workspace.data-plane.download\n" + signed.encode()
    mac = hmac.new(key.secret, message, hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def test_the_forger_of_these_tests_can_make_a_good_token(signer: UrlSigner, keys: Keyring) -> None:
    assert signer.verify(forge(keys, lambda fields: None), "GET").key == "a/b.txt"


@pytest.mark.parametrize(
    "change",
    [
        {"ver": 2},
        {"exp": NOW + 901},
        {"exp": NOW},
        {"exp": NOW - 1},
        {"exp": 10**20},
        {"exp": NOW + 600.5},
        {"exp": True},
        {"exp": "1800000600"},
        {"exp": None},
        {"nbf": -1},
        {"key": "../x"},
        {"key": 7},
        {"size": -1},
        {"size": 1.0},
        {"part": ["x"]},
        {"part": ["x", "1"]},
        {"part": {}},
        {"part": [1, 1]},
        {"part": ["x", 1, 2]},
        {"revision": "7"},
        {"extra": 1},
        {"method": "PUT"},
    ],
    ids=str,
)
@pytest.mark.case("U04", "U12")
def test_authentic_but_impossible_payloads_are_refused(
    signer: UrlSigner, keys: Keyring, change: dict[str, object]
) -> None:
    token = forge(keys, lambda fields: fields.update(change))
    assert cause(signer, token, "GET") in ("payload", "life", "method")


@pytest.mark.parametrize(
    "text", ["null", "[]", "{}", '{"a":NaN}', "{", "[" * 3000, '"x"', '{"part":null}']
)
@pytest.mark.case("U04")
def test_authentic_junk_is_refused(signer: UrlSigner, keys: Keyring, text: str) -> None:
    assert cause(signer, forge(keys, lambda fields: None, text), "GET") == "payload"


@pytest.mark.case("U07")
def test_other_spellings_of_the_same_payload_are_refused(signer: UrlSigner, keys: Keyring) -> None:
    kept: dict[str, object] = {}
    forge(keys, kept.update)
    plain = json.dumps(kept, sort_keys=True, separators=(",", ":"))
    for text in (plain + " ", json.dumps(kept, sort_keys=True), plain.replace("{", '{"ver":1,')):
        assert cause(signer, forge(keys, lambda fields: None, text), "GET") == "payload"


@pytest.mark.parametrize(
    "request_",
    [
        SignRequest("PUT", "a", 60, size=1, disposition="attachment"),
        SignRequest("PUT", "a", 60, size=1, content_type="text/plain\r\nX: y"),
        SignRequest("PUT", "a", 60, size=1, content_type="plain"),
        SignRequest("PUT", "a", 60, size=1, upload_part=("../x", 1)),
        SignRequest("PUT", "a", 60, size=1, upload_part=("0" * 32, 0)),
        SignRequest("PUT", "a", 60, size=1, upload_part=("0" * 32, 10_001)),
        SignRequest("GET", "a", 60, upload_part=("0" * 32, 1)),
        SignRequest("GET", "a", 60, disposition='attachment; filename="x"\r\nSet-Cookie: a'),
        SignRequest("GET", "a", 60, disposition="form-data"),
        SignRequest("GET", "a", 60, sha256="zz"),
        SignRequest("GET", "../a", 60),
        SignRequest("POST", "a", 60),
        SignRequest("GET", "a", 0),
    ],
    ids=repr,
)
@pytest.mark.case("U04")
def test_what_cannot_be_bound_is_not_signed(signer: UrlSigner, request_: SignRequest) -> None:
    with pytest.raises(WorkspaceError):
        signer.issue(request_)


@pytest.mark.case("U10")
def test_a_refusal_says_nothing_of_the_mac(signer: UrlSigner) -> None:
    token, _ = signer.issue(GET)
    changed = token[:-1] + ("A" if token[-1] != "A" else "B")
    with pytest.raises(TokenError) as caught:
        signer.verify(changed, "GET")
    assert str(caught.value) == "mac"
    assert token.split(".")[3] not in repr(caught.value)
