"""`parent_deleted`: a document was added or changed where its project is gone.

Whoever trashes or deletes a project decides about the documents that he sees. One
that he could not see survives, and is shown until somebody restores the project or
decides about the document. A document is taken for unseen when it arrives where the
project was gone already: not when both come in one run, as at first contact.

The conflict is written before the document: a run that is cut off between leaves a row
about versions that are not there yet, which its successor brings. The other way round
the document would be there, equal on both sides, and nobody would look at it again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress

from services.model.families import FAMILIES
from services.model.shown import Contest, Shown, conflict_id, shown_of
from services.model.versions import State, join
from services.records.conflict_rows import Found, conflict_key, opened
from services.records.port import ConditionFailed, Item, Key
from services.records.replica import Incoming, Joined, Replica
from services.records.siblings import Rows
from services.records.store import RecordStore
from sync_svc.engine.order import members_of

__all__ = ["ParentWatch", "is_gone", "project_key"]

_GONE = frozenset({"PROJECT_STATUS_TRASHED", "PROJECT_STATUS_PURGED"})
_PURGED = "DOCUMENT_STATUS_PURGED"
_KIND = "parent_deleted"
_DOCUMENT = FAMILIES["document"]
_MOST_KNOWN = 50_000


def project_key(project_id: str) -> Key:
    """Where a project lies."""
    return Key(f"PROJECT#{project_id}", f"PROJECT#{project_id}")


def is_gone(item: Item | None) -> bool:
    """Whether the row of a project says that it is in the trash or deleted."""
    if item is None or item.deleted:
        return item is not None
    return str(members_of(item).get("status")) in _GONE


class ParentWatch:
    """Looks at what one run joins. Made anew for each run."""

    def __init__(self) -> None:
        self._met = ""
        self._gone_now: set[str] = set()
        self._known: dict[str, bool] = {}

    def first_contact(self, instance_id: str) -> None:
        """No run between the two surfaces has come to its end yet: a project that the
        target has from that instance came with an earlier part of the same contact, and
        goes with the documents of this one."""
        self._met = instance_id

    def learn(self, rows: Mapping[Key, Rows]) -> None:
        """Rows of the target, read before the join: projects among them need not be
        read again."""
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        for key, each in rows.items():
            if key.sk == key.pk and key.pk.startswith("PROJECT#"):
                self._known.setdefault(key.pk, self._was_gone(each.item))

    def note(self, joined: Sequence[Joined]) -> None:
        """Projects that go in this run go with the documents of this run."""
        for each in joined:
            if each.after.family != "project" or not each.changed:
                continue
            if not _state_is_gone(each.before) and _state_is_gone(each.after):
                self._gone_now.add(each.key.pk)

    async def announce(
        self, coming: Sequence[Incoming], places: Sequence[RecordStore], found: Found
    ) -> int:
        """Before documents are joined into the first of the places: open the conflicts
        that they will have, in all of them; how many. Projects were joined before."""
        records = places[0]
        orphans = [
            each
            for each in coming
            if each.state.family == "document"
            and await self._is_orphan(records, each.state, shown_of(_DOCUMENT, each.state))
        ]
        opened_now = 0
        for each in orphans:
            (before,) = await Replica(records).states([each.key])
            after = join(before, each.state)
            shown = shown_of(_DOCUMENT, after)
            if shown.contest is None and not after.same_as(before):
                opened_now += await _open_all(places, each.key, after, shown, found)
        return opened_now

    async def look(
        self, joined: Sequence[Joined], places: Sequence[RecordStore], found: Found
    ) -> int:
        """The same for documents that were joined, as they are now."""
        opened_now = 0
        for each in joined:
            if each.after.family != "document" or not each.changed:
                continue
            if await self._is_orphan(places[0], each.after, each.shown):
                opened_now += await _open_all(places, each.key, each.after, each.shown, found)
        return opened_now

    def _was_gone(self, item: Item | None) -> bool:
        comes_along = self._met and item is not None and f'"o":"{self._met}"' in item.stamp
        return is_gone(item) and not comes_along

    async def _is_orphan(self, records: RecordStore, state: State, shown: Shown) -> bool:
        if state.deleted or shown.version.deleted:
            return False
        members = json.loads(shown.version.body)
        if members.get("status") == _PURGED:
            return False  # nothing of it survives
        key = project_key(members.get("project_id", ""))
        if key.pk in self._gone_now:
            return False
        if key.pk not in self._known:
            self._known[key.pk] = self._was_gone(await records.get_row(key))
        return self._known[key.pk]


def _state_is_gone(state: State | None) -> bool:
    """Whether a project was gone in this state; one that is unknown was not there."""
    if state is None:
        return False
    live = [json.loads(each.body) for each in state.versions.values() if not each.deleted]
    return all(members.get("status") in _GONE for members in live)


async def _open_all(
    places: Sequence[RecordStore], key: Key, state: State, shown: Shown, found: Found
) -> bool:
    """Whether it was not open in the first of them."""
    first, *_ = [await _open(records, key, state, shown, found) for records in places]
    return first


async def _open(
    records: RecordStore, key: Key, state: State, shown: Shown, found: Found
) -> bool:
    contested = Shown(shown.version, contest=Contest(_KIND, ("project_id",)))
    there = await records.get_row(
        conflict_key(key, conflict_id(key.pk, key.sk, state.versions))
    )
    if there is not None and not _closed_by_itself(there):
        return False
    with suppress(ConditionFailed):  # another run opened it
        await records.put_row(opened(key, state, contested, found, there=there))
        return True
    return False


def _closed_by_itself(item: Item) -> bool:
    """Somebody looked at it before its versions were there."""
    row = json.loads(item.body)
    return bool(row["status"] == "resolved") and not row.get("resolved_by")
