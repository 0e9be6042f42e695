"""Rows of many keys, wherever they lie, by few requests.

Keys are grouped by the physical partition that their hashes belong to, which each answer
a query for a hundred of them. The index has one entry for a key, so a query costs what its
rows do and some 3 request units.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from azure.cosmos import PartitionKey

from services.records.cosmos.calls import ContainerCalls, KeyRange
from services.records.cosmos.codec import Document, key_text
from services.records.cosmos.schema import KEY_PROPERTY
from services.records.port import DriverUnavailable, Key
from services.records.retrying import Deadline, all_of

__all__ = ["KEYS_A_QUERY", "gathered", "query_of"]

KEYS_A_QUERY = 100
_HASH: Any = PartitionKey(path="/pk", kind="Hash", version=2)


def query_of(keys: Sequence[Key]) -> dict[str, Any]:
    """The query for the rows of these keys."""
    names = [f"@k{number}" for number in range(len(keys))]
    return {
        "query": f"SELECT * FROM c WHERE c.{KEY_PROPERTY} IN ({', '.join(names)})",  # noqa: S608
        "parameters": [
            {"name": name, "value": key_text(key)} for name, key in zip(names, keys, strict=True)
        ],
    }


async def gathered(
    calls: ContainerCalls, keys: Sequence[Key], deadline: Deadline
) -> list[Document]:
    """The rows that are there, in no order. When a partition is split meanwhile, all are
    read again."""
    return await calls.over_ranges(
        lambda ranges: _gathered(calls, ranges, keys, deadline), deadline
    )


async def _gathered(
    calls: ContainerCalls, ranges: Sequence[KeyRange], keys: Sequence[Key], deadline: Deadline
) -> list[Document]:
    jobs = [
        _queried(calls, range_id, part[at : at + KEYS_A_QUERY], deadline)
        for range_id, part in _by_range(ranges, keys).items()
        for at in range(0, len(part), KEYS_A_QUERY)
    ]
    return [row for rows in await all_of(jobs) for row in rows]


async def _queried(
    calls: ContainerCalls, range_id: str, keys: Sequence[Key], deadline: Deadline
) -> list[Document]:
    rows: list[Document] = []
    query, continuation = query_of(keys), None
    while True:
        after = continuation
        page = await calls.repeated(
            lambda: calls.page(query, len(keys), after, range_id=range_id),  # noqa: B023
            deadline,
            of_range=True,
        )
        rows += page.documents
        continuation = page.continuation
        if continuation is None:
            return rows


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
    """The SDK hashes as the service does; it does so itself for reads of many items."""
    hashed = str(_HASH._get_effective_partition_key_string([pk]))
    for each in ranges:
        if each.low <= hashed < each.high:
            return each.id
    raise DriverUnavailable("the physical partitions of the container do not cover all keys")
