"""Nodes as answers show them, out of all rows that tell of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby

from google.protobuf.timestamp_pb2 import Timestamp
from workspace.sync.v1.node_pb2 import Node, NodeAcknowledgement, NodeStatus

from services.records.instance import FORMAT_VERSION, Instance
from services.records.port import Item
from services.records.store import RecordStore
from sync_svc.nodes.rows import LEASE_MS, NodeRow, node_rows

__all__ = ["KnownNode", "known_nodes", "message_of", "own_message"]


@dataclass(frozen=True, slots=True)
class KnownNode:
    """A node, and the rows that tell of it: (connection id, row), '' for a node that
    syncs with this workspace as its surface."""

    instance_id: str
    rows: Sequence[tuple[str, NodeRow]]

    @property
    def newest(self) -> NodeRow:
        """The row in which it was seen last."""
        return max((row for _, row in self.rows), key=lambda row: row.seen_ms)

    @property
    def is_evicted(self) -> bool:
        """Nowhere waited for."""
        return bool(self.rows) and all(row.is_evicted() for _, row in self.rows)

    def status(self, now_ms: int, lease_ms: int = LEASE_MS) -> NodeStatus.ValueType:
        """LIVE, SILENT (not seen for longer than the lease) or EVICTED."""
        if self.is_evicted:
            return NodeStatus.NODE_STATUS_EVICTED
        if now_ms - self.newest.seen_ms > lease_ms:
            return NodeStatus.NODE_STATUS_SILENT
        return NodeStatus.NODE_STATUS_LIVE

    @property
    def etag(self) -> str:
        """Names what the reader saw."""
        text = json.dumps([(c, asdict(row)) for c, row in self.rows], sort_keys=True)
        return f'"{hashlib.sha256(text.encode()).hexdigest()[:20]}"'


async def known_nodes(records: RecordStore, instance_id: str = "") -> list[KnownNode]:
    """All nodes that rows of the local store tell of, by id, or the one of that id."""
    items = [
        item
        for item in await node_rows(records)
        if not instance_id or item.key.pk == f"NODE#{instance_id}"
    ]
    return [
        KnownNode(pk.removeprefix("NODE#"), [_named(item) for item in group])
        for pk, group in groupby(items, key=lambda item: item.key.pk)
    ]


def message_of(
    known: KnownNode, *, now_ms: int, own: KnownNode | None = None, lease_ms: int = LEASE_MS
) -> Node:
    """A node of other machines. `own` is what surfaces say of the node that answers."""
    newest = known.newest
    node = Node(
        node_id=known.instance_id,
        name=newest.name,
        incarnation=newest.incarnation,
        generation=newest.generation,
        status=known.status(now_ms, lease_ms),
        software_version=newest.software_version,
        format_version=newest.format,
        acknowledgements=_acknowledgements(known.rows, now_ms, lease_ms),
        created_at=_stamp(min(row.first_ms for _, row in known.rows)),
        last_seen_at=_stamp(newest.seen_ms),
        clock_offset_ms=_ahead_ms(known, own),
        etag=known.etag,
    )
    if known.is_evicted:
        decided = max((row for _, row in known.rows), key=lambda row: row.evicted_ms)
        node.evicted_by = decided.evicted_by
        node.evicted_at.CopyFrom(_stamp(decided.evicted_ms))
    return node


def own_message(own: Instance, known: KnownNode | None, *, now_ms: int) -> Node:
    """The node that answers; `known` is what surfaces say of it."""
    node = message_of(known, now_ms=now_ms, own=known) if known else Node(node_id=own.instance_id)
    node.self = True
    node.status = NodeStatus.NODE_STATUS_LIVE
    node.incarnation = own.incarnation
    node.generation = own.generation
    node.format_version = FORMAT_VERSION
    node.last_seen_at.CopyFrom(_stamp(now_ms))
    return node


def _ahead_ms(known: KnownNode, own: KnownNode | None) -> int:
    """How far its clock is ahead of ours by the surface where it was seen last of those
    that both of us compared our clocks with; 0 where there is none."""
    ours = {connection: _offset(row) for connection, row in own.rows} if own else {}
    ours[""] = 0  # our own store goes by our clock
    for connection, row in sorted(known.rows, key=lambda each: -each[1].seen_ms):
        theirs, mine = _offset(row), ours.get(connection)
        if theirs is not None and mine is not None:
            return theirs - mine
    return 0


def _offset(row: NodeRow) -> int | None:
    entry = row.entries.get(row.incarnation)
    return entry.offset_ms if entry else None


def _acknowledgements(
    rows: Iterable[tuple[str, NodeRow]], now_ms: int, lease_ms: int
) -> list[NodeAcknowledgement]:
    """Per surface the incarnation that is furthest behind of those waited for."""
    found: list[NodeAcknowledgement] = []
    for connection, row in rows:
        waited = [each.acknowledged_ms for each in row.awaited(now_ms, lease_ms)]
        until = min(waited, default=0)
        if until:
            told = NodeAcknowledgement(connection_id=connection)
            told.acknowledged_until.CopyFrom(_stamp(until))
            found.append(told)
    return found


def _named(item: Item) -> tuple[str, NodeRow]:
    connection = "" if item.key.sk == "NODE" else item.key.sk.removeprefix("SEEN#")
    return connection, NodeRow.of(item)


def _stamp(millis: int) -> Timestamp:
    stamp = Timestamp()
    stamp.FromMilliseconds(millis)
    return stamp
