"""Hands of somebody who may write the rows of a store and knows this program.

Every edit is made through the driver, so that it is the same on every database.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from workspace.project.v1.history_service_pb2 import ActivityFaultKind

from services.model.canonical import canonical_json, content_digest
from services.model.seals import Link, link_of, sealed_digest
from services.model.stamp import Stamp
from services.records.port import Index, Item, Key, Match, Put, RecordDriver

EVENT = "activity_event"
Members = dict[str, Any]


class Tamperer:
    """Writes the rows of one partition."""

    def __init__(self, driver: RecordDriver, pk: str) -> None:
        self.driver = driver
        self.pk = pk

    async def events(self) -> list[Item]:
        page = await self.driver.query(
            Index.BASE, self.pk, lower="EVENT#", upper="EVENT$", limit=500
        )
        return list(page.items)

    async def edit(self, number: int, change: Callable[[Members], Members]) -> str:
        """Change the event `number` (from 0) and the digest in its stamp; its id."""
        item = (await self.events())[number]
        members = change(json.loads(item.body))
        await self.put(item, members)
        return str(members["event_id"])

    async def put(self, item: Item, members: Mapping[str, Any], *, erased: bool = False) -> None:
        await self.driver.commit(self.pk, [_put(item, members, erased=erased)])

    async def swap(self, one: int, two: int) -> None:
        """What two rows say, each keeping its key."""
        events = await self.events()
        a, b = events[one], events[two]
        await self.driver.commit(
            self.pk,
            [replace(_same(a), body=b.body, stamp=b.stamp),
             replace(_same(b), body=a.body, stamp=a.stamp)],
        )  # fmt: skip

    async def delete(self, *numbers: int) -> None:
        """Rows go: they expired long ago."""
        events = await self.events()
        for number in numbers:
            await self.driver.commit(self.pk, [replace(_same(events[number]), expires_at=1)])

    async def head(self, **members: Any) -> None:
        """Let HEAD say something else; None takes a member away."""
        item = await self.driver.get(Key(self.pk, "#HEAD"))
        assert item is not None
        said = json.loads(item.body) | members
        body = json.dumps({name: value for name, value in said.items() if value is not None})
        await self.driver.commit(self.pk, [replace(_same(item), body=body)])

    async def rebuild(self) -> None:
        """Make every link anew, as the events are now, and let HEAD name the last."""
        link, sequence, last = "", 0, ""
        for item in await self.events():
            members = json.loads(item.body)
            sequence = int(members["partition_sequence"])
            members["previous_link"] = link or members["previous_link"]
            await self.put(item, members)
            link = _link(item.key, members).dump()
            last = members["event_id"]
        await self.head(pseq=sequence, commit_id=last, link=link)

    async def unseal(self, count: int, *, head: bool = False) -> None:
        """Let the first `count` events be as releases before seals wrote them."""
        for item in (await self.events())[:count]:
            members = json.loads(item.body)
            await self.put(item, {n: v for n, v in members.items() if n not in _SEAL})
        if head:
            await self.head(link=None)


_SEAL = ("previous_link", "seal_nonce")


def _link(key: Key, members: Mapping[str, Any]) -> Link:
    return link_of(
        key.pk, key.sk, sequence=int(members["partition_sequence"]),
        previous=members["previous_link"], digest=sealed_digest(canonical_json(dict(members))),
    )  # fmt: skip


def _put(item: Item, members: Mapping[str, Any], *, erased: bool) -> Put:
    stamp = replace(Stamp.load(item.stamp), digest=content_digest(EVENT, False, members))
    stamp = replace(stamp, erased=stamp.erased or erased)
    return replace(_same(item), body=canonical_json(dict(members)), stamp=stamp.dump())


def _same(item: Item) -> Put:
    return Put(
        item.key, Match(item.token), item.family, item.body, item.stamp, deleted=item.deleted,
        expires_at=item.expires_at, indexes=item.indexes,
    )  # fmt: skip


def kinds(faults: Sequence[Any]) -> set[tuple[str, int]]:
    """(kind, sequence number) of faults as they are answered."""
    prefix = "ACTIVITY_FAULT_KIND_"
    return {
        (ActivityFaultKind.Name(each.kind).removeprefix(prefix), each.partition_sequence)
        for each in faults
    }
