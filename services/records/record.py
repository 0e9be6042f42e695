"""What use cases see of the record store: records, writes, commits, pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from google.protobuf.message import Message

from services.model.families import Family
from services.model.stamp import Dot, Stamp, etag_of
from services.model.versions import State
from services.records.port import Item, Key

__all__ = ["Activity", "Committed", "Head", "Page", "Record", "Write"]

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Record(Generic[M]):
    """A record as read. `message` is shared with the cache: never change it,
    take `edit()`. A tombstone has `deleted` set and an empty message."""

    family: Family
    message: M
    item: Item
    stamp: Stamp

    @property
    def key(self) -> Key:
        return self.item.key

    @property
    def deleted(self) -> bool:
        return self.item.deleted

    @property
    def etag(self) -> str:
        """Names exactly the versions that the reader saw."""
        return etag_of(f"{self.key.pk} {self.key.sk}", *self.stamp.shown)

    def edit(self) -> M:
        """A copy to change and write back."""
        copy = type(self.message)()
        copy.CopyFrom(self.message)
        return copy

    def shown(self) -> M:
        """A copy for an answer, with the etag filled in."""
        copy = self.edit()
        if "etag" in copy.DESCRIPTOR.fields_by_name:
            copy.etag = self.etag  # type: ignore[attr-defined]
        return copy


@dataclass(frozen=True, slots=True)
class Write(Generic[M]):
    """One record of a commit. `base` is what was read (None: it must be
    absent); `deleted` writes a tombstone. `expires_at`: unix seconds. `resolves`
    names the versions that it supersedes; default: those that `base` shows. `joins`:
    state from elsewhere that the same commit joins first."""

    family: Family
    message: M
    base: Record[M] | None = None
    deleted: bool = False
    expires_at: int | None = None
    resolves: Sequence[Dot] = ()
    joins: State | None = None


@dataclass(frozen=True, slots=True)
class Activity:
    """What the commit means, for audit and outbox. `type` is `noun.verb`, `note` why
    it was done in the person's words."""

    type: str
    resource: str
    account_id: str = ""
    project_id: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """The HEAD row of a partition: `pseq` counts commits without gaps, `link` ends the
    chain of its events (services/model/seals.py; '' before the first sealed one). A head
    that was never written has pseq 0 and no token."""

    pk: str
    pseq: int
    token: str | None
    commit_id: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class Committed:
    """An acknowledged commit. `records` are the writes as stored, in order.
    `replayed`: a commit with the same request id had the effect before, and
    `answer` (serialised) is the one it gave; `cut`: with keys for records."""

    pk: str
    pseq: int
    time_ms: int
    records: Sequence[Record[Message]] = ()
    replayed: bool = False
    answer: bytes = b""
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Page(Generic[M]):
    """Records in index order and the position to go on from (None: the end)."""

    records: Sequence[Record[M]]
    next: str | None = field(default=None)
