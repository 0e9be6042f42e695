"""`wm keys push` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli.keys import app
from services.cli.options import Options
from services.secrets.key_files import dump_keys, install_keys, new_keys, read_keys
from tests.fakes.vault import Vault
from tests.unit.secrets.conftest import MakeSettings


def test_it_says_whether_the_secret_had_keys_before(
    make_settings: MakeSettings, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings()
    install_keys(settings.data_dir / "keys", new_keys())
    monkeypatch.setenv("WM_KEYS_SECRET", f"secretsmanager:{name}")
    monkeypatch.setenv("WM_AWS_REGION", settings.aws_region)
    monkeypatch.setenv("WM_AWS_ENDPOINT", settings.aws_endpoint)
    for first in (True, False):
        options = Options(json=True, data=settings.data_dir)
        done = CliRunner().invoke(app, ["push"], obj=options)
        assert done.exit_code == 0, done.output
        assert json.loads(done.output) == {"secret": f"secretsmanager:{name}", "first": first}


def test_it_writes_to_a_key_vault_too(
    on_azure: MakeSettings, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = on_azure()
    install_keys(settings.data_dir / "keys", new_keys())
    for name in ("azure_vault_endpoint", "azure_ca_file"):
        monkeypatch.setenv(f"WM_{name.upper()}", str(getattr(settings, name)))
    monkeypatch.setenv("WM_KEYS_SECRET", "keyvault:acme/keys")
    vault.put("keys", dump_keys(read_keys(settings.data_dir / "keys")))
    done = CliRunner().invoke(app, ["push"], obj=Options(json=True, data=settings.data_dir))
    assert done.exit_code == 0, done.output
    assert json.loads(done.output) == {"secret": "keyvault:acme/keys", "first": False}
    assert len(vault.secrets["keys"]) == 2
