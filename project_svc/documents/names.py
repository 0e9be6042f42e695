"""One document per place: claims of (folder, name) inside a project.

A claim is the row `NAME#{project_id}#{sha256 of "folder/name"}` / `NAME`. The
digest is over NFC text, so places compare byte for byte. A document and its
claim lie in two partitions; the saga of whoever makes document X live at P is

1. read the row of X (its version; usually: absent);
2. claim P for X;
3. commit X at P on condition of the version read in 1.

Whoever finds P claimed by X, but X not living there, waits while the claim is
young (its maker may be between 2 and 3). After the lease he *fences*: he
commits a new version of X's row (a tombstone if there was none), so that 3
fails for good, and then replaces the claim on condition that it is still the
one he read. A maker that starts again at 1 over an earlier version writes a
new claim in 2, which fails that condition. The lease is about waiting only:
whatever clocks do, at most one document comes to live at a place here.

By sync others may: two nodes each gave the place to a document. Both stay; the
claim has the one that was created first, and names the others in `also`. When the
holder leaves, the next of them that still lives there has the claim
(`shared_places.py` keeps this up).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from workspace.project.v1.document_pb2 import Document, DocumentStatus

from project_svc.documents.rows import DOCUMENT, document_key, document_pk
from services.model.errors import Reason, WorkspaceError
from services.model.indexes import Index
from services.records.port import (
    ABSENT,
    Condition,
    ConditionFailed,
    Item,
    Key,
    Match,
    Put,
)
from services.records.record import Activity, Record, Write
from services.records.store import RecordStore

__all__ = [
    "Claim",
    "Place",
    "PlaceClaims",
    "claim_put",
    "claims_partition",
    "lives_at",
    "others_of",
    "place_of",
    "rank_of",
    "taken",
]

_FAMILY = "document_name"
_LEASE = 5.0
_MOST_OTHERS = 200
_ATTEMPTS = 400
_LONGEST_PAUSE = 0.05
_GONE = (DocumentStatus.DOCUMENT_STATUS_TRASHED, DocumentStatus.DOCUMENT_STATUS_PURGED)
_LOST_RACES = (
    Reason.ERROR_REASON_ALREADY_EXISTS,
    Reason.ERROR_REASON_ETAG_MISMATCH,
    Reason.ERROR_REASON_CONFLICTING_WRITE,
)


@dataclass(frozen=True, slots=True)
class Place:
    """A folder and a name in a project; both NFC."""

    project_id: str
    relative_path: str
    name: str

    @property
    def path(self) -> str:
        return f"{self.relative_path}/{self.name}"

    @property
    def key(self) -> Key:
        digest = hashlib.sha256(self.path.encode()).hexdigest()
        return Key(f"NAME#{self.project_id}#{digest}", "NAME")


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim as it was read or written; `token` names this version of it."""

    place: Place
    document_id: str
    token: str


def place_of(document: Document) -> Place:
    """Where a document is, or was before the trash."""
    return Place(document.project_id, document.relative_path, document.name)


