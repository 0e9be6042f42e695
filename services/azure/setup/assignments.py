"""The plan of the signed-in user's roles on the data: reading and writing is by sign-in
alone, so whoever set up could not use it without."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from services.azure.roles import ROLES
from services.azure.setup import desired
from services.azure.setup.calls import put_at
from services.azure.setup.desired import API_VERSIONS, Baseline
from services.azure.setup.state import State
from services.azure.setup.who import Who
from services.setup.plan import Step, Verb

__all__ = ["plan_assignments"]

_NAME: Final = "roles of the signed-in user"
# "Storage Blob Data Owner" has all that our role has.
_BLOB_ROLES: Final = (ROLES["blob"].identifier, "b7e6dc6d-f1e8-4753-8033-0f276bb0955b")
_UNKNOWN: Final = (
    "these credentials do not say whose they are: assign the role by `az role assignment create`"
)


def plan_assignments(wanted: Baseline, group: str, state: State, who: Who) -> list[Step]:
    """The steps; roles that come from a group or from above count."""
    if not who.principal:
        labels = [ROLES[service].label for service in ("blob", "cosmos")]
        return [Step(_NAME, label, Verb.LEAVE, _UNKNOWN) for label in labels]
    return [*_blob(wanted, group, state, who), *_cosmos(wanted, group, state, who)]


def _blob(wanted: Baseline, group: str, state: State, who: Who) -> Iterator[Step]:
    role = ROLES["blob"]
    scope = desired.storage_account(wanted).path(group)
    has = [_role_of(each) for each in state.roles]
    shown = f"on {wanted.storage_account}"
    if any(each in _BLOB_ROLES for each in has):
        yield Step(_NAME, role.label, Verb.KEEP, shown, shown)
        return
    name = desired.assignment_name(scope, who.principal, role.identifier)
    properties = desired.blob_assignment(who.subscription, who.principal)
    if who.kind:  # a new identity is not known everywhere at once; with its kind it is taken
        properties["principalType"] = who.kind
    call = put_at(
        f"{scope}/providers/Microsoft.Authorization/roleAssignments/{name}",
        API_VERSIONS["Microsoft.Authorization"], {"properties": properties}, "assignments",
    )  # fmt: skip
    instead = (
        f"az role assignment create --assignee-object-id {who.principal}"
        f"{f' --assignee-principal-type {who.kind}' if who.kind else ''} --role '{role.label}' "
        f"--scope {scope}"
    )
    yield Step(_NAME, role.label, Verb.CREATE, shown, "", [call], instead)


def _cosmos(wanted: Baseline, group: str, state: State, who: Who) -> Iterator[Step]:
    role = ROLES["cosmos"]
    resource = desired.cosmos_account(wanted)
    account = resource.path(group)
    shown = f"on {wanted.cosmos_account}"
    if any(_counts(each, account, role.identifier) for each in state.cosmos_roles):
        yield Step(_NAME, role.label, Verb.KEEP, shown, shown)
        return
    name = desired.assignment_name(account, who.principal, role.identifier)
    body = {"properties": desired.cosmos_assignment(account, who.principal)}
    call = put_at(f"{account}/sqlRoleAssignments/{name}", resource.api_version, body)
    instead = (
        f"az cosmosdb sql role assignment create --account-name {wanted.cosmos_account} "
        f"--resource-group {wanted.resource_group} --role-definition-id {role.identifier} "
        f"--principal-id {who.principal} --scope /"
    )
    yield Step(_NAME, role.label, Verb.CREATE, shown, "", [call], instead)


def _role_of(assignment: Any) -> str:
    return str(assignment.get("properties", {}).get("roleDefinitionId", "")).rpartition("/")[2]


def _counts(assignment: Any, account: str, role: str) -> bool:
    """Narrower scopes than the account do not: opening reads the account."""
    scope = str(assignment.get("properties", {}).get("scope", "")).rstrip("/")
    return _role_of(assignment) == role and scope.lower() in ("", account.lower())
