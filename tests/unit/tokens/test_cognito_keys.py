"""Where the keys of a user pool come from: from its issuer, over TLS, and from
nowhere else, whatever the environment says."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.config import load_settings
from services.model.errors import Reason, WorkspaceError
from services.tokens import providers
from services.tokens.authenticator import TokenAuthenticator
from services.tokens.claims import TokenRefusedError
from services.tokens.cognito import pool_verifier
from services.tokens.local import LocalIssuer
from services.tokens.providers import open_authenticator
from services.tokens.verifier import StrictJwtVerifier
from tests.cognito_pool import CLIENT, POOL, CognitoPool, access_claims
from tests.oidc_issuer import RsaKey

NOW, HOUR, DAY = 1_800_000_000, 3600, 86_400
HOST = "cognito-idp.eu-central-1.amazonaws.com"
ELSEWHERE = "https://127.0.0.1:9"


class Clock:
    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[CognitoPool]:
    made = CognitoPool(tmp_path)
    with made.serving():
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verifier(pool: CognitoPool, clock: Clock) -> StrictJwtVerifier:
    return pool_verifier(pool.trusted(), now=clock, tls=pool.tls, endpoint=pool.endpoint)


def token(pool: CognitoPool, clock: Clock, key: RsaKey | None = None) -> str:
    signer = key or pool.access_key
    claims = access_claims(pool.issuer, "zoe", now=int(clock.now))
    return signer.sign({"kid": signer.kid, "alg": "RS256"}, claims)


async def refused(verifier: StrictJwtVerifier, text: str) -> str:
    with pytest.raises(TokenRefusedError) as caught:
        await verifier.verify(text)
    return caught.value.check


async def test_the_keys_are_read_once_without_discovery(
    verifier: StrictJwtVerifier, pool: CognitoPool, clock: Clock
) -> None:
    for _ in range(3):
        assert await verifier.verify(token(pool, clock))
    assert pool.asked == [f"/{POOL}/.well-known/jwks.json"]


async def test_rotation_takes_new_keys_and_drops_old_ones(
    verifier: StrictJwtVerifier, pool: CognitoPool, clock: Clock
) -> None:
    new, old = RsaKey("new"), pool.access_key
    await verifier.verify(token(pool, clock))
    pool.keys = [old.jwk, new.jwk]
    assert await refused(verifier, token(pool, clock, new)) == "kid"  # asked for just before
    clock.now += 30
    assert await verifier.verify(token(pool, clock, new))
    assert await verifier.verify(token(pool, clock, old))
    pool.keys = [new.jwk]
    clock.now += HOUR
    assert await refused(verifier, token(pool, clock, old)) == "kid"
    assert await verifier.verify(token(pool, clock, new))


async def test_t71_unknown_kids_are_looked_for_at_most_every_30_s(
    verifier: StrictJwtVerifier, pool: CognitoPool, clock: Clock
) -> None:
    await verifier.verify(token(pool, clock))
    clock.now += 30
    stranger = RsaKey("stranger")
    for number in range(50):
        stranger.kid = f"random-{number}"
        assert await refused(verifier, token(pool, clock, stranger)) == "kid"
    assert len(pool.asked) == 2


BROKEN: dict[str, tuple[Any, int, dict[str, str]]] = {
    "500": (b"", 500, {}),
    "empty set": (b'{"keys": []}', 200, {}),
    "HTML": (b"<html>", 200, {}),
    "redirect": (b"", 302, {"location": "/elsewhere"}),
    "huge": (b" " * 100_000, 200, {}),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_t72_an_outage_keeps_the_last_set_for_a_day_and_widens_nothing(
    case: str, verifier: StrictJwtVerifier, pool: CognitoPool, clock: Clock
) -> None:
    await verifier.verify(token(pool, clock))
    body, status, headers = BROKEN[case]
    pool.answers[pool.keys_path] = (status, headers, body)
    clock.now += DAY - 1
    assert await verifier.verify(token(pool, clock))
    assert await refused(verifier, token(pool, clock, RsaKey("new"))) == "kid"
    clock.now += 31
    with pytest.raises(WorkspaceError) as caught:
        await verifier.verify(token(pool, clock))
    assert caught.value.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    assert "/elsewhere" not in pool.asked
    pool.answers.clear()
    clock.now += 31
    assert await verifier.verify(token(pool, clock))


async def test_t34_a_set_with_one_kid_twice_is_refused_whole(
    verifier: StrictJwtVerifier, pool: CognitoPool, clock: Clock
) -> None:
    pool.keys = [pool.access_key.jwk, RsaKey("x").jwk | {"kid": pool.access_key.kid}]
    with pytest.raises(WorkspaceError):
        await verifier.verify(token(pool, clock))


async def test_another_authority_is_not_believed(pool: CognitoPool, clock: Clock) -> None:
    system = pool_verifier(pool.trusted(), now=clock, endpoint=pool.endpoint)
    with pytest.raises(WorkspaceError):
        await system.verify(token(pool, clock))
    assert pool.asked == []


REDIRECTING = {
    "AWS_ENDPOINT_URL": ELSEWHERE,
    "AWS_ENDPOINT_URL_COGNITO_IDP": ELSEWHERE,
    "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": ELSEWHERE,
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_USE_FIPS_ENDPOINT": "true",
    "WM_AWS_ENDPOINT": ELSEWHERE,
    "WM_AWS_REGION": "us-east-1",
    "WM_OIDC_ISSUER": "https://127.0.0.1:9/x",
    "WM_OIDC_AUDIENCE": CLIENT,
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
}


async def authenticator(
    pool: CognitoPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> TokenAuthenticator:
    """That of a deployment, which is configured by its environment alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WM_COGNITO_USER_POOL_ID", POOL)
    monkeypatch.setenv("WM_COGNITO_CLIENT_IDS", CLIENT)
    monkeypatch.setenv("WM_OIDC_CA_FILE", str(pool.ca_file))
    local = LocalIssuer.open(tmp_path / "keys", realm="n1")
    records: Any = None  # only machine tokens are looked up
    return open_authenticator(load_settings(), local, records, now=clock)


