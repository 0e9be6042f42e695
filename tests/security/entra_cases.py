"""Bad tokens of Entra-shaped issuers: T62 to T69, and the general list of
`test_bad_tokens` applied to them. Each starts from a good token and breaks one thing,
signed with the tenant's own key wherever the signature is not the point: most keys of
Entra sign for all tenants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from services.tokens.issuers import EntraSettings
from tests.entra_tenant import (
    APP_URI,
    CLIENT,
    CONSUMERS,
    GRAPH,
    OTHER_CLIENT,
    OTHER_TENANT,
    PROGRAM,
    TENANT,
    access_claims,
    app_claims,
    entra_header,
    id_claims,
)
from tests.oidc_issuer import RsaKey
from tests.security.test_bad_tokens import GONE, NOW, Cases, Kit, cases, oidc_cases, oidc_kit

_OURS: Final[dict[str, Any]] = {"tenant_id": TENANT, "client_ids": (CLIENT,)}
FORMS: Final[Mapping[str, dict[str, Any]]] = {
    "access": {},
    "id": {"token_use": "id"},
    "v1": {"client_ids": (APP_URI, CLIENT), "token_version": "1.0"},
    "external": {"external": True},
    "china": {"cloud": "china"},
    "strict": {
        "scopes": ("Files.Read", "Other"), "authorized_clients": (PROGRAM,), "guests": False
    },
}  # fmt: skip
"""Every form of trust that is under test: what is said besides who is trusted."""
TRUST: Final = {form: EntraSettings(**_OURS | more) for form, more in FORMS.items()}
_MORE: Final[dict[str, dict[str, Any]]] = {
    "strict": {"scp": "openid Files.Read", "acct": 0, "email": "ann@corp.test", "xms_edov": True}
}
HOST = "https://login.microsoftonline.com"


@dataclass(frozen=True, kw_only=True)
class TenantKit(Kit):
    """Good tokens of a tenant, as one form of trust takes them."""

    trust: EntraSettings
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def header(self) -> dict[str, Any]:
        return entra_header(self.kid)

    @property
    def claims(self) -> dict[str, Any]:
        made = {"access": access_claims, "id": id_claims}[self.trust.token_use]
        claims: dict[str, Any] = made(self.trust, "ann", now=NOW)
        return claims | self.more

    def instead(self, claims: Mapping[str, Any], **more: Any) -> str:
        """A token of other claims altogether."""
        gone: dict[str, Any] = dict.fromkeys(self.claims, GONE)
        return self.token(**gone | dict(claims) | more)


def tenant_kit(key: RsaKey, attacker: RsaKey, *, form: str) -> TenantKit:
    trust = TRUST[form]
    usual = vars(oidc_kit(trust.issuer, key, attacker))
    return TenantKit(**usual, trust=trust, more=_MORE.get(form, {}))


def general_cases(kit: TenantKit) -> Cases:
    """The general list; Entra's tokens are told by `uti`, not by `jti`."""
    found = cases(kit) | oidc_cases(kit)
    return {name: found[name] for name in found if name != "jti list"}


# name of the case -> (the check that refuses it, the token)
Named = dict[str, tuple[str, str]]


def named_cases(kit: TenantKit, form: str) -> Named:
    """What one form of trust refuses, and why."""
    own: dict[str, Callable[[TenantKit], Named]] = {
        "access": access_cases, "id": id_cases, "v1": v1_cases, "external": external_cases,
        "china": china_cases, "strict": strict_cases,
    }  # fmt: skip
    return common_cases(kit) | own[form](kit)


