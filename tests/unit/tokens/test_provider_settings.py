"""Pools of Cognito and tenants of Entra in the settings: nothing that tells tokens apart may
be empty, and nothing but their ids says whose keys are believed."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from services.config import load_settings
from services.model.errors import WorkspaceError
from tests.entra_tenant import APP_URI, CLIENT, CONSUMERS, GRAPH, TENANT

POOL, POOL_CLIENT = "us-east-1_AbCdEfGhI", "1h57kf5cpq17m0eml12EXAMPLE"
POOL_ISSUER = f"https://cognito-idp.us-east-1.amazonaws.com/{POOL}"
TENANT_ISSUER = f"https://login.microsoftonline.com/{TENANT}/v2.0"
POOL_TABLE = f'[[identity.issuers]]\nkind = "cognito"\nuser_pool_id = "{POOL}"\n'
TENANT_TABLE = f'[[identity.issuers]]\nkind = "entra"\ntenant_id = "{TENANT}"\n'
POOL_WHOLE = POOL_TABLE + f'client_ids = ["{POOL_CLIENT}"]\n'
TENANT_WHOLE = TENANT_TABLE + f'client_ids = ["{CLIENT}"]\n'
PROVIDERS: Final = {"COGNITO": "USER_POOL_ID", "ENTRA": "TENANT_ID"}
"""Their variables begin with WM_ and this; which of them names whom to trust."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# (whom to trust, its clients, the variable that the refusal names)
ODD: Final[dict[str, list[tuple[str, str, str]]]] = {
    "COGNITO": [
        (POOL, "", "CLIENT_IDS"),
        (POOL, " , ", "CLIENT_IDS"),
        (POOL, "not/a/client", "CLIENT_IDS"),
        ("", POOL_CLIENT, "USER_POOL_ID"),
        ("", "", "USER_POOL_ID"),
        ("AbCdEfGhI", POOL_CLIENT, "USER_POOL_ID"),
        (POOL_ISSUER, POOL_CLIENT, "USER_POOL_ID"),
        ("us-east-1_", POOL_CLIENT, "USER_POOL_ID"),
        ("us-east-1_Ab/../x", POOL_CLIENT, "USER_POOL_ID"),
        ("evil.test/us-east-1_Ab", POOL_CLIENT, "USER_POOL_ID"),
        ("evil.test#-east-1_Ab", POOL_CLIENT, "USER_POOL_ID"),
        ("us-east-1.evil.test_Ab", POOL_CLIENT, "USER_POOL_ID"),
        ("us-east-1@evil_Ab", POOL_CLIENT, "USER_POOL_ID"),
        ("us-east-1_Ab\n", POOL_CLIENT, "USER_POOL_ID"),
        ("us-east-1:93b4e2a4-0000-4000-8000-000000000000", POOL_CLIENT, "USER_POOL_ID"),
        ("cn-north-1_Ab", POOL_CLIENT, "USER_POOL_ID"),
    ],
    "ENTRA": [
        (TENANT, "", "CLIENT_IDS"),
        (TENANT, " , ", "CLIENT_IDS"),
        (TENANT, "workspace", "CLIENT_IDS"),
        (TENANT, APP_URI, "CLIENT_IDS"),
        (TENANT, f"{CLIENT},{APP_URI}", "CLIENT_IDS"),
        (TENANT, GRAPH, "CLIENT_IDS"),
        (TENANT, f"{CLIENT},00000002-0000-0000-C000-000000000000", "CLIENT_IDS"),
        ("", CLIENT, "TENANT_ID"),
        ("", "", "TENANT_ID"),
        ("common", CLIENT, "TENANT_ID"),
        ("organizations", CLIENT, "TENANT_ID"),
        ("consumers", CLIENT, "TENANT_ID"),
        (CONSUMERS, CLIENT, "TENANT_ID"),
        (CONSUMERS.upper(), CLIENT, "TENANT_ID"),
        ("{tenantid}", CLIENT, "TENANT_ID"),
        ("corp.onmicrosoft.com", CLIENT, "TENANT_ID"),
        (TENANT_ISSUER, CLIENT, "TENANT_ID"),
        (TENANT + "\n", CLIENT, "TENANT_ID"),
        (TENANT + "/..", CLIENT, "TENANT_ID"),
        (TENANT[:-1], CLIENT, "TENANT_ID"),
        (f"{{{TENANT}}}", CLIENT, "TENANT_ID"),
        (f"evil.test#{TENANT}", CLIENT, "TENANT_ID"),
    ],
}


