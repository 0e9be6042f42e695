"""Databases and containers: their definitions, their items in logical partitions, spread
over physical partitions that may be split."""

from __future__ import annotations

import base64
import heapq
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.cosmos.errors import Refused, bad_request, not_found
from tests.fakes.cosmos.hashing import boundaries, effective_partition_key
from tests.fakes.cosmos.indexing import IndexingPolicy, Path
from tests.fakes.cosmos.items import Item, LogicalPartition
from tests.fakes.cosmos.ranges import PhysicalPartition
from tests.fakes.cosmos.values import UNDEFINED, at, dumped

__all__ = ["Container", "Database", "new_rid"]

_NAME = re.compile(r"[^/\\#?\t\r\n]{1,255}(?<! )")
_rids = itertools.count(0x5A1B0001)


def new_rid(above: bytes = b"") -> bytes:
    """Bytes of a resource id; no two are the same in a process."""
    return above + next(_rids).to_bytes(4 if len(above) < 8 else 8, "big")


def rid_text(rid: bytes) -> str:
    return base64.b64encode(rid).decode().replace("/", "-")


def check_name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise bad_request(f"The input name '{name}' is invalid: 1 to 255, none of / \\ # ?")
    return name


@dataclass
class Database:
    name: str
    rid: bytes
    ts: int
    etag: str
    containers: dict[str, Container] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        rid = rid_text(self.rid)
        return {
            "id": self.name, "_rid": rid, "_self": f"dbs/{rid}/", "_etag": self.etag,
            "_colls": "colls/", "_users": "users/", "_ts": self.ts,
        }  # fmt: skip


