"""User pools of the settings: nothing that tells tokens apart may be empty, and
nothing but the pool's id says whose keys are believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from services.config import load_settings
from services.model.errors import WorkspaceError
from services.tokens.issuers import CognitoSettings

POOL, CLIENT = "us-east-1_AbCdEfGhI", "1h57kf5cpq17m0eml12EXAMPLE"
ISSUER = f"https://cognito-idp.us-east-1.amazonaws.com/{POOL}"
TABLE = f'[[identity.issuers]]\nkind = "cognito"\nuser_pool_id = "{POOL}"\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def select(folder: Path, text: str) -> None:
    (folder / "backend.toml").write_text('provider = "local"\n' + text)


def pools() -> list[CognitoSettings]:
    found = load_settings().oidc_issuers
    return [each for each in found if isinstance(each, CognitoSettings)]


def test_a_pool_by_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WM_COGNITO_USER_POOL_ID", POOL)
    monkeypatch.setenv("WM_COGNITO_CLIENT_IDS", f"{CLIENT}, second ,")
    (pool,) = pools()
    assert (pool.issuer, pool.client_ids, pool.token_use) == (ISSUER, (CLIENT, "second"), "access")
    monkeypatch.setenv("WM_COGNITO_TOKEN_USE", "id")
    assert pools()[0].token_use == "id"


def test_pools_beside_other_issuers_by_the_selection(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    oidc = '[[identity.issuers]]\nissuer = "https://login.example.com"\naudience = "a"\n'
    explicit = oidc.replace("audience", 'kind = "oidc"\naudience').replace(".com", ".net")
    more = f'region = "us-east-1"\nclient_ids = ["{CLIENT}"]\ntoken_use = "id"\n'
    select(folder, '[identity]\nservice = "Cognito"\n' + oidc + explicit + TABLE + more)
    assert [each.kind for each in load_settings().oidc_issuers] == ["oidc", "oidc", "cognito"]
    (pool,) = pools()
    assert (pool.issuer, pool.client_ids, pool.token_use) == (ISSUER, (CLIENT,), "id")
    another = {"kind": "cognito", "user_pool_id": "eu-west-1_Zz", "client_ids": ["c"]}
    monkeypatch.setenv("WM_OIDC_ISSUERS", json.dumps([another]))
    assert [each.user_pool_id for each in pools()] == ["eu-west-1_Zz"]
    monkeypatch.setenv("WM_COGNITO_USER_POOL_ID", POOL)
    monkeypatch.setenv("WM_COGNITO_CLIENT_IDS", CLIENT)
    assert [each.user_pool_id for each in pools()] == ["eu-west-1_Zz", POOL]


@pytest.mark.parametrize(
    ("pool", "clients", "field"),
    [
        (POOL, "", "WM_COGNITO_CLIENT_IDS"),
        (POOL, " , ", "WM_COGNITO_CLIENT_IDS"),
        (POOL, "not/a/client", "WM_COGNITO_CLIENT_IDS"),
        ("", CLIENT, "WM_COGNITO_USER_POOL_ID"),
        ("", "", "WM_COGNITO_USER_POOL_ID"),
        ("AbCdEfGhI", CLIENT, "WM_COGNITO_USER_POOL_ID"),
        (ISSUER, CLIENT, "WM_COGNITO_USER_POOL_ID"),
        ("us-east-1_", CLIENT, "WM_COGNITO_USER_POOL_ID"),
        ("us-east-1_Ab/../x", CLIENT, "WM_COGNITO_USER_POOL_ID"),
        ("evil.test/us-east-1_Ab", CLIENT, "WM_COGNITO_USER_POOL_ID"),
        ("evil.test#-east-1_Ab", CLIENT, "WM_COGNITO_USER_POOL_ID"),
        ("us-east-1.evil.test_Ab", CLIENT, "WM_COGNITO_USER_POOL_ID"),
        ("us-east-1@evil_Ab", CLIENT, "WM_COGNITO_USER_POOL_ID"),
        ("us-east-1_Ab\n", CLIENT, "WM_COGNITO_USER_POOL_ID"),
        ("us-east-1:93b4e2a4-0000-4000-8000-000000000000", CLIENT, "WM_COGNITO_USER_POOL_ID"),
        ("cn-north-1_Ab", CLIENT, "WM_COGNITO_USER_POOL_ID"),
    ],
)
def test_an_empty_or_odd_setting_stops_the_start(
    pool: str, clients: str, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WM_COGNITO_USER_POOL_ID", pool)
    monkeypatch.setenv("WM_COGNITO_CLIENT_IDS", clients)
    with pytest.raises(WorkspaceError, match=field):
        load_settings()


@pytest.mark.parametrize("name", ["USER_POOL_ID", "CLIENT_IDS", "TOKEN_USE"])
def test_one_of_the_variables_alone_stops_the_start(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = {"USER_POOL_ID": POOL, "CLIENT_IDS": CLIENT, "TOKEN_USE": "id"}[name]
    monkeypatch.setenv(f"WM_COGNITO_{name}", value)
    with pytest.raises(WorkspaceError, match=r"WM_COGNITO_(USER_POOL_ID|CLIENT_IDS)"):
        load_settings()


CLIENTS = f'client_ids = ["{CLIENT}"]\n'


@pytest.mark.parametrize(
    "text",
    [
        TABLE,
        TABLE + "client_ids = []\n",
        TABLE + 'client_ids = [""]\n',
        TABLE + f'client_ids = "{CLIENT}"\n',
        TABLE + CLIENTS + 'region = "eu-west-1"\n',
        TABLE + CLIENTS + 'token_use = "any"\n',
        TABLE + CLIENTS + 'token_use = ["access", "id"]\n',
        TABLE + CLIENTS + "max_token_seconds = 86401\n",
        TABLE + CLIENTS + 'issuer = "https://evil.test"\n',
        TABLE + CLIENTS + 'endpoint = "http://127.0.0.1:5000"\n',
        TABLE + CLIENTS + 'audience = "workspace"\n',
        TABLE + CLIENTS + 'algorithm = "ES256"\n',
        (TABLE + CLIENTS) * 2,
        (TABLE + CLIENTS).replace("cognito", "Cognito"),
        (TABLE + CLIENTS).replace('"cognito"', "[]"),
        (TABLE + CLIENTS).replace('kind = "cognito"\n', ""),
    ],
)
def test_a_selection_that_is_not_whole_is_refused(text: str, folder: Path) -> None:
    select(folder, text)
    with pytest.raises(WorkspaceError, match=r"identity\.issuers"):
        load_settings()


@pytest.mark.parametrize("kind", ["saml", ["cognito"], None])
def test_an_unknown_kind_in_the_variable_is_refused(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {"kind": kind, "user_pool_id": POOL, "client_ids": [CLIENT]}
    monkeypatch.setenv("WM_OIDC_ISSUERS", json.dumps([table]))
    with pytest.raises(WorkspaceError, match="WM_OIDC_ISSUERS"):
        load_settings()


@pytest.mark.parametrize("url", ["http://127.0.0.1:5000", "https://127.0.0.1:1", "http://[::1]:80"])
def test_an_emulator_is_one_of_this_machine(url: str) -> None:
    assert load_settings(cognito_endpoint=url).cognito_endpoint == url


@pytest.mark.parametrize(
    "url",
    [
        "http://moto:5000", "https://evil.test", "http://127.0.0.1@evil.test", "http://10.0.0.1",
        "http://localhost:5000", "http://127.0.0.1.evil.test", "ftp://127.0.0.1", "127.0.0.1:5000",
        "http://127.0.0.1:5000/", "http://127.0.0.1:5000/x", "http://127.0.0.1?x", "http://0.0.0.0",
        "http://127.0.0.1#x", "http://u:p@127.0.0.1", "http://[::1%25x]", "http://169.254.169.254",
        "http://2130706433", "http://127.1", "http://127.0.0.1:", "http://127.0.0.1\n", "http://[",
    ],
)  # fmt: skip
def test_an_emulator_elsewhere_stops_the_start(url: str) -> None:
    with pytest.raises(WorkspaceError, match="WM_COGNITO_ENDPOINT"):
        load_settings(cognito_endpoint=url)


def test_a_workspace_that_others_reach_has_no_emulator(folder: Path) -> None:
    given = {"tls_certificate": folder / "c.pem", "tls_key": folder / "k.pem"}
    assert load_settings(grpc_host="0.0.0.0", **given)
    for port in ("grpc_host", "http_host"):
        with pytest.raises(WorkspaceError, match="WM_COGNITO_ENDPOINT"):
            load_settings(cognito_endpoint="http://127.0.0.1:5000", **given, **{port: "0.0.0.0"})
