"""What all drivers do alike: positions of pages as text, and puts that are no commit."""

from __future__ import annotations

import json
from collections.abc import Sequence

from services.records.port import Index, Item, Put

__all__ = ["check_puts", "page_position", "position_texts"]


def check_puts(pk: str, puts: Sequence[Put]) -> None:
    """Refuse what is a bug in the caller: no puts, another partition, a key twice.

    Raises ValueError before anything is sent to the database.
    """
    keys = {put.key for put in puts}
    if not puts or len(keys) != len(puts) or any(key.pk != pk for key in keys):
        raise ValueError("a commit takes one or more puts of distinct keys in one partition")


def page_position(index: Index, item: Item) -> str:
    """The (sort, pk, sk) position of an item in an index, as text."""
    sort = item.key.sk if index is Index.BASE else item.indexes[index][1]
    return json.dumps([sort, item.key.pk, item.key.sk])


def position_texts(position: str) -> list[str]:
    """The three texts of a position. Raises ValueError for what no page returned."""
    try:
        parts = json.loads(position)
    except ValueError:
        parts = None
    if not isinstance(parts, list) or [type(part) for part in parts] != [str] * 3:
        raise ValueError("after: not a position of a page; start again without it")
    return parts