def common_cases(kit: TenantKit) -> Named:
    token, issuer = kit.token, kit.issuer
    elsewhere = issuer.replace(TENANT, OTHER_TENANT)
    issuers = {
        "T62 another tenant": elsewhere,
        "T62 common": issuer.replace(TENANT, "common"),
        "T62 organizations": issuer.replace(TENANT, "organizations"),
        "T62 personal accounts": issuer.replace(TENANT, CONSUMERS),
        "T62 the template": issuer.replace(TENANT, "{tenantid}"),
        "T62 the tenant in another case": issuer.replace(TENANT, TENANT.upper()),
        "T62 the domain of the tenant": issuer.replace(TENANT, "corp.onmicrosoft.com"),
        "T62 a path below": issuer + "/x",
        "T48 another host": issuer.replace("https://", "https://evil."),
        "T48 a host in front": issuer.replace("https://", "https://evil.test/"),
        "T48 a user": issuer.replace("https://", "https://login@"),
        "T48 a B2C tenant": f"https://corp.b2clogin.com/{TENANT}/v2.0/",
    }
    found = {name: ("iss", token(iss=each)) for name, each in issuers.items()}
    return found | person_cases(kit) | {
        "T62 the tid of another tenant": ("tid", token(tid=OTHER_TENANT)),
        "T62 all of another tenant": ("iss", token(iss=elsewhere, tid=OTHER_TENANT)),
        "T62 tid missing": ("tid", token(tid=GONE)),
        "T62 tid list": ("tid", token(tid=[TENANT])),
        "T62 tid in another case": ("tid", token(tid=TENANT.upper())),
        "T63 ver missing": ("ver", token(ver=GONE)),
        "T63 ver of the other version": (
            "ver", token(ver={"1.0": "2.0", "2.0": "1.0"}[kit.trust.token_version]),
        ),
        "T63 ver a number": ("ver", token(ver=float(kit.trust.token_version))),
        "T64 a Graph token": ("aud", token(aud=GRAPH)),
        "T64 a Graph token by address": ("aud", token(aud="https://graph.microsoft.com")),
        "T64 nonce in the header": ("header", token({"nonce": "abc"})),
        "T51 a sibling application": ("aud", token(aud=OTHER_CLIENT)),
        "T51 the program for itself": ("aud", token(aud=PROGRAM)),
        "T50 aud list of ours": ("aud", token(aud=[CLIENT])),
        "T50 aud list with ours": ("aud", token(aud=[CLIENT, OTHER_CLIENT])),
        "T51 aud in another case": ("aud", token(aud=CLIENT.upper())),
        "T51 aud with a slash": ("aud", token(aud=CLIENT + "/")),
        "T62 signed by another": ("signature", kit.attack(kit.header, kit.claims)),
        "T62 a key of personal accounts": ("kid", token({"kid": "consumer"})),
        "T62 a key of another tenant": ("kid", token({"kid": "elsewhere"})),
    }  # fmt: skip


def person_cases(kit: TenantKit) -> Named:
    token = kit.token
    return {
        "T65 idtyp app": ("person", token(idtyp="app")),
        "T65 idtyp device": ("person", token(idtyp="device")),
        "T65 idtyp null": ("person", token(idtyp=None)),
        "T65 idtyp list": ("person", token(idtyp=["user"])),
        "T65 idtyp case": ("person", token(idtyp="User")),
        "T65 a program's own token": ("person", kit.instead(app_claims(kit.trust, now=NOW))),
        "oid missing": ("oid", token(oid=GONE)),
        "oid empty": ("oid", token(oid="")),
        "oid null": ("oid", token(oid=None)),
        "oid list": ("oid", token(oid=["aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"])),
        "oid in another case": ("oid", token(oid="AAAAAAAA-bbbb-cccc-dddd-eeeeeeeeeeee")),
        "oid an address": ("oid", token(oid="ann@corp.test")),
        "oid longer": ("oid", token(oid="aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee0")),
        "oid with a newline": ("oid", token(oid="aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee\n")),
        "uti list": ("claims", token(uti=["u"])),
        "username not text": ("claims", token(preferred_username={"x": 1})),
        "username of 256": ("claims", token(unique_name="a" * 256)),
        "T70 ten thousand groups": ("size", token(groups=[f"g{n}" for n in range(10_000)])),
    }


def access_cases(kit: TenantKit) -> Named:
    """Where access tokens are taken, of version 2.0."""
    token = kit.token
    an_id_token = id_claims(kit.trust, "ann", now=NOW)
    v1 = access_claims(TRUST["v1"], "ann", now=NOW)
    return scope_cases(kit) | program_cases(kit, "azp", "appid") | {
        "T63 a token of version 1.0": ("iss", kit.instead(v1)),
        "T63 its audience": ("aud", token(aud=APP_URI)),
        "T55 an ID token": ("person", kit.instead(an_id_token)),
        "T55 an ID token with azp": ("person", kit.instead(an_id_token, azp=PROGRAM)),
        "T62 an external tenant": ("iss", token(iss=TRUST["external"].issuer)),
        "T62 another cloud": ("iss", token(iss=TRUST["china"].issuer)),
    }  # fmt: skip


def id_cases(kit: TenantKit) -> Named:
    """Where ID tokens are taken."""
    token = kit.token
    an_access_token = access_claims(kit.trust, "ann", now=NOW)
    an_app_token = app_claims(kit.trust, now=NOW)
    return {
        "T55 an access token": ("token_use", kit.instead(an_access_token)),
        "T55 scp": ("token_use", token(scp="openid")),
        "T55 scp null": ("token_use", token(scp=None)),
        "T55 azp": ("token_use", token(azp=PROGRAM)),
        "T55 appid": ("token_use", token(appid=PROGRAM)),
        "T65 a program's token without idtyp": (
            "token_use", kit.instead(an_app_token, idtyp=GONE),
        ),
        "T63 the audience of access tokens": ("aud", token(aud=APP_URI)),
    }  # fmt: skip


