"""Which values are references, and which settings they lead to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.azure.place import CLOUDS
from services.config import load_settings
from services.model.errors import WorkspaceError
from services.model.secret_references import is_secret_reference
from services.model.selection import looks_like_secret
from services.secrets.reference import Reference, Service, is_aws_reference, parse_reference

MANAGER = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbCdEf"
PARAMETER = "arn:aws-cn:ssm:cn-north-1:123456789012:parameter/prod/db"


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("secretsmanager:prod/db", Reference(Service.SECRETS_MANAGER, "prod/db")),
        ("secretsmanager:db#dsn", Reference(Service.SECRETS_MANAGER, "db", "dsn")),
        ("ssm:/prod/db", Reference(Service.PARAMETER_STORE, "/prod/db")),
        (MANAGER, Reference(Service.SECRETS_MANAGER, MANAGER, "", "eu-west-1")),
        (f"{MANAGER}#dsn", Reference(Service.SECRETS_MANAGER, MANAGER, "dsn", "eu-west-1")),
        (PARAMETER, Reference(Service.PARAMETER_STORE, PARAMETER, "", "cn-north-1")),
        ("env:DB_DSN", Reference(Service.ENVIRONMENT, "DB_DSN")),
        ("file:/run/secrets/dsn", Reference(Service.FILE, "/run/secrets/dsn")),
        ("file:/run/secrets/db#dsn", Reference(Service.FILE, "/run/secrets/db", "dsn")),
        ("keyvault:acme/db", Reference(Service.KEY_VAULT, "db", place="acme")),
        (
            "keyvault:acme-eu/db/0123abcd#dsn",
            Reference(Service.KEY_VAULT, "db", "dsn", place="acme-eu", version="0123abcd"),
        ),
        (
            "https://acme.vault.azure.net/secrets/db/0123abcd",
            Reference(
                Service.KEY_VAULT, "db", place="acme", version="0123abcd", domain="vault.azure.net"
            ),
        ),
        (
            "https://acme.vault.azure.cn:443/secrets/db#dsn",
            Reference(Service.KEY_VAULT, "db", "dsn", place="acme", domain="vault.azure.cn"),
        ),
        ("appconfig:acme-eu/db", Reference(Service.APP_CONFIGURATION, "db", place="acme-eu")),
        (
            "appconfig:acme-eu/app/db:dsn@prod#dsn",
            Reference(
                Service.APP_CONFIGURATION, "app/db:dsn", "dsn", place="acme-eu", version="prod"
            ),
        ),
    ],
)
def test_a_reference_is_read(text: str, reference: Reference) -> None:
    assert parse_reference(text) == reference
    on_aws = reference.service in (Service.SECRETS_MANAGER, Service.PARAMETER_STORE)
    assert is_aws_reference(text) == on_aws
    assert is_secret_reference(text)
    assert not looks_like_secret("password", text)


def test_vaults_of_every_azure_are_known() -> None:
    for cloud in CLOUDS.values():
        found = parse_reference(f"https://acme.{cloud.vault}/secrets/db")
        assert found is not None
        assert found.domain == cloud.vault


def test_a_reference_is_shown_as_it_may_be_written() -> None:
    for text in ("keyvault:acme/db/0123abcd#dsn", "appconfig:acme-eu/a/b@prod#dsn", "ssm:/a",
                 "file:/run/a#dsn"):
        assert str(parse_reference(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "s3cret", "ssm:", "secretsmanager:", "env:", "env:a-b", "secretsmanager:a b",
        "secretsmanager:a#", "postgresql://u:p@h/db", "arn:aws:s3:::bucket", "ssm:/a\n",
        "arn:aws:secretsmanager:eu-west-1:1:secret:x", "secretsmanager:a#b#c", "SSM:/a",
        "keyvault:acme", "keyvault:acme/", "keyvault:1acme/db", "keyvault:acme/d_b",
        "keyvault:acme/db/1/2", "https://acme.vault.azure.net/keys/db", "appconfig:acme/db",
        "https://acme.vault.azure.net.evil.example/secrets/db", "appconfig:acme-eu/..",
        "http://acme.vault.azure.net/secrets/db", "appconfig:acme-eu/a b", "appconfig:acme-eu/a%2f",
        "file:", "file:dsn", "file:./dsn", "file:/a\n", "file:/a#", "file:/",
    ],
)  # fmt: skip
def test_all_else_is_a_secret_itself(text: str) -> None:
    assert parse_reference(text) is None


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"events": "eventbridge"}, "WM_AWS_REGION"),
        ({"events": "eventbridge", "aws_event_bus": "a b"}, "WM_AWS_EVENT_BUS"),
        ({"events": "eventbridge", "environment": "pro d"}, "WM_ENVIRONMENT"),
        ({"mail": "ses"}, "WM_MAIL_FROM"),
        ({"mail": "ses", "mail_from": "a@b.example"}, "WM_AWS_REGION"),
        ({"mail": "ses", "mail_from": "a@b.c", "ses_configuration_set": "a b"},
         "WM_SES_CONFIGURATION_SET"),
        ({"mail": "ses", "mail_from": "a@b.c", "ses_identity_arn": "x"}, "WM_SES_IDENTITY_ARN"),
        ({"keys_secret": "my-secret"}, "WM_KEYS_SECRET"),
        ({"keys_secret": "env:KEYS"}, "WM_KEYS_SECRET"),
        ({"keys_secret": "file:/run/secrets/keys"}, "WM_KEYS_SECRET"),
        ({"keys_secret": "secretsmanager:keys#a"}, "WM_KEYS_SECRET"),
        ({"keys_secret": "ssm:/keys"}, "WM_AWS_REGION"),
        ({"keys_secret": "keyvault:acme/keys#a"}, "WM_KEYS_SECRET"),
        ({"keys_secret": "keyvault:acme/keys/0123abcd"}, "WM_KEYS_SECRET"),
        ({"keys_secret": "appconfig:acme-eu/keys"}, "WM_KEYS_SECRET"),
        ({"smtp_password": "ssm:/mail"}, "WM_AWS_REGION"),
    ],
)
def test_what_cannot_be_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], field: str
) -> None:
    for name in ("REGION", "DEFAULT_REGION"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    with pytest.raises(WorkspaceError) as caught:
        load_settings(data_dir=tmp_path, **given)
    assert caught.value.metadata["field"] == field


def test_the_region_of_the_aws_tools_counts_for_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    assert load_settings(data_dir=tmp_path, keys_secret="ssm:/keys").aws_region == "eu-west-3"
    assert load_settings(data_dir=tmp_path).aws_region == ""


def test_secrets_of_azure_need_no_other_setting(tmp_path: Path) -> None:
    for reference in ("keyvault:acme/keys", "https://acme.vault.azure.net/secrets/keys"):
        assert load_settings(data_dir=tmp_path, keys_secret=reference).aws_region == ""
