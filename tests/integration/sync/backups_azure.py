"""Backups in Cosmos DB (the fake of it) and Blob Storage (Azurite)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from azure.core.pipeline.transport import RequestsTransport
from azure.cosmos import ContainerProxy, CosmosClient
from azure.storage.blob import ContainerClient, ContentSettings

from services.records.cosmos.schema import container_definition
from tests.servers import azure
from tests.servers.azure_stores import DATABASE, Stores, new_stores
from tests.servers.containers import Credential, client
from tests.servers.faulty import Fault

__all__ = ["AzureClouds"]


class AzureClouds:
    """A container of each kind for each name; the objects behind a proxy of this process, the
    records in an account that fails when it is told to. `close` it."""

    def __init__(self) -> None:
        self._stores: dict[Path, Stores] = {}
        self._proxy = azure.faulty_blob()

    def close(self) -> None:
        self._proxy.stop()

    def manifest(self, folder: Path, connection_id: str) -> dict[str, Any]:
        return {"provider": "azure", "settings": self._of(folder).settings}

    def _of(self, folder: Path) -> Stores:
        if folder not in self._stores:
            self._stores[folder] = replace(new_stores("backup"), blob_url=self._proxy.url)
        return self._stores[folder]

    @contextmanager
    def gone(self, folder: Path, what: str, other: Path) -> Iterator[None]:
        stores = self._of(folder)
        if what == "unmounted":
            self._proxy.plan = lambda _asked: Fault.CUT
            stores.account.plan(seeded={"seed": 1, "rate": 1.0, "faults": ["CUT"]})
        else:
            _empty(stores)
        if what == "re-pointed":
            _copy(self._of(other), stores)
        yield
        self._proxy.plan = lambda _asked: None
        stores.account.plan()


def _empty(stores: Stores) -> None:
    stores.account.delete_container(DATABASE, stores.name)
    stores.account.make_container(DATABASE, container_definition(stores.name))
    with client(stores.name) as container:
        for name in container.list_blob_names():
            container.delete_blob(name)


def _copy(source: Stores, target: Stores) -> None:
    with _records(source) as records, _records(target) as there:
        for item in records.read_all_items():
            own = {name: value for name, value in item.items() if not name.startswith("_")}
            there.create_item(own)
    with client(source.name) as container, client(target.name) as place:
        for blob in container.list_blobs(include=["metadata"]):
            _copy_blob(container, place, blob)


def _copy_blob(container: ContainerClient, place: ContainerClient, blob: Any) -> None:
    kind = blob.content_settings.content_type
    place.upload_blob(
        blob.name, container.download_blob(blob.name).readall(), metadata=blob.metadata,
        content_settings=ContentSettings(content_type=kind),
    )  # fmt: skip


@contextmanager
def _records(stores: Stores) -> Iterator[ContainerProxy]:
    with CosmosClient(
        stores.account.url, Credential(), enable_endpoint_discovery=False, transport=_Verifying()
    ) as account:
        yield account.get_database_client(DATABASE).get_container_client(stores.name)


class _Verifying(RequestsTransport):
    """The SDK would not look at the certificate of a server on loopback."""

    def send(self, request: Any, **config: Any) -> Any:  # type: ignore[override]
        return super().send(request, **{**config, "connection_verify": azure.ca_file()})
