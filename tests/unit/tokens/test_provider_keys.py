"""Where the keys of the issuers of clouds come from (a pool of Cognito, a tenant of Entra):
from the issuer, over TLS, and from nowhere else, whatever the environment says."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from services.config import load_settings
from services.model.errors import Reason, WorkspaceError
from services.tokens import providers
from services.tokens.authenticator import TokenAuthenticator
from services.tokens.cognito import pool_verifier
from services.tokens.entra import tenant_verifier
from services.tokens.local import LocalIssuer
from services.tokens.providers import open_authenticator
from services.tokens.verifier import StrictJwtVerifier
from tests import cognito_pool, entra_tenant
from tests.cognito_pool import POOL, CognitoPool
from tests.entra_tenant import OTHER_TENANT, TENANT, EntraTenant, object_id
from tests.oidc_issuer import RsaKey, made_key
from tests.unit.tokens.verifying import DAY, HOUR, Clock, refused

ELSEWHERE = "https://127.0.0.1:9"


@dataclass(frozen=True, kw_only=True)
class Provider:
    """One that people sign in with."""

    issuer: Callable[[Path], CognitoPool | EntraTenant]
    verifier: Callable[..., StrictJwtVerifier]
    """That of the product; providers.py knows it by its name."""
    variables: dict[str, str]
    endpoint: str
    """The variable that leads to an emulator."""
    keys_path: str
    host: str
    subject: str
    """Of Zoe."""


COGNITO: Final = Provider(
    issuer=CognitoPool,
    verifier=pool_verifier,
    variables={"WM_COGNITO_USER_POOL_ID": POOL, "WM_COGNITO_CLIENT_IDS": cognito_pool.CLIENT},
    endpoint="WM_COGNITO_ENDPOINT",
    keys_path=f"/{POOL}/.well-known/jwks.json",
    host="cognito-idp.eu-central-1.amazonaws.com",
    subject="zoe",
)
ENTRA: Final = Provider(
    issuer=EntraTenant,
    verifier=tenant_verifier,
    variables={"WM_ENTRA_TENANT_ID": TENANT, "WM_ENTRA_CLIENT_IDS": entra_tenant.CLIENT},
    endpoint="WM_ENTRA_ENDPOINT",
    keys_path=f"/{TENANT}/discovery/v2.0/keys",
    host="login.microsoftonline.com",
    subject=f"{TENANT}:{object_id('zoe')}",
)
Issuer = CognitoPool | EntraTenant


@pytest.fixture(params=[COGNITO, ENTRA], ids=["cognito", "entra"])
def provider(request: pytest.FixtureRequest) -> Provider:
    made: Provider = request.param
    return made


@pytest.fixture
def issuer(provider: Provider, tmp_path: Path) -> Iterator[Issuer]:
    made = provider.issuer(tmp_path)
    with made.serving():
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verifier(issuer: Issuer, clock: Clock) -> StrictJwtVerifier:
    return issuer.verifier(now=clock)


def token(issuer: Issuer, clock: Clock, key: RsaKey | None = None, *, kid: str = "") -> str:
    claims = issuer.access_claims("zoe", now=int(clock.now))
    return issuer.signed(claims, key=key, kid=kid)


async def test_the_keys_are_read_once_without_discovery(
    provider: Provider, verifier: StrictJwtVerifier, issuer: Issuer, clock: Clock
) -> None:
    for _ in range(3):
        assert await verifier.verify(token(issuer, clock))
    assert issuer.asked == [provider.keys_path]


@pytest.mark.case("P01", "T72")
async def test_rotation_takes_new_keys_and_drops_old_ones(
    verifier: StrictJwtVerifier, issuer: Issuer, clock: Clock
) -> None:
    new, old = made_key("new"), issuer.signer
    await verifier.verify(token(issuer, clock))
    issuer.keys = [issuer.jwk(old), issuer.jwk(new)]
    assert await refused(verifier, token(issuer, clock, new)) == "kid"  # asked for just before
    clock.now += 30
    assert await verifier.verify(token(issuer, clock, new))
    assert await verifier.verify(token(issuer, clock, old))
    issuer.keys = [issuer.jwk(new)]
    clock.now += HOUR
    assert await refused(verifier, token(issuer, clock, old)) == "kid"
    assert await verifier.verify(token(issuer, clock, new))


@pytest.mark.case("T71")
async def test_t71_unknown_kids_are_looked_for_at_most_every_30_s(
    verifier: StrictJwtVerifier, issuer: Issuer, clock: Clock
) -> None:
    await verifier.verify(token(issuer, clock))
    clock.now += 30
    for number in range(50):
        bad = token(issuer, clock, made_key("new"), kid=f"random-{number}")
        assert await refused(verifier, bad) == "kid"
    assert len(issuer.asked) == 2


BROKEN: Final[dict[str, tuple[int, dict[str, str], bytes]]] = {
    "500": (500, {}, b""),
    "empty set": (200, {}, b'{"keys": []}'),
    "HTML": (200, {}, b"<html>"),
    "redirect": (302, {"location": "/elsewhere"}, b""),
    "huge": (200, {}, b" " * 100_000),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.case("T72")
async def test_t72_an_outage_keeps_the_last_set_for_a_day_and_widens_nothing(
    case: str, verifier: StrictJwtVerifier, issuer: Issuer, clock: Clock
) -> None:
    await verifier.verify(token(issuer, clock))
    issuer.answers[issuer.keys_path] = BROKEN[case]
    clock.now += DAY - 1
    assert await verifier.verify(token(issuer, clock))
    assert await refused(verifier, token(issuer, clock, made_key("new"))) == "kid"
    clock.now += 31
    with pytest.raises(WorkspaceError) as caught:
        await verifier.verify(token(issuer, clock))
    assert caught.value.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    assert "/elsewhere" not in issuer.asked
    issuer.answers.clear()
    clock.now += 31
    assert await verifier.verify(token(issuer, clock))


@pytest.mark.case("T34")
async def test_t34_a_set_with_one_kid_twice_is_refused_whole(
    verifier: StrictJwtVerifier, issuer: Issuer, clock: Clock
) -> None:
    twin = issuer.jwk(made_key("new")) | {"kid": issuer.signer.kid}
    issuer.keys = [issuer.jwk(issuer.signer), twin]
    with pytest.raises(WorkspaceError):
        await verifier.verify(token(issuer, clock))


async def test_another_authority_is_not_believed(
    provider: Provider, issuer: Issuer, clock: Clock
) -> None:
    system = provider.verifier(issuer.trusted(), now=clock, endpoint=issuer.endpoint)
    with pytest.raises(WorkspaceError):
        await system.verify(token(issuer, clock))
    assert issuer.asked == []


@pytest.fixture
def deployed(
    provider: Provider,
    issuer: Issuer,
    clock: Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[], TokenAuthenticator]:
    """Makes that of a deployment, which is configured by its environment alone."""
    monkeypatch.chdir(tmp_path)
    for name, value in provider.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WM_OIDC_CA_FILE", str(issuer.ca_file))

    def made() -> TokenAuthenticator:
        local = LocalIssuer.open(tmp_path / "keys", realm="n1")
        records: Any = None  # only machine tokens are looked up
        return open_authenticator(load_settings(), local, records, now=clock)

    return made


# What leads other parts elsewhere, and the emulator of the other provider.
REDIRECTING: Final = {
    "AWS_ENDPOINT_URL": ELSEWHERE,
    "AWS_ENDPOINT_URL_COGNITO_IDP": ELSEWHERE,
    "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": ELSEWHERE,
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_USE_FIPS_ENDPOINT": "true",
    "AZURE_AUTHORITY_HOST": ELSEWHERE,
    "AZURE_TENANT_ID": OTHER_TENANT,
    "AZURE_CLIENT_ID": entra_tenant.CLIENT,
    "IDENTITY_ENDPOINT": ELSEWHERE,
    "WM_AWS_ENDPOINT": ELSEWHERE,
    "WM_AWS_REGION": "us-east-1",
    "WM_AZURE_VAULT_ENDPOINT": ELSEWHERE,
    "WM_COGNITO_ENDPOINT": ELSEWHERE,
    "WM_ENTRA_ENDPOINT": ELSEWHERE,
    "WM_OIDC_ISSUER": "https://127.0.0.1:9/x",
    "WM_OIDC_AUDIENCE": cognito_pool.CLIENT,
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
}


@pytest.mark.parametrize(
    ("provider", "form", "host"),
    [
        (COGNITO, {}, COGNITO.host),
        (ENTRA, {}, ENTRA.host),
        (ENTRA, {"external": True}, f"{TENANT}.ciamlogin.com"),
    ],
    ids=["cognito", "entra", "entra external"],
)
async def test_no_variable_leads_the_keys_to_another_host(
    form: dict[str, Any],
    host: str,
    provider: Provider,
    issuer: Issuer,
    deployed: Callable[[], TokenAuthenticator],
    monkeypatch: pytest.MonkeyPatch,
    clock: Clock,
) -> None:
    for name, value in REDIRECTING.items():
        if name != provider.endpoint:
            monkeypatch.setenv(name, value)
    for name in form:
        monkeypatch.setenv(f"WM_ENTRA_{name.upper()}", "true")
    made = deployed()
    asked: list[tuple[Any, Any]] = []

    def nowhere(host: Any, port: Any, *_: Any, **__: Any) -> Any:
        asked.append((host.decode() if isinstance(host, bytes) else host, port))
        raise socket.gaierror("no names in this test")

    monkeypatch.setattr("socket.getaddrinfo", nowhere)
    claims = issuer.access_claims("zoe", now=int(clock.now), **form)
    with pytest.raises(WorkspaceError) as caught:
        await made.authenticate(issuer.signed(claims))
    assert caught.value.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    assert asked == [(host, 443)]
    assert issuer.asked == []


async def test_the_documented_setting_leads_to_an_emulator_of_this_machine(
    provider: Provider,
    issuer: Issuer,
    deployed: Callable[[], TokenAuthenticator],
    monkeypatch: pytest.MonkeyPatch,
    clock: Clock,
) -> None:
    monkeypatch.setenv(provider.endpoint, issuer.endpoint)
    caller = await deployed().authenticate(token(issuer, clock))
    assert (caller.issuer, caller.subject) == (issuer.issuer, provider.subject)
    assert caller.issuer.startswith(f"https://{provider.host}/")
    assert issuer.asked == [issuer.keys_path]


@pytest.mark.parametrize("emulated", [False, True])
def test_authorities_of_private_issuers_do_not_speak_for_a_cloud(
    emulated: bool,
    provider: Provider,
    issuer: Issuer,
    deployed: Callable[[], TokenAuthenticator],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[ssl.SSLContext] = []

    def noted(*args: Any, tls: ssl.SSLContext, **more: Any) -> StrictJwtVerifier:
        given.append(tls)
        return provider.verifier(*args, tls=tls, **more)

    monkeypatch.setattr(providers, provider.verifier.__name__, noted)
    if emulated:
        monkeypatch.setenv(provider.endpoint, issuer.endpoint)
    assert deployed()
    (tls,) = given
    private = issuer.tls.get_ca_certs()
    assert (private[0] in tls.get_ca_certs()) is emulated
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_plain_http_is_for_emulators_of_this_machine(
    provider: Provider, issuer: Issuer, clock: Clock
) -> None:
    assert provider.verifier(issuer.trusted(), now=clock, endpoint="http://127.0.0.1:1")
    with pytest.raises(ValueError, match="https"):
        provider.verifier(issuer.trusted(), now=clock, endpoint="http://example.test")