class Container:
    """`partitions` are the logical ones by the JSON of their key."""

    def __init__(
        self,
        database: Database,
        definition: dict[str, Any],
        *,
        partitions: int,
        clock: Callable[[], float],
        etags: Callable[[], str],
    ) -> None:
        self.database, self.clock, self.etags = database, clock, etags
        self.name = check_name(definition.get("id"))
        self.rid = new_rid(database.rid)
        self.etag, self.ts = etags(), int(clock())
        self.key_path, self.key = _partition_key(definition)
        self.policy = IndexingPolicy(definition.get("indexingPolicy"))
        self.default_ttl = _default_ttl(definition)
        self.extra: dict[str, Any] = {
            name: definition[name]
            for name in ("uniqueKeyPolicy", "conflictResolutionPolicy", "computedProperties")
            if name in definition
        }
        self.paths: list[Path] = self.policy.explicit
        self.partitions: dict[str, LogicalPartition] = {}
        self.ranges: list[PhysicalPartition] = [
            PhysicalPartition(str(index), low, high, paths=len(self.paths))
            for index, (low, high) in enumerate(boundaries(partitions))
        ]
        self.routing = 1
        self._gone: dict[str, PhysicalPartition] = {}
        self._expiries: list[tuple[float, int, Item]] = []
        self.sequence = itertools.count(1)
        self._ticks = itertools.count()

    @property
    def link(self) -> str:
        return f"dbs/{self.database.name}/colls/{self.name}"

    @property
    def rid_text(self) -> str:
        return rid_text(self.rid)

    @property
    def self_link(self) -> str:
        return f"dbs/{rid_text(self.database.rid)}/colls/{self.rid_text}/"

    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "id": self.name, "indexingPolicy": self.policy.text, "partitionKey": self.key,
            **self.extra,
        }  # fmt: skip
        if self.default_ttl is not None:
            found["defaultTtl"] = self.default_ttl
        system = {
            "_rid": self.rid_text, "_ts": self.ts, "_self": self.self_link, "_etag": self.etag,
            "_docs": "docs/", "_sprocs": "sprocs/", "_triggers": "triggers/", "_udfs": "udfs/",
            "_conflicts": "conflicts/",
        }  # fmt: skip
        return {**found, **system}

    def replace(self, definition: dict[str, Any]) -> None:
        """A new policy and a new time to live; the partition key stays as it is."""
        if _partition_key(definition)[1]["paths"] != self.key["paths"]:
            raise bad_request("Document collection partition key cannot be changed.")
        self.policy = IndexingPolicy(definition.get("indexingPolicy"))
        self.default_ttl = _default_ttl(definition)
        self.paths = self.policy.explicit
        self.etag, self.ts = self.etags(), int(self.clock())
        items = [item for part in self.partitions.values() for item in part.items.values()]
        for holder in (*self.ranges, *self.partitions.values()):
            holder.reindex(len(self.paths))
        for item in items:
            self._index(item)

    # Partitions

    def key_of(self, body: dict[str, Any]) -> Any:
        """The value of the partition key in an item; `{}` when it has none."""
        value = at(body, self.key_path)
        return {} if value is UNDEFINED else value

    def partition(self, value: Any) -> LogicalPartition:
        """Made on first use."""
        name = dumped(value).decode()
        if (part := self.partitions.get(name)) is None:
            part = LogicalPartition(value, effective_partition_key(value), len(self.paths))
            part.range = self.range_at(part.epk)
            self.partitions[name] = part
        return part

    def range_at(self, epk: str) -> PhysicalPartition:
        return next(each for each in self.ranges if each.low <= epk < each.high)

    def range_by_id(self, identifier: str) -> PhysicalPartition:
        """Raises 410 with substatus 1002 for one that was split, or never was."""
        for each in self.ranges:
            if each.id == identifier:
                return each
        raise Refused(
            410,
            f"PartitionKeyRange with id {identifier} in collection {self.rid_text} is gone.",
            sub=1002,
        )

    def split(self, identifier: str) -> list[str]:
        """Split a physical partition at its middle; the ids of its two children."""
        parent = self.range_by_id(identifier)
        first = len(self.ranges) + len(self._gone)
        children = parent.split(str(first), str(first + 1))
        at_index = self.ranges.index(parent)
        self.ranges[at_index : at_index + 1] = children
        self._gone[parent.id] = parent
        self.routing += 1
        for child in children:
            child.born = self.routing
        for part in self.partitions.values():
            if part.range is parent:
                part.range = self.range_at(part.epk)
                for item in part.items.values():
                    part.range.put(item)
        return [child.id for child in children]

    # Items

    def store(self, part: LogicalPartition, staged: dict[str, Item | None]) -> int:
        """One transaction: every item gets the next number of its physical partition."""
        part.range.lsn += 1
        for position, (identifier, item) in enumerate(staged.items()):
            if (old := part.items.pop(identifier, None)) is not None:
                self._drop(part, old)
            if item is not None:
                item.lsn, item.position = part.range.lsn, position
                part.items[identifier] = item
                self._index(item)
                if item.expires is not None:
                    heapq.heappush(self._expiries, (item.expires, next(self._ticks), item))
        return part.range.lsn

    def expire(self) -> None:
        """Forget what is past its time."""
        if self._expiries and self._expiries[0][0] <= self.clock():
            now = self.clock()
            while self._expiries and self._expiries[0][0] <= now:
                item = heapq.heappop(self._expiries)[2]
                part = item.partition
                if part.items.get(item.id) is item and item.expires is not None:
                    self._drop(part, item)
                    part.items.pop(item.id, None)

    def _index(self, item: Item) -> None:
        item.find_keys(self.paths)
        item.partition.put(item)
        item.partition.range.put(item)

    def _drop(self, part: LogicalPartition, item: Item) -> None:
        part.drop(item)
        part.range.drop(item)


def _partition_key(definition: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    key = definition.get("partitionKey") or {}
    paths = key.get("paths")
    if not isinstance(paths, list) or len(paths) != 1 or not str(paths[0]).startswith("/"):
        raise bad_request("The partition key of the container must be one path, as /pk")
    if key.get("kind", "Hash") != "Hash" or key.get("version", 2) != 2:
        raise bad_request("This fake has partition keys of kind Hash and version 2 only")
    path = tuple(str(paths[0])[1:].split("/"))
    return path, {"paths": paths, "kind": "Hash", "version": 2}


def _default_ttl(definition: dict[str, Any]) -> int | None:
    value = definition.get("defaultTtl")
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value == 0 or value < -1:
        raise bad_request("The input ttl is invalid: a positive integer, or -1")
    return value


def owner_missing(what: str) -> Refused:
    """404 with substatus 1003: what contains the resource does not exist."""
    return not_found(f"Owner resource does not exist: {what}", 1003)