class PlaceClaims:
    """Takes and releases places. `now` is unix seconds; `lease` seconds."""

    def __init__(
        self, *, records: RecordStore, now: Callable[[], float], lease: float = _LEASE
    ) -> None:
        self._records = records
        self._now = now
        self._lease = lease

    async def take(self, place: Place, document_id: str, *, renew: bool = False) -> Claim:
        """Claim the place for a document. Idempotent; `renew` writes a new
        claim even over one's own, as is needed over an earlier version of the
        document's row.

        Raises ALREADY_EXISTS with the id of the document that lives there.
        """
        condition: Condition | None = ABSENT
        item: Item | None = None
        for attempt in range(_ATTEMPTS):
            if condition is not None:
                token = await self._put(place, document_id, condition, also=others_of(item))
                if token:
                    return Claim(place, document_id, token)
            item = await self._get(place)
            if item is not None and not renew and _holder(item) == document_id:
                return Claim(place, document_id, item.token)
            condition = await self._free(place, document_id, item)
            if condition is None:
                pause = min(_LONGEST_PAUSE, 0.002 * (attempt + 1))
                await asyncio.sleep(pause * (0.5 + random.random()))  # noqa: S311 - spreads retries
        raise WorkspaceError(
            Reason.ERROR_REASON_CONFLICTING_WRITE,
            f"name: '{place.name}' is being taken by another call; repeat the call",
            retry_after=0.5,
        )

    async def held(self, place: Place, document_id: str) -> Claim | None:
        """The document's claim of the place. Read it before the commit that
        takes the document away: `release` then ends exactly this claim."""
        item = await self._get(place)
        if item is None or _holder(item) != document_id:
            return None
        return Claim(place, document_id, item.token)

    async def release(self, claim: Claim | None) -> None:
        """End the claim unless it was renewed or taken over meanwhile. Another
        document that lives there has it then."""
        if claim is None:
            return
        item = await self._get(claim.place)
        if item is None or item.token != claim.token:
            return
        heirs = [each for each in await self._residents(claim.place, item)
                 if each != claim.document_id]  # fmt: skip
        heir = heirs[0] if heirs else claim.document_id
        await self._put(
            claim.place, heir, Match(claim.token), deleted=not heirs, also=heirs[1:]
        )

    async def _free(self, place: Place, document_id: str, item: Item | None) -> Condition | None:
        """The condition under which the place may be written; None: wait."""
        if item is None:
            return ABSENT
        holder = _holder(item)
        if holder in ("", document_id) or await self._abandoned(place, holder, item):
            return Match(item.token)
        return None

    async def _abandoned(self, place: Place, holder: str, item: Item) -> bool:
        """Whether the holder does not live there and now never will under this claim."""
        record = await self._records.get(DOCUMENT, document_key(holder), deleted=True)
        if lives_at(record, place):
            raise taken(place, holder)
        if residents := await self._residents(place, item):
            raise taken(place, residents[0])
        if 0 <= self._now() - json.loads(item.body)["at"] < self._lease:
            return False
        return await self._fence(place, holder, record)

    async def _fence(self, place: Place, holder: str, record: Record[Document] | None) -> bool:
        gone = record is None or record.deleted
        message = Document(document_id=holder) if record is None or gone else record.edit()
        try:
            await self._records.commit(
                document_pk(holder),
                [Write(DOCUMENT, message, base=record, deleted=gone)],
                activity=Activity(
                    "document.place_lost", f"documents/{holder}", project_id=place.project_id
                ),
            )
        except WorkspaceError as error:
            if error.reason in _LOST_RACES:
                return False
            raise
        return True

    async def _residents(self, place: Place, item: Item) -> list[str]:
        """Those of the other documents of a claim that live there now, who was
        created first before the rest."""
        others = others_of(item)
        keys = [document_key(each) for each in others]
        records = await self._records.batch_get(DOCUMENT, keys) if keys else []
        living = [each for each in records if each is not None and lives_at(each, place)]
        return [each.message.document_id for each in sorted(living, key=rank_of)]

    async def _get(self, place: Place) -> Item | None:
        return await self._records.get_row(place.key)

    async def _put(
        self,
        place: Place,
        document_id: str,
        condition: Condition,
        *,
        also: Collection[str] = (),
        deleted: bool = False,
    ) -> str:
        """The token of the new claim; '' when the condition failed."""
        put = claim_put(
            place, document_id, condition, at=self._now(), also=also, deleted=deleted
        )
        try:
            return await self._records.put_row(put)
        except ConditionFailed:
            return ""


def claim_put(
    place: Place,
    document_id: str,
    condition: Condition,
    *,
    at: float,
    also: Collection[str] = (),
    deleted: bool = False,
) -> Put:
    """The row of a claim, made at `at` (unix seconds). `also`: documents that live
    there without having the claim."""
    if deleted:
        return Put(place.key, condition, _FAMILY, "{}", deleted=True)
    body: dict[str, Any] = {"document_id": document_id, "path": place.path, "at": at}
    if others := sorted(set(also) - {document_id})[:_MOST_OTHERS]:
        body["also"] = others
    indexes = {Index.USER: (claims_partition(document_id), place.key.pk)}
    text = json.dumps(body, ensure_ascii=False)
    return Put(place.key, condition, _FAMILY, text, indexes=indexes)


def claims_partition(document_id: str) -> str:
    """Partition of index USER that lists the claims of a document."""
    return f"CLAIMS#{document_id}"


def taken(place: Place, document_id: str) -> WorkspaceError:
    """ALREADY_EXISTS that names the document at the place."""
    return WorkspaceError(
        Reason.ERROR_REASON_ALREADY_EXISTS,
        f"name: documents/{document_id} is '{place.path.lstrip('/')}' already; choose another "
        "name, or upload a new revision of that document",
        metadata={"resource": f"documents/{document_id}", "document_id": document_id},
    )


def _holder(item: Item) -> str:
    return "" if item.deleted else str(json.loads(item.body)["document_id"])


def others_of(item: Item | None) -> list[str]:
    """Documents that live at the place of a claim without having it."""
    return [] if item is None or item.deleted else list(json.loads(item.body).get("also", ()))


def lives_at(record: Record[Document] | None, place: Place) -> bool:
    """Whether the document is there, neither in the trash nor gone."""
    if record is None or record.deleted:
        return False
    document = record.message
    return document.status not in _GONE and place_of(document) == place


def rank_of(record: Record[Document]) -> tuple[int, str]:
    """Of several documents at a place the least has the claim, on every node."""
    document = record.message
    return document.created_at.ToNanoseconds(), document.document_id
