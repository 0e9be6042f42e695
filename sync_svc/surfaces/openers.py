"""What opens the two stores of each provider. A new provider is a row of the tables."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

from workspace.sync.v1.connection_pb2 import Connection

from services.model.errors import Reason, WorkspaceError
from services.objects.store import ObjectStore
from services.records.port import DriverUnavailable, RecordDriver, StorageFull
from sync_svc.connections.providers import folder_of
from sync_svc.surfaces.aws import open_dynamodb_records, open_s3_objects
from sync_svc.surfaces.azure import open_blob_objects, open_cosmos_records
from sync_svc.surfaces.local_folder import open_local_records, open_objects, refusals
from sync_svc.surfaces.postgres import open_postgres_records

__all__ = ["OPENERS", "Openers", "open_folder_or_bucket"]


@dataclass(frozen=True, slots=True)
class Openers:
    """`records(connection, read_only=)`; `reading(connection)` turns failures of the
    first reads into reasons."""

    records: Callable[..., Awaitable[RecordDriver]]
    objects: Callable[..., Awaitable[ObjectStore]]
    reading: Callable[[Connection], AbstractContextManager[None]]


async def open_folder_or_bucket(connection: Connection, *, read_only: bool) -> ObjectStore:
    """The objects, where the settings put them."""
    folder = folder_of(connection)
    if folder is None:
        return await open_s3_objects(connection, read_only=read_only)
    return await open_objects(folder, read_only=read_only)


async def _local_records(connection: Connection, *, read_only: bool) -> RecordDriver:
    known = bool(connection.instance.instance_id)
    return await open_local_records(_folder(connection), read_only=read_only, known=known)


def _folder(connection: Connection) -> Path:
    return Path(connection.settings["folder"])


def _of_folder(connection: Connection) -> AbstractContextManager[None]:
    return refusals(_folder(connection))


@contextmanager
def _of_server(
    connection: Connection, *, what: str, setting: str, backend: str
) -> Iterator[None]:
    where = f"{what} {connection.settings[setting]}"
    try:
        yield
    except StorageFull as error:
        text = f"the {where} has no space left"
        raise WorkspaceError(Reason.ERROR_REASON_STORAGE_FULL, text) from error
    except DriverUnavailable as error:
        raise WorkspaceError(
            Reason.ERROR_REASON_BACKEND_UNAVAILABLE, f"the {where} cannot be read ({error})",
            metadata={"backend": backend},
        ) from error


_POSTGRES = partial(_of_server, what="database", setting="host", backend="surface")
_AWS = partial(_of_server, what="table", setting="table", backend="aws")
_AZURE = partial(_of_server, what="container", setting="cosmos_container", backend="azure")

OPENERS: Final[Mapping[str, Openers]] = MappingProxyType(
    {
        "local": Openers(_local_records, open_folder_or_bucket, _of_folder),
        "postgres": Openers(open_postgres_records, open_folder_or_bucket, _POSTGRES),
        "aws": Openers(open_dynamodb_records, open_s3_objects, _AWS),
        "azure": Openers(open_cosmos_records, open_blob_objects, _AZURE),
    }
)
"""By the provider of a manifest; the providers are those of `PROVIDERS`."""
