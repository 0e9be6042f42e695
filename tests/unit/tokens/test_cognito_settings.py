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


@pytest.mark.parametrize("kind", ["saml", ["cognito"], None])
def test_an_unknown_kind_in_the_variable_is_refused(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {"kind": kind, "user_pool_id": POOL, "client_ids": [CLIENT]}
    monkeypatch.setenv("WM_OIDC_ISSUERS", json.dumps([table]))
    with pytest.raises(WorkspaceError, match="WM_OIDC_ISSUERS"):
        load_settings()
