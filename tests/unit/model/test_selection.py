"""The backend selection (both examples of the seeds) and the guard against secrets."""

from __future__ import annotations

import re

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from workspace.storage.v1.catalog_pb2 import BackendSelection

from services.model.errors import Reason, WorkspaceError
from services.model.selection import (
    backend_selection,
    looks_like_secret,
    refuse_secrets,
    storage_account_name,
)

AWS = {
    "provider": "aws",
    "environment": "dev",
    "region": "us-east-1",
    "storage": {
        "bucket": "workspace-management-dev-documents",
        "privatePrefixMode": "workspace-model",
    },
    "database": {"table": "workspace-management-dev", "itemContainer": "workspace_items"},
    "identity": {"service": "Cognito"},
    "notifications": {"service": "EventBridge + SES"},
}
AZURE = {
    "provider": "azure",
    "environment": "dev",
    "location": "eastus",
    "storage": {
        "account": "workspacemanagedevdocs",
        "container": "workspace-documents",
        "privatePrefixMode": "workspace-model",
    },
    "database": {
        "account": "workspace-management-dev-cosmos",
        "database": "workspace",
        "container": "workspace_items",
        "itemContainer": "workspace_items",
    },
    "identity": {"service": "Microsoft Entra External ID"},
    "notifications": {"service": "Event Grid + Azure Communication Services Email"},
}
LOCAL = {
    "provider": "local",
    "environment": "dev",
    "storage": {"folder": ".wm-data/objects", "privatePrefixMode": "workspace-model"},
    "database": {"file": ".wm-data/workspace.sqlite", "itemContainer": "workspace_items"},
    "identity": {"service": "Local accounts"},
    "notifications": {"service": "Local events + mail folder"},
}


def test_the_examples_of_the_seeds() -> None:
    common = {"environment": "dev", "prefix": "workspace-management"}
    aws = backend_selection(provider="aws", region="us-east-1", **common)
    azure = backend_selection(provider="azure", location="eastus", **common)
    assert aws == AWS
    assert list(aws) == list(AWS)
    assert azure == AZURE
    assert list(azure) == list(AZURE)


def test_defaults() -> None:
    assert backend_selection(provider="aws") == AWS
    assert backend_selection(provider="azure") == AZURE
    assert backend_selection(provider="local") == LOCAL


@pytest.mark.parametrize("expected", [AWS, AZURE, LOCAL])
def test_the_names_are_those_of_the_contract(expected: dict[str, object]) -> None:
    message = json_format.ParseDict(expected, BackendSelection())
    assert json_format.MessageToDict(message) == expected


def test_another_environment_changes_every_name() -> None:
    other = backend_selection(provider="aws", environment="prod", prefix="acme", region="eu-west-1")
    assert other["region"] == "eu-west-1"
    assert other["storage"]["bucket"] == "acme-prod-documents"  # type: ignore[index]
    assert other["database"]["table"] == "acme-prod"  # type: ignore[index]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"provider": "gcp"}, "provider"),
        ({"provider": ""}, "provider"),
        ({"provider": "AWS"}, "provider"),
        ({"provider": "aws", "location": "eastus"}, "location"),
        ({"provider": "azure", "region": "us-east-1"}, "region"),
        ({"provider": "local", "region": "us-east-1"}, "region"),
        ({"provider": "aws", "region": "us east"}, "region"),
        ({"provider": "aws", "region": "us-east-1\n"}, "region"),
        ({"provider": "aws", "prefix": ""}, "prefix"),
        ({"provider": "aws", "prefix": "Acme"}, "prefix"),
        ({"provider": "aws", "prefix": "a--b"}, "prefix"),
        ({"provider": "aws", "prefix": "-a"}, "prefix"),
        ({"provider": "aws", "prefix": "a_b"}, "prefix"),
        ({"provider": "aws", "prefix": "9a"}, "prefix"),
        ({"provider": "aws", "prefix": "x" * 50}, "prefix"),
        ({"provider": "azure", "prefix": "x" * 34}, "prefix"),
        ({"provider": "aws", "environment": ""}, "environment"),
        ({"provider": "aws", "environment": "x" * 17}, "environment"),
    ],
)
def test_refused_arguments_are_named(arguments: dict[str, str], field: str) -> None:
    with pytest.raises(WorkspaceError) as caught:
        backend_selection(**arguments)
    assert caught.value.reason == Reason.ERROR_REASON_INVALID_FIELD
    assert caught.value.metadata == {"field": field}


WORDS = st.from_regex(r"[a-z][a-z0-9]{0,7}(-[a-z0-9]{1,6}){0,6}", fullmatch=True)


