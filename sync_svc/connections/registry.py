"""The port of the registry: where manifests are kept, and how they change.

A change made for a person is one commit in the partition `CONNECTION#{id}` with
its activity event and its answer, wherever the manifest itself lies. What a run
or a test learns (identity of the surface, when it answered, that it is another
one) is noted without an event and leaves the etag as it is: nobody's edit fails
because a run went by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from google.protobuf.message import Message
from workspace.sync.v1.connection_pb2 import Connection

from services.records.deciding import Still
from services.records.mutation import Mutation
from services.records.record import Activity

__all__ = ["Change", "ConnectionRegistry", "Stored", "connection_pk"]

M = TypeVar("M", bound=Message)


def connection_pk(connection_id: str) -> str:
    """Partition of a connection's record, events and request rows."""
    return f"CONNECTION#{connection_id}"


@dataclass(frozen=True, slots=True)
class Stored:
    """A manifest as read, with its etag filled in; never changed in place. `base`
    is what the registry needs to replace exactly this one."""

    connection: Connection
    base: Any = None

    @property
    def etag(self) -> str:
        return self.connection.etag

    def edit(self) -> Connection:
        """A copy to change."""
        copy = Connection()
        copy.CopyFrom(self.connection)
        return copy


@dataclass(frozen=True, slots=True)
class Change:
    """From `before` (None: there is none) to `after` (None: it is removed). `still` decides
    once more whether the caller may."""

    before: Stored | None
    after: Connection | None
    activity: Activity
    still: Still | None = None

    @property
    def connection_id(self) -> str:
        found = self.after if self.before is None else self.before.connection
        assert found is not None, "a change has a side"
        return found.connection_id


class ConnectionRegistry(Protocol):
    """Errors: INVALID_STATE when the registry cannot be read (naming file and
    field), BACKEND_UNAVAILABLE, STORAGE_FULL."""

    async def get(self, connection_id: str) -> Stored | None:
        """By strong read; None when there is none."""
        ...

    async def everything(self) -> Sequence[Stored]:
        """All of them by id, in byte order."""
        ...

    async def change(
        self, mutation: Mutation, change: Change, answer: Callable[[Connection | None], M]
    ) -> M:
        """All of it or nothing. `answer` makes the reply of the manifest as it will
        be, etag included. Raises ETAG_MISMATCH when `before` is no longer what is
        stored, ALREADY_EXISTS when there should be none."""
        ...

    async def note(
        self, connection_id: str, edit: Callable[[Connection], None]
    ) -> Stored | None:
        """Change server-set fields; None when there is no such connection."""
        ...