def v1_cases(kit: TenantKit) -> Named:
    """Where access tokens of version 1.0 are taken."""
    token = kit.token
    return scope_cases(kit) | program_cases(kit, "appid", "azp") | {
        "T63 a token of version 2.0": (
            "iss", kit.instead(access_claims(TRUST["access"], "ann", now=NOW)),
        ),
        "T48 iss without the slash": ("iss", token(iss=kit.issuer[:-1])),
        "T63 the URI with a slash": ("aud", token(aud=APP_URI + "/")),
        "T63 the URI of another": ("aud", token(aud=f"api://{OTHER_CLIENT}")),
        "T63 a scope of the URI": ("aud", token(aud=APP_URI + "/access_as_user")),
        "T62 another cloud": ("iss", token(iss=f"https://sts.chinacloudapi.cn/{TENANT}/")),
    }  # fmt: skip


def external_cases(kit: TenantKit) -> Named:
    """Where tokens of an external tenant are taken."""
    token = kit.token
    return {
        "T62 the workforce host": ("iss", token(iss=f"{HOST}/{TENANT}/v2.0")),
        "T62 the host of another tenant": (
            "iss", token(iss=f"https://{OTHER_TENANT}.ciamlogin.com/{TENANT}/v2.0"),
        ),
        "T62 the path of another tenant": (
            "iss", token(iss=f"https://{TENANT}.ciamlogin.com/{OTHER_TENANT}/v2.0"),
        ),
    }  # fmt: skip


def china_cases(kit: TenantKit) -> Named:
    """Where tokens of another cloud are taken."""
    public, government = TRUST["access"].issuer, f"https://login.microsoftonline.us/{TENANT}/v2.0"
    return {
        "T62 the public cloud": ("iss", kit.token(iss=public)),
        "T62 the cloud of a government": ("iss", kit.token(iss=government)),
    }


def strict_cases(kit: TenantKit) -> Named:
    """Where scopes and programs are named, and guests are not taken."""
    token = kit.token
    scopes = {
        "longer": "Files.ReadX", "below": "Files.Read.All", "shorter": "Files",
        "case": "files.read", "behind": "X.Files.Read",
        "comma": "openid,Files.Read", "tab": "openid\tFiles.Read",
        "none of ours": "openid profile", "with its URI": f"{APP_URI}/Files.Read",
    }  # fmt: skip
    homes: dict[str, Any] = {
        "of another tenant": f"https://sts.windows.net/{OTHER_TENANT}/",
        "of personal accounts": "live.com",
        "of a mail address": "mail",
        "null": None,
        "list": [kit.issuer],
    }
    accounts: dict[str, Any] = {
        "a guest": 1, "a guest as text": "1", "false": False, "null": None, "list": [0],
    }  # fmt: skip
    return (
        {f"T66 scp {name}": ("scp", token(scp=scp)) for name, scp in scopes.items()}
        | {f"T69 idp {name}": ("guest", token(idp=idp)) for name, idp in homes.items()}
        | {f"T69 acct {name}": ("guest", token(acct=acct)) for name, acct in accounts.items()}
        | {
            "T69 acct missing": ("guest", token(acct=GONE)),
            "T67 another program": ("azp", token(azp=OTHER_CLIENT)),
            "T67 the workspace itself": ("azp", token(azp=CLIENT)),
        }
    )


def scope_cases(kit: TenantKit) -> Named:
    token = kit.token
    return {
        "T65 no scp": ("person", token(scp=GONE)),
        "T65 roles in place of scp": ("person", token(scp=GONE, roles=["User"])),
        "T65 scp empty": ("person", token(scp="")),
        "T65 scp blank": ("person", token(scp=" ")),
        "T65 scp null": ("person", token(scp=None)),
        "T65 scp list": ("person", token(scp=["access_as_user"])),
        "T65 a program's token without idtyp": (
            "person", kit.instead(app_claims(kit.trust, now=NOW), idtyp=GONE),
        ),
    }  # fmt: skip


def program_cases(kit: TenantKit, member: str, other: str) -> Named:
    odd: dict[str, Any] = {
        "missing": GONE, "empty": "", "null": None, "list": [PROGRAM], "a name": "wm",
        "in another case": PROGRAM.upper(),
    }  # fmt: skip
    found = {f"T67 {member} {name}": kit.token(**{member: each}) for name, each in odd.items()}
    found[f"T67 {other} in its place"] = kit.token(**{member: GONE, other: PROGRAM})
    return {name: ("azp", token) for name, token in found.items()}
