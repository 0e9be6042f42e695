"""Secrets of settings, read from Key Vault and App Configuration."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from services.model.errors import Reason, WorkspaceError
from services.secrets.resolve import resolve_secrets
from tests.fakes.app_configuration import Store
from tests.fakes.https import Answer
from tests.fakes.vault import Vault
from tests.servers import azure
from tests.unit.secrets.conftest import MakeSettings

SECRET = "postgresql://me:s3cret@db/workspace"
URL = "https://acme.vault.azure.net/secrets/db"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.secrets.trying._PAUSE", 0.001)


async def dsn(on_azure: MakeSettings, reference: str) -> str:
    resolved = await resolve_secrets(on_azure(records_dsn=reference))
    assert SECRET not in repr(resolved)
    assert resolved.records_dsn is not None
    return str(resolved.records_dsn.get_secret_value())


async def refused(on_azure: MakeSettings, reference: str) -> WorkspaceError:
    with pytest.raises(WorkspaceError) as caught:
        await resolve_secrets(on_azure(records_dsn=reference))
    error = caught.value
    assert error.metadata["field"] == "WM_RECORDS_DSN"
    assert reference.partition("#")[0].rpartition("/")[2] in error.message
    assert "s3cret" not in error.message
    return error


async def test_a_secret_by_its_name_its_version_and_its_url(
    on_azure: MakeSettings, vault: Vault
) -> None:
    old = vault.put("db", SECRET + "\n")
    vault.put("db", "newer")
    for reference in ("keyvault:acme/db", URL, f"{URL}/"):
        assert await dsn(on_azure, reference) == "newer"
    for reference in (f"keyvault:acme/db/{old.name}", f"{URL}/{old.name}"):
        assert await dsn(on_azure, reference) == SECRET


async def test_members_of_a_secret_are_read_at_once(on_azure: MakeSettings, vault: Vault) -> None:
    vault.put("db", json.dumps({"dsn": SECRET, "port": 25}))
    settings = on_azure(records_dsn="keyvault:acme/db#dsn", smtp_password="keyvault:acme/db#port")
    resolved = await resolve_secrets(settings)
    assert resolved.records_dsn is not None
    assert resolved.records_dsn.get_secret_value() == SECRET
    assert resolved.smtp_password is not None
    assert resolved.smtp_password.get_secret_value() == "25"
    assert len(vault.requests) == 1


async def test_a_reference_of_app_configuration_is_followed(
    on_azure: MakeSettings, vault: Vault, store: Store
) -> None:
    old = vault.put("db", SECRET)
    vault.put("db", json.dumps({"dsn": SECRET}))
    store.refer("app/db:dsn", f"{URL}/{old.name}")
    store.refer("app/db:dsn", URL, label="prod")
    assert await dsn(on_azure, "appconfig:acme-eu/app/db:dsn") == SECRET
    assert await dsn(on_azure, "appconfig:acme-eu/app/db:dsn@prod#dsn") == SECRET


async def test_a_plain_value_is_taken_and_told(
    on_azure: MakeSettings, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.put("db", SECRET)
    with caplog.at_level(logging.WARNING):
        assert await dsn(on_azure, "appconfig:acme-eu/db") == SECRET
    assert "appconfig:acme-eu/db is a plain value" in caplog.text
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    "value",
    ["s3cret", "{}", '{"uri": 1}', '{"uri": "https://acme.example/secrets/db"}',
     '{"uri": "ssm:/a"}'],
)  # fmt: skip
async def test_a_reference_to_no_secret_is_told(
    on_azure: MakeSettings, store: Store, value: str
) -> None:
    store.refer("db", "x")
    store.settings[("db", "")]["value"] = value
    assert "mend it" in (await refused(on_azure, "appconfig:acme-eu/db")).message


async def test_a_missing_secret_is_named(on_azure: MakeSettings, store: Store) -> None:
    store.refer("followed", URL)
    roles = {"keyvault:acme/none": "Key Vault Secrets User",
             "appconfig:acme-eu/none": "App Configuration Data Reader",
             "appconfig:acme-eu/followed": "Key Vault Secrets User"}  # fmt: skip
    for reference, role in roles.items():
        error = await refused(on_azure, reference)
        assert error.reason == Reason.ERROR_REASON_INVALID_STATE
        assert "does not exist" in error.message
        assert error.metadata["role"] == role


async def test_who_may_not_read_is_told_the_role(
    on_azure: MakeSettings, vault: Vault, store: Store
) -> None:
    vault.put("db", SECRET)
    store.refer("db", URL)
    vault.roles.clear()
    for reference in ("keyvault:acme/db", "appconfig:acme-eu/db"):
        assert "'Key Vault Secrets User'" in (await refused(on_azure, reference)).message
    store.role = False
    error = await refused(on_azure, "appconfig:acme-eu/db")
    assert "'App Configuration Data Reader'" in error.message
    assert len(vault.requests) == 2


async def test_a_vault_of_another_azure_is_not_asked(on_azure: MakeSettings, vault: Vault) -> None:
    error = await refused(on_azure, "https://acme.vault.azure.cn/secrets/db")
    assert "WM_AZURE_CLOUD" in error.message
    assert vault.requests == []


def of_vault(status: int, code: str, inner: str) -> Answer:
    error = {"code": code, "message": "s3cret", "innererror": {"code": inner}}
    return Answer(status, {"error": error})


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (of_vault(403, "Forbidden", "SecretDisabled"), "enable it"),
        (of_vault(403, "Forbidden", "ForbiddenByFirewall"), "firewall"),
        (of_vault(403, "Forbidden", "ForbiddenByConnection"), "private endpoints"),
        (of_vault(403, "Forbidden", "AccessDenied"), "access policies"),
        (of_vault(400, "BadParameter", ""), "does not take such a request"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
async def test_a_refusal_has_its_remedy(
    on_azure: MakeSettings, vault: Vault, fault: Answer, said: str
) -> None:
    vault.always = fault
    error = await refused(on_azure, "keyvault:acme/db")
    assert said in error.message
    assert error.reason == Reason.ERROR_REASON_INVALID_STATE


async def test_a_busy_service_is_asked_again_and_not_for_ever(
    on_azure: MakeSettings, vault: Vault, store: Store
) -> None:
    busy = Answer(429, {"error": {"code": "Throttled", "message": ""}}, {"Retry-After": "0"})
    vault.put("db", SECRET)
    store.refer("db", URL)
    for fake in (vault, store):
        fake.faults.extend([busy, Answer(503, {"error": {"code": "Down", "message": ""}})])
    assert await dsn(on_azure, "appconfig:acme-eu/db") == SECRET
    vault.requests.clear()
    vault.always = busy
    error = await refused(on_azure, "keyvault:acme/db")
    assert error.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    assert len(vault.requests) == 5


async def test_a_vault_that_is_nowhere_may_come_back(on_azure: MakeSettings, vault: Vault) -> None:
    settings: Any = on_azure(records_dsn="keyvault:acme/db")
    vault.stop()
    with pytest.raises(WorkspaceError, match="nothing answers") as caught:
        await resolve_secrets(settings)
    assert caught.value.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE


async def test_without_an_identity_the_remedy_is_a_sign_in(
    on_azure: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure.sign_in(), "refuse", True)
    for reference in ("keyvault:acme/db", "appconfig:acme-eu/db"):
        assert "az login" in (await refused(on_azure, reference)).message
