"""`parent_deleted`: a document was added or changed where its project is gone.

Whoever trashes or deletes a project decides about the documents that he sees. One
that he could not see survives, and is shown until somebody restores the project or
decides about the document. A document is taken for unseen when it arrives where the
project was gone already: not when both come in one run, as at first contact.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress

from services.model.shown import Contest, Shown, conflict_id
from services.model.versions import State
from services.records.conflict_rows import Found, conflict_key, opened
from services.records.port import ConditionFailed, Item, Key
from services.records.replica import Joined
from services.records.siblings import Rows
from services.records.store import RecordStore
from sync_svc.engine.order import members_of

__all__ = ["ParentWatch", "is_gone", "project_key"]

_GONE = frozenset({"PROJECT_STATUS_TRASHED", "PROJECT_STATUS_PURGED"})
_PURGED = "DOCUMENT_STATUS_PURGED"
_KIND = "parent_deleted"
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
        self._gone_now: set[str] = set()
        self._known: dict[str, bool] = {}

    def learn(self, rows: Mapping[Key, Rows]) -> None:
        """Rows of the target, read before the join: projects among them need not be
        read again."""
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        for key, each in rows.items():
            if key.sk == key.pk and key.pk.startswith("PROJECT#"):
                self._known.setdefault(key.pk, is_gone(each.item))

    async def look(
        self, joined: Sequence[Joined], places: Sequence[RecordStore], found: Found
    ) -> int:
        """Open the conflicts of documents that were joined into the first of the
        places, in all of them; how many. Projects come before their documents."""
        for each in joined:
            self._note(each)
        orphans = [each for each in joined if await self._is_orphan(places[0], each)]
        for each in orphans:
            for records in places:
                await _open(records, each, found)
        return len(orphans)

    def _note(self, each: Joined) -> None:
        """A project that goes in this run goes with the documents of this run."""
        if each.after.family != "project" or not each.changed:
            return
        if not _state_is_gone(each.before) and _state_is_gone(each.after):
            self._gone_now.add(each.key.pk)

    async def _is_orphan(self, records: RecordStore, each: Joined) -> bool:
        if each.after.family != "document" or not each.changed or each.shown.version.deleted:
            return False
        members = json.loads(each.shown.version.body)
        if members.get("status") == _PURGED:
            return False  # nothing of it survives
        key = project_key(members.get("project_id", ""))
        if key.pk in self._gone_now:
            return False
        if key.pk not in self._known:
            self._known[key.pk] = is_gone(await records.get_row(key))
        return self._known[key.pk]


def _state_is_gone(state: State | None) -> bool:
    """Whether a project was gone in this state; one that is unknown was not there."""
    if state is None:
        return False
    live = [json.loads(each.body) for each in state.versions.values() if not each.deleted]
    return all(members.get("status") in _GONE for members in live)


async def _open(records: RecordStore, each: Joined, found: Found) -> None:
    shown = Shown(each.shown.version, contest=Contest(_KIND, ("project_id",)))
    conflict = conflict_id(each.key.pk, each.key.sk, each.after.versions)
    if await records.get_row(conflict_key(each.key, conflict)) is None:
        with suppress(ConditionFailed):  # another run opened it
            await records.put_row(opened(each.key, each.after, shown, found))
