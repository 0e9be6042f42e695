"""Bad tokens against Entra-shaped tenants whose keys come over TLS (T01 to T54, T62 to
T70), for every form of trust: access and ID tokens, versions, clouds, external tenants,
and one that names scopes and programs and takes no guests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from services.tokens.authenticator import TokenAuthenticator
from services.tokens.claims import TokenRefusedError, TokenVerifier, VerifiedClaims
from services.tokens.entra import EntraClaims, tenant_verifier
from services.tokens.issuers import EntraSettings
from tests.entra_tenant import (
    ABSENT,
    APP_URI,
    CLIENT,
    CONSUMERS,
    OTHER_CLIENT,
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
from tests.security.entra_cases import (
    TRUST,
    Named,
    TenantKit,
    general_cases,
    named_cases,
    tenant_kit,
)
from tests.security.refusing import refuse
from tests.security.test_bad_tokens import GONE, LOCAL, NOW, Cases

USES = ("access", "id")
_KEY = RsaKey("r1")
_SAMPLE = {form: tenant_kit(_KEY, _KEY, form=form) for form in TRUST}
GENERAL = [(use, name) for use in USES for name in general_cases(_SAMPLE[use])]
OWN = [(form, name) for form in TRUST for name in named_cases(_SAMPLE[form], form)]


@dataclass(frozen=True)
class Bench:
    """One tenant; per form of trust the kit, a verifier and the bad tokens."""

    tenant: EntraTenant
    kits: dict[str, TenantKit]
    verifiers: dict[str, TokenVerifier]
    general: dict[str, Cases]
    own: dict[str, Named]

    def authenticator(self, form: str) -> TokenAuthenticator:
        verifiers = [LOCAL.verifier(now=lambda: NOW), self.verifiers[form]]
        return TokenAuthenticator(verifiers, now=lambda: NOW)


def verifier(tenant: EntraTenant, trust: EntraSettings) -> TokenVerifier:
    return tenant_verifier(trust, now=lambda: NOW, tls=tenant.tls, endpoint=tenant.endpoint)


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EntraTenant]:
    made = EntraTenant(tmp_path_factory.mktemp("tenant"))
    elsewhere = TEMPLATE.replace("{tenantid}", OTHER_TENANT)
    made.keys += [
        entra_jwk(RsaKey("enc"), TEMPLATE) | {"use": "enc"},
        entra_jwk(made.key, TEMPLATE.replace("{tenantid}", CONSUMERS)) | {"kid": "consumer"},
        entra_jwk(made.key, elsewhere) | {"kid": "elsewhere"},
    ]
    made.keys[0] = entra_jwk(made.key, ABSENT)  # of every cloud
    body = json.dumps({"keys": made.keys}).encode()
    made.answers[TRUST["v1"].keys_path] = (200, {}, body)
    with made.serving():
        yield made


@pytest.fixture(scope="module")
def made(tenant: EntraTenant) -> tuple[dict[str, TenantKit], dict[str, Cases], dict[str, Named]]:
    attacker = RsaKey(tenant.key.kid)
    kits = {form: tenant_kit(tenant.key, attacker, form=form) for form in TRUST}
    own = {form: named_cases(kit, form) for form, kit in kits.items()}
    return kits, {use: general_cases(kits[use]) for use in USES}, own


@pytest.fixture(scope="module")
def bench(
    tenant: EntraTenant, made: tuple[dict[str, TenantKit], dict[str, Cases], dict[str, Named]]
) -> Bench:
    verifiers = {form: verifier(tenant, trust) for form, trust in TRUST.items()}
    return Bench(tenant, made[0], verifiers, made[1], made[2])


@pytest.mark.parametrize(("use", "case"), GENERAL)
async def test_a_generally_bad_token_is_refused(use: str, case: str, bench: Bench) -> None:
    authenticator = bench.authenticator(use)
    assert await authenticator.authenticate(bench.kits[use].token())
    bad = bench.general[use][case]
    await refuse(authenticator, bad if isinstance(bad, str) else bad())


@pytest.mark.parametrize(("form", "case"), OWN)
async def test_a_bad_entra_token_is_refused_for_its_reason(
    form: str, case: str, bench: Bench
) -> None:
    check, bad = bench.own[form][case]
    with pytest.raises(TokenRefusedError, match=f"^{check}$"):
        await bench.verifiers[form].verify(bad)
    authenticator = bench.authenticator(form)
    assert await authenticator.authenticate(bench.kits[form].token())
    await refuse(authenticator, bad)


@pytest.mark.parametrize("form", TRUST)
async def test_positive_control(form: str, bench: Bench) -> None:
    authenticate, kit = bench.authenticator(form).authenticate, bench.kits[form]
    caller = await authenticate(kit.token())
    assert caller.subject == f"{TENANT}:{object_id('ann')}"
    assert caller.issuer == TRUST[form].identity_issuer
    assert (caller.provider, caller.scope, caller.name) == ("entra", None, "Ann")
    assert caller.token_id == kit.claims["uti"]
    assert await authenticate(kit.token(iat=NOW + 60, exp=NOW + 60 + kit.max_seconds))
    assert await authenticate(kit.token({"x5t": kit.kid}))
    assert await authenticate(kit.token(idtyp="user", sub="a" * 255, uti=GONE, jti=["j"]))


async def test_what_strict_trust_takes(bench: Bench) -> None:
    token, verify = bench.kits["strict"].token, bench.verifiers["strict"].verify
    assert await verify(token(scp="Other"))
    assert await verify(token(scp="profile Files.Read"))
    assert await verify(token(acct="0"))
    for home in TRUST["strict"].homes:
        assert await verify(token(idp=home))


async def test_t69_a_guest_is_the_object_of_this_tenant(bench: Bench) -> None:
    token, verify = bench.kits["access"].token, bench.verifiers["access"].verify
    guest = await verify(
        token(
            acct=1, idp=f"https://sts.windows.net/{OTHER_TENANT}/", name=GONE,
            preferred_username="ann_home.test#EXT#@corp.onmicrosoft.com",
        )
    )
    assert guest.subject == f"{TENANT}:{object_id('ann')}"
    assert guest.name == ""


async def test_t32_t62_tenants_with_the_same_keys_are_not_mixed(
    bench: Bench, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each is right for itself only: issuer and `tid` tell, the keys do not."""
    other = EntraTenant(tmp_path_factory.mktemp("tenant"), tenant_id=OTHER_TENANT)
    other.keys = bench.tenant.keys[:1]
    with other.serving():
        two = [bench.verifiers["access"], verifier(other, other.trusted())]
        both = TokenAuthenticator(two, now=lambda: NOW)
        key, subjects = bench.tenant.key, set[str]()
        for mine, theirs in ((TENANT, OTHER_TENANT), (OTHER_TENANT, TENANT)):
            trust = EntraSettings(tenant_id=mine, client_ids=(CLIENT,))
            claims = access_claims(trust, "ann", now=NOW)
            caller = await both.authenticate(key.sign(entra_header(key.kid), claims))
            subjects.add(caller.user_id)
            await refuse(both, key.sign(entra_header(key.kid), claims | {"tid": theirs}))
        assert len(subjects) == 2


