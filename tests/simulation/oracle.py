"""What must be true, from a log of the writes alone.

Independent of `services/model/versions.py`: the oracle knows which writes were made,
what each of them replaced (what its author saw), and by watching every commit which
store has ever come to know which. It knows nothing of clocks and dots but how to read
them. After quiescence every store holds exactly those writes that survived and that
no surviving write replaced.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from services.model.families import FAMILIES
from services.model.object_names import held_file
from services.records.port import Item, Key
from tests.simulation.cast import mark_in
from tests.simulation.memory_objects import MemoryObjects, ObjectsSnapshot
from tests.simulation.memory_records import Change, MemoryRecords, RecordsSnapshot

__all__ = ["Oracle", "Permit", "Place", "Raw", "Snapshot", "Violation", "Written", "live"]

WriteId = str
_EVENT = "activity_event"
_CONTENT = frozenset({"project", "document", "metadata_record"})


class Violation(Exception):
    """A property does not hold; the message says which, where and of what."""


@dataclass(frozen=True)
class Raw:
    """One live version as it lies in a store."""

    dot: tuple[str, int]
    hlc: str
    deleted: bool
    body: str

    @property
    def content(self) -> str:
        """Equal for versions that nobody can tell apart."""
        return "deleted" if self.deleted else mark_in(self.body)


@dataclass
class Written:
    """A write that somebody began: of which record, in which store, and what it
    replaces. `done`: it was acknowledged or seen."""

    id: WriteId
    key: Key
    place: str
    replaces: frozenset[WriteId]
    deletes: bool = False
    done: bool = False
    twins: int = 0


@dataclass(eq=False)
class Permit:
    """A commit that a person makes may write one event in this partition."""

    pk: str


Knowledge = dict[Key, frozenset[WriteId]]


@dataclass(frozen=True)
class Snapshot:
    """A store of an earlier moment, with what was known of it then."""

    records: RecordsSnapshot
    objects: ObjectsSnapshot
    known: Knowledge
    events: frozenset[Key]


@dataclass(eq=False)
class Place:
    """A store as the oracle sees it. `known`: all writes whose effect it ever had
    (and was not rewound from); `lenient`: objects may be still to come. `own`: ids of the instance
    that writes here. `doubtful`: it was restored, or there is a copy of it.
    `guarded`: it takes content alone from others. `rewinds_then`: by surface, how often
    that and this were rewound when the latest run began. `minting`:
    what a person is writing here just now, `permits` the events that this may make."""

    name: str
    records: MemoryRecords
    objects: MemoryObjects
    lenient: bool
    own: set[str] = field(default_factory=set)
    known: Knowledge = field(default_factory=dict)
    events: set[Key] = field(default_factory=set)
    rewinds: int = 0
    doubtful: bool = False
    guarded: bool = False
    rewinds_then: dict[str, tuple[int, int]] = field(default_factory=dict)
    record_commits: int = 0
    minting: dict[Key, list[Written]] = field(default_factory=dict)
    permits: list[Permit] = field(default_factory=list)
    committing: list[Permit] = field(default_factory=list)

    def begin(self, permit: Permit) -> None:
        """A person's commit begins."""
        self.permits.append(permit)
        self.committing.append(permit)

    def end(self, permit: Permit) -> None:
        """It ended, well or not: as many events may still come in the partition as
        commits are under way there. (Which event is whose cannot be seen.)"""
        self.committing.remove(permit)
        left = sum(each.pk == permit.pk for each in self.committing)
        mine = [each for each in self.permits if each.pk == permit.pk]
        for each in mine[left:]:
            self.permits.remove(each)

    def snapshot(self) -> Snapshot:
        return Snapshot(
            self.records.snapshot(), self.objects.snapshot(), dict(self.known),
            frozenset(self.events),
        )

    def restore(self, snapshot: Snapshot, *, identity: str = "") -> None:
        self.records.restore(snapshot.records, identity=identity)
        self.objects.restore(snapshot.objects)
        self.known, self.events = dict(snapshot.known), set(snapshot.events)
        self.rewinds += 1
        self.doubtful = True


