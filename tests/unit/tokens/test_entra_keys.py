"""Where the keys of a tenant come from, and which of them sign for it: Entra has keys
for all tenants, and some for one alone, in one set."""

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
from services.tokens.entra import tenant_verifier
from services.tokens.issuers import EntraSettings
from services.tokens.local import LocalIssuer
from services.tokens.providers import open_authenticator
from services.tokens.signature_keys import KeySetError, parse_key_set
from services.tokens.verifier import StrictJwtVerifier
from tests.entra_tenant import (
    ABSENT,
    CLIENT,
    CONSUMERS,
    OTHER_TENANT,
    TEMPLATE,
    TENANT,
    EntraTenant,
    access_claims,
    entra_header,
    entra_jwk,
    object_id,
)
from tests.oidc_issuer import RsaKey
from tests.security.test_bad_tokens import dumps
from tests.unit.tokens.test_cognito_keys import (
    BROKEN,
    DAY,
    ELSEWHERE,
    HOUR,
    REDIRECTING,
    Clock,
    refused,
)

HOST = "login.microsoftonline.com"
EXTERNAL = f"https://{TENANT}.ciamlogin.com/{TENANT}/v2.0"


@pytest.fixture
def tenant(tmp_path: Path) -> Iterator[EntraTenant]:
    made = EntraTenant(tmp_path)
    with made.serving():
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verifier(tenant: EntraTenant, clock: Clock) -> StrictJwtVerifier:
    return verifier_of(tenant, clock)


def verifier_of(tenant: EntraTenant, clock: Clock, **trust: Any) -> StrictJwtVerifier:
    trusted = tenant.trusted(**trust)
    return tenant_verifier(trusted, now=clock, tls=tenant.tls, endpoint=tenant.endpoint)


def token(tenant: EntraTenant, clock: Clock, key: RsaKey | None = None, **trust: Any) -> str:
    signer = key or tenant.key
    claims = access_claims(tenant.trusted(**trust), "zoe", now=int(clock.now))
    return signer.sign(entra_header(signer.kid), claims)


async def test_the_keys_are_read_once_without_discovery(
    verifier: StrictJwtVerifier, tenant: EntraTenant, clock: Clock
) -> None:
    for _ in range(3):
        assert await verifier.verify(token(tenant, clock))
    assert tenant.asked == [f"/{TENANT}/discovery/v2.0/keys"]


async def test_keys_of_version_1_are_elsewhere(tenant: EntraTenant, clock: Clock) -> None:
    verifier = verifier_of(tenant, clock, token_version="1.0")
    body = dumps({"keys": tenant.keys})
    tenant.answers[f"/{TENANT}/discovery/keys"] = (200, {}, body)
    assert await verifier.verify(token(tenant, clock, token_version="1.0"))
    assert tenant.asked == [f"/{TENANT}/discovery/keys"]


async def test_t62_keys_sign_for_those_whom_their_issuer_names(
    verifier: StrictJwtVerifier, tenant: EntraTenant, clock: Clock
) -> None:
    assert await verifier.verify(token(tenant, clock, tenant.key))  # of all tenants
    assert await verifier.verify(token(tenant, clock, tenant.second_key))  # of this one
    assert await refused(verifier, token(tenant, clock, tenant.consumer_key)) == "kid"