@pytest.mark.parametrize(
        ("provider", "trusted", "clients", "field"),
    [(provider, *row) for provider, rows in ODD.items() for row in rows],
)
@pytest.mark.case("T49")
def test_an_empty_or_odd_setting_stops_the_start(
    provider: str, trusted: str, clients: str, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"WM_{provider}_{PROVIDERS[provider]}", trusted)
    monkeypatch.setenv(f"WM_{provider}_CLIENT_IDS", clients)
    with pytest.raises(WorkspaceError, match=f"WM_{provider}_{field}"):
        load_settings()


ALONE: Final = {
    "COGNITO_USER_POOL_ID": POOL, "COGNITO_CLIENT_IDS": POOL_CLIENT, "COGNITO_TOKEN_USE": "id",
    "ENTRA_TENANT_ID": TENANT, "ENTRA_CLIENT_IDS": CLIENT, "ENTRA_TOKEN_USE": "id",
    "ENTRA_TOKEN_VERSION": "1.0", "ENTRA_EXTERNAL": "true",
}  # fmt: skip


@pytest.mark.parametrize("name", ALONE)
def test_one_of_the_variables_alone_stops_the_start(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"WM_{name}", ALONE[name])
    provider = name.partition("_")[0]
    with pytest.raises(WorkspaceError, match=rf"WM_{provider}_({PROVIDERS[provider]}|CLIENT_IDS)"):
        load_settings()


