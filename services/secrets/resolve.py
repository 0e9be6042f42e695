"""Settings whose secrets are references, made into settings that hold the secrets."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Final, TypeVar

from pydantic import SecretStr

from services.model.errors import Reason, WorkspaceError
from services.secrets.port import SecretProblem, SecretValue
from services.secrets.reference import Reference, parse_reference
from services.secrets.stores import SecretStores, open_stores
from services.settings import Settings

__all__ = ["refused_secret", "resolve_secrets"]

S = TypeVar("S", bound=Settings)
_MOST_CHARS: Final = 64 * 1024


async def resolve_secrets(settings: S, *, stores: SecretStores | None = None) -> S:
    """The settings with each secret that is a reference read from where it leads.

    Call it once, before anything is opened; a changed secret counts from the next start.
    Without references it does nothing. Raises INVALID_STATE, or BACKEND_UNAVAILABLE for
    what a later try may mend: naming the variable, the secret and the IAM action, or the role.
    """
    wanted = _wanted(settings)
    if not wanted:
        return settings
    opened = stores or open_stores(settings)
    read: dict[Reference, SecretValue] = {}
    try:
        found = {
            field: SecretStr(await _resolved(opened, field, reference, read))
            for field, reference in wanted.items()
        }
    finally:
        if stores is None:
            await opened.close()
    return settings.model_copy(update=found)


def refused_secret(
    field: str, reference: Reference, problem: SecretProblem
) -> WorkspaceError:
    """The error for people. `field` is the setting's name; no value is in it."""
    variable = f"WM_{field.upper()}"
    reason = (
        Reason.ERROR_REASON_BACKEND_UNAVAILABLE
        if problem.passing
        else Reason.ERROR_REASON_INVALID_STATE
    )
    needed = {"action": problem.action, "role": problem.role}
    metadata = {"field": variable} | {name: value for name, value in needed.items() if value}
    return WorkspaceError(
        reason, f"{variable}: the secret {reference} {problem}", metadata=metadata
    )


def _wanted(settings: Settings) -> dict[str, Reference]:
    wanted = {}
    for field in type(settings).model_fields:
        value = getattr(settings, field)
        if isinstance(value, SecretStr):
            reference = parse_reference(value.get_secret_value())
            if reference is not None:
                wanted[field] = reference
    return wanted


async def _resolved(
    stores: SecretStores, field: str, reference: Reference, read: dict[Reference, SecretValue]
) -> str:
    whole = replace(reference, member="")
    try:
        if whole not in read:
            read[whole] = await stores.of(whole).read(whole)
        return _text(read[whole].text, reference.member)
    except SecretProblem as problem:
        raise refused_secret(field, reference, problem) from None


def _text(value: str, member: str) -> str:
    text = _member(value, member) if member else value
    text = text.rstrip("\r\n")  # files that were put with an editor end with one
    if not text.strip():
        raise SecretProblem("is empty: give it a value")
    if len(text) > _MOST_CHARS:
        raise SecretProblem("is too long to be what it should be: name another")
    return text


def _member(value: str, member: str) -> str:
    try:
        document = json.loads(value)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise SecretProblem("is no JSON object: leave out `#` and the member")
    found = document.get(member)
    if isinstance(found, bool) or not isinstance(found, str | int):
        raise SecretProblem(f"has no text as its member '{member}': name one that it has")
    return str(found)
