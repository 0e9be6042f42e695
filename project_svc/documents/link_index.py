"""Who links to an object: one row per source, in a partition of the target.

A row only proposes: whoever reads it reads the source and sees whether the link
is there. A change that adds links writes the rows before its own commit, so that
a link is never without its row. Rows of links that ended are taken away when
somebody comes across them and they are old: a young one may belong to a change
that has not committed yet.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from workspace.project.v1.document_pb2 import Document
from workspace.project.v1.link_pb2 import ObjectLink
from workspace.project.v1.project_pb2 import Project

from services.model.indexes import Index
from services.records.port import ABSENT, ConditionFailed, Item, Key, Match, Put
from services.records.store import RecordStore

__all__ = ["LinkIndex", "LinkRow"]

_FAMILY = "link_end"
_SETTLED_SECONDS = 3600
_GONE_SECONDS = 3600
_AT_ONCE = 16
# Above the end of an id, below every character that goes on with one.
_AFTER_ID = "!"


@dataclass(frozen=True, slots=True)
class LinkRow:
    """A source that may link to the target: `document` or `project`, and its id."""

    item: Item
    kind: str
    source_id: str

    @property
    def sk(self) -> str:
        return self.item.key.sk


class LinkIndex:
    """See the module. `now` is unix seconds."""

    def __init__(self, records: RecordStore, *, now: Callable[[], float]) -> None:
        self._records = records
        self._now = now

    async def propose(self, source: Document | Project, links: Iterable[ObjectLink]) -> None:
        """Write the rows of links that a commit is about to add, each anew, so
        that none is taken for an old one."""
        await self._each([_key(source, link) for link in links], self._renew)

    async def ensure(self, source: Document | Project) -> None:
        """Write the rows that a stored source lacks."""
        await self._each([_key(source, link) for link in source.links], self._add)

    async def sources(
        self, kind: str, object_id: str, *, after: str, limit: int
    ) -> tuple[Sequence[LinkRow], bool]:
        """Candidates after the sort key `after`, and whether there are more."""
        page = await self._records.run(
            Index.BASE,
            _pk(kind, object_id),
            lower=after + _AFTER_ID if after else "",
            upper="~",
            limit=limit,
            after=None,
        )
        rows = [LinkRow(item, *item.key.sk.split("#", 1)) for item in page.items]
        return rows, page.next is not None

    async def stale(self, row: LinkRow) -> None:
        """The source does not link there: take the row away, unless it is young
        or was renewed since it was read."""
        if row.item.deleted or json.loads(row.item.body)["at"] + _SETTLED_SECONDS > self._now():
            return
        put = Put(
            row.item.key, Match(row.item.token), _FAMILY, "{}", deleted=True,
            expires_at=int(self._now()) + _GONE_SECONDS,
        )  # fmt: skip
        try:
            await self._records.put_row(put)
        except ConditionFailed:
            return

    async def _each(
        self, keys: Sequence[Key], do: Callable[[Key], Coroutine[Any, Any, None]]
    ) -> None:
        distinct = list(dict.fromkeys(keys))
        for at in range(0, len(distinct), _AT_ONCE):
            await asyncio.gather(*map(do, distinct[at : at + _AT_ONCE]))

    async def _add(self, key: Key) -> None:
        item = await self._records.get_row(key)
        if item is None or item.deleted:
            await self._put(key, item)

    async def _renew(self, key: Key) -> None:
        await self._put(key, await self._records.get_row(key))

    async def _put(self, key: Key, item: Item | None) -> None:
        body = json.dumps({"at": self._now()})
        while True:
            try:
                condition = ABSENT if item is None else Match(item.token)
                await self._records.put_row(Put(key, condition, _FAMILY, body))
            except ConditionFailed:
                item = await self._records.get_row(key)
            else:
                return


def _pk(kind: str, object_id: str) -> str:
    digest = hashlib.sha256(f"{kind}\0{object_id}".encode()).hexdigest()
    return f"LINK#{digest[:40]}"


def _key(source: Document | Project, link: ObjectLink) -> Key:
    if isinstance(source, Document):
        return Key(_pk(link.kind, link.id), f"document#{source.document_id}")
    return Key(_pk(link.kind, link.id), f"project#{source.project_id}")
