"""What Entra-shaped tenants alone have, for every form of trust in them. (Bad tokens of all
providers: test_provider_tokens.py.)"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from services.tokens.authenticator import TokenAuthenticator
from services.tokens.claims import TokenRefusedError, VerifiedClaims
from services.tokens.entra import EntraClaims
from services.tokens.issuers import EntraSettings
from tests.entra_tenant import (
    APP_URI,
    CLIENT,
    OTHER_CLIENT,
    OTHER_TENANT,
    TENANT,
    EntraTenant,
    access_claims,
    object_id,
)
from tests.oidc_issuer import made_key
from tests.security.entra_cases import TRUST, tenant_kit
from tests.security.refusing import refuse
from tests.security.sign_in_providers import PROVIDERS, Bench, serving
from tests.security.test_bad_tokens import GONE, NOW

USES = ("access", "id")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with serving(PROVIDERS["entra"], tmp_path_factory.mktemp("tenant")) as made:
        yield made


@pytest.mark.parametrize("form", TRUST)
@pytest.mark.case("P02")
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


@pytest.mark.case("T66", "T67", "T69")
async def test_what_strict_trust_takes(bench: Bench) -> None:
    token, verify = bench.kits["strict"].token, bench.verifiers["strict"].verify
    assert await verify(token(scp="Other"))
    assert await verify(token(scp="profile Files.Read"))
    assert await verify(token(acct="0"))
    for home in TRUST["strict"].homes:
        assert await verify(token(idp=home))


@pytest.mark.case("T69")
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


@pytest.mark.case("T32", "T62")
async def test_t32_t62_tenants_with_the_same_keys_are_not_mixed(
    bench: Bench, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each is right for itself only: issuer and `tid` tell, the keys do not."""
    other = EntraTenant(tmp_path_factory.mktemp("tenant"), tenant_id=OTHER_TENANT)
    other.keys = bench.issuer.keys[:1]
    with other.serving():
        two = [bench.verifiers["access"], other.verifier(now=lambda: NOW)]
        both = TokenAuthenticator(two, now=lambda: NOW)
        signed, subjects = bench.issuer.signed, set[str]()
        for mine, theirs in ((TENANT, OTHER_TENANT), (OTHER_TENANT, TENANT)):
            trust = EntraSettings(tenant_id=mine, client_ids=(CLIENT,))
            claims = access_claims(trust, "ann", now=NOW)
            caller = await both.authenticate(signed(claims))
            subjects.add(caller.user_id)
            await refuse(both, signed(claims | {"tid": theirs}))
        assert len(subjects) == 2


@pytest.mark.case("T63")
async def test_t63_a_person_is_the_same_in_both_versions(bench: Bench) -> None:
    both = [bench.verifiers["access"], bench.verifiers["v1"]]
    authenticator = TokenAuthenticator(both, now=lambda: NOW)
    tokens = [bench.kits[form].token(sub=f"pairwise-{form}") for form in ("access", "v1")]
    callers = [await authenticator.authenticate(token) for token in tokens]
    assert len({caller.user_id for caller in callers}) == 1


@pytest.mark.case("T51")
async def test_every_configured_application_is_one_of_ours(bench: Bench) -> None:
    token = bench.kits["access"].token
    two = bench.issuer.verifier(now=lambda: NOW, client_ids=(CLIENT, OTHER_CLIENT))
    for client in (CLIENT, OTHER_CLIENT):
        assert await two.verify(token(aud=client))
    for client in ("third", CLIENT + OTHER_CLIENT, f"{CLIENT},{OTHER_CLIENT}"):
        with pytest.raises(TokenRefusedError, match=r"^aud$"):
            await two.verify(token(aud=client))
    v1 = bench.kits["v1"].token
    for audience in (CLIENT, APP_URI):
        assert await bench.verifiers["v1"].verify(v1(aud=audience))


@pytest.mark.case("T70")
async def test_t70_groups_that_are_elsewhere_are_unknown(bench: Bench) -> None:
    sources = {"src1": {"endpoint": "https://127.0.0.1:9/getMemberObjects"}}
    overage = bench.kits["access"].token(
        _claim_names={"groups": "src1"}, _claim_sources=sources
    )
    assert (await bench.authenticator("access").authenticate(overage)).groups_incomplete


def read(form: str = "id", **claims: Any) -> VerifiedClaims:
    key = made_key("sample")
    kit = tenant_kit(key, key, form=form)
    given = kit.claims | {"email": GONE, "xms_edov": GONE} | claims
    payload = {name: value for name, value in given.items() if value is not GONE}
    return EntraClaims(kit.trust)(payload)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    "verified", [False, None, "false", "True", "0", "yes", "", 1, 1.0, 2, [True], {"v": 1}, GONE]
)
@pytest.mark.case("T68")
def test_only_an_address_of_a_verified_domain_is_one(use: str, verified: Any) -> None:
    claims = read(use, email="root@corp.test", email_verified=True, xms_edov=verified)
    assert (claims.email, claims.email_verified) == ("", False)
    assert claims.subject == read(use).subject


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("verified", [True, "1", "true"])
@pytest.mark.case("T68")
def test_a_verified_address_is_kept_and_is_not_who_somebody_is(use: str, verified: Any) -> None:
    claims = read(use, email="ann@corp.test", xms_edov=verified, email_verified=False)
    assert (claims.email, claims.email_verified) == ("ann@corp.test", True)
    assert claims.subject == read(use).subject
    assert read(use, xms_edov=verified).email == ""
    assert read(use, xms_edov=verified, upn="ann@corp.test").email == ""


@pytest.mark.parametrize("form", TRUST)
@pytest.mark.case("T68")
def test_t68_nothing_that_people_are_called_is_who_they_are(form: str) -> None:
    members = ("email", "preferred_username", "upn", "unique_name", "name", "sub")
    taken = dict.fromkeys(members, "root@corp.test")
    assert read(form, **taken).subject == f"{TENANT}:{object_id('ann')}"
    other = read(form, **taken, oid=object_id("bob"))
    assert other.subject == f"{TENANT}:{object_id('bob')}"


@pytest.mark.parametrize("member", ["preferred_username", "unique_name"])
@pytest.mark.case("T68")
def test_a_username_is_at_most_a_name(member: str) -> None:
    without: dict[str, Any] = dict.fromkeys(("name", "preferred_username", "unique_name"), GONE)
    assert read(**without).name == ""
    assert read(**without | {member: "anna"}).name == "anna"
    assert read(**without | {member: "ann@corp.test"}).name == ""
    assert read(**without | {member: "an\u202ena"}).name == "an na"
    assert read(**{member: "anna"}).name == "Ann"


@pytest.mark.parametrize("form", TRUST)
@pytest.mark.case("T70")
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
