"""Decoded records by the version of their row: a pure memo, never a truth."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from google.protobuf.message import Message

from services.model.families import Family
from services.model.stamp import Stamp
from services.records.codec import as_decoded, decode
from services.records.port import Item, Key
from services.records.record import Record

__all__ = ["DecodeCache"]

_Version = tuple[str, str, str]
"""(pk, sk, token)"""
_NOTHING = (None, None, 0)


_MOST_BYTES = 8 << 20


class DecodeCache:
    """Decoded records of at most `most` bytes of stored text (decoded they take
    about five times as much), least recently used out first. The key contains
    the row's token, so an entry can never be out of date."""

    def __init__(self, most: int = _MOST_BYTES) -> None:
        self._most = most
        self._bytes = 0
        self._entries: OrderedDict[_Version, tuple[Message, Stamp, int]] = OrderedDict()

    def record(self, family: Family, item: Item) -> Record[Any]:
        """The record of a row; decoded only when its version is not known."""
        version = _version(item.key, item.token)
        found = self._entries.get(version)
        if found is None:
            found = (
                decode(family.message, item.body),
                Stamp.load(item.stamp),
                len(item.body) + len(item.stamp),
            )
            self._keep(version, found)
        else:
            self._entries.move_to_end(version)
        return Record(family, found[0], item, found[1])

    def learn(self, record: Record[Any], token: str) -> None:
        """Note a record that was just committed as the version `token`, for it
        is read again soon. Rows that never change seldom are."""
        if record.family.policy == "append_only":
            return
        message = as_decoded(record.family, record.message, deleted=record.deleted)
        if message is not None:
            size = len(record.item.body) + len(record.item.stamp)
            self._keep(_version(record.key, token), (message, record.stamp, size))

    def _keep(self, version: _Version, entry: tuple[Message, Stamp, int]) -> None:
        self._bytes += entry[2] - self._entries.get(version, _NOTHING)[2]
        self._entries[version] = entry
        while self._bytes > self._most:
            self._bytes -= self._entries.popitem(last=False)[1][2]


def _version(key: Key, token: str) -> _Version:
    return (key.pk, key.sk, token)
