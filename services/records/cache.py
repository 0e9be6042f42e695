"""Decoded records by the version of their row: a pure memo, never a truth."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from services.model.families import Family
from services.model.stamp import Stamp
from services.records.codec import decode
from services.records.port import Item
from services.records.record import Record

__all__ = ["DecodeCache"]


class DecodeCache:
    """At most `size` decoded records, least recently used out first. The key
    contains the row's token, so an entry can never be out of date."""

    def __init__(self, size: int = 20_000) -> None:
        self._size = size
        self._entries: OrderedDict[tuple[str, str, str], Record[Any]] = OrderedDict()

    def record(self, family: Family, item: Item) -> Record[Any]:
        key = (item.key.pk, item.key.sk, item.token)
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
            return found
        record = Record(family, decode(family.message, item.body), item, Stamp.load(item.stamp))
        self._entries[key] = record
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)
        return record
