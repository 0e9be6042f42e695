"""What is there, read without writing anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.azure.setup import desired
from services.azure.setup.api import ArmApi
from services.azure.setup.desired import API_VERSIONS, Baseline, Resource
from services.azure.setup.who import Who

__all__ = ["PROVIDERS", "State", "group_path", "read_state"]

Found = Mapping[str, Any]
PROVIDERS = ("Microsoft.Storage", "Microsoft.DocumentDB")


@dataclass(frozen=True, slots=True)
class State:
    """Resources in the form of Resource Manager; None for one that is not there.
    `containers` are all of the storage account, `roles` and `cosmos_roles` the
    assignments that the signed-in user has, `throughput` what the items have."""

    registered: Mapping[str, bool] = field(default_factory=dict)
    group: Found | None = None
    storage: Found | None = None
    blobs: Found = field(default_factory=dict)
    containers: Sequence[Found] = ()
    lifecycle: Found | None = None
    roles: Sequence[Found] = ()
    cosmos: Found | None = None
    database: Found | None = None
    container: Found | None = None
    throughput: Found | None = None
    cosmos_roles: Sequence[Found] = ()


def group_path(who: Who, wanted: Baseline) -> str:
    """The identifier of the resource group."""
    return f"{who.path}/resourceGroups/{wanted.resource_group}"


async def read_state(api: ArmApi, who: Who, wanted: Baseline) -> State:
    """Everything. Raises BACKEND_UNAVAILABLE naming what is missing."""
    group = group_path(who, wanted)
    registered = {name: await _registered(api, who, name) for name in PROVIDERS}
    there = await api.read(
        group, API_VERSIONS["Microsoft.Resources"], f"resource group {wanted.resource_group}"
    )
    if there is None:
        return State(registered)

    async def get(resource: Resource) -> Found | None:
        return await api.read(resource.path(group), resource.api_version, resource.name)

    storage = await get(desired.storage_account(wanted))
    cosmos = await get(desired.cosmos_account(wanted))
    found: dict[str, Any] = {"registered": registered, "group": there}
    found |= {"storage": storage, "cosmos": cosmos}
    if storage is not None:
        found |= {
            "blobs": await get(desired.blob_service(wanted)) or {},
            "containers": await _containers(api, group, wanted),
            "lifecycle": await get(desired.lifecycle(wanted)),
            "roles": await _roles(api, group, who, wanted),
        }
    if cosmos is not None:
        found |= await _items(api, group, who, wanted, get)
    return State(**found)


async def _items(api: ArmApi, group: str, who: Who, wanted: Baseline, get: Any) -> dict[str, Any]:
    container = desired.cosmos_container(wanted)
    throughput = await api.read(
        f"{container.path(group)}/throughputSettings/default", container.api_version,
        f"throughput of {container.name}",
    )  # fmt: skip
    account = desired.cosmos_account(wanted)
    roles = await api.listed(
        f"{account.path(group)}/sqlRoleAssignments", account.api_version,
        f"role assignments of {account.name}",
    )  # fmt: skip
    mine = [each for each in roles if each["properties"].get("principalId") == who.principal]
    return {
        "database": await get(desired.cosmos_database(wanted)),
        "container": await get(container), "throughput": throughput, "cosmos_roles": mine,
    }  # fmt: skip


async def _containers(api: ArmApi, group: str, wanted: Baseline) -> list[dict[str, Any]]:
    service = desired.blob_service(wanted)
    path = f"{service.path(group)}/containers"
    return await api.listed(path, service.api_version, f"containers of {wanted.storage_account}")


async def _roles(api: ArmApi, group: str, who: Who, wanted: Baseline) -> list[dict[str, Any]]:
    """Those that count on the storage account, inherited and of groups as well."""
    if not who.principal:
        return []
    scope = desired.storage_account(wanted).path(group)
    asked = f"$filter=atScope()%20and%20assignedTo('{who.principal}')"
    return await api.listed(
        f"{scope}/providers/Microsoft.Authorization/roleAssignments?{asked}",
        API_VERSIONS["Microsoft.Authorization"],
        f"role assignments of {wanted.storage_account}",
    )


async def _registered(api: ArmApi, who: Who, provider: str) -> bool:
    found = await api.read(
        f"{who.path}/providers/{provider}", API_VERSIONS["Microsoft.Resources"],
        f"provider {provider}",
    )  # fmt: skip
    return str((found or {}).get("registrationState", "")) in ("Registered", "Registering")
