"""Which values are references, and which settings they lead to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.config import load_settings
from services.model.errors import WorkspaceError
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
    ],
)
def test_a_reference_is_read(text: str, reference: Reference) -> None:
    assert parse_reference(text) == reference
    assert is_aws_reference(text) == (reference.service is not Service.ENVIRONMENT)


@pytest.mark.parametrize(
    "text",
    [
        "", "s3cret", "ssm:", "secretsmanager:", "env:", "env:a-b", "secretsmanager:a b",
        "secretsmanager:a#", "postgresql://u:p@h/db", "arn:aws:s3:::bucket", "ssm:/a\n",
        "arn:aws:secretsmanager:eu-west-1:1:secret:x", "secretsmanager:a#b#c", "SSM:/a",
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
        ({"keys_secret": "secretsmanager:keys#a"}, "WM_KEYS_SECRET"),
        ({"keys_secret": "ssm:/keys"}, "WM_AWS_REGION"),
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
