"""Calls to Key Vault and App Configuration, and what their failures mean for a secret.

Codes: Microsoft Learn, "Key Vault REST API error codes" (the inner ones say what a 403 or
a 409 is about).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

from services.azure.failures import Failure, Kind, failure_of
from services.azure.roles import ROLES
from services.secrets.port import SecretMissing, SecretProblem
from services.secrets.trying import tried

__all__ = ["ask"]

T = TypeVar("T")
_DELETED: Final = (
    "is deleted, and its vault still holds the name: `az keyvault secret recover` brings it "
    "back, or purge it, or name another"
)
_TEXTS: Final = {
    "SecretDisabled": "is disabled: enable it, or name another",
    "ForbiddenByFirewall": "cannot be had: the firewall of the vault does not let this machine "
    "in: allow its network, or give the vault a private endpoint",
    "ForbiddenByConnection": "cannot be had: the vault takes calls from its private endpoints "
    "alone: call from one of their networks",
    "ObjectIsDeletedButRecoverable": _DELETED,
    "ObjectIsBeingDeleted": _DELETED,
}


async def ask(service: str, call: Callable[[], Awaitable[T]]) -> T:
    """One call, repeated a few times while the service is busy. `service` is a key of
    `ROLES`: the role that the call needs. Raises SecretMissing and SecretProblem."""
    return await tried(call, partial(_problem, service))


def _problem(service: str, error: Exception) -> SecretProblem:
    failure = failure_of(error, service)
    role = ROLES[service].label
    if failure.kind is Kind.MISSING:
        return SecretMissing(
            "does not exist, or has no value: make it, or name another (what `wm setup azure` "
            "and the templates of deploy/azure make is listed by their outputs)",
            role=role,
        )
    text = _TEXTS.get(_inner_code(error)) or f"cannot be had: {failure}{_more(failure)}"
    return SecretProblem(text, role=role, passing=failure.passing, pause=failure.retry_after)


def _more(failure: Failure) -> str:
    if failure.kind is Kind.DENIED and failure.service.startswith("vault"):
        return "; a vault with access policies needs them instead: get and list, set to write"
    return ""


def _inner_code(error: Exception) -> str:
    inner = getattr(getattr(error, "error", None), "innererror", None)
    return str(inner.get("code", "")) if isinstance(inner, dict) else ""
