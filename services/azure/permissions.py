"""What each service may do on Azure: one table for the templates, `wm setup azure --policy`
and the guide.

`SERVICES` names what a process needs; deploy/azure/runtime.bicep assigns exactly these
roles, on these resources and nothing above them, and a test compares. `SETUP` is for whoever
runs `wm setup azure`, `SURFACE` for the credentials of a connection.

Roles are built-in ones (`services.azure.roles`), the narrowest that hold each action that
the code calls. Two of them hold much more: `NARROWER` says what would do, and
deploy/azure/roles.bicep makes such roles; they are no default, since making roles takes
rights that assigning them does not. Those of Cosmos DB are its own, assigned inside of the
account.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from services.azure.roles import ROLES, Role

__all__ = [
    "GRANTS", "NARROWER", "SERVICES", "SETUP", "SURFACE", "Grant", "assignment_commands",
    "grants_of",
]  # fmt: skip

_STORAGE: Final = "/providers/Microsoft.Storage/storageAccounts/${storageAccountName}"


@dataclass(frozen=True, slots=True)
class Grant:
    """A role on a resource. `role` is a key of `ROLES`; `resource` the name that
    deploy/azure has for it, '' for the whole resource group; `scope` its identifier below
    the resource group; `only_with` names the template's parameter without which there is
    no such resource."""

    name: str
    role: str
    why: str
    resource: str
    scope: str
    only_with: str = ""

    @property
    def definition(self) -> Role:
        return ROLES[self.role]


GRANTS: Final[Sequence[Grant]] = (
    Grant(
        "Records", "cosmos", "items, transactions, index queries and the change feed",
        "cosmosAccount", "/providers/Microsoft.DocumentDB/databaseAccounts/${cosmosAccountName}",
    ),
    Grant(
        "Objects", "blob", "reading, writing and listing files", "storageContainer",
        f"{_STORAGE}/blobServices/default/containers/${{storageContainerName}}",
    ),
    Grant(
        "Signing", "blob_sign", "the key that signs URLs of files, which is the account's",
        "storageAccount", _STORAGE,
    ),
    Grant(
        "Keys", "vault_write",
        "the key files that all replicas share, written once, when there are none; secrets "
        "that settings refer to",
        "vault", "/providers/Microsoft.KeyVault/vaults/${vaultName}",
    ),
    Grant(
        "Settings", "configuration", "values of settings that are `appconfig:` references",
        "configurationStore",
        "/providers/Microsoft.AppConfiguration/configurationStores/${configurationName}",
        only_with="withConfiguration",
    ),
    Grant(
        "Events", "eventgrid", "publishing activity events",
        "eventTopic", "/providers/Microsoft.EventGrid/topics/${topicName}",
    ),
    Grant(
        "Mail", "email", "sending mail", "communication",
        "/providers/Microsoft.Communication/communicationServices/${communicationName}",
    ),
    Grant(
        "Image", "registry", "pulling the image", "registry",
        "/providers/Microsoft.ContainerRegistry/registries/${registryName}",
        only_with="registryName",
    ),
)  # fmt: skip
"""What running processes need, by part."""

SERVICES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        # One process serves all services (`wm serve`), so there is one identity. A service
        # with a process of its own gets a row, and an identity, of its own.
        "workspace": (
            "Records", "Objects", "Signing", "Keys", "Settings", "Events", "Mail", "Image",
        ),
    }
)  # fmt: skip
"""Service of deploy/azure/runtime.bicep -> the grants of its identity."""

NARROWER: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "Keys": (
            "Microsoft.KeyVault/vaults/secrets/getSecret/action",
            "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
            "Microsoft.KeyVault/vaults/secrets/setSecret/action",
        ),
        "Mail": (
            "Microsoft.Communication/CommunicationServices/Read",
            "Microsoft.Communication/CommunicationServices/Write",
            "Microsoft.Communication/EmailServices/write",
        ),
    }
)
"""Grant -> the actions that are enough. Those of Key Vault are of its data ("Azure
permissions for Security": Get Secret, Get Secret Versions, Set Secret); those of mail are
what Communication Services documents for sending as an application of Entra ("Use a custom
role to limit permissions", of SMTP, which sends with the same token)."""

SETUP: Final[Sequence[Grant]] = (
    Grant("SetupResources", "management", "making and hardening the resources", "", ""),
    Grant(
        "SetupRoles", "assignments",
        "giving the signed-in user the two roles on files and records", "", "",
    ),
)  # fmt: skip
"""What whoever runs `wm setup azure` needs on the resource group. Without the second role
it says what somebody else has to run."""

SURFACE: Final[Sequence[Grant]] = tuple(
    grant for grant in GRANTS if grant.name in ("Records", "Objects", "Signing")
)
"""What the credentials of a connection need, on the accounts of the other side."""

_NAME = re.compile(r"\$\{(\w+)\}")


def grants_of(service: str) -> list[Grant]:
    """The grants of a service's identity, in the order of the table. Raises KeyError."""
    names = SERVICES[service]
    return [grant for grant in GRANTS if grant.name in names]


def assignment_commands(
    grants: Sequence[Grant], *, group: str, principal: str, names: Mapping[str, str]
) -> list[str]:
    """Commands of the Azure CLI that assign the roles, each after a comment with the name
    of its role, which the command has as a GUID, and why. `group` is the identifier of the
    resource group, `/subscriptions/.../resourceGroups/...`, `principal` an object
    identifier; `names` are those in the scopes: a grant one of whose names has no value is
    left out."""
    return [
        line
        for grant in grants
        if _is_complete(grant, names)
        for line in (
            f"# {grant.definition.label}: {grant.why}", _command(grant, group, principal, names)
        )
    ]  # fmt: skip


def _command(grant: Grant, group: str, principal: str, names: Mapping[str, str]) -> str:
    scope = group + _NAME.sub(lambda found: names[found[1]], grant.scope)
    role = grant.definition
    if role.data:
        account, name = names["cosmosAccountName"], group.rpartition("/")[2]
        return (
            f"az cosmosdb sql role assignment create --account-name {account} --resource-group "
            f"{name} --role-definition-id {role.identifier} --principal-id {principal} --scope /"
        )
    return (
        f"az role assignment create --assignee-object-id {principal} --role {role.identifier} "
        f"--scope {scope}"
    )


def _is_complete(grant: Grant, names: Mapping[str, str]) -> bool:
    return all(names.get(name) for name in _NAME.findall(grant.scope))
