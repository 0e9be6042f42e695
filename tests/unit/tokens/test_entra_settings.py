"""Tenants of the settings: nothing that tells tokens apart may be empty, and nothing
but the tenant's id says whose keys are believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from services.config import load_settings
from services.model.errors import WorkspaceError
from services.tokens.issuers import EntraSettings
from tests.entra_tenant import APP_URI, CLIENT, OTHER_CLIENT, TENANT

ISSUER = f"https://login.microsoftonline.com/{TENANT}/v2.0"
TABLE = f'[[identity.issuers]]\nkind = "entra"\ntenant_id = "{TENANT}"\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def select(folder: Path, text: str) -> None:
    (folder / "backend.toml").write_text('provider = "local"\n' + text)


def tenants(**given: Any) -> list[EntraSettings]:
    found = load_settings(**given).oidc_issuers
    return [each for each in found if isinstance(each, EntraSettings)]


def trust(**given: Any) -> EntraSettings:
    return EntraSettings(**{"tenant_id": TENANT, "client_ids": (CLIENT,), **given})


def test_a_tenant_by_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WM_ENTRA_TENANT_ID", TENANT.upper())
    monkeypatch.setenv("WM_ENTRA_CLIENT_IDS", f"{CLIENT}, {OTHER_CLIENT.upper()} ,")
    (tenant,) = tenants()
    assert (tenant.issuer, tenant.token_use, tenant.external) == (ISSUER, "access", False)
    assert tenant.client_ids == (CLIENT, OTHER_CLIENT)
    assert tenant.guests
    monkeypatch.setenv("WM_ENTRA_TOKEN_USE", "id")
    assert tenants()[0].token_use == "id"
    monkeypatch.setenv("WM_ENTRA_EXTERNAL", "true")
    assert tenants()[0].issuer == f"https://{TENANT}.ciamlogin.com/{TENANT}/v2.0"
    monkeypatch.setenv("WM_ENTRA_EXTERNAL", "false")
    monkeypatch.setenv("WM_AZURE_CLOUD", "usgovernment")
    assert tenants()[0].issuer == f"https://login.microsoftonline.us/{TENANT}/v2.0"
    monkeypatch.setenv("WM_ENTRA_TOKEN_USE", "access")
    monkeypatch.setenv("WM_ENTRA_TOKEN_VERSION", "1.0")
    monkeypatch.setenv("WM_ENTRA_CLIENT_IDS", APP_URI)
    assert tenants()[0].issuer == f"https://sts.windows.net/{TENANT}/"


FORMS: list[tuple[dict[str, Any], str, str]] = [
    ({}, ISSUER, "login.microsoftonline.com"),
    ({"cloud": "usgovernment"}, f"https://login.microsoftonline.us/{TENANT}/v2.0",
     "login.microsoftonline.us"),
    ({"cloud": "china"}, f"https://login.partner.microsoftonline.cn/{TENANT}/v2.0",
     "login.partner.microsoftonline.cn"),
    ({"external": True}, f"https://{TENANT}.ciamlogin.com/{TENANT}/v2.0",
     f"{TENANT}.ciamlogin.com"),
    ({"token_version": "1.0"}, f"https://sts.windows.net/{TENANT}/", "login.microsoftonline.com"),
    ({"token_version": "1.0", "cloud": "china"}, f"https://sts.chinacloudapi.cn/{TENANT}/",
     "login.partner.microsoftonline.cn"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "issuer", "host"), FORMS)
def test_issuer_and_keys_follow_from_the_tenant(
    given: dict[str, Any], issuer: str, host: str
) -> None:
    tenant = trust(**given)
    assert (tenant.issuer, tenant.host) == (issuer, host)
    assert tenant.identity_issuer == f"https://{host}/{TENANT}/v2.0"
    v2 = "" if "token_version" in given else "v2.0/"
    assert tenant.keys_path == f"/{TENANT}/discovery/{v2}keys"
    assert tenant.issuer in tenant.key_issuers
    for each in tenant.key_issuers:
        assert TENANT in each or "{tenantid}" in each


def test_tenants_beside_other_issuers_by_the_selection(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    oidc = '[[identity.issuers]]\nissuer = "https://login.example.com"\naudience = "a"\n'
    pool = '[[identity.issuers]]\nkind = "cognito"\nuser_pool_id = "eu-west-1_Zz"\n'
    more = f'client_ids = ["{CLIENT}"]\nscopes = ["Files.Read"]\nguests = false\n'
    more += f'authorized_clients = ["{OTHER_CLIENT.upper()}"]\n'
    service = '[identity]\nservice = "Microsoft Entra External ID"\n'
    select(folder, service + oidc + pool + 'client_ids = ["c"]\n' + TABLE + more)
    assert [each.kind for each in load_settings().oidc_issuers] == ["oidc", "cognito", "entra"]
    (tenant,) = tenants()
    assert (tenant.scopes, tenant.guests) == (("Files.Read",), False)
    assert tenant.authorized_clients == (OTHER_CLIENT,)
    another = {"kind": "entra", "tenant_id": OTHER_CLIENT, "client_ids": [CLIENT]}
    monkeypatch.setenv("WM_OIDC_ISSUERS", json.dumps([another]))
    assert [each.tenant_id for each in tenants()] == [OTHER_CLIENT]
    monkeypatch.setenv("WM_ENTRA_TENANT_ID", TENANT)
    monkeypatch.setenv("WM_ENTRA_CLIENT_IDS", CLIENT)
    assert [each.tenant_id for each in tenants()] == [OTHER_CLIENT, TENANT]


def test_both_versions_and_both_hosts_of_a_tenant_can_be_trusted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = {"kind": "entra", "tenant_id": TENANT, "client_ids": [CLIENT]}
    forms = [usual, usual | {"token_version": "1.0"}, usual | {"external": True}]
    monkeypatch.setenv("WM_OIDC_ISSUERS", json.dumps(forms))
    assert len({each.issuer for each in tenants()}) == 3
    monkeypatch.setenv("WM_OIDC_ISSUERS", json.dumps([usual, usual | {"token_use": "id"}]))
    with pytest.raises(WorkspaceError, match="occurs twice"):
        tenants()


@pytest.mark.parametrize("name", ["TOKEN_USE", "TOKEN_VERSION", "EXTERNAL"])
def test_a_variable_that_says_something_else_stops_the_start(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WM_ENTRA_TENANT_ID", TENANT)
    monkeypatch.setenv("WM_ENTRA_CLIENT_IDS", CLIENT)
    monkeypatch.setenv(f"WM_ENTRA_{name}", "any")
    with pytest.raises(WorkspaceError, match=f"WM_ENTRA_{name}"):
        load_settings()


@pytest.mark.parametrize(
    "uri", ["", "api://", "workspace", "http://corp.test", "api://a b", "api://a\n", "spn:ws"]
)
def test_an_audience_is_an_application_or_its_uri(uri: str) -> None:
    with pytest.raises(ValidationError):
        trust(token_version="1.0", client_ids=(uri,))


@pytest.mark.parametrize("uri", [APP_URI, APP_URI + "/", "api://Corp.test/ws", "https://ws.corp.test"])
def test_uris_are_audiences_of_version_1_as_they_are(uri: str) -> None:
    assert trust(token_version="1.0", client_ids=(uri, CLIENT)).client_ids == (uri, CLIENT)


def test_what_is_usual_may_be_said() -> None:
    assert trust(external=True, guests=True, cloud="public", token_version="2.0").external
    assert trust(token_use="id", scopes=(), authorized_clients=()).token_use == "id"
    assert trust(external=False, cloud="china", token_version="1.0").issuer.endswith(f"/{TENANT}/")
