"""The driver port of the record store: what a database has to do, and no more.

A driver knows items, keys, conditions and indexes. It knows nothing of
families, stamps, HEAD rows, events or requests: the portable class
(`services/records/store.py`) adds those once for every driver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from services.model.indexes import Index

__all__ = [
    "ABSENT",
    "Absent",
    "Capabilities",
    "ChangePage",
    "Condition",
    "ConditionFailed",
    "CursorLost",
    "DriverUnavailable",
    "Index",
    "Item",
    "ItemPage",
    "Key",
    "Match",
    "Put",
    "RecordDriver",
    "StorageFull",
]


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Primary key of an item. Both parts are printable ASCII, 1 to 512 bytes,
    compared byte by byte on every provider."""

    pk: str
    sk: str


@dataclass(frozen=True, slots=True)
class Item:
    """A stored item as read.

    `body` and `stamp` are canonical JSON texts. `token` names this version of
    the row and is opaque: it changes on every write. `expires_at` is in unix
    seconds; an expired item is invisible at once. `indexes` maps an index to
    its (partition, sort) pair.
    """

    key: Key
    token: str
    family: str
    body: str
    stamp: str = ""
    deleted: bool = False
    expires_at: int | None = None
    indexes: Mapping[Index, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Absent:
    """Condition: there is no (unexpired) row of this key."""


@dataclass(frozen=True, slots=True)
class Match:
    """Condition: the row is exactly the version that `token` names."""

    token: str


Condition = Absent | Match
ABSENT = Absent()


@dataclass(frozen=True, slots=True)
class Put:
    """Write one whole item (create or replace) under a condition.

    There is no unconditional write and no physical delete in the port:
    deleting is writing a tombstone (`deleted=True`), removal is by expiry.
    """

    key: Key
    condition: Condition
    family: str
    body: str
    stamp: str = ""
    deleted: bool = False
    expires_at: int | None = None
    indexes: Mapping[Index, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ItemPage:
    """Items in key order, and the position to go on from (None: no more).

    `next` is the (sort, pk, sk) position of the last item delivered; drivers
    return it, callers hand it back unchanged in a later call.
    """

    items: Sequence[Item]
    next: str | None


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Changed keys with their current items, oldest first, at least once each.

    `cursor` is always set: it names the provider identity and the position.
    An empty page means that the feed is drained for now. `complete`: nothing
    that was committed before the read began is still to come. (An empty page
    need not be: PostgreSQL holds back what is newer than the oldest transaction
    that still runs.)
    """

    items: Sequence[Item]
    cursor: str
    complete: bool


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a driver declares; the conformance suite tests each both ways."""

    consistent_index_reads: bool
    """Index queries see every commit at once (SQL: yes). Where they do not, a query may
    miss what is newest; it never shows what is no longer so."""
    ordered_change_feed: bool
    """The change feed is in commit order per partition."""
    expiry_precision_seconds: float
    """How late an expired row may still be physically there (never visible)."""
    multi_process: bool
    """Several processes may open the same store."""
    ordered_scan: bool = True
    """A scan goes over the partitions in byte order of their keys, too."""
    last_writer_wins: bool = False
    """Regions write side by side and the later write replaces the other, whatever
    its condition was: an acknowledged commit may vanish. No surface for us."""


class ConditionFailed(Exception):
    """Put number `position` of a commit met another state; nothing changed.

    `current` is the item found there (None: absent), as a hint for the caller.
    """

    def __init__(self, position: int, current: Item | None = None) -> None:
        super().__init__(f"condition of write {position} failed")
        self.position = position
        self.current = current


class CursorLost(Exception):
    """The change cursor is of another store or too old: reconcile in full."""


class DriverUnavailable(Exception):
    """The database does not answer. `ambiguous`: the commit may have happened. `remedy`:
    what an operator has to do first, if anything; callers are told, so it names no host,
    account or credential."""

    def __init__(self, message: str, *, ambiguous: bool = False, remedy: str = "") -> None:
        super().__init__(message)
        self.ambiguous = ambiguous
        self.remedy = remedy


class StorageFull(Exception):
    """No space left; nothing of the commit was written."""


class RecordDriver(Protocol):
    """Nine calls. Reads by key see every acknowledged commit."""

    @property
    def name(self) -> str:
        """Short name for messages and metrics, for example `sqlite`."""
        ...

    @property
    def capabilities(self) -> Capabilities: ...

    async def get(self, key: Key) -> Item | None:
        """The current item, tombstones included; None if absent or expired."""
        ...

    async def batch_get(self, keys: Sequence[Key]) -> list[Item | None]:
        """Like `get` for up to 500 keys; answers in the order asked."""
        ...

    async def query(
        self,
        index: Index,
        partition: str,
        *,
        lower: str = "",
        upper: str | None = None,
        limit: int = 100,
        after: str | None = None,
        descending: bool = False,
    ) -> ItemPage:
        """Items of one index partition with lower <= sort < upper, in byte
        order of (sort, pk, sk). Tombstones are included, expired rows are not. Items
        are current and in that index now, also where indexes lag: the driver verifies
        its candidates."""
        ...

    async def commit(self, pk: str, puts: Sequence[Put]) -> list[str]:
        """All puts (same pk, distinct keys) or none; durable when it returns.

        Returns the new tokens in order. Raises ConditionFailed,
        DriverUnavailable (with `ambiguous`), StorageFull.
        """
        ...

    async def changes(self, cursor: str | None, limit: int) -> ChangePage:
        """What changed after `cursor` (None: from the beginning).

        Raises CursorLost when the cursor is not of this store's history.
        """
        ...

    async def tail(self) -> str:
        """The cursor of now: `changes` after it delivers every commit that no read
        has seen yet when it is called, and possibly a few from just before. (With
        several processes a commit may be seen before its caller is told.)"""
        ...

    async def scan(self, after: Key | None, limit: int) -> Sequence[Item]:
        """Unexpired items behind `after` (None: from the beginning), at most `limit`.

        A walk with the last key of each page delivers every row that is there from its
        beginning to its end exactly once. Rows of one partition come together, in byte
        order of `sk`; partitions come in an order of the store's own, the same in every
        call (byte order where `ordered_scan`). `after` is the key of any row that was
        delivered, also of one that is gone since. A page may be short at any place: only
        an empty page is the end."""
        ...

    async def identity(self) -> str:
        """Provider identity of this very database; another after restore."""
        ...

    async def close(self) -> None: ...