@pytest.mark.parametrize(
    "text",
    [
        POOL_TABLE,
        POOL_TABLE + "client_ids = []\n",
        POOL_TABLE + 'client_ids = [""]\n',
        POOL_TABLE + f'client_ids = "{POOL_CLIENT}"\n',
        POOL_WHOLE + 'region = "eu-west-1"\n',
        POOL_WHOLE + 'token_use = "any"\n',
        POOL_WHOLE + 'token_use = ["access", "id"]\n',
        POOL_WHOLE + "max_token_seconds = 86401\n",
        POOL_WHOLE + 'issuer = "https://evil.test"\n',
        POOL_WHOLE + 'endpoint = "http://127.0.0.1:5000"\n',
        POOL_WHOLE + 'audience = "workspace"\n',
        POOL_WHOLE + 'algorithm = "ES256"\n',
        POOL_WHOLE * 2,
        POOL_WHOLE.replace("cognito", "Cognito"),
        POOL_WHOLE.replace('"cognito"', "[]"),
        POOL_WHOLE.replace('kind = "cognito"\n', ""),
        TENANT_TABLE,
        TENANT_TABLE + "client_ids = []\n",
        TENANT_TABLE + 'client_ids = [""]\n',
        TENANT_TABLE + f'client_ids = "{CLIENT}"\n',
        TENANT_WHOLE + 'token_use = "any"\n',
        TENANT_WHOLE + 'token_use = ["access", "id"]\n',
        TENANT_WHOLE + 'token_version = "2"\n',
        TENANT_WHOLE + "max_token_seconds = 86401\n",
        TENANT_WHOLE + 'issuer = "https://evil.test"\n',
        TENANT_WHOLE + 'endpoint = "http://127.0.0.1:5000"\n',
        TENANT_WHOLE + 'host = "evil.test"\n',
        TENANT_WHOLE + 'cloud = "germany"\n',
        TENANT_WHOLE + 'algorithm = "ES256"\n',
        TENANT_WHOLE + 'external = "corp"\n',
        TENANT_WHOLE + 'external = true\ncloud = "china"\n',
        TENANT_WHOLE + 'external = true\ntoken_version = "1.0"\n',
        TENANT_WHOLE + "external = true\nguests = false\n",
        TENANT_WHOLE + 'scopes = [""]\n',
        TENANT_WHOLE + 'scopes = ["a b"]\n',
        TENANT_WHOLE + 'authorized_clients = [""]\n',
        TENANT_WHOLE + 'authorized_clients = ["wm"]\n',
        TENANT_WHOLE + 'token_use = "id"\nscopes = ["a"]\n',
        TENANT_WHOLE + f'token_use = "id"\nauthorized_clients = ["{CLIENT}"]\n',
        TENANT_TABLE + f'token_use = "id"\ntoken_version = "1.0"\nclient_ids = ["{APP_URI}"]\n',
        TENANT_WHOLE * 2,
        TENANT_WHOLE.replace("entra", "Entra"),
        TENANT_WHOLE.replace('"entra"', "[]"),
        TENANT_WHOLE.replace('kind = "entra"\n', ""),
        TENANT_WHOLE.replace("entra", "cognito"),
        TENANT_WHOLE.replace("entra", "oidc"),
    ],
)
def test_a_selection_that_is_not_whole_is_refused(text: str, folder: Path) -> None:
    (folder / "backend.toml").write_text('provider = "local"\n' + text)
    with pytest.raises(WorkspaceError, match=r"identity\.issuers"):
        load_settings()


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("url", ["http://127.0.0.1:5000", "https://127.0.0.1:1", "http://[::1]:80"])
def test_an_emulator_is_one_of_this_machine(url: str, provider: str) -> None:
    setting = f"{provider.lower()}_endpoint"
    assert getattr(load_settings(**{setting: url}), setting) == url


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize(
    "url",
    [
        "http://moto:5000", "https://evil.test", "http://127.0.0.1@evil.test", "http://10.0.0.1",
        "http://localhost:5000", "http://127.0.0.1.evil.test", "ftp://127.0.0.1", "127.0.0.1:5000",
        "http://127.0.0.1:5000/", "http://127.0.0.1:5000/x", "http://127.0.0.1?x", "http://0.0.0.0",
        "http://127.0.0.1#x", "http://u:p@127.0.0.1", "http://[::1%25x]", "http://169.254.169.254",
        "http://2130706433", "http://127.1", "http://127.0.0.1:", "http://127.0.0.1\n", "http://[",
        "http://entra:5000", "https://login.microsoftonline.com",
    ],
)  # fmt: skip
def test_an_emulator_elsewhere_stops_the_start(url: str, provider: str) -> None:
    with pytest.raises(WorkspaceError, match=f"WM_{provider}_ENDPOINT"):
        load_settings(**{f"{provider.lower()}_endpoint": url})


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_workspace_that_others_reach_has_no_emulator(provider: str, folder: Path) -> None:
    given = {"tls_certificate": folder / "c.pem", "tls_key": folder / "k.pem"}
    assert load_settings(grpc_host="0.0.0.0", **given)
    emulator = {f"{provider.lower()}_endpoint": "http://127.0.0.1:5000"}
    for port in ("grpc_host", "http_host"):
        with pytest.raises(WorkspaceError, match=f"WM_{provider}_ENDPOINT"):
            load_settings(**emulator, **given, **{port: "0.0.0.0"})
    for public in ("https://app.example.com", "http://10.0.0.1:8080"):  # behind a proxy
        with pytest.raises(WorkspaceError, match=f"WM_{provider}_ENDPOINT"):
            load_settings(**emulator, public_url=public)
