"""Claims of places, brought in line with documents that came or changed by sync.

Sync knows nothing of claims (`names.py`): a document comes to live at a place without
one, or leaves it and its claim stays. Whatever came is looked at here, as often as
one likes: a claim that its document left is released, one that lacks is taken, and of
several documents at one place the first one created gets it.

What a call of this node is about to do is not disturbed: a claim younger than
`SETTLED_SECONDS`, of a document that does not live there, is left alone until then.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from workspace.project.v1.document_pb2 import Document

from project_svc.documents.names import (
    Claim,
    Place,
    PlaceClaims,
    claim_put,
    claims_partition,
    lives_at,
    others_of,
    place_of,
    rank_of,
)
from project_svc.documents.rows import DOCUMENT, document_key
from services.model.errors import Reason, WorkspaceError
from services.model.indexes import Index
from services.records.port import ABSENT, ConditionFailed, Item, Match, Put
from services.records.record import Record
from services.records.store import RecordStore

__all__ = ["SETTLED_SECONDS", "SharedPlaces"]

SETTLED_SECONDS = 60.0
"""Longer than a call lasts: by then its commit has happened, or never will."""
_NO_MAKER = 0.0
"""When a claim was made for a document that lived there already: nobody is about to
make it live there, and whoever is writes a claim of his own."""
_ATTEMPTS = 20
_PAGE = 100


class SharedPlaces:
    """See the module. `now` is unix seconds."""

    def __init__(
        self, *, records: RecordStore, claims: PlaceClaims, now: Callable[[], float]
    ) -> None:
        self._records = records
        self._claims = claims
        self._now = now

    async def settle(self, document_id: str) -> float | None:
        """Bring the claims of a document in line. When to look again (unix seconds)."""
        claims = await self._claims_of(document_id)
        # Read after its claims: one that is for what it is now is not released.
        record: Record[Document] | None = await self._records.get(
            DOCUMENT, document_key(document_id), deleted=True
        )
        if record is None:
            return None
        again: list[float] = []
        for place, item in claims:
            settled = _settled_at(item)
            if lives_at(record, place):
                continue
            if settled > self._now():
                again.append(settled)
            else:
                await self._claims.release(Claim(place, document_id, item.token))
        here = place_of(record.message)
        if lives_at(record, here) and (later := await self._share(here, record)):
            again.append(later)
        return min(again, default=None)

    async def _claims_of(self, document_id: str) -> list[tuple[Place, Item]]:
        found: list[tuple[Place, Item]] = []
        after: str | None = None
        while True:
            page = await self._records.run(
                Index.USER, claims_partition(document_id), lower="NAME#", upper="NAME$",
                limit=_PAGE, after=after,
            )
            for each in page.items:
                item = await self._records.get_row(each.key)
                if item is not None and _holder(item) == document_id:
                    found.append((_place(item), item))
            after = page.next
            if after is None:
                return found

    async def _share(self, place: Place, record: Record[Document]) -> float | None:
        """Have the claim, or be named in it."""
        for _ in range(_ATTEMPTS):
            item = await self._records.get_row(place.key)
            put, later = await self._wanted(place, record, item)
            if put is None:
                return later
            try:
                await self._records.put_row(put)
            except ConditionFailed:
                continue
            return later
        raise WorkspaceError(
            Reason.ERROR_REASON_CONFLICTING_WRITE,
            f"the place of documents/{record.message.document_id} is being taken by others",
            retry_after=0.5,
        )

    async def _wanted(
        self, place: Place, record: Record[Document], item: Item | None
    ) -> tuple[Put | None, float | None]:
        """How the claim is to be, if otherwise than it is, and when to look again."""
        own, now = record.message.document_id, self._now()
        holder = _holder(item)
        if item is None or not holder:
            condition = ABSENT if item is None else Match(item.token)
            return claim_put(place, own, condition, at=_NO_MAKER), None
        if holder == own:
            return None, None
        rival: Record[Document] | None = await self._records.get(DOCUMENT, document_key(holder))
        others, condition = {*others_of(item)}, Match(item.token)
        lives = lives_at(rival, place)
        first = rival is not None and rank_of(rival) < rank_of(record)
        later = None if lives else _settled_at(item)
        if (lives and first) or (later is not None and later > now):
            if own in others:
                return None, later
            at = float(json.loads(item.body)["at"])
            return claim_put(place, holder, condition, at=at, also=others | {own}), later
        others |= {holder} if lives else set()
        return claim_put(place, own, condition, at=_NO_MAKER, also=others), None


def _holder(item: Item | None) -> str:
    return "" if item is None or item.deleted else str(json.loads(item.body)["document_id"])


def _settled_at(item: Item) -> float:
    return float(json.loads(item.body)["at"]) + SETTLED_SECONDS


def _place(item: Item) -> Place:
    path, _, name = str(json.loads(item.body)["path"]).rpartition("/")
    return Place(item.key.pk.split("#")[1], path, name)