@pytest.mark.parametrize(
    ("issuer", "form", "taken"),
    [
        (TEMPLATE, {}, True),
        (TEMPLATE.replace("{tenantid}", TENANT), {}, True),
        (ABSENT, {}, True),
        (TEMPLATE.replace("{tenantid}", OTHER_TENANT), {}, False),
        (TEMPLATE.replace("{tenantid}", CONSUMERS), {}, False),
        (TEMPLATE.replace("{tenantid}", TENANT.upper()), {}, False),
        (TEMPLATE.replace("{tenantid}", "common"), {}, False),
        (TEMPLATE + "/", {}, False),
        (TEMPLATE.replace("https", "http"), {}, False),
        ("https://evil.test/{tenantid}/v2.0", {}, False),
        ([TEMPLATE], {}, False),
        (None, {}, False),
        (7, {}, False),
        (TEMPLATE, {"external": True}, True),
        (EXTERNAL, {"external": True}, True),
        (EXTERNAL.replace(TENANT, "{tenantid}"), {"external": True}, True),
        (EXTERNAL.replace(TENANT, OTHER_TENANT), {"external": True}, False),
        (EXTERNAL, {}, False),
        (TEMPLATE, {"token_version": "1.0"}, True),
        ("https://sts.windows.net/{tenantid}/", {"token_version": "1.0"}, True),
        (TEMPLATE, {"cloud": "china"}, False),
        ("https://login.partner.microsoftonline.cn/{tenantid}/v2.0", {"cloud": "china"}, True),
    ],
)  # fmt: skip
def test_t62_a_key_is_bound_to_tenants_by_its_issuer(
    issuer: Any, form: dict[str, Any], taken: bool, key: RsaKey
) -> None:
    issuers = EntraSettings(tenant_id=TENANT, client_ids=(CLIENT,), **form).key_issuers
    other = entra_jwk(key, ABSENT) | {"kid": "other"}
    body = dumps({"keys": [entra_jwk(key, issuer), other]})
    assert set(parse_key_set(body, "RS256", issuers=issuers)) == {"other"} | (
        {key.kid} if taken else set()
    )


@pytest.fixture(scope="module")
def key() -> RsaKey:
    return RsaKey("k1")


def test_a_set_without_a_key_for_us_is_none(key: RsaKey, tenant: EntraTenant) -> None:
    body = dumps({"keys": [entra_jwk(key, TEMPLATE.replace("{tenantid}", CONSUMERS))]})
    with pytest.raises(KeySetError, match="no usable key"):
        parse_key_set(body, "RS256", issuers=tenant.trusted().key_issuers)
    assert parse_key_set(body, "RS256")  # of issuers whose keys do not say so


async def test_rotation_takes_new_keys_and_drops_old_ones(
    verifier: StrictJwtVerifier, tenant: EntraTenant, clock: Clock
) -> None:
    new, old = RsaKey("new"), tenant.key
    await verifier.verify(token(tenant, clock))
    tenant.keys = [entra_jwk(old, TEMPLATE), entra_jwk(new, TEMPLATE)]
    assert await refused(verifier, token(tenant, clock, new)) == "kid"  # asked for just before
    clock.now += 30
    assert await verifier.verify(token(tenant, clock, new))
    assert await verifier.verify(token(tenant, clock, old))
    tenant.keys = [entra_jwk(new, TEMPLATE)]
    clock.now += HOUR
    assert await refused(verifier, token(tenant, clock, old)) == "kid"
    assert await verifier.verify(token(tenant, clock, new))


async def test_t71_unknown_kids_are_looked_for_at_most_every_30_s(
    verifier: StrictJwtVerifier, tenant: EntraTenant, clock: Clock
) -> None:
    await verifier.verify(token(tenant, clock))
    clock.now += 30
    stranger = RsaKey("stranger")
    for number in range(50):
        stranger.kid = f"random-{number}"
        assert await refused(verifier, token(tenant, clock, stranger)) == "kid"
    assert len(tenant.asked) == 2


@pytest.mark.parametrize("case", BROKEN)
async def test_t72_an_outage_keeps_the_last_set_for_a_day_and_widens_nothing(
    case: str, verifier: StrictJwtVerifier, tenant: EntraTenant, clock: Clock, key: RsaKey
) -> None:
    await verifier.verify(token(tenant, clock))
    body, status, headers = BROKEN[case]
    tenant.answers[tenant.keys_path] = (status, headers, body)
    clock.now += DAY - 1
    assert await verifier.verify(token(tenant, clock))
    assert await refused(verifier, token(tenant, clock, key)) == "kid"
    clock.now += 31
    with pytest.raises(WorkspaceError) as caught:
        await verifier.verify(token(tenant, clock))
    assert caught.value.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    assert "/elsewhere" not in tenant.asked
    tenant.answers.clear()
    clock.now += 31
    assert await verifier.verify(token(tenant, clock))


async def test_t34_a_set_with_one_kid_twice_is_refused_whole(
    verifier: StrictJwtVerifier, tenant: EntraTenant, clock: Clock, key: RsaKey
) -> None:
    """Even where one of the two is another tenant's."""
    foreign = entra_jwk(key, TEMPLATE.replace("{tenantid}", CONSUMERS))
    tenant.keys = [foreign | {"kid": tenant.key.kid}, entra_jwk(tenant.key, TEMPLATE)]
    with pytest.raises(WorkspaceError):
        await verifier.verify(token(tenant, clock))


