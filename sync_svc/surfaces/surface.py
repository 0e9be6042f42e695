"""A surface: a record store and an object store opened together.

The engine knows surfaces by nothing else, so every provider takes part that has
the two drivers.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Protocol

from workspace.sync.v1.connection_pb2 import Connection

from services.objects.store import ObjectStore
from services.records.instance import Instance
from services.records.replica import Replica
from services.records.store import RecordStore

__all__ = ["OpenSurface", "Surface"]


@dataclass(frozen=True, slots=True)
class Surface:
    """`name` is the connection id, or '' for this workspace itself. `read_only`:
    nothing may be written there (a manifest or the medium says so)."""

    name: str
    instance: Instance
    records: RecordStore
    objects: ObjectStore
    read_only: bool = False

    @property
    def replica(self) -> Replica:
        """The record store as a place to which states are joined."""
        return Replica(self.records)

    def with_records(self, records: RecordStore) -> Surface:
        """The same surface behind another store, for example a limited one."""
        return replace(self, records=records)


class OpenSurface(Protocol):
    """Opens what a manifest describes, for the length of a run."""

    def __call__(
        self, connection: Connection, *, read_only: bool = False
    ) -> AbstractAsyncContextManager[Surface]:
        """Raises BACKEND_UNAVAILABLE when it does not answer, INVALID_STATE when
        another process holds it or it needs newer software, INVALID_FIELD when a
        setting is wrong."""
        ...
