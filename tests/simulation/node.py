"""A node of the simulated world: a store, a clock that is wrong, people who write."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from services.model.clocks import HybridClock
from services.model.errors import Reason, WorkspaceError
from services.model.stamp import Dot
from services.objects.store import ObjectStore
from services.records.instance import Instance, open_instance
from services.records.port import DriverUnavailable, Key
from services.records.record import Activity, Record, Write
from services.records.store import RecordStore
from sync_svc.surfaces.surface import Surface
from tests.simulation.cast import FIRST_MARK, Slot, bytes_of, marked
from tests.simulation.drivers import Line, SimObjects, SimRecords
from tests.simulation.network import Life, Network
from tests.simulation.oracle import Oracle, Permit, Place, Raw, Written, live

__all__ = ["Dice", "Intent", "Node", "open_surface"]


@dataclass(frozen=True)
class Intent:
    """What a person is about to do to a record: `act` is edit, delete or resolve.
    `mark` '' for a new one, made when the record has been read: it is then greater
    than every mark that the person saw."""

    slot: Slot
    mark: str
    act: str
    roll: int


class Dice(Protocol):
    """What is decided by chance while a person writes."""

    def mark(self) -> str: ...

    def subset(self, count: int) -> int:
        """A bit for each of `count` things, at least one set."""
        ...


@dataclass(eq=False)
class Node:
    """See the module. `wall_ms` is unix milliseconds as this node reads them."""

    name: str
    place: Place
    network: Network
    oracle: Oracle
    true_ms: Callable[[], int]
    skew_ms: int
    surfaces: list[Place]
    life: Life = field(init=False)
    up: bool = False
    records: RecordStore = field(init=False)
    objects: ObjectStore = field(init=False)
    instance: Instance = field(init=False)
    busy: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.life = Life(self.name)

    def wall_ms(self) -> int:
        return self.true_ms() + self.skew_ms

    def crash(self) -> None:
        """What ran is gone; what was written is not."""
        self.network.crash(self.life)
        self.life = Life(self.name)
        self.up = False
        self.busy = set()
        self.place.minting.clear()
        self.place.permits.clear()
        self.place.committing.clear()

    async def start(self) -> None:
        """Open the store, again and again until it answers."""
        line = Line(self.network, self.life, self.place.name)
        driver = SimRecords(self.place.records, line)
        while True:
            with suppress(DriverUnavailable):
                self.instance = await open_instance(driver)
                break
        self.place.own.add(self.instance.instance_id)
        self.records = RecordStore(
            driver, actor=self.instance.actor, clock=HybridClock(self.wall_ms)
        )
        self.objects = ObjectStore(SimObjects(self.place.objects, line))
        self.up = True

    @property
    def surface(self) -> Surface:
        """This node's own store as a surface."""
        return Surface("", self.instance, self.records, self.objects)

    async def write(self, intents: Sequence[Intent], dice: Dice) -> str:
        """Change records of one partition in one commit, as a person would; the
        outcome for the trace."""
        records = [
            await self.records.get(each.slot.family, each.slot.key, deleted=True)
            for each in intents
        ]
        pairs = [
            self._prepared(each, record, dice)
            for each, record in zip(intents, records, strict=True)
        ]
        kept = [pair for pair in pairs if pair is not None]
        if not kept:
            return "nothing"
        for write, _ in kept:
            await self._upload(write.message)
        pk = intents[0].slot.pk
        begun = [
            self.oracle.begin(self.place, key, mark, replaced, deletes=write.deleted)
            for write, (key, mark, replaced) in kept
        ]
        return await self._commit(pk, [write for write, _ in kept], begun)

    async def _commit(
        self, pk: str, writes: Sequence[Write[Any]], begun: Sequence[Written]
    ) -> str:
        permit, life, outcome = Permit(pk), self.life, "ok"
        self.place.begin(permit)
        try:
            await self.records.commit(pk, writes, activity=Activity("thing.changed", pk))
        except WorkspaceError as error:
            outcome = Reason.Name(error.reason).removeprefix("ERROR_REASON_")
        if life.alive:
            self.place.end(permit)
            for written in begun:
                self.oracle.end(self.place, written, outcome)
        return outcome

    def _prepared(
        self, intent: Intent, record: Record[Any] | None, dice: Dice
    ) -> tuple[Write[Any], tuple[Key, str, Sequence[Raw]]] | None:
        """The write, and for the oracle its key, mark and what it replaces."""
        slot = intent.slot
        if record is not None and "" < intent.mark < marked(FIRST_MARK):
            return None  # twins are first writes
        mark = intent.mark or dice.mark()
        if record is None:
            if intent.act == "delete":
                return None
            return Write(slot.family, slot.make(mark)), (slot.key, mark, ())
        raws = live(self.place.records, record.item)
        shown = [raw for raw in raws if raw.dot in _shown(record.item.stamp)]
        resolves: tuple[Dot, ...] = ()
        if intent.act == "resolve":
            if len(raws) < 2:
                return None
            chosen = dice.subset(len(raws))
            shown = [raw for at, raw in enumerate(raws) if chosen >> at & 1] or raws
            resolves = tuple(raw.dot for raw in shown)
        deletes = intent.act == "delete"
        if deletes and (record.deleted or self._is_deleting(slot.key)):
            return None
        message = slot.make(mark) if record.deleted else record.edit()
        if not deletes and not record.deleted:
            slot.edit(message, mark, intent.roll)
        write = Write(slot.family, message, base=record, deleted=deletes, resolves=resolves)
        return write, (slot.key, mark, shown)

    def _is_deleting(self, key: Key) -> bool:
        """Tombstones look alike: one at a time, or nobody can tell whose it is."""
        return any(each.deletes for each in self.place.minting.get(key, ()))

    async def _upload(self, message: Any) -> None:
        """The bytes of a new revision come before the record that names them."""
        file = getattr(message, "file", None)
        mark = file.storage_key.rpartition("-")[2] if file is not None else ""
        if not mark or self.place.objects.peek(file.storage_key):
            return
        if mark.removesuffix(".bin") not in (message.title[1:], message.issuing_body[1:]):
            return  # not new: these bytes are still to come from elsewhere
        data = bytes_of(file.storage_key)
        await self.objects.write(
            file.storage_key, _chunks(data), size=len(data), sha256=file.sha256,
            content_type=file.content_type,
        )


async def open_surface(node: Node, place: Place) -> Surface:
    """A surface as a run of this node opens it."""
    line = Line(node.network, node.life, place.name)
    driver = SimRecords(place.records, line)
    item = await driver.get(Key("INSTANCE", "INSTANCE"))
    assert item is not None
    raw = json.loads(item.body)
    known = {each.name: raw[each.name] for each in fields(Instance) if each.name in raw}
    instance = Instance(**known)
    records = RecordStore(driver, actor=instance.actor, clock=HybridClock(node.wall_ms))
    return Surface(place.name, instance, records, ObjectStore(SimObjects(place.objects, line)))


def _shown(stamp_text: str) -> set[Dot]:
    stamp = json.loads(stamp_text)
    dots = stamp.get("s") if stamp.get("s") and not stamp.get("p") else [stamp["d"]]
    return {(stamp["a"][at], counter) for at, counter in dots}


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data