async def test_another_authority_is_not_believed(tenant: EntraTenant, clock: Clock) -> None:
    system = tenant_verifier(tenant.trusted(), now=clock, endpoint=tenant.endpoint)
    with pytest.raises(WorkspaceError):
        await system.verify(token(tenant, clock))
    assert tenant.asked == []


async def authenticator(
    tenant: EntraTenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> TokenAuthenticator:
    """That of a deployment, which is configured by its environment alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WM_ENTRA_TENANT_ID", TENANT)
    monkeypatch.setenv("WM_ENTRA_CLIENT_IDS", CLIENT)
    monkeypatch.setenv("WM_OIDC_CA_FILE", str(tenant.ca_file))
    local = LocalIssuer.open(tmp_path / "keys", realm="n1")
    records: Any = None  # only machine tokens are looked up
    return open_authenticator(load_settings(), local, records, now=clock)


ELSEWHERE_ON_AZURE = {
    "AZURE_AUTHORITY_HOST": ELSEWHERE,
    "AZURE_TENANT_ID": OTHER_TENANT,
    "AZURE_CLIENT_ID": CLIENT,
    "IDENTITY_ENDPOINT": ELSEWHERE,
    "WM_AZURE_VAULT_ENDPOINT": ELSEWHERE,
    "WM_COGNITO_ENDPOINT": ELSEWHERE,
}


@pytest.mark.parametrize(
    ("external", "host"), [("false", HOST), ("true", f"{TENANT}.ciamlogin.com")]
)
async def test_no_variable_leads_the_keys_of_a_tenant_to_another_host(
    external: str,
    host: str,
    tenant: EntraTenant,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    clock: Clock,
) -> None:
    for name, value in (REDIRECTING | ELSEWHERE_ON_AZURE).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WM_ENTRA_EXTERNAL", external)
    made = await authenticator(tenant, tmp_path, monkeypatch, clock)
    asked: list[tuple[Any, Any]] = []

    def nowhere(host: Any, port: Any, *_: Any, **__: Any) -> Any:
        asked.append((host.decode() if isinstance(host, bytes) else host, port))
        raise socket.gaierror("no names in this test")

    monkeypatch.setattr("socket.getaddrinfo", nowhere)
    with pytest.raises(WorkspaceError) as caught:
        await made.authenticate(token(tenant, clock, external=external == "true"))
    assert caught.value.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    assert asked == [(host, 443)]
    assert tenant.asked == []


async def test_the_documented_setting_leads_to_an_emulator_of_this_machine(
    tenant: EntraTenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setenv("WM_ENTRA_ENDPOINT", tenant.endpoint)
    made = await authenticator(tenant, tmp_path, monkeypatch, clock)
    caller = await made.authenticate(token(tenant, clock))
    assert (caller.issuer, caller.subject) == (tenant.issuer, f"{TENANT}:{object_id('zoe')}")
    assert caller.issuer.startswith(f"https://{HOST}/")
    assert tenant.asked == [tenant.keys_path]


@pytest.mark.parametrize("emulated", [False, True])
async def test_authorities_of_private_issuers_do_not_speak_for_entra(
    emulated: bool,
    tenant: EntraTenant,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    clock: Clock,
) -> None:
    given: list[ssl.SSLContext] = []

    def noted(*args: Any, tls: ssl.SSLContext, **more: Any) -> StrictJwtVerifier:
        given.append(tls)
        return tenant_verifier(*args, tls=tls, **more)

    monkeypatch.setattr(providers, "tenant_verifier", noted)
    if emulated:
        monkeypatch.setenv("WM_ENTRA_ENDPOINT", tenant.endpoint)
    await authenticator(tenant, tmp_path, monkeypatch, clock)
    (tls,) = given
    private = tenant.tls.get_ca_certs()
    assert (private[0] in tls.get_ca_certs()) is emulated
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_plain_http_is_for_emulators_of_this_machine(tenant: EntraTenant, clock: Clock) -> None:
    assert tenant_verifier(tenant.trusted(), now=clock, endpoint="http://127.0.0.1:1")
    with pytest.raises(ValueError, match="https"):
        tenant_verifier(tenant.trusted(), now=clock, endpoint="http://example.test")
