"""Secrets of settings, read from Secrets Manager, Parameter Store and the environment."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from services.aws.clients import AwsClients
from services.model.errors import Reason, WorkspaceError
from services.secrets.resolve import resolve_secrets
from services.secrets.stores import open_stores
from tests.aws_faults import Answers
from tests.unit.secrets.conftest import MakeSettings

SECRET = "postgresql://me:s3cret@db/workspace"


async def put(clients: AwsClients, name: str, **value: Any) -> str:
    answer = await clients.call("secretsmanager", "create_secret", Name=name, **value)
    return str(answer["ARN"])


def dsn(settings: Any) -> str:
    assert settings.records_dsn is not None
    return str(settings.records_dsn.get_secret_value())


async def test_settings_without_references_stay_as_they_are(make_settings: MakeSettings) -> None:
    settings = make_settings(records_dsn=SECRET)
    assert await resolve_secrets(settings) is settings


async def test_a_secret_by_its_name_its_arn_and_its_member(
    clients: AwsClients, make_settings: MakeSettings, name: str
) -> None:
    arn = await put(clients, name, SecretString=json.dumps({"dsn": SECRET, "port": 25}))
    for reference in (f"secretsmanager:{name}", arn):
        settings = make_settings(
            records_dsn=f"{reference}#dsn", smtp_password=f"{reference}#port"
        )
        resolved = await resolve_secrets(settings)
        assert dsn(resolved) == SECRET
        assert resolved.smtp_password is not None
        assert resolved.smtp_password.get_secret_value() == "25"
        assert SECRET not in repr(resolved)


async def test_a_parameter_by_its_path_and_its_arn(
    clients: AwsClients, make_settings: MakeSettings, name: str
) -> None:
    await clients.call(
        "ssm", "put_parameter", Name=f"/{name}", Value=SECRET + "\n", Type="SecureString"
    )
    arn = f"arn:aws:ssm:eu-central-1:123456789012:parameter/{name}"
    for reference in (f"ssm:/{name}", arn):
        assert dsn(await resolve_secrets(make_settings(records_dsn=reference))) == SECRET


async def test_a_parameter_that_is_not_encrypted_is_told(
    clients: AwsClients, make_settings: MakeSettings, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    await clients.call("ssm", "put_parameter", Name=f"/{name}", Value=SECRET, Type="String")
    with caplog.at_level(logging.WARNING):
        await resolve_secrets(make_settings(records_dsn=f"ssm:/{name}"))
    assert "SecureString" in caplog.text
    assert "s3cret" not in caplog.text


async def test_a_secret_of_another_region_is_read_there(
    aws_environment: None, make_settings: MakeSettings, name: str
) -> None:
    from services.aws.place import AwsPlace

    there = AwsClients(AwsPlace("us-west-2", endpoint=make_settings().aws_endpoint))
    arn = await put(there, name, SecretString=SECRET)
    await there.close()
    assert dsn(await resolve_secrets(make_settings(records_dsn=arn))) == SECRET


async def test_the_environment_needs_no_region(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_DSN", SECRET)
    settings = make_settings(records_dsn="env:DB_DSN", aws_region="")
    assert dsn(await resolve_secrets(settings)) == SECRET


async def refused(make_settings: MakeSettings, reference: str) -> WorkspaceError:
    with pytest.raises(WorkspaceError) as caught:
        await resolve_secrets(make_settings(records_dsn=reference))
    error = caught.value
    assert error.metadata["field"] == "WM_RECORDS_DSN"
    assert reference.partition("#")[0] in error.message
    assert "s3cret" not in error.message
    return error


@pytest.mark.parametrize(
    ("value", "member", "said"),
    [
        ({"SecretString": "  \n"}, "", "is empty"),
        ({"SecretString": '{"dsn": ""}'}, "#dsn", "is empty"),
        ({"SecretString": '{"a": "s3cret"}'}, "#dsn", "no text as its member 'dsn'"),
        ({"SecretString": '{"dsn": ["s3cret"]}'}, "#dsn", "no text as its member 'dsn'"),
        ({"SecretString": '{"dsn": true}'}, "#dsn", "no text as its member 'dsn'"),
        ({"SecretString": "s3cret"}, "#dsn", "no JSON object"),
        ({"SecretString": "[" * 100_000}, "#dsn", "no JSON object"),
        ({"SecretBinary": b"s3cret"}, "", "is binary"),
    ],
)  # fmt: skip
async def test_a_value_that_is_of_no_use_is_named(
    clients: AwsClients, make_settings: MakeSettings, name: str, value: dict[str, Any],
    member: str, said: str,
) -> None:  # fmt: skip
    if len(str(value)) > 65_536:
        value = {"SecretString": "[" * 60_000}
    await put(clients, name, **value)
    error = await refused(make_settings, f"secretsmanager:{name}{member}")
    assert said in error.message
    assert error.reason == Reason.ERROR_REASON_INVALID_STATE


@pytest.mark.parametrize(
    ("reference", "action"),
    [
        ("secretsmanager:nobody/has-it", "secretsmanager:GetSecretValue"),
        ("ssm:/nobody/has-it", "ssm:GetParameter"),
        ("env:NOBODY_HAS_IT", ""),
    ],
)
async def test_a_missing_secret_is_named(
    make_settings: MakeSettings, reference: str, action: str
) -> None:
    error = await refused(make_settings, reference)
    assert error.metadata.get("action", "") == action
    assert error.reason == Reason.ERROR_REASON_INVALID_STATE


@pytest.mark.parametrize(
    ("service", "operation", "reference", "code", "said"),
    [
        ("secretsmanager", "GetSecretValue", "secretsmanager:db", "AccessDeniedException",
         "secretsmanager:GetSecretValue"),
        ("secretsmanager", "GetSecretValue", "secretsmanager:db", "DecryptionFailure",
         "kms:Decrypt"),
        ("secretsmanager", "GetSecretValue", "secretsmanager:db", "InvalidRequestException",
         "to be deleted"),
        ("ssm", "GetParameter", "ssm:/db", "AccessDeniedException", "ssm:GetParameter"),
        ("ssm", "GetParameter", "ssm:/db", "InvalidKeyId", "kms:Decrypt"),
        ("ssm", "GetParameter", "ssm:/db", "ExpiredTokenException", "sign in again"),
    ],
)  # fmt: skip
async def test_a_refusal_names_the_action_and_the_remedy(
    make_settings: MakeSettings, service: str, operation: str, reference: str, code: str, said: str
) -> None:
    settings = make_settings(records_dsn=reference)
    stores = open_stores(settings)
    clients = stores._clients_of(settings.aws_region)
    Answers(clients, service, operation).always = (400, code, "arn:aws:iam::1:user/x s3cret")
    with pytest.raises(WorkspaceError) as caught:
        await resolve_secrets(settings, stores=stores)
    await stores.close()
    assert said in caught.value.message
    assert "s3cret" not in caught.value.message
    assert caught.value.metadata["action"].startswith(f"{service}:")


async def test_a_busy_service_is_asked_again_and_not_for_ever(
    clients: AwsClients, make_settings: MakeSettings, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.secrets.trying._PAUSE", 0.001)
    await put(clients, name, SecretString=SECRET)
    settings = make_settings(records_dsn=f"secretsmanager:{name}")
    stores = open_stores(settings)
    answers = Answers(stores._clients_of(settings.aws_region), "secretsmanager", "GetSecretValue")
    answers.faults = [(400, "ThrottlingException", ""), (500, "InternalServiceError", "")]
    assert dsn(await resolve_secrets(settings, stores=stores)) == SECRET
    answers.calls, answers.always = 0, (400, "ThrottlingException", "")
    with pytest.raises(WorkspaceError) as caught:
        await resolve_secrets(settings, stores=stores)
    await stores.close()
    assert caught.value.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    assert answers.calls == 5
