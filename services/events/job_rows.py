"""Rows of jobs that several tries may work on: the newest try wins.

A job row is a kernel row whose body is a JSON object; it expires by itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from services.records.port import ConditionFailed, Item, Match, Put
from services.records.store import RecordStore

__all__ = ["finish_job", "rewrite_job"]


async def rewrite_job(
    records: RecordStore, item: Item, content: Mapping[str, Any]
) -> Item | None:
    """The row with new content; None when another try changed it."""
    body = json.dumps(content)
    put = Put(item.key, Match(item.token), item.family, body, expires_at=item.expires_at)
    try:
        token = await records.put_row(put)
    except ConditionFailed:
        return None
    return replace(item, token=token, body=body)


async def finish_job(records: RecordStore, item: Item, *, kept_until: float) -> None:
    """No more tries. The tombstone stays until `kept_until` (unix seconds): it keeps
    a repeat from queueing the job again."""
    put = Put(
        item.key, Match(item.token), item.family, item.body, deleted=True,
        expires_at=int(kept_until),
    )
    try:
        await records.put_row(put)
    except ConditionFailed:
        return  # by another try
