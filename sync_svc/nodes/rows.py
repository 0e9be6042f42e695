"""`node` rows: the nodes that sync with a surface, each written by the node itself.

One row an instance, with an entry for each incarnation: a copy of a workspace has
the instance id of its original and must be waited for like any other node. The row
lies in the surface; `node_seen` rows in the local store are what was last read there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from services.model.errors import Reason, WorkspaceError
from services.records.port import ABSENT, Condition, Index, Item, Key, Match, Put
from services.records.progress import Progress
from services.records.store import RecordStore

__all__ = [
    "DAY_MS", "LEASE_MS", "Entry", "NodeRow", "node_key", "node_put", "node_rows", "seen_key",
]  # fmt: skip

DAY_MS = 86_400_000
LEASE_MS = 30 * DAY_MS
"""A node that is silent for longer is SILENT."""
ALL = "NODES"
"""Partition of index USER that lists the node rows of a store."""
_PAGE = 100
_MOST_TEXT = 4096
_MOST_COUNT = 2**53 - 1
_LATEST_MS = 253_402_300_799_999
"""End of the year 9999."""
_MOST_ENTRIES = 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """One incarnation. `token` and `contacts` are of the handshake, `hlc` is its own
    reading at the last one. `acknowledged_ms` is its own time, `mark` the collection
    mark of the surface, and `cursor` the position in the surface's feed up to which it
    has taken everything. Times are unix milliseconds, 0 for never. `offset_ms`: how far
    its clock was ahead of that of the surface's objects (None: not known)."""

    token: str = ""
    contacts: int = 0
    hlc: str = ""
    first_ms: int = 0
    seen_ms: int = 0
    acknowledged_ms: int = 0
    mark: int = 0
    cursor: str = ""
    evicted: bool = False
    offset_ms: int | None = None


@dataclass(frozen=True, slots=True)
class NodeRow:
    """See the module. `incarnation` is the one that wrote last. `evicted_by` and
    `evicted_ms` are set while an incarnation is evicted, `note` says why.
    `pending`, of a `node_seen` row: evicted here, and to be evicted in the surface by
    the next run."""

    instance_id: str
    name: str = ""
    incarnation: str = ""
    generation: int = 0
    software_version: str = ""
    format: int = 0
    entries: Mapping[str, Entry] = field(default_factory=dict)
    evicted_by: str = ""
    evicted_ms: int = 0
    note: str = ""
    pending: bool = False

    @property
    def seen_ms(self) -> int:
        """When any incarnation was seen last."""
        return max((each.seen_ms for each in self.entries.values()), default=0)

    @property
    def first_ms(self) -> int:
        """When the first incarnation was seen first."""
        return min((each.first_ms for each in self.entries.values()), default=0)

    def awaited(self, now_ms: int, lease_ms: int = LEASE_MS) -> Sequence[Entry]:
        """The incarnations that collection waits for: not those that are evicted, nor
        those that another one followed and that were silent for longer than the lease
        since. Such a one rejoins like an evicted one when it comes back."""
        newest = max((each.first_ms for each in self.entries.values()), default=0)
        return [
            each
            for each in self.entries.values()
            if not each.evicted
            and not (each.seen_ms < newest and now_ms - each.seen_ms > lease_ms)
        ]

    def is_evicted(self) -> bool:
        """Nobody waits for any of its incarnations."""
        return bool(self.entries) and all(each.evicted for each in self.entries.values())

    def with_entry(self, incarnation: str, entry: Entry) -> NodeRow:
        """The row after `incarnation` wrote its entry."""
        entries = {**self.entries, incarnation: entry}
        later = replace(self, incarnation=incarnation, entries=entries)
        if any(each.evicted for each in entries.values()):
            return later
        return replace(later, evicted_by="", evicted_ms=0, note="")

    def evict(self, user_id: str, now_ms: int, note: str = "") -> NodeRow:
        """The row with all incarnations evicted."""
        entries = {i: replace(each, evicted=True) for i, each in self.entries.items()}
        return replace(self, entries=entries, evicted_by=user_id, evicted_ms=now_ms, note=note)

    @classmethod
    def of(cls, item: Item) -> NodeRow:
        """What a row says; members of later software are passed over. Raises
        INVALID_STATE when it is not of that node, or damaged: that of a surface may be
        anything."""
        try:
            raw = _known(cls, json.loads(item.body))
            entries = {i: Entry(**_known(Entry, each)) for i, each in raw["entries"].items()}
            row = cls(**raw | {"entries": entries})
        except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
            raise _damaged() from error
        sound = _is_sound(row) and all(map(_is_sound, entries.values()))
        if not sound or len(entries) > _MOST_ENTRIES or max(map(len, entries), default=0) > 512:
            raise _damaged()
        if item.key.pk != node_key(row.instance_id).pk:
            raise _damaged()
        return row


def node_key(instance_id: str) -> Key:
    """Where a node's row lies in a surface."""
    return Key(f"NODE#{instance_id}", "NODE")


def seen_key(instance_id: str, connection_id: str) -> Key:
    """Where the local store keeps what it last read of that row."""
    return Key(f"NODE#{instance_id}", f"SEEN#{connection_id}")


def node_put(key: Key, row: NodeRow, there: Item | None) -> Put:
    """Write a `node` or `node_seen` row in place of what was read."""
    condition: Condition = Match(there.token) if there else ABSENT
    family = "node" if key.sk == "NODE" else "node_seen"
    indexes = {Index.USER: (ALL, f"{key.pk}#{key.sk}")}
    return Put(key, condition, family, json.dumps(asdict(row), sort_keys=True), indexes=indexes)


async def node_rows(records: RecordStore) -> list[Item]:
    """All `node` and `node_seen` rows of a store, by instance. There are as many as
    machines that sync, so they fit into memory."""
    found: list[Item] = []
    after: str | None = None
    progress = Progress("nodes")
    while True:
        page = await records.run(
            Index.USER, ALL, lower="", upper="\x7f", limit=_PAGE, after=after
        )
        found += [item for item in page.items if not item.deleted]
        after = page.next
        if after is None:
            return found
        progress.reached(after, page.items)


def _is_sound(made: NodeRow | Entry) -> bool:
    """Whether each field has a value of its type that answers can tell."""
    for each in fields(made):
        value, kind = getattr(made, each.name), each.type
        if kind == "str" and not (isinstance(value, str) and len(value) <= _MOST_TEXT):
            return False
        if kind == "bool" and not isinstance(value, bool):
            return False
        most = _LATEST_MS if each.name.endswith("_ms") else _MOST_COUNT
        if kind == "int" and not (type(value) is int and 0 <= value <= most):
            return False
    return True


def _damaged() -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE,
        "a row of a node is damaged; remove it, and the node writes it anew",
    )


def _known(kind: type, raw: Mapping[str, Any]) -> dict[str, Any]:
    names = {each.name for each in fields(kind)}
    return {name: value for name, value in raw.items() if name in names}
