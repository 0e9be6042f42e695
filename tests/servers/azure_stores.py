"""Containers for tests: records in the fake of Cosmos DB, objects in Azurite, and what a
connection or a deployment says of them.

Needs `tools.HAS_NPM`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.records.cosmos.schema import container_definition
from tests.fakes.cosmos.client import CosmosControl
from tests.servers import azure, containers

__all__ = ["DATABASE", "Stores", "new_stores"]

DATABASE = "workspace"


@dataclass(frozen=True)
class Stores:
    """An account of the fake with a container, and a container of Azurite."""

    account: CosmosControl
    name: str
    blob_url: str = field(default_factory=lambda: azure.azurite().url.rstrip("/"))

    @property
    def settings(self) -> dict[str, str]:
        """Of a manifest."""
        return {
            "cosmos_account": self.name, "cosmos_database": DATABASE,
            "cosmos_container": self.name, "cosmos_endpoint": self.account.url,
            "storage_account": azure.ACCOUNT, "storage_container": self.name,
            "blob_endpoint": self.blob_url, "ca_file": azure.ca_file(),
        }  # fmt: skip

    @property
    def selection(self) -> dict[str, Any]:
        """Of a process (services/settings.py)."""
        named = {f"azure_{name}": value for name, value in self.settings.items()}
        selected = {"records": "cosmos", "objects": "azure_blob"}
        return named | selected | {"azure_ca_file": Path(azure.ca_file())}


def new_stores(prefix: str = "surface", **account: Any) -> Stores:
    """Empty ones. `account`: settings of the fake."""
    name = azure.new_name(f"{prefix}-")
    control = azure.cosmos_account(**account)
    control.make_container(DATABASE, container_definition(name))
    return Stores(control, containers.new_container(name))
