"""Items to documents and back, and tokens.

A text property holds a whole order of the port: `k` is pk and sk, `i1` to `i4` are the
partition, the sort text, pk and sk of an index, with U+0001 between the parts. That is
below every character of a key, so the order of the texts is the order of the parts.

Bodies and stamps are texts, since they have to come back byte for byte. Quotes and
backslashes of their JSON would need two bytes each inside of a document, of which a batch
takes 2 MB only: they change places with apostrophes and backticks, which need one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.model.errors import invalid_field
from services.records.cosmos.ids import id_of
from services.records.cosmos.schema import INDEXES, KEY_PROPERTY, index_property
from services.records.port import Index, Item, Key, Put

__all__ = [
    "NO_ETAG", "Document", "Version", "document_of", "index_text", "item_of", "key_of", "key_text",
    "token_of", "version_of", "visible",
]  # fmt: skip

Document = dict[str, Any]
NO_ETAG = '"none"'
"""Of no version, ever: the service is not asked about it."""
_BELOW = "\x01"
_TTL_GRACE_SECONDS = 24 * 3600
"""Clocks of hosts and of the service differ by less."""
_MOST_TTL = 2**31 - 1
_SWAPPED = str.maketrans("\"'\\`", "'\"`\\")


@dataclass(frozen=True, slots=True)
class Version:
    """What a token names: an etag, and when that version expires."""

    etag: str
    expires_at: int | None


def key_text(key: Key) -> str:
    """What keys are ordered by."""
    return f"{key.pk}{_BELOW}{key.sk}"


def index_text(partition: str, sort: str, key: Key) -> str:
    """What an index is ordered by."""
    return _BELOW.join((partition, sort, key.pk, key.sk))


def key_of(document: Mapping[str, Any]) -> Key:
    """The key of a row of an item."""
    pk, sk = document[KEY_PROPERTY].split(_BELOW)
    return Key(pk, sk)


def document_of(put: Put, rev: str, now: int) -> Document:
    """What is stored for a put by the commit `rev`. Raises INVALID_FIELD for texts that
    hold U+0001."""
    made: Document = {
        "id": id_of(put.key.sk),
        "pk": put.key.pk,
        KEY_PROPERTY: key_text(put.key),
        "family": put.family,
        "body": put.body.translate(_SWAPPED),
        "stamp": put.stamp.translate(_SWAPPED),
        "deleted": put.deleted,
        "rev": rev,
    }
    if put.expires_at is not None:
        made["expires_at"] = put.expires_at
        made["ttl"] = min(_MOST_TTL, max(1, put.expires_at - now + _TTL_GRACE_SECONDS))
    for index, (partition, sort) in put.indexes.items():
        made[index_property(index)] = index_text(partition, sort, put.key)
        if _BELOW in partition or _BELOW in sort:
            raise invalid_field("index", "must be printable characters")
    return made


def item_of(document: Mapping[str, Any]) -> Item:
    """The item of a stored row. Raises KeyError, TypeError or ValueError for another row."""
    indexes: dict[Index, tuple[str, str]] = {}
    for index in INDEXES:
        text = document.get(index_property(index))
        if text is not None:
            partition, sort, _, _ = text.split(_BELOW)
            indexes[index] = (partition, sort)
    expires_at = document.get("expires_at")
    return Item(
        key_of(document), token_of(document["_etag"], expires_at), document["family"],
        document["body"].translate(_SWAPPED), document["stamp"].translate(_SWAPPED),
        document["deleted"], expires_at, indexes,
    )  # fmt: skip


def visible(document: Mapping[str, Any] | None, now: int) -> Item | None:
    """The item of a row, None without one, when it has expired, and for the driver's own."""
    if document is None or KEY_PROPERTY not in document:
        return None
    item = item_of(document)
    return None if item.expires_at is not None and item.expires_at <= now else item


def token_of(etag: str, expires_at: int | None) -> str:
    """The token of a version."""
    return f"{etag}@{'' if expires_at is None else expires_at}"


def version_of(token: str) -> Version | None:
    """The version that a token names; None for a text that is no token, and where no
    version can have it."""
    etag, found, expiry = token.rpartition("@")
    if not (found and etag.startswith('"') and etag.endswith('"') and len(etag) > 2):
        return None
    if etag == NO_ETAG or not etag.isascii():
        return None
    if not (not expiry or (expiry.isascii() and expiry.isdecimal())):
        return None
    return Version(etag, int(expiry) if expiry else None)
