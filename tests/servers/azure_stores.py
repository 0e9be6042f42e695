"""Containers for tests: records in the fake of Cosmos DB, objects in Azurite, and what a
connection to them says. Sign-in is the managed identity of the process.

Needs `tools.HAS_NPM`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from azure.identity import DefaultAzureCredential
from azure.storage.blob import ContainerClient

from services.records.cosmos.schema import container_definition
from tests.fakes.cosmos.client import CosmosControl
from tests.servers import azure

__all__ = ["DATABASE", "Stores", "blobs", "new_stores", "signed_in"]

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


def new_stores(prefix: str = "surface", **account: Any) -> Stores:
    """Empty ones. `account`: settings of the fake."""
    name = azure.new_name(f"{prefix}-")
    control = azure.cosmos_account(**account)
    control.make_container(DATABASE, container_definition(name))
    with blobs(name) as container:
        container.create_container()
    return Stores(control, name)


@contextmanager
def blobs(name: str) -> Iterator[ContainerClient]:
    """The SDK's client of a container of Azurite, as the maker of it."""
    url = f"{azure.azurite().url.rstrip('/')}/{azure.ACCOUNT}"
    with signed_in() as credential, ContainerClient(
        url, name, credential, connection_verify=azure.ca_file()
    ) as container:
        yield container


@contextmanager
def signed_in() -> Iterator[DefaultAzureCredential]:
    """The identity of the process, whatever the environment of the test is."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in azure.environment().items():
            patch.setenv(name, value)
        with DefaultAzureCredential() as credential:
            yield credential
