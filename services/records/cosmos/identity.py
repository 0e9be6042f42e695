"""The name of this very store.

The account and the service's id of the container (which holds that of its database) tell
a copy, or one restored to another account; a random id in a row of ours tells a container
that was emptied.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import suppress

from azure.cosmos.exceptions import CosmosResourceExistsError

from services.records.cosmos.calls import ContainerCalls
from services.records.cosmos.codec import Document
from services.records.cosmos.schema import OWN_ID, OWN_PK, refused
from services.records.port import DriverUnavailable
from services.records.retrying import Deadline

__all__ = ["StoreIdentity"]

_SECONDS = 20.0
_KNOWN_SECONDS, _LOOK_SECONDS = 30.0, 5.0


class StoreIdentity:
    """`container_rid` is what the service says; it is asked for again now and then, since
    a container may be made again under its name while processes run. `read_only`: the row
    must be there."""

    def __init__(
        self,
        calls: ContainerCalls,
        account: str,
        container_rid: str,
        *,
        read_only: bool,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._calls = calls
        self._account = account
        self._container_rid = container_rid
        self._read_only = read_only
        self._monotonic = monotonic
        self._known_since = monotonic()

    async def read(self) -> str:
        """By a strong read; the row is made when there is none. Raises the port's errors."""
        deadline = Deadline(_SECONDS)
        await self._look()
        row = await self._row(deadline)
        if row is None:
            await self._make(deadline)
            row = await self._row(deadline)
        store_id = str(row["store_id"]) if row else ""
        return f"cosmos:{self._account}:{self._container_rid}:{store_id}"

    async def _look(self) -> None:
        """At the service's id."""
        now = self._monotonic()
        if now - self._known_since < _KNOWN_SECONDS:
            return
        self._known_since = now
        with suppress(DriverUnavailable):
            found = await self._calls.repeated(self._calls.properties, Deadline(_LOOK_SECONDS))
            self._container_rid = str(found["_rid"])

    async def _row(self, deadline: Deadline) -> Document | None:
        return await self._calls.repeated(
            lambda: self._calls.document_of_id(OWN_PK, OWN_ID), deadline
        )

    async def _make(self, deadline: Deadline) -> None:
        if self._read_only:
            raise refused(
                self._calls.name,
                "holds no workspace yet: open it once with the right to write",
                store="unused",
            )
        row = {"id": OWN_ID, "pk": OWN_PK, "store_id": secrets.token_hex(16)}

        async def create() -> None:
            with suppress(CosmosResourceExistsError):  # another process, or our own attempt
                await self._calls.proxy.create_item(row)

        await self._calls.repeated(create, deadline)
