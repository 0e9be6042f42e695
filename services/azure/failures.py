"""What a failure of a call to Azure means, and what helps.

Codes are those of the services' references ("HTTP status codes for Azure Cosmos DB",
"Blob Storage error codes", ...). No text of Azure is passed on: it may name accounts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

import aiohttp
from azure.core import exceptions as sdk
from azure.identity import CredentialUnavailableError

from services.azure.one_resource import OtherResource
from services.azure.roles import ROLES
from services.model.errors import Reason, WorkspaceError

__all__ = ["Failure", "Kind", "failure_of", "refusal"]


class Kind(Enum):
    """What kind of failure; the value says what helps."""

    THROTTLED = "the service asks for fewer requests: repeat later, or raise its limits"
    DENIED = "assign the role to these credentials"
    NO_CREDENTIALS = "sign in with `az login`, or set AZURE_TENANT_ID and AZURE_CLIENT_ID"
    BAD_CREDENTIALS = (
        "Azure does not take these credentials: sign in again with `az login`, or look at "
        "AZURE_TENANT_ID, AZURE_CLIENT_ID and the tenant of the resource"
    )
    SKEWED = "the clock of this machine is wrong: set it"
    MISSING = "it does not exist: make it with `wm setup azure`"
    CONDITION = "what is stored is not what was expected"
    INVALID = "the service does not take such a request"
    FULL = "the service's storage quota is used up: raise it, or free space"
    UNAVAILABLE = "repeat later"


_NO_ANSWER = (
    "nothing answers: look at the network of this machine and at the endpoint in the settings, "
    "if one is there, or repeat later"
)
_KIND_OF_CODE = {
    "AuthenticationFailed": Kind.BAD_CREDENTIALS,
    "InvalidAuthenticationInfo": Kind.BAD_CREDENTIALS,
    "InvalidAuthenticationTokenTenant": Kind.BAD_CREDENTIALS,
    "ExpiredAuthenticationToken": Kind.BAD_CREDENTIALS,
    "KeyBasedAuthenticationNotPermitted": Kind.BAD_CREDENTIALS,
    "AuthorizationPermissionMismatch": Kind.DENIED,
    "AuthorizationFailed": Kind.DENIED,
    "AuthorizationFailure": Kind.DENIED,
    "ServerBusy": Kind.THROTTLED,
    "OperationTimedOut": Kind.UNAVAILABLE,
    "ContainerNotFound": Kind.MISSING,
    "AccountIsDisabled": Kind.DENIED,
    "TooManyRequests": Kind.THROTTLED,
}
_KIND_OF_STATUS = {
    401: Kind.BAD_CREDENTIALS, 403: Kind.DENIED, 404: Kind.MISSING, 409: Kind.CONDITION,
    412: Kind.CONDITION, 429: Kind.THROTTLED, 408: Kind.UNAVAILABLE, 410: Kind.UNAVAILABLE,
    449: Kind.THROTTLED, 507: Kind.FULL,
}  # fmt: skip
_HOST_AWAY = "Cannot connect to host", "Connection timeout to host"
_NEVER_DONE = frozenset({429, 449})
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,100}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Failure:
    """`code` is the service's, `service` a key of `ROLES`. `ambiguous`: the call may have
    had its effect. `passing`: repeating may help. `retry_after` is in seconds."""

    kind: Kind
    code: str
    service: str
    ambiguous: bool = False
    retry_after: float = 0.0

    @property
    def passing(self) -> bool:
        return self.kind in (Kind.THROTTLED, Kind.UNAVAILABLE)

    def __str__(self) -> str:
        helps = self.kind.value
        if self.kind is Kind.DENIED:
            helps = f"{helps}: '{ROLES[self.service].label}'"
        if self.kind is Kind.UNAVAILABLE and not self.code.isdecimal():
            helps = _NO_ANSWER
        return f"{self.service} failed ({self.code}): {helps}"


def failure_of(error: BaseException, service: str) -> Failure:
    """The failure behind an exception of the SDK; `service` is a key of `ROLES`."""
    if isinstance(error, CredentialUnavailableError):
        return Failure(Kind.NO_CREDENTIALS, type(error).__name__, service)
    if isinstance(error, sdk.HttpResponseError) and error.status_code:
        found = _answered(error, service)
        signing_in = isinstance(error, sdk.ClientAuthenticationError)
        if signing_in and found.kind is Kind.INVALID:  # Entra's 400: tenant, application, secret
            return replace(found, kind=Kind.BAD_CREDENTIALS)
        return found
    if isinstance(error, sdk.ClientAuthenticationError):
        return _of_sign_in(error, service)
    if isinstance(error, ValueError | TypeError):
        return Failure(Kind.INVALID, type(error).__name__, service)
    return Failure(
        Kind.UNAVAILABLE, type(error).__name__, service, ambiguous=not _never_sent(error)
    )


def refusal(failure: Failure, what: str) -> WorkspaceError:
    """The error for people: `what` names the resource, as `container prod`. `failure` in its
    metadata is the kind, by which `wm` ends (cli/exit_codes.py)."""
    reason = Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    if failure.kind is Kind.FULL:
        reason = Reason.ERROR_REASON_STORAGE_FULL
    metadata = {"backend": "azure", "failure": failure.kind.name.lower()}
    return WorkspaceError(reason, f"{what}: {failure}", metadata=metadata)


def _of_sign_in(error: sdk.ClientAuthenticationError, service: str) -> Failure:
    """The chain of the SDK has one exception for finding nothing, for credentials that Entra
    refuses, and for a sign-in host that is away. Only its text tells them apart: Entra's
    code, or what aiohttp says of the host."""
    text, code = str(error), type(error).__name__
    if isinstance(error, OtherResource) or "AADSTS" in text:
        return Failure(Kind.BAD_CREDENTIALS, code, service)
    if any(words in text for words in _HOST_AWAY):
        return Failure(Kind.UNAVAILABLE, "the sign-in host is away", service)
    return Failure(Kind.NO_CREDENTIALS, code, service)


def _never_sent(error: BaseException) -> bool:
    """The SDK has one exception for connections that were never made and for those that
    broke before the answer; aiohttp's behind it tells them apart."""
    cause = getattr(error, "inner_exception", None)
    unmade = aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError
    return isinstance(error, sdk.ServiceRequestError) and (
        cause is None or isinstance(cause, unmade)
    )


def _answered(error: sdk.HttpResponseError, service: str) -> Failure:
    status = int(error.status_code or 0)
    headers = getattr(error.response, "headers", None) or {}
    code = str(headers.get("x-ms-error-code") or getattr(error.error, "code", "") or status)
    if not _CODE.fullmatch(code):  # of a server that is not Azure's: text for logs and screens
        code = str(status)
    kind = _KIND_OF_CODE.get(code) or _KIND_OF_STATUS.get(status)
    if kind is None:
        kind = Kind.UNAVAILABLE if status >= 500 else Kind.INVALID
    ambiguous = kind is Kind.UNAVAILABLE and status not in _NEVER_DONE
    return Failure(kind, code, service, ambiguous=ambiguous, retry_after=_pause(headers))


def _pause(headers: Mapping[str, str]) -> float:
    """Seconds that the service asks to wait (`x-ms-retry-after-ms`, else `Retry-After`)."""
    for name, unit in (("x-ms-retry-after-ms", 0.001), ("Retry-After", 1.0)):
        text = str(headers.get(name) or "")
        if text.replace(".", "", 1).isdecimal():
            return float(text) * unit
    return 0.0