async def test_t63_a_person_is_the_same_in_both_versions(bench: Bench) -> None:
    both = [bench.verifiers["access"], bench.verifiers["v1"]]
    authenticator = TokenAuthenticator(both, now=lambda: NOW)
    tokens = [bench.kits[form].token(sub=f"pairwise-{form}") for form in ("access", "v1")]
    callers = [await authenticator.authenticate(token) for token in tokens]
    assert len({caller.user_id for caller in callers}) == 1


async def test_every_configured_application_is_one_of_ours(bench: Bench) -> None:
    token = bench.kits["access"].token
    two = verifier(bench.tenant, bench.tenant.trusted(client_ids=(CLIENT, OTHER_CLIENT)))
    for client in (CLIENT, OTHER_CLIENT):
        assert await two.verify(token(aud=client))
    for client in ("third", CLIENT + OTHER_CLIENT, f"{CLIENT},{OTHER_CLIENT}"):
        with pytest.raises(TokenRefusedError, match=r"^aud$"):
            await two.verify(token(aud=client))
    v1 = bench.kits["v1"].token
    for audience in (CLIENT, APP_URI):
        assert await bench.verifiers["v1"].verify(v1(aud=audience))


async def test_t28_no_entra_token_opens_a_connection(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither does a token that names where the groups are (T70)."""
    authenticator = bench.authenticator("access")
    token = bench.kits["access"].token
    await authenticator.authenticate(token())  # the keys are there
    opened: list[Any] = []
    monkeypatch.setattr("socket.socket.connect", lambda *args: opened.append(args))
    monkeypatch.setattr("socket.getaddrinfo", lambda *args, **_: opened.append(args))
    for _, bad in bench.own["access"].values():
        await refuse(authenticator, bad)
    for case in ("T28 jku", "T28 x5u", "T27 header jwk"):
        bad_token = bench.general["access"][case]
        assert isinstance(bad_token, str)
        await refuse(authenticator, bad_token)
    sources = {"src1": {"endpoint": "https://127.0.0.1:9/getMemberObjects"}}
    caller = await authenticator.authenticate(
        token(_claim_names={"groups": "src1"}, _claim_sources=sources)
    )
    assert caller.groups_incomplete
    assert not opened


def read(form: str = "id", **claims: Any) -> VerifiedClaims:
    kit = _SAMPLE[form]
    given = kit.claims | {"email": GONE, "xms_edov": GONE} | claims
    payload = {name: value for name, value in given.items() if value is not GONE}
    return EntraClaims(kit.trust)(payload)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    "verified", [False, None, "false", "True", "0", "yes", "", 1, 1.0, 2, [True], {"v": 1}, GONE]
)
def test_only_an_address_of_a_verified_domain_is_one(use: str, verified: Any) -> None:
    claims = read(use, email="root@corp.test", email_verified=True, xms_edov=verified)
    assert (claims.email, claims.email_verified) == ("", False)
    assert claims.subject == read(use).subject


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("verified", [True, "1", "true"])
def test_a_verified_address_is_kept_and_is_not_who_somebody_is(use: str, verified: Any) -> None:
    claims = read(use, email="ann@corp.test", xms_edov=verified, email_verified=False)
    assert (claims.email, claims.email_verified) == ("ann@corp.test", True)
    assert claims.subject == read(use).subject
    assert read(use, xms_edov=verified).email == ""
    assert read(use, xms_edov=verified, upn="ann@corp.test").email == ""


@pytest.mark.parametrize("form", TRUST)
def test_t68_nothing_that_people_are_called_is_who_they_are(form: str) -> None:
    members = ("email", "preferred_username", "upn", "unique_name", "name", "sub")
    taken = dict.fromkeys(members, "root@corp.test")
    assert read(form, **taken).subject == f"{TENANT}:{object_id('ann')}"
    other = read(form, **taken, oid=object_id("bob"))
    assert other.subject == f"{TENANT}:{object_id('bob')}"


@pytest.mark.parametrize("member", ["preferred_username", "unique_name"])
def test_a_username_is_at_most_a_name(member: str) -> None:
    without: dict[str, Any] = dict.fromkeys(("name", "preferred_username", "unique_name"), GONE)
    assert read(**without).name == ""
    assert read(**without | {member: "anna"}).name == "anna"
    assert read(**without | {member: "ann@corp.test"}).name == ""
    assert read(**without | {member: "an\u202ena"}).name == "an na"
    assert read(**{member: "anna"}).name == "Ann"


@pytest.mark.parametrize("form", TRUST)
def test_t70_groups_are_recorded_or_unknown(form: str) -> None:
    def groups(**claims: Any) -> Any:
        found = read(form, **claims)
        return found.groups, found.groups_incomplete

    names = {"_claim_names": {"groups": "src1"}}
    assert groups() == ((), False)
    assert groups(groups=["g1", "g2"], roles=["Reader"]) == (("g1", "g2", "Reader"), False)
    assert groups(**names) == ((), True)
    assert groups(**names, roles=["Reader"]) == (("Reader",), True)
    assert groups(hasgroups=True) == ((), True)
    assert groups(hasgroups="true") == ((), True)
    for unknown in ("src1", "admin", {"admin": 1}, None, 7):
        assert groups(groups=unknown) == ((), True)
        assert groups(roles=unknown, groups=["g1"]) == (("g1",), True)
    assert groups(roles=["Reader", 1, ""]) == (("Reader",), True)
    assert len(groups(groups=[f"g{n}" for n in range(200)])[0]) == 200
    # Roles in the directory are not those of this workspace.
    assert groups(wids=["62e90394-69f5-4237-9190-012177145e10"]) == ((), False)