def live(records: MemoryRecords, item: Item) -> list[Raw]:
    """The versions of a record by its row, read without the code under test."""
    stamp = json.loads(item.stamp)
    actors = stamp["a"]
    if "s" not in stamp:
        return [_raw(stamp, item.body)]
    found = []
    for at, counter in stamp["s"]:
        row = records.peek(Key(item.key.pk, f"~SIB#{item.key.sk}#{actors[at]}:{counter}"))
        if row is None or row.deleted:
            raise Violation(f"a sibling row is missing: {item.key} {actors[at]}:{counter}")
        found.append(_raw(json.loads(row.stamp), json.loads(row.body)["body"]))
    return found


def clock_of(item: Item) -> dict[str, int]:
    """Actor to counter."""
    stamp = json.loads(item.stamp)
    return {stamp["a"][at]: counter for at, counter in stamp["c"]}


def _raw(stamp: dict[str, Any], body: str) -> Raw:
    at, counter = stamp["d"]
    return Raw((stamp["a"][at], counter), stamp["h"], stamp.get("x", False), body)


class Oracle:
    """See the module. `again` has the contents that got a new name after a restore.
    `cursors`: check at once that no cursor is ahead of the data (not where listings may
    have holes)."""

    def __init__(self, *, cursors: bool = False) -> None:
        self._cursors = cursors
        self.writes: dict[WriteId, Written] = {}
        self.places: dict[str, Place] = {}
        self.again: dict[Key, set[str]] = {}
        self.violation: Violation | None = None
        self._dots: dict[tuple[Key, tuple[str, int]], set[str]] = {}
        self._tombs: dict[tuple[Key, str, str], WriteId] = {}
        self._events: set[Key] = set()

    def add(self, place: Place) -> Place:
        """Watch a store from now on."""
        self.places[place.name] = place

        def observe(changes: Sequence[Change]) -> None:
            try:
                self._observe(place, changes)
            except Violation as violation:
                self.violation = self.violation or violation

        place.records.observe = observe
        return place

    def begin(
        self, place: Place, key: Key, write: WriteId, replaced: Sequence[Raw], *, deletes: bool
    ) -> Written:
        """A person begins a write that replaces the versions that are shown."""
        ids = frozenset(self._id(key, raw) for raw in replaced)
        known = self.writes.get(write)
        if known is not None and not deletes:  # the very same content was written elsewhere, too
            known.twins += 1
            known.replaces |= ids
        else:
            known = self.writes[write] = Written(write, key, place.name, ids, deletes)
        place.minting.setdefault(key, []).append(known)
        return known

    def end(self, place: Place, written: Written, outcome: str) -> None:
        """The write returned: what was acknowledged is in the store, what was refused
        is not; only a store that does not answer may leave it open."""
        place.minting[written.key].remove(written)
        there = written.id in place.known.get(written.key, ())
        if outcome == "ok" and not there:
            raise Violation(f"{place.name} acknowledged {written.id} and does not have it")
        if outcome not in ("ok", "BACKEND_UNAVAILABLE") and there and not written.twins:
            raise Violation(f"{place.name} refused {written.id} ({outcome}) and has it")

    def closure(self, ids: frozenset[WriteId]) -> frozenset[WriteId]:
        """The writes and all that they replaced."""
        found: set[WriteId] = set()
        todo = list(ids)
        while todo:
            each = todo.pop()
            if each not in found:
                found.add(each)
                todo.extend(self.writes[each].replaces)
        return frozenset(found)

    def _id(self, key: Key, raw: Raw) -> WriteId:
        if not raw.deleted:
            return mark_in(raw.body)
        return self._tombs[key, raw.hlc, raw.dot[0].partition(".")[0]]

    def _observe(self, place: Place, changes: Sequence[Change]) -> None:
        for before, after in changes:
            if after.family == "sync_state" and self._cursors:
                self._cursor(place, before, after)
            family = FAMILIES.get(after.family)
            if family is None or not family.synced:
                continue
            place.record_commits += 1
            if after.family == _EVENT:
                self._event(place, after)
            else:
                self._record(place, before, after)

    def _cursor(self, place: Place, before: Item | None, after: Item) -> None:
        """What lies before a cursor is known at the other side, or kept aside."""
        old = json.loads(before.body) if before else {}
        new = json.loads(after.body)
        surface = self.places[after.key.pk.removeprefix("SYNC#c-")]
        then = place.rewinds_then.get(surface.name)
        if place.guarded or then != (surface.rewinds, place.rewinds):
            return
        for name, source, target in (
            ("push_cursor", place, surface), ("pull_cursor", surface, place)
        ):
            cursor = new.get(name)
            if not cursor or cursor == old.get(name):
                continue
            identity, seq = json.loads(cursor)[:2]
            if identity == source.records._identity:
                self._passed(place, source, target, seq)

    def _passed(self, local: Place, source: Place, target: Place, seq: int) -> None:
        aside = [
            item.body for item in local.records.items()
            if item.family in ("quarantine", "pending_bytes")
        ]
        for item in source.records.items():
            family = FAMILIES.get(item.family)
            if int(item.token) > seq or family is None or not family.synced:
                continue
            if item.family == _EVENT:
                there = item.key in target.events
            else:
                ids = {self._id(item.key, raw) for raw in live(source.records, item)}
                there = ids <= target.known.get(item.key, frozenset())
            if not there and not any(item.key.sk in body for body in aside):
                raise Violation(
                    f"{local.name}: the cursor from {source.name} to {target.name} passed "
                    f"{item.key}, which is not there"
                )

    def _event(self, place: Place, item: Item) -> None:
        if item.key not in self._events:
            permit = next((each for each in place.permits if each.pk == item.key.pk), None)
            if permit is None:
                raise Violation(f"{place.name}: an event was minted by a join: {item.key}")
            place.permits.remove(permit)
            self._events.add(item.key)
        place.events.add(item.key)

    def _record(self, place: Place, before: Item | None, after: Item) -> None:
        key = after.key
        back = before is not None and self._goes_back(place, before, after)
        versions = live(place.records, after)
        known = place.known.get(key, frozenset())
        for raw in versions:
            found = self._seen(place, key, raw)
            self._trusted(place, after.family, found)
            known |= self.closure(frozenset([found]))
            self._bytes(place, raw)
        place.known[key] = known
        if back:
            self._taken_back(place, key, versions)

    def _seen(self, place: Place, key: Key, raw: Raw) -> WriteId:
        """Which write this version is; it must have been made by a person."""
        pending = [w for w in place.minting.get(key, ()) if not w.done or w.twins]
        fresh = raw.content not in self._dots.get((key, raw.dot), set())
        if raw.deleted:
            tomb = (key, raw.hlc, raw.dot[0].partition(".")[0])
            deletes = [w for w in pending if w.deletes and not w.done]
            if tomb not in self._tombs and deletes:
                self._tombs[tomb] = deletes[0].id
                deletes[0].done = True
            elif tomb not in self._tombs:
                raise Violation(f"{place.name}: {key} was deleted by nobody: {raw.dot}")
            elif fresh:
                self._minted_again(place, key, raw)
            found = self._tombs[tomb]
        else:
            found = mark_in(raw.body)
            if found not in self.writes:
                raise Violation(f"{place.name}: {key} has a version of nobody: {raw.body}")
            mine = [w for w in pending if w.id == found]
            if fresh and not mine:
                self._minted_again(place, key, raw)
            for written in mine:
                written.done = True
        self._dots.setdefault((key, raw.dot), set()).add(raw.content)
        return found

    def _trusted(self, place: Place, family: str, found: WriteId) -> None:
        """A node that takes content alone takes nothing of rights from others."""
        if place.guarded and family not in _CONTENT and self.writes[found].place != place.name:
            raise Violation(f"{place.name} took {found}, a {family}, on trust")

    def _minted_again(self, place: Place, key: Key, raw: Raw) -> None:
        """Only a store with a second life may give its versions new names. What others
        did to them under their old names is then a conflict: nobody can know better."""
        name = raw.dot[0].partition(".")[0]
        twice = name.startswith("ext:") and any(p.doubtful for p in self.places.values())
        if not twice and not (place.doubtful and name in place.own):
            raise Violation(f"{place.name}: {key} {raw.content} was minted again as {raw.dot}")
        self.again.setdefault(key, set()).add(raw.content)

    def _taken_back(self, place: Place, key: Key, versions: Sequence[Raw]) -> None:
        """A second life does not say any more what it saw of its own name: what these
        versions replaced of it may be beside them again."""
        before = self.closure(frozenset(self._id(key, raw) for raw in versions))
        mine = (self.writes[each] for each in before)
        contents = {
            "deleted" if each.deletes else each.id
            for each in mine
            if self.places[each.place].own & place.own
        }
        self.again.setdefault(key, set()).update(contents)

    @staticmethod
    def _goes_back(place: Place, before: Item, after: Item) -> bool:
        """Clocks only grow, but that a second life takes back what it said of itself."""
        old, new = clock_of(before), clock_of(after)
        back = {actor for actor, counter in old.items() if new.get(actor, 0) < counter}
        if any(not place.doubtful or a.partition(".")[0] not in place.own for a in back):
            raise Violation(f"{place.name}: the clock of {after.key} went back: {old} -> {new}")
        return bool(back)

    def _bytes(self, place: Place, raw: Raw) -> None:
        missing = self.missing_object(place, raw)
        if missing and not (place.lenient and self._pending(place, missing)):
            raise Violation(f"{place.name}: a record names {missing}, which is not there")

    @staticmethod
    def missing_object(place: Place, raw: Raw) -> str:
        """The object that a live version names and its store lacks; '' for none."""
        if raw.deleted:
            return ""
        file = held_file(json.loads(raw.body))
        if file is None or place.objects.peek(file["storage_key"]) is not None:
            return ""
        return str(file["storage_key"])

    @staticmethod
    def _pending(place: Place, storage_key: str) -> bool:
        rows = [item for item in place.records.items() if item.family == "pending_bytes"]
        return any(storage_key in item.body for item in rows)

    def survivors(self, key: Key) -> frozenset[WriteId]:
        """The writes that some store still knows."""
        sets = [place.known.get(key, frozenset()) for place in self.places.values()]
        return frozenset().union(*sets)

    def expected(self, key: Key) -> tuple[set[str], set[str]]:
        """Contents that must be live, and contents that may be live. They differ only
        where several writes had the same content."""
        alive = self.survivors(key)
        replaced = frozenset().union(*(self.writes[each].replaces for each in alive))
        maxima = alive - replaced
        tombs = {each for each in alive if self.writes[each].deletes}
        twins = {each for each in alive if self.writes[each].twins}
        may = {"deleted" if each in tombs else each for each in maxima | twins}
        may |= self.again.get(key, set())
        must = {each for each in maxima if each not in tombs | twins}
        if tombs & maxima and not tombs & replaced:
            must.add("deleted")
        return must, may

    def check_quiet(self) -> None:
        """Every store holds the causal maxima of what survived, all the same."""
        places = [place for place in self.places.values() if not place.guarded]
        keys = {key for place in places for key in place.known}
        for key in sorted(keys):
            must, may = self.expected(key)
            states = {}
            for place in places:
                item = place.records.peek(key)
                if item is None:
                    raise Violation(f"{place.name} does not have {key}: expected {sorted(must)}")
                versions = live(place.records, item)
                contents = {raw.content for raw in versions}
                if not must <= contents <= may:
                    raise Violation(
                        f"{place.name} {key}: has {sorted(contents)}, must {sorted(must)}, "
                        f"may {sorted(may)}"
                    )
                self._all_bytes(place, versions)
                dots = frozenset(raw.dot for raw in versions)
                states[place.name] = (dots, tuple(sorted(clock_of(item).items())))
            if len(set(states.values())) > 1:
                raise Violation(f"{key} differs: {states}")
        self._check_events(places)

    def _all_bytes(self, place: Place, versions: Sequence[Raw]) -> None:
        for raw in versions:
            if missing := self.missing_object(place, raw):
                raise Violation(f"{place.name}: {missing} never came")

    def _check_events(self, places: Sequence[Place]) -> None:
        wanted: set[Key] = set()
        wanted.update(*(place.events for place in places))
        for place in places:
            there = {i.key for i in place.records.items() if i.family == _EVENT}
            if odd := sorted(there ^ wanted)[:3]:
                raise Violation(f"{place.name}: events differ from what was done: {odd}")
