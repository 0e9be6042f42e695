"""Rows to items, puts to parameters, and the texts of positions and cursors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from services.records.port import CursorLost, Item, Key, Put
from services.records.port_texts import check_puts, page_position, position_texts
from services.records.sql.schema import INDEX_COLUMNS

__all__ = [
    "SEQ",
    "check_puts",
    "feed_cursor",
    "item_of_put",
    "item_of_row",
    "page_position",
    "parameters",
    "query_bounds",
    "read_cursor",
]

SEQ = 8
"""Where `seq` stands in a row of `READ_COLUMNS`."""
_INDEXED = tuple((index, 9 + 2 * number) for number, index in enumerate(INDEX_COLUMNS))


def item_of_row(row: Sequence[Any]) -> Item:
    """The item of a row with the columns of `READ_COLUMNS`."""
    pk, sk, rev, family, body, stamp, deleted, expires_at = row[:8]
    indexes = {
        index: (row[at], row[at + 1]) for index, at in _INDEXED if row[at] is not None
    }
    return Item(Key(pk, sk), str(rev), family, body, stamp, bool(deleted), expires_at, indexes)


def item_of_put(put: Put, rev: int) -> Item:
    """What a read will find after `put` was written as version `rev`."""
    return Item(
        put.key, str(rev), put.family, put.body, put.stamp,
        put.deleted, put.expires_at, put.indexes,
    )  # fmt: skip


def parameters(put: Put) -> dict[str, Any]:
    """The values of a put by column name, without `rev` and `seq`."""
    values: dict[str, Any] = {
        "pk": put.key.pk,
        "sk": put.key.sk,
        "family": put.family,
        "body": put.body,
        "stamp": put.stamp,
        "deleted": put.deleted,
        "expires_at": put.expires_at,
    }
    for index, (pk, sk) in INDEX_COLUMNS.items():
        values[pk], values[sk] = put.indexes.get(index, (None, None))
    return values


def query_bounds(
    lower: str, upper: str | None, after: str | None, *, descending: bool
) -> tuple[dict[str, Any], bool]:
    """Parameters of a page, and whether the position narrows the range at all.

    Raises ValueError when `after` is not a position that a page returned.
    """
    bounds: dict[str, Any] = {"lower": lower, "upper": upper}
    if after is None:
        return bounds, False
    sort, pk, sk = position_texts(after)
    inside = (upper is None or sort < upper) if descending else sort >= lower
    return {**bounds, "after_sort": sort, "after_pk": pk, "after_sk": sk}, inside


def feed_cursor(identity: str, seq: int, pk: str, sk: str) -> str:
    """The change cursor: whose history it is of, and the last position seen."""
    return json.dumps([identity, seq, pk, sk])


def read_cursor(identity: str, cursor: str | None) -> tuple[int, str, str]:
    """The position in `cursor`. Raises CursorLost when it is not of `identity`."""
    if cursor is None:
        return 0, "", ""
    try:
        owner, seq, pk, sk = json.loads(cursor)
    except (ValueError, TypeError):
        raise CursorLost("the change cursor is malformed") from None
    if owner != identity or type(seq) is not int:
        raise CursorLost("the change cursor is of another store")
    return seq, str(pk), str(sk)