@given(st.sampled_from(["aws", "azure"]), WORDS, WORDS)
def test_accepted_names_fit_their_provider(provider: str, prefix: str, environment: str) -> None:
    try:
        selection = backend_selection(provider=provider, prefix=prefix, environment=environment)
    except WorkspaceError:
        return
    names: dict[str, dict[str, str]] = selection  # type: ignore[assignment]
    if provider == "aws":
        assert re.fullmatch(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", names["storage"]["bucket"])
        assert re.fullmatch(r"[a-zA-Z0-9_.-]{3,255}", names["database"]["table"])
    else:
        assert re.fullmatch(r"[a-z0-9]{3,24}", names["storage"]["account"])
        assert re.fullmatch(r"[a-z0-9][a-z0-9-]{1,42}[a-z0-9]", names["database"]["account"])
    refuse_secrets(selection)


def test_long_environments_keep_their_own_storage_account() -> None:
    names = {storage_account_name("acme", f"staging-{n}") for n in ("eu", "us", "ap")}
    assert len(names) == 3
    assert storage_account_name("acme", "a-b") != storage_account_name("acme", "ab")
    assert storage_account_name("acme", "prod") == "acmeproddocs"


# Put together at run time, so that no scanner takes this file for a leak.
AKIA = "AKIA" + "IOSFODNN7EXAMPLE"
AWS_SECRET = "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/" + (
    "K1SZFPTOtr/KBHBeksoGMGw=" + "="
)
JWT = "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxIn0" + ".c2lnbmF0dXJl"
SECRET_VALUES = [
    AKIA, f"id={AKIA};", AWS_SECRET, ACCOUNT_KEY, JWT, f"Bearer {JWT}", "Bearer abcdefghijklmnop",
    f"DefaultEndpointsProtocol=https;AccountName=x;AccountKey={ACCOUNT_KEY};",
    "AccountEndpoint=https://x.documents.azure.com/;AccountKey=abc",
    "accountkey = abc", "Endpoint=sb://x/;SharedAccessKeyName=r;SharedAccessKey=abc",
    "BlobEndpoint=https://x/;SharedAccessSignature=sv=2024", "SharedAccessSignature sr=x&sig=y",
    "https://x.blob.core.windows.net/c?sv=2024&sp=r&sig=abc%3D", "?sig=abc", "sig%3dabc",
    "https://b.s3.amazonaws.com/k?X-Amz-Signature=ab", "https://b/?x-amz-credential=AK",
    "https://b/?X-Amz-Security-Token=ab", "postgres://user:pw@host/db", "redis://:pw@host",
    "Server=x;Database=y;User Id=z;Password=abc", "host=x password=abc", "user=a;pwd=b",
    "-----BEGIN PRIVATE KEY-----\nMII", "-----BEGIN RSA PRIVATE KEY-----",
    "-----BEGIN OPENSSH PRIVATE KEY-----", "abc8Q~" + "x" * 34, "ghp_" + "a1" * 18,
    "xoxb-" + "1234567890", "https://x/cb?access_token=abc", "client_secret=abc",
]  # fmt: skip


@pytest.mark.parametrize("value", SECRET_VALUES)
@pytest.mark.parametrize("key", ["bucket", "note", ""])
def test_secret_values(key: str, value: str) -> None:
    assert looks_like_secret(key, value)
    assert looks_like_secret(key, f"  {value}\n")
    assert looks_like_secret(key, value.encode())


SECRET_KEYS = [
    "password", "Password", "db_password", "dbPassword", "DB-PASSWORD", "password2", "passphrase",
    "secret", "client_secret", "clientSecret", "AZURE_CLIENT_SECRET", "aws_secret_access_key",
    "account_key", "accountKey", "AccountKey", "account.key", "api_key", "apiKey", "APIKey",
    "sas", "sas_token", "SASToken", "token", "access_token", "AWS_SESSION_TOKEN", "private_key",
    "connection_string", "connectionString", "ConnectionString", "pwd", "jwt", "authorization",
    "shared_key", "signing_key", "credential", "cookie", "master_key",
]  # fmt: skip


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_secret_keys(key: str) -> None:
    assert looks_like_secret(key, "hunter2")
    assert not looks_like_secret(key, "")
    assert not looks_like_secret(key, None)
    assert not looks_like_secret(key, True)


def test_numbers_can_be_passwords_too() -> None:
    assert looks_like_secret("password", 123456)
    assert not looks_like_secret("port", 5432)


@pytest.mark.parametrize(
    "reference",
    [
        "env:DB_PASSWORD", "${DB_PASSWORD}", "$TOKEN", "false",
        "arn:aws:secretsmanager:us-east-1:123456789012:secret:prod/db-AbCdEf",
        "arn:aws:secretsmanager:us-east-1:123456789012:secret:prod/db-AbCdEf#dsn",
        "secretsmanager:prod/db", "secretsmanager:prod/db#dsn", "ssm:/prod/db/password",
        "https://acme.vault.azure.net/secrets/db/1",
        "@Microsoft.KeyVault(SecretUri=https://acme.vault.azure.net/secrets/db/)",
    ],
)  # fmt: skip
def test_references_are_not_secrets(reference: str) -> None:
    assert not looks_like_secret("password", reference)
    assert not looks_like_secret("client_secret", reference)


NOT_SECRETS = [
    ("bucket", "workspace-management-dev-documents"), ("account", "workspacemanagedevdocs"),
    ("container", "workspace-documents"), ("table", "secret-project-dev"),
    ("name", "Password vault"),
    ("partition_key", "/pk"), ("primary_key", "PK"), ("key_name", "wm"), ("kms_key_id", "alias/wm"),
    ("secret_name", "prod/db"), ("secret_arn", "arn:aws:secretsmanager:us-east-1:1:secret:x"),
    ("key_vault", "acme-vault"), ("token_endpoint", "https://login.microsoftonline.com/t/oauth2"),
    ("token_ttl", "3600"), ("client_id", "0b5c1b9e-7d8c-4f5e-8a59-3c2d1f1e0a9b"),
    ("user_pool_id", "us-east-1_AbCdEfGhI"), ("tenant_id", "72f988bf-86f1-41af-91ab-2d7cd011db47"),
    ("issuer", "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_AbC"),
    ("region", "us-east-1"),
    ("endpoint", "https://x.documents.azure.com:443/"), ("endpoint", "http://localhost:9000"),
    ("commit", "da39a3ee5e6b4b0d3255bfef95601890afd80709"), ("digest", "a" * 64),
    ("role_arn", "arn:aws:iam::123456789012:role/WorkspaceRuntime"), ("profile", "acme-prod"),
    ("queue", "https://sqs.us-east-1.amazonaws.com/123456789012/wm"), ("atlas", "atlas-eu"),
    ("service", "Secrets Manager or Parameter Store"), ("url", "https://x/?sigma=1&design=2"),
    ("email", "ada@example.com"), ("ssh", "ssh://git@host/repo"), ("secrets", "Key Vault"),
    ("certificate", "-----BEGIN CERTIFICATE-----\nMII"),
    ("public_key", "-----BEGIN PUBLIC KEY-----"),
    ("credentials_file", "~/.aws/credentials"), ("user", "u_" + "a2" * 13), ("empty", "  "),
    ("subscription", "/subscriptions/72f988bf/resourceGroups/rg/providers/Microsoft.Storage"),
    ("topic", "arn:aws:sns:us-east-1:123456789012:TokenEvents"), ("path", ".wm-data/objects"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), NOT_SECRETS)
def test_resource_names_are_not_secrets(key: str, value: str) -> None:
    assert not looks_like_secret(key, value)


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"account_key": "abc"}, "settings.account_key"),
        ({"a": {"b": [{"c": "x"}, {"note": JWT}]}}, "settings.a.b[1].note"),
        ({"password": ["x"]}, "settings.password[0]"),
        ({"ok": 1, "url": "https://x/?sig=abc"}, "settings.url"),
        ({AKIA: "x"}, "settings.(key)"),
        ({"a": {f"p?sig={JWT}": {}}}, "settings.a.(key)"),
    ],
)
def test_a_secret_is_refused_by_name_and_never_repeated(
    settings: dict[str, object], path: str
) -> None:
    with pytest.raises(WorkspaceError) as caught:
        refuse_secrets(settings, field="settings")
    error = caught.value
    assert error.reason == Reason.ERROR_REASON_SECRET_REFUSED
    assert error.metadata == {"field": path}
    assert [violation.field for violation in error.violations] == [path]
    shown = f"{error} {error.message} {error.metadata} {error.violations}"
    assert not any(secret in shown for secret in ("abc", JWT, AKIA))


def test_clean_settings_pass() -> None:
    for selection in (AWS, AZURE, LOCAL):
        refuse_secrets(selection)
    refuse_secrets(dict(NOT_SECRETS))
    with pytest.raises(WorkspaceError) as caught:
        refuse_secrets({"secret": "x"})
    assert caught.value.metadata == {"field": "secret"}
