"""Items to attributes and back, in the SDK's low-level form (`{"S": ...}`).

An index attribute holds the whole order of the port in one text: sort, pk and sk with
U+0001 between them, which is below every character of a key, so that byte order of the
text is the order of the triple. A sort key of DynamoDB has at most 1,024 bytes: the tail
of a longer text is replaced by its SHA-256 (rows of one sort key and very long keys then
come in another order among themselves, the same in every call).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from services.model.errors import invalid_field
from services.records.dynamodb.schema import INDEXES, gsi_keys
from services.records.port import Index, Item, Key, Put

__all__ = [
    "MAX_ITEM_BYTES", "Attributes", "attributes_of", "index_entry", "item_of", "key_attributes",
    "key_of", "size_of", "visible",
]  # fmt: skip

Attributes = dict[str, dict[str, Any]]
MAX_ITEM_BYTES = 400 * 1024
"""DynamoDB's limit, names of attributes included."""
_BELOW = "\x01"
_MOST_ENTRY, _DIGEST = 1024, 64
_MOST_SORT = _MOST_ENTRY - _DIGEST - 2


def key_attributes(key: Key) -> Attributes:
    """The primary key."""
    return {"PK": {"S": key.pk}, "SK": {"S": key.sk}}


def key_of(attributes: Mapping[str, Any]) -> Key:
    """The key of a row, or of an entry of an index."""
    return Key(attributes["PK"]["S"], attributes["SK"]["S"])


def attributes_of(put: Put, rev: str) -> Attributes:
    """What is stored for a put as version `rev`. Raises INVALID_FIELD when no row of
    DynamoDB can hold it."""
    made: Attributes = {
        **key_attributes(put.key),
        "rev": {"S": rev},
        "family": {"S": put.family},
        "body": {"S": put.body},
        "stamp": {"S": put.stamp},
        "deleted": {"BOOL": put.deleted},
    }
    if put.expires_at is not None:
        made["expires_at"] = {"N": str(put.expires_at)}
    for index, (partition, sort) in put.indexes.items():
        names = gsi_keys(index)
        made[names[0]] = {"S": partition}
        made[names[1]] = {"S": index_entry(sort, put.key)}
    size = size_of(made)
    if size > MAX_ITEM_BYTES:
        raise invalid_field(
            "record", f"{size} bytes stored; DynamoDB takes {MAX_ITEM_BYTES} in one item"
        )
    return made


def item_of(attributes: Mapping[str, Any]) -> Item:
    """The item of a stored row."""
    expires_at = attributes.get("expires_at")
    indexes: dict[Index, tuple[str, str]] = {}
    for index in INDEXES:
        partition, sort = gsi_keys(index)
        if partition in attributes:
            indexes[index] = (
                attributes[partition]["S"], attributes[sort]["S"].partition(_BELOW)[0],
            )  # fmt: skip
    return Item(
        key_of(attributes), attributes["rev"]["S"], attributes["family"]["S"],
        attributes["body"]["S"], attributes["stamp"]["S"], attributes["deleted"]["BOOL"],
        None if expires_at is None else int(expires_at["N"]), indexes,
    )  # fmt: skip


def visible(attributes: Mapping[str, Any] | None, now: int) -> Item | None:
    """The item of a row, None without one or when it has expired."""
    if not attributes:
        return None
    item = item_of(attributes)
    return None if item.expires_at is not None and item.expires_at <= now else item


def index_entry(sort: str, key: Key) -> str:
    """The sort attribute of an index: see the module. Raises INVALID_FIELD for a sort
    text over 958 bytes, or one that holds U+0001."""
    if len(sort.encode()) > _MOST_SORT or _BELOW in sort:
        raise invalid_field("index", f"a sort key has at most {_MOST_SORT} printable bytes")
    text = _BELOW.join((sort, key.pk, key.sk))
    data = text.encode()
    if len(data) <= _MOST_ENTRY:
        return text
    kept = data[: _MOST_ENTRY - _DIGEST].decode(errors="ignore")
    return kept + hashlib.sha256(data).hexdigest()


def size_of(attributes: Mapping[str, Mapping[str, Any]]) -> int:
    """Bytes as DynamoDB counts them (Developer Guide, "Item sizes and formats"): names
    and values in UTF-8; a number has at most 21, a truth value 1."""
    total = 0
    for name, value in attributes.items():
        [(kind, content)] = value.items()
        total += len(name.encode())
        if kind == "S":
            total += len(content.encode())
        elif kind == "L":
            total += 3 + sum(1 + size_of({"": each}) for each in content)
        else:
            total += 21 if kind == "N" else 1
    return total
