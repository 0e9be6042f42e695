"""Failures of Azure calls: what kind they are, and what people are told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any

import aiohttp
import pytest
from azure.core import exceptions as sdk
from azure.identity import CredentialUnavailableError

from services.azure.clients import AzureClients, AzureSecret
from services.azure.failures import Kind, failure_of, refusal
from services.azure.place import AzurePlace
from services.azure.roles import ROLES
from services.model.errors import Reason, WorkspaceError


def answered(
    status: int, code: str = "", *, made: type[sdk.HttpResponseError] = sdk.HttpResponseError,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> sdk.HttpResponseError:  # fmt: skip
    given = {**headers, "x-ms-error-code": code} if code else dict(headers)
    response: Any = SimpleNamespace(
        status_code=status, reason="account wm-secret-account", headers=given, text=lambda: ""
    )
    return made(message="account wm-secret-account", response=response)


def broken(cause: Exception) -> sdk.ServiceRequestError:
    """As the SDK's transport says it, whether something was sent or not."""
    return sdk.ServiceRequestError(cause, error=cause)


HOST_AWAY = "EnvironmentCredential: Cannot connect to host login.example:443 ssl:default [refused]"
UNMADE = aiohttp.ClientConnectorError(
    SimpleNamespace(host="h", port=1, ssl=True),  # type: ignore[arg-type]
    OSError("refused"),
)


@pytest.mark.parametrize(
    ("error", "kind", "ambiguous"),
    [
        (answered(429, "TooManyRequests"), Kind.THROTTLED, False),
        (answered(503, "ServerBusy"), Kind.THROTTLED, False),
        (answered(449), Kind.THROTTLED, False),
        (answered(403, "AuthorizationPermissionMismatch"), Kind.DENIED, False),
        (answered(403), Kind.DENIED, False),
        (answered(403, "AuthenticationFailed"), Kind.BAD_CREDENTIALS, False),
        (answered(401), Kind.BAD_CREDENTIALS, False),
        (answered(404, "ContainerNotFound"), Kind.MISSING, False),
        (answered(404), Kind.MISSING, False),
        (answered(409, "BlobAlreadyExists"), Kind.CONDITION, False),
        (answered(412), Kind.CONDITION, False),
        (answered(400, "InvalidInput"), Kind.INVALID, False),
        (answered(507), Kind.FULL, False),
        (answered(500, "InternalError"), Kind.UNAVAILABLE, True),
        (answered(500, "OperationTimedOut"), Kind.UNAVAILABLE, True),
        (answered(408), Kind.UNAVAILABLE, True),
        (answered(410), Kind.UNAVAILABLE, True),
        (answered(502), Kind.UNAVAILABLE, True),
        (answered(400, made=sdk.ClientAuthenticationError), Kind.BAD_CREDENTIALS, False),
        (answered(401, made=sdk.ClientAuthenticationError), Kind.BAD_CREDENTIALS, False),
        (CredentialUnavailableError("none"), Kind.NO_CREDENTIALS, False),
        (sdk.ClientAuthenticationError("Attempted credentials: none"), Kind.NO_CREDENTIALS, False),
        (sdk.ClientAuthenticationError("AADSTS7000215: ..."), Kind.BAD_CREDENTIALS, False),
        (sdk.ClientAuthenticationError(HOST_AWAY), Kind.UNAVAILABLE, False),
        (broken(UNMADE), Kind.UNAVAILABLE, False),
        (broken(aiohttp.ServerDisconnectedError()), Kind.UNAVAILABLE, True),
        (broken(aiohttp.ClientOSError("reset")), Kind.UNAVAILABLE, True),
        (sdk.ServiceResponseError("cut"), Kind.UNAVAILABLE, True),
        (sdk.IncompleteReadError("cut"), Kind.UNAVAILABLE, True),
        (ValueError("x"), Kind.INVALID, False),
        (OSError("reset"), Kind.UNAVAILABLE, True),
    ],
)
def test_the_kind_of_a_failure(error: Exception, kind: Kind, ambiguous: bool) -> None:
    failure = failure_of(error, "blob")
    assert (failure.kind, failure.ambiguous) == (kind, ambiguous)
    assert failure.passing == (kind in (Kind.THROTTLED, Kind.UNAVAILABLE))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ms-retry-after-ms": "250"}, 0.25),
        ({"Retry-After": "3"}, 3.0),
        ({"x-ms-retry-after-ms": "1500", "Retry-After": "60"}, 1.5),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0.0),
        ({"Retry-After": "-1"}, 0.0),
        ({}, 0.0),
    ],
)
def test_the_pause_that_a_service_asks_for(headers: dict[str, str], seconds: float) -> None:
    assert failure_of(answered(429, headers=headers), "cosmos").retry_after == seconds


@pytest.mark.parametrize("service", sorted(ROLES))
def test_people_are_told_the_role_and_nothing_of_the_account(service: str) -> None:
    error = refusal(failure_of(answered(403), service), "container files")
    assert error.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    assert error.metadata == {"backend": "azure", "failure": "denied"}
    assert f"'{ROLES[service].label}'" in error.message
    assert error.message.startswith(f"container files: {service} failed (403)")
    assert "wm-secret-account" not in error.message


def test_nobody_who_answers_is_no_fault_of_the_request() -> None:
    assert "look at the network" in str(failure_of(broken(UNMADE), "cosmos"))
    assert "look at the network" not in str(failure_of(answered(500), "cosmos"))


def test_storage_that_is_full_says_so() -> None:
    error = refusal(failure_of(answered(507), "cosmos"), "container items")
    assert error.reason == Reason.ERROR_REASON_STORAGE_FULL


def test_every_kind_says_what_helps() -> None:
    assert len({kind.value for kind in Kind}) == len(Kind)
    assert all(kind.value for kind in Kind)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without credentials, on which nothing outside is asked."""
    for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET", "USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"AZURE_{name}", raising=False)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")


@pytest.mark.usefixtures("alone")
async def test_whoever_never_signed_in_is_told_so() -> None:
    """As the real chain of the SDK fails."""
    clients = AzureClients(AzurePlace())
    with pytest.raises(sdk.ClientAuthenticationError) as caught:
        async with asyncio.timeout(60):
            await clients.credential.get_token("https://storage.azure.com/.default")
    await clients.close()
    failure = failure_of(caught.value, "blob")
    assert failure.kind is Kind.NO_CREDENTIALS
    assert "az login" in str(failure)


@pytest.mark.usefixtures("alone")
async def test_a_tenant_that_can_be_none_is_refused_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.setenv(f"AZURE_{name}", "not/a tenant")
    with pytest.raises(WorkspaceError, match="AZURE_TENANT_ID"):
        _ = AzureClients(AzurePlace()).credential
    secret = AzureSecret("not/a tenant", "client", "hush")
    with pytest.raises(WorkspaceError, match="AZURE_TENANT_ID") as caught:
        _ = AzureClients(AzurePlace(), secret=secret).credential
    assert "hush" not in caught.value.message


@pytest.mark.parametrize(
    "code", ["\x1b[31mwm keys", "two\nlines", "a sentence of a server", "x" * 101]
)
def test_what_is_no_code_is_not_repeated(code: str) -> None:
    """Nor of a server that a connection names, which is not Azure's."""
    failure = failure_of(answered(409, code), "blob")
    assert (failure.code, failure.kind) == ("409", Kind.CONDITION)
    assert code not in str(refusal(failure, "container docs"))
