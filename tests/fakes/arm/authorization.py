"""Microsoft.Authorization: role assignments at any scope."""

from __future__ import annotations

import re
from typing import Any

from tests.fakes.arm.errors import Refused, bad

__all__ = ["assigned", "assignment"]

_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FILTER = re.compile(r"(atScope\(\) and )?assignedTo\('([^']+)'\)")
_KINDS = {"User", "ServicePrincipal", "Group"}


def assignment(
    there: dict[str, Any], scope: str, name: str, body: dict[str, Any]
) -> dict[str, Any]:
    """A new one among those that are there (by identifier)."""
    properties = dict(body.get("properties", {}))
    if not _GUID.fullmatch(name):
        raise Refused(400, "InvalidRoleAssignmentId", name)
    if set(properties) - {"roleDefinitionId", "principalId", "principalType"}:
        raise bad("unknown properties")
    if properties.get("principalType", "User") not in _KINDS:
        raise Refused(400, "UnmatchedPrincipalType", "principalType")
    made = {**properties, "scope": scope}
    for path, each in there.items():
        same = all(
            each["properties"].get(key) == made.get(key)
            for key in ("roleDefinitionId", "principalId", "scope")
        )
        if same and not path.endswith(f"/{name}"):
            raise Refused(409, "RoleAssignmentExists", "The role assignment already exists.")
    return {"properties": made}


def assigned(
    there: dict[str, dict[str, Any]], scope: str, filtered: str
) -> list[dict[str, Any]]:
    """Those that count at a scope, inherited ones as well."""
    found = _FILTER.fullmatch(filtered)
    if found is None:
        raise Refused(400, "InvalidFilter", filtered)
    return [
        each
        for each in there.values()
        if each["properties"]["principalId"] == found[2]
        and scope.lower().startswith(each["properties"]["scope"].lower())
    ]
