"""Which keys sign for a tenant: Entra has keys for all tenants, and some for one alone, in
one set. (What is the same for all providers: test_provider_keys.py.)"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.model.errors import WorkspaceError
from services.tokens.issuers import EntraSettings
from services.tokens.signature_keys import KeySetError, parse_key_set
from tests.entra_tenant import (
    ABSENT,
    CLIENT,
    CONSUMERS,
    OTHER_TENANT,
    TEMPLATE,
    TENANT,
    EntraTenant,
    entra_jwk,
)
from tests.oidc_issuer import RsaKey, made_key
from tests.security.test_bad_tokens import dumps
from tests.unit.tokens.verifying import Clock, refused

EXTERNAL = f"https://{TENANT}.ciamlogin.com/{TENANT}/v2.0"


@pytest.fixture
def tenant(tmp_path: Path) -> Iterator[EntraTenant]:
    made = EntraTenant(tmp_path)
    with made.serving():
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def key() -> RsaKey:
    return made_key("k1")


def token(tenant: EntraTenant, clock: Clock, key: RsaKey | None = None, **trust: Any) -> str:
    claims = tenant.access_claims("zoe", now=int(clock.now), **trust)
    return tenant.signed(claims, key=key)


async def test_keys_of_version_1_are_elsewhere(tenant: EntraTenant, clock: Clock) -> None:
    verifier = tenant.verifier(now=clock, token_version="1.0")
    body = dumps({"keys": tenant.keys})
    tenant.answers[f"/{TENANT}/discovery/keys"] = (200, {}, body)
    assert await verifier.verify(token(tenant, clock, token_version="1.0"))
    assert tenant.asked == [f"/{TENANT}/discovery/keys"]


@pytest.mark.case("T62")
async def test_t62_keys_sign_for_those_whom_their_issuer_names(
    tenant: EntraTenant, clock: Clock
) -> None:
    verifier = tenant.verifier(now=clock)
    assert await verifier.verify(token(tenant, clock))  # of all tenants
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
@pytest.mark.case("T62")
def test_t62_a_key_is_bound_to_tenants_by_its_issuer(
    issuer: Any, form: dict[str, Any], taken: bool, key: RsaKey
) -> None:
    issuers = EntraSettings(tenant_id=TENANT, client_ids=(CLIENT,), **form).key_issuers
    other = entra_jwk(key, ABSENT) | {"kid": "other"}
    body = dumps({"keys": [entra_jwk(key, issuer), other]})
    assert set(parse_key_set(body, "RS256", issuers=issuers)) == {"other"} | (
        {key.kid} if taken else set()
    )


def test_a_set_without_a_key_for_us_is_none(key: RsaKey, tenant: EntraTenant) -> None:
    body = dumps({"keys": [entra_jwk(key, TEMPLATE.replace("{tenantid}", CONSUMERS))]})
    with pytest.raises(KeySetError, match="no usable key"):
        parse_key_set(body, "RS256", issuers=tenant.trusted().key_issuers)
    assert parse_key_set(body, "RS256")  # of issuers whose keys do not say so


@pytest.mark.case("T34")
async def test_t34_a_kid_that_is_another_tenants_too_refuses_the_whole_set(
    tenant: EntraTenant, clock: Clock, key: RsaKey
) -> None:
    foreign = entra_jwk(key, TEMPLATE.replace("{tenantid}", CONSUMERS))
    tenant.keys = [foreign | {"kid": tenant.signer.kid}, tenant.jwk(tenant.signer)]
    with pytest.raises(WorkspaceError):
        await tenant.verifier(now=clock).verify(token(tenant, clock))
