"""Where the setup goes: flags, the settings of `wm serve`, the variables of the seeds, and
else the names that `wm init --provider azure` gives.

What is made is what `wm serve` uses: `WM_*`, then backend.toml, then `AZURE_*`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from services.azure.place import AzurePlace
from services.azure.selected import azure_place, azure_selection, check_azure, from_environment
from services.azure.setup.desired import MAX_THROUGHPUT, Baseline
from services.azure.setup.tags import TAGS
from services.model.errors import invalid_field
from services.model.selection import DEFAULT_ENVIRONMENT, DEFAULT_PREFIX, backend_selection
from services.settings import Settings
from services.setup.names import check_origins, layered, selection_there, settings_for
from services.setup.tags import default_tags

__all__ = ["Asked", "Target", "find_target", "plain_location"]

_GROUP: Final = re.compile(r"[\w.()-]{0,89}[\w()-]")
_LOCATION: Final = re.compile(r"[a-z0-9]{3,40}")
_SUBSCRIPTION: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_YES: Final = frozenset(["1", "true", "yes", "on"])
_NO: Final = frozenset(["", "0", "false", "no", "off"])
_NAMES: Final = (
    "azure_storage_account", "azure_storage_container", "azure_cosmos_account",
    "azure_cosmos_database", "azure_cosmos_container",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """The flags of `wm setup azure`; empty where none was given."""

    prefix: str = ""
    environment: str = ""
    location: str = ""
    resource_group: str = ""
    subscription: str = ""
    tags: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()
    keep_versions_days: int | None = None
    serverless: bool = False
    free_tier: bool | None = None
    max_throughput: int = MAX_THROUGHPUT


@dataclass(frozen=True, slots=True)
class Target:
    """Where, what, and the backend selection that says so. `subscription` is '' for the
    only one that the credentials see."""

    place: AzurePlace
    baseline: Baseline
    subscription: str
    selection: dict[str, Any]


def find_target(
    asked: Asked, *, backend_file: Path, environment: Mapping[str, str] = os.environ
) -> Target:
    """Raises INVALID_FIELD naming the flag or the variable."""
    settings = settings_for(backend_file, records="cosmos", objects="azure_blob")
    there = selection_there(backend_file, "azure")
    label = asked.environment or str(there.get("environment") or DEFAULT_ENVIRONMENT)
    derived = _names(asked, label)
    named = {"azure_location": plain_location(asked.location)} if asked.location else {}
    if asked.prefix or asked.environment:
        named |= {key: derived[key] for key in ("azure_storage_account", "azure_cosmos_account")}
    settings = layered(
        settings, named=named, derived=derived,
        selected=lambda each: azure_selection(each, there) if there else {},
        from_environment=lambda each: from_environment(each, environment),
    )  # fmt: skip
    check_azure(settings)
    baseline = _baseline(asked, settings, label, environment)
    subscription = asked.subscription or environment.get("AZURE_SUBSCRIPTION_ID", "")
    if subscription and not _SUBSCRIPTION.fullmatch(subscription):
        raise invalid_field("AZURE_SUBSCRIPTION_ID", "must be the id of a subscription, a GUID")
    selection = _selection(settings, baseline.location, label, there)
    place = replace(azure_place(settings), call_seconds=60.0)  # Resource Manager is slow
    return Target(place, baseline, subscription, selection)


def plain_location(name: str) -> str:
    """`eastus` for `East US`: Azure takes and gives both."""
    return name.replace(" ", "").lower()


def _names(asked: Asked, label: str) -> dict[str, str]:
    """What `wm init --provider azure` would write."""
    made: dict[str, Any] = backend_selection(
        provider="azure", environment=label, prefix=asked.prefix or DEFAULT_PREFIX
    )
    return {
        "azure_location": made["location"],
        "azure_storage_account": made["storage"]["account"],
        "azure_storage_container": made["storage"]["container"],
        "azure_cosmos_account": made["database"]["account"],
        "azure_cosmos_database": made["database"]["database"],
        "azure_cosmos_container": made["database"]["container"],
    }


def _baseline(
    asked: Asked, settings: Settings, label: str, environment: Mapping[str, str]
) -> Baseline:
    check_origins(asked.allow_origins)
    if asked.max_throughput % 1000:
        raise invalid_field("--max-throughput", "must be a multiple of 1000 RU/s")
    free_tier = _free_tier(asked, environment)
    if asked.serverless and free_tier:
        raise invalid_field("--free-tier", "is not for serverless accounts: choose one")
    given = TAGS.parse([environment.get("AZURE_TAGS", "")]) | TAGS.parse(asked.tags, field="--tag")
    names = {key.removeprefix("azure_"): getattr(settings, key) for key in _NAMES}
    return Baseline(
        location=_location(settings.azure_location),
        resource_group=_group(asked, settings, environment),
        **names,
        tags=default_tags(label) | given,
        allow_origins=asked.allow_origins,
        keep_versions_days=asked.keep_versions_days,
        serverless=asked.serverless,
        free_tier=free_tier,
        max_throughput=asked.max_throughput,
    )


def _location(name: str) -> str:
    location = plain_location(name)
    if not _LOCATION.fullmatch(location):
        raise invalid_field("AZURE_LOCATION", f"'{name}' must be a name like westeurope")
    return location


def _group(asked: Asked, settings: Settings, environment: Mapping[str, str]) -> str:
    """The default is what the name of the Cosmos DB account begins with."""
    derived = settings.azure_cosmos_account.removesuffix("-cosmos")
    group = asked.resource_group or environment.get("AZURE_RESOURCE_GROUP", "") or derived
    if not _GROUP.fullmatch(group):
        raise invalid_field(
            "AZURE_RESOURCE_GROUP", "must be 1 to 90 of letters, digits, _ - . ( ), no . at its end"
        )
    return group


def _free_tier(asked: Asked, environment: Mapping[str, str]) -> bool:
    if asked.free_tier is not None:
        return asked.free_tier
    text = environment.get("AZURE_COSMOS_ENABLE_FREE_TIER", "").strip().lower()
    if text not in _YES | _NO:
        raise invalid_field("AZURE_COSMOS_ENABLE_FREE_TIER", "must be true or false")
    return text in _YES


def _selection(
    settings: Settings, location: str, label: str, there: Mapping[str, Any]
) -> dict[str, Any]:
    """The selection that names these resources; what else a file says stays."""
    made: dict[str, Any] = backend_selection(provider="azure", environment=label)
    found = {**made, **there, "location": location, "environment": label}
    storage = {
        **made["storage"], **there.get("storage", {}),
        "account": settings.azure_storage_account, "container": settings.azure_storage_container,
    }  # fmt: skip
    database = {
        **made["database"], **there.get("database", {}),
        "account": settings.azure_cosmos_account, "database": settings.azure_cosmos_database,
        "container": settings.azure_cosmos_container,
    }  # fmt: skip
    return {**found, "storage": storage, "database": database}