async def test_no_variable_leads_the_keys_of_a_pool_to_another_host(
    pool: CognitoPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    for name, value in REDIRECTING.items():
        monkeypatch.setenv(name, value)
    made = await authenticator(pool, tmp_path, monkeypatch, clock)
    asked: list[tuple[Any, Any]] = []

    def nowhere(host: Any, port: Any, *_: Any, **__: Any) -> Any:
        asked.append((host.decode() if isinstance(host, bytes) else host, port))
        raise socket.gaierror("no names in this test")

    monkeypatch.setattr("socket.getaddrinfo", nowhere)
    with pytest.raises(WorkspaceError) as caught:
        await made.authenticate(token(pool, clock))
    assert caught.value.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    assert asked == [(HOST, 443)]
    assert pool.asked == []


async def test_the_documented_setting_leads_to_an_emulator_of_this_machine(
    pool: CognitoPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setenv("WM_COGNITO_ENDPOINT", pool.endpoint)
    made = await authenticator(pool, tmp_path, monkeypatch, clock)
    caller = await made.authenticate(token(pool, clock))
    assert (caller.issuer, caller.subject) == (pool.issuer, "zoe")
    assert caller.issuer.startswith(f"https://{HOST}/")
    assert pool.asked == [pool.keys_path]


@pytest.mark.parametrize("emulated", [False, True])
async def test_authorities_of_private_issuers_do_not_speak_for_aws(
    emulated: bool,
    pool: CognitoPool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    clock: Clock,
) -> None:
    given: list[ssl.SSLContext] = []

    def noted(*args: Any, tls: ssl.SSLContext, **more: Any) -> StrictJwtVerifier:
        given.append(tls)
        return pool_verifier(*args, tls=tls, **more)

    monkeypatch.setattr(providers, "pool_verifier", noted)
    if emulated:
        monkeypatch.setenv("WM_COGNITO_ENDPOINT", pool.endpoint)
    await authenticator(pool, tmp_path, monkeypatch, clock)
    (tls,) = given
    private = pool.tls.get_ca_certs()
    assert (private[0] in tls.get_ca_certs()) is emulated
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_plain_http_is_for_emulators_of_this_machine(pool: CognitoPool, clock: Clock) -> None:
    assert pool_verifier(pool.trusted(), now=clock, endpoint="http://127.0.0.1:1")
    with pytest.raises(ValueError, match="https"):
        pool_verifier(pool.trusted(), now=clock, endpoint="http://example.test")
