"""Rows of many keys, wherever they lie, by few requests.

Keys are grouped by the physical partition that their hashes belong to, which each answer
a query for a hundred of them. The index has one entry for a key, so a query costs what its
rows do and some 3 request units.

A key that is looked for in a wrong partition is not there. So the hash is trusted as far as
it is proved (`Gathering`); else every logical partition is asked by its name, which is slow
and right.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from azure.cosmos import PartitionKey

from services.records.cosmos.calls import ContainerCalls, KeyRange
from services.records.cosmos.codec import Document, key_text
from services.records.cosmos.schema import KEY_PROPERTY, OWN_ID, OWN_PK
from services.records.port import DriverUnavailable, Key
from services.records.retrying import Deadline, all_of

__all__ = ["KEYS_A_QUERY", "Gathering", "query_of"]

KEYS_A_QUERY = 100
_HASH: Any = PartitionKey(path="/pk", kind="Hash", version=2)
_PUBLISHED = {
    "": "32E9366E637A71B4E710384B2F4970A0",
    "partitionKey": "013AEFCF77FA271571CF665A58C933F1",
    "a" * 1024: "332BDF5512AE49615F32C7D98C2DB86C",
}
"""Hashes of version 2 in the tests of Microsoft's SDK for Java (PartitionKeyHashingTests,
`effectivePartitionKeyHashV2`): containers that are there cannot come to have others."""
_OWN_ROW = {
    "query": "SELECT * FROM c WHERE c.id = @id",
    "parameters": [{"name": "@id", "value": OWN_ID}],
}
_LOG = logging.getLogger("workspace.records.cosmos")


def query_of(keys: Sequence[Key]) -> dict[str, Any]:
    """The query for the rows of these keys."""
    names = [f"@k{number}" for number in range(len(keys))]
    return {
        "query": f"SELECT * FROM c WHERE c.{KEY_PROPERTY} IN ({', '.join(names)})",  # noqa: S608
        "parameters": [
            {"name": name, "value": key_text(key)} for name, key in zip(names, keys, strict=True)
        ],
    }


class Gathering:
    """Reads of one container. The hash is a private part of the SDK, which does so itself for
    reads of many items. It is held to published values, and for each new set of physical
    partitions to the service: the row of the store must lie where the hash says."""

    def __init__(self, calls: ContainerCalls) -> None:
        self._calls = calls
        self._judged: frozenset[str] = frozenset()
        self._sound = False

    async def prove(self, deadline: Deadline) -> None:
        """Before the first read needs it. Raises the port's errors."""
        await self._calls.over_ranges(lambda ranges: self._holds(ranges, deadline), deadline)

    async def rows(self, keys: Sequence[Key], deadline: Deadline) -> list[Document] | None:
        """The rows that are there, in no order; None when the hash is not to be trusted. When
        a partition is split meanwhile, all are read again."""
        return await self._calls.over_ranges(
            lambda ranges: self._rows(ranges, keys, deadline), deadline
        )

    async def _rows(
        self, ranges: Sequence[KeyRange], keys: Sequence[Key], deadline: Deadline
    ) -> list[Document] | None:
        if not await self._holds(ranges, deadline):
            return None
        jobs = [
            self._queried(range_id, query_of(part[at : at + KEYS_A_QUERY]), deadline)
            for range_id, part in _by_range(ranges, keys).items()
            for at in range(0, len(part), KEYS_A_QUERY)
        ]
        return [row for rows in await all_of(jobs) for row in rows]

    async def _holds(self, ranges: Sequence[KeyRange], deadline: Deadline) -> bool:
        """Of one physical partition there is nothing to know."""
        if len(ranges) == 1:
            return True
        found = frozenset(each.id for each in ranges)
        if found != self._judged:
            sound = _is_as_published() and await self._finds_own_row(ranges, deadline)
            self._judged, self._sound = found, sound
            if not sound:
                _LOG.warning(
                    "Cosmos DB container %s: azure-cosmos does not tell where keys lie; reads of "
                    "many records take more requests", self._calls.name,
                )  # fmt: skip
        return self._sound

    async def _finds_own_row(self, ranges: Sequence[KeyRange], deadline: Deadline) -> bool:
        rows = await self._queried(_range_of(ranges, OWN_PK), _OWN_ROW, deadline)
        return any(row["pk"] == OWN_PK for row in rows)

    async def _queried(
        self, range_id: str, query: dict[str, Any], deadline: Deadline
    ) -> list[Document]:
        rows: list[Document] = []
        continuation: str | None = None
        while True:
            after = continuation
            page = await self._calls.repeated(
                lambda: self._calls.page(query, KEYS_A_QUERY, after, range_id=range_id),  # noqa: B023
                deadline,
                of_range=True,
            )
            rows += page.documents
            continuation = page.continuation
            if continuation is None:
                return rows


def _is_as_published() -> bool:
    try:
        return all(_hashed(text) == known for text, known in _PUBLISHED.items())
    except Exception:  # whatever a private part has become
        return False


def _hashed(pk: str) -> str:
    return str(_HASH._get_effective_partition_key_string([pk]))


def _by_range(ranges: Sequence[KeyRange], keys: Sequence[Key]) -> dict[str, list[Key]]:
    """Keys by the id of the physical partition that holds them."""
    if len(ranges) == 1:
        return {ranges[0].id: list(keys)}
    found: dict[str, list[Key]] = defaultdict(list)
    known: dict[str, str] = {}
    for key in keys:
        if key.pk not in known:
            known[key.pk] = _range_of(ranges, key.pk)
        found[known[key.pk]].append(key)
    return found


def _range_of(ranges: Sequence[KeyRange], pk: str) -> str:
    hashed = _hashed(pk)
    for each in ranges:
        if each.low <= hashed < each.high:
            return each.id
    raise DriverUnavailable("the physical partitions of the container do not cover all keys")
