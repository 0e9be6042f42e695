"""What earlier releases left that a later one would take for damage."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace

from services.model.canonical import content_digest
from services.model.families import FAMILIES
from services.model.indexes import Index
from services.model.merging.content import content_of
from services.model.stamp import Stamp
from services.records.port import ConditionFailed, Item, Match, Put, RecordDriver

__all__ = ["mend_connections"]

_FAMILY = FAMILIES["connection"]
_PARTITION, _PREFIX, _AFTER = "CONNECTIONS", "CONNECTION#", "CONNECTION$"


async def mend_connections(driver: RecordDriver) -> int:
    """Give the connections that are kept as records the digest of what they say; returns
    how many had another.

    Until AWS and Azure were there, what was noted of a connection (when it was last
    reached) left its row the digest it had: `wm doctor` takes that for damage. The next
    note mends it, too; connections that are used by nobody would wait for ever.
    """
    mended = 0
    async for item in _connections(driver):
        put = _mended(item)
        if put is None:
            continue
        try:
            await driver.commit(item.key.pk, [put])
        except ConditionFailed:
            continue  # something was noted at this moment
        mended += 1
    return mended


async def _connections(driver: RecordDriver) -> AsyncIterator[Item]:
    after: str | None = None
    while True:
        page = await driver.query(
            Index.USER, _PARTITION, lower=_PREFIX, upper=_AFTER, limit=500, after=after
        )
        for item in page.items:
            yield item
        after = page.next
        if after is None:
            return


def _mended(item: Item) -> Put | None:
    content = content_of(_FAMILY, json.loads(item.body))
    stamp = Stamp.load(item.stamp)
    digest = content_digest(_FAMILY.name, item.deleted, content)
    if stamp.digest == digest:
        return None
    return Put(
        item.key, Match(item.token), item.family, item.body,
        replace(stamp, digest=digest).dump(), item.deleted, item.expires_at, item.indexes,
    )  # fmt: skip
