"""Issuers of the settings: nothing that tells tokens apart may be empty."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.config import load_settings
from services.model.errors import WorkspaceError

URL = "https://login.example.com"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_no_issuer_is_the_default() -> None:
    assert load_settings().oidc_issuers == ()


def test_one_issuer_by_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WM_OIDC_ISSUER", URL)
    monkeypatch.setenv("WM_OIDC_AUDIENCE", "workspace")
    monkeypatch.setenv("WM_OIDC_ALGORITHM", "ES256")
    (issuer,) = load_settings().oidc_issuers
    assert (issuer.issuer, issuer.audience, issuer.algorithm) == (URL, "workspace", "ES256")


def test_several_by_the_selection_and_one_more_by_variables(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = '[[identity.issuers]]\nissuer = "{}"\naudience = "a"\n'
    (folder / "backend.toml").write_text(
        'provider = "local"\n' + table.format(URL) + table.format(URL + "/b")
    )
    assert [each.issuer for each in load_settings().oidc_issuers] == [URL, URL + "/b"]
    monkeypatch.setenv("WM_OIDC_ISSUER", URL + "/c")
    monkeypatch.setenv("WM_OIDC_AUDIENCE", "a")
    assert len(load_settings().oidc_issuers) == 3
    monkeypatch.setenv("WM_OIDC_ISSUERS", json.dumps([{"issuer": URL + "/d", "audience": "a"}]))
    assert [each.issuer[-1] for each in load_settings().oidc_issuers] == ["d", "c"]


@pytest.mark.parametrize(
    ("issuer", "audience", "field"),
    [
        (URL, "", "WM_OIDC_AUDIENCE"),
        (URL, "  ", "WM_OIDC_AUDIENCE"),
        ("", "workspace", "WM_OIDC_ISSUER"),
        ("", "", "WM_OIDC_ISSUER"),
        ("http://login.example.com", "workspace", "WM_OIDC_ISSUER"),
        ("http://127.0.0.1", "workspace", "WM_OIDC_ISSUER"),
        (URL + "?x=1", "workspace", "WM_OIDC_ISSUER"),
    ],
)
@pytest.mark.case("T49")
def test_an_empty_or_plain_setting_stops_the_start(
    issuer: str, audience: str, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WM_OIDC_ISSUER", issuer)
    monkeypatch.setenv("WM_OIDC_AUDIENCE", audience)
    with pytest.raises(WorkspaceError, match=field):
        load_settings()


@pytest.mark.parametrize(
    "text",
    [
        f'[[identity.issuers]]\nissuer = "{URL}"\n',
        f'[[identity.issuers]]\nissuer = "{URL}"\naudience = ""\n',
        f'[[identity.issuers]]\nissuer = "{URL}"\naudience = "a"\nalgorithm = "HS256"\n',
        f'[[identity.issuers]]\nissuer = "{URL}"\naudience = "a"\nallow_http = true\n',
        f'[[identity.issuers]]\nissuer = "{URL}"\naudience = "a"\ntypes = []\n',
        f'[identity]\nissuers = ["{URL}"]\n',
        f'[[identity.issuers]]\nissuer = "{URL}"\naudience = "a"\n' * 2,
    ],
)
def test_a_selection_that_is_not_whole_is_refused(text: str, folder: Path) -> None:
    (folder / "backend.toml").write_text('provider = "local"\n' + text)
    with pytest.raises(WorkspaceError, match=r"identity\.issuers"):
        load_settings()
