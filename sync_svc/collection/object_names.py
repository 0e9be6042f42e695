"""Which objects the rows of a store name, for collection: in doubt, named.

Not counted as naming: history of a document that is purged or deleted (the file is
gone for good), history about a file of another document (of which it is a copy) or of
a key that a relocation left, an upload whose file was attached long ago or that was
collected, and activity events (they tell what was).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import chain
from typing import Any

from services.model.errors import WorkspaceError
from services.model.families import FAMILIES, KERNEL_ROWS
from services.model.object_names import NAMING_FAMILIES, object_names
from services.model.paths import parse_storage_key
from services.model.stamp import Stamp
from services.records.conflict_rows import CONFLICT
from services.records.port import Item
from services.records.siblings import SIBLING

__all__ = ["ATTACHED_SECONDS", "Naming"]

ATTACHED_SECONDS = 8 * 86_400
"""An upload is pending for a week at most; a day for the end of its completion."""
_KERNEL = frozenset(row.name for row in KERNEL_ROWS)
_COMPLETED = "UPLOAD_STATUS_COMPLETED"
_RELOCATED = "relocated"
_WAS = "was "
_PURGED = "DOCUMENT_STATUS_PURGED"


class Naming:
    """Reads rows partition by partition, each in key order: `of` each, and `rest` at the
    end. `now` is unix seconds by the store's clock."""

    def __init__(self, *, now: float) -> None:
        self._now = now
        self._pk = ""
        self._is_gone = False
        self._history = _History()

    def of(self, item: Item) -> Iterator[str]:
        """Keys that a row names; of history with the first row of another partition.
        A document's row has to come before its history."""
        earlier: Iterator[str] = iter(())
        if item.key.pk != self._pk:
            earlier = self.rest()
            self._pk, self._is_gone, self._history = item.key.pk, False, _History()
        if item.family == "document":
            self._is_gone = _is_gone(item)
        if item.deleted:
            return earlier
        if item.family == "metadata_record":
            self._history.note(item)
            return earlier
        return chain(earlier, self._named(item))

    def rest(self) -> Iterator[str]:
        """Keys that the history of the last partition names."""
        return iter(() if self._is_gone else self._history.named())

    def _named(self, item: Item) -> Iterator[str]:
        if item.family in NAMING_FAMILIES:
            members = json.loads(item.body)
            if item.family != "upload" or self._is_open(members):
                yield from object_names(members)
        elif item.family == SIBLING:
            row = json.loads(item.body)
            if row["family"] in NAMING_FAMILIES:
                yield from object_names(json.loads(row["body"]))
        elif item.family == "object_intent":
            yield from json.loads(item.body)["keys"]
        elif item.family == "relocated_object":
            yield json.loads(item.body)["key"]
        elif _may_hide_names(item):
            yield from _anywhere(item.body)

    def _is_open(self, upload: Mapping[str, Any]) -> bool:
        if "collected_at" in upload:
            return False
        if upload.get("status") != _COMPLETED or "completed_at" not in upload:
            return True
        completed = datetime.fromisoformat(upload["completed_at"]).timestamp()
        return completed + ATTACHED_SECONDS > self._now


class _History:
    """The files that the history of one document names. `left` were relocated; a key
    that was a target, too, may be where its file is now."""

    def __init__(self) -> None:
        self._named: set[str] = set()
        self._left: set[str] = set()
        self._targets: set[str] = set()

    def note(self, item: Item) -> None:
        """A metadata record."""
        members = json.loads(item.body)
        keys = [key for key in object_names(members) if _is_own(key, item.key.pk)]
        self._named.update(keys)
        if members.get("reason", "").startswith(_RELOCATED):
            self._targets.update(keys)
            self._left.add(members.get("note", "").removeprefix(_WAS))

    def named(self) -> set[str]:
        """Keys whose bytes are wanted."""
        return self._named - (self._left - self._targets)


def _is_own(key: str, pk: str) -> bool:
    """In doubt it is."""
    try:
        return pk == f"DOCUMENT#{parse_storage_key(key).document_id}"
    except WorkspaceError:
        return True


def _is_gone(item: Item) -> bool:
    if item.stamp and Stamp.load(item.stamp).siblings:
        return False
    return item.deleted or json.loads(item.body).get("status") == _PURGED


def _may_hide_names(item: Item) -> bool:
    """Rows that hold versions aside, and families of newer software."""
    known = item.family in FAMILIES or item.family in _KERNEL
    return item.key.pk.startswith("SYNC#") or item.family == CONFLICT or not known


def _anywhere(value: Any) -> Iterator[str]:
    """`storage_key` members at any depth, texts that are JSON included."""
    if isinstance(value, str):
        if "storage_key" in value:
            try:
                inner = json.loads(value)
            except ValueError:
                return
            if not isinstance(inner, str):
                yield from _anywhere(inner)
    elif isinstance(value, Mapping):
        for name, each in value.items():
            if name == "storage_key" and isinstance(each, str):
                yield each
            else:
                yield from _anywhere(each)
    elif isinstance(value, list):
        for each in value:
            yield from _anywhere(each)
