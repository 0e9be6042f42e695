"""Erasure: a person's data replaced by a pseudonym in every row of a store.

History is append-only but for this: rows of every kind are rewritten in place,
events with their old and new values and stored answers included. The structure
stays: keys, ids, times, who did what (`user_id` is a hash already). A rewrite is
conditional on the row that was read and makes decisions that are under way in the
partition fail once, so that nobody writes back what he read before. Digests are made
anew; `Stamp.erased` marks the row, so that a follower of the change feed knows an old
event from a new one. Where events are rewritten the same commit has an event of its own,
`activity.erased`, with the digest of each as it is now: the audit chain accepts exactly
those (services/model/activity_chain.py).

Replaced are, for an object about the person (its `user_id`), the fields of
`_PERSONAL`; the name of the personal account; and, in every text of every row,
the person's e-mail addresses, except in an object about somebody else who has the
same address. Of a record with versions side by side each version is rewritten, under its own
dot: nobody has to decide anew, and where the full text comes along again the one
without personal data stays. The walk is in the order of the store's scans and resumable
at any row. It is repeated until a whole pass finds nothing: an event that was written
while the first pass was on its way has old values only of rows that the pass had not
reached.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import DecodeError

from services.model.canonical import text_digest
from services.model.clocks import hlc_millis
from services.model.families import FAMILIES, Family
from services.model.ids import canonical_email
from services.model.seals import without_nonce
from services.model.shown import Contest, Shown, shown_of
from services.model.stamp import Stamp, stamp_write
from services.model.versions import Version
from services.records.codec import content_of, decode, dump
from services.records.conflict_rows import CONFLICT, Found
from services.records.events import Change
from services.records.limits import parts_that_fit
from services.records.port import ConditionFailed, Item, Key, Match, Put
from services.records.record import Activity
from services.records.siblings import SIBLING, Rows, record_key, travelling
from services.records.store import RecordStore

__all__ = ["DROPPED", "IDENTIFYING", "Erasure", "Person", "Position", "Scrubber"]

_SCAN: Final = 500
_AT_ONCE: Final = 40
_ATTEMPTS: Final = 40
_LONGEST_PAUSE: Final = 0.05
_EVENT: Final = "activity_event"
_KEPT_ASIDE: Final = "quarantine"
_NOT_ABOUT_PEOPLE: Final = frozenset({"head", "instance", "due", "erasure"})
IDENTIFYING: Final = ("name", "email", "subject")
DROPPED: Final = (
    "deployment_claims", "deployment_claims_incomplete", "disabled_reason", "email_verified",
    "last_seen_at",
)


@dataclass(frozen=True, slots=True)
class Person:
    """Whose data goes: the id that stays, the ids of users that were linked to it
    (they stay too), and the addresses that go (canonical)."""

    user_id: str
    addresses: tuple[str, ...]
    linked: tuple[str, ...] = ()

    @classmethod
    def of(cls, user_id: str, addresses: Iterable[str], linked: Iterable[str] = ()) -> Person:
        """Anything without `@` is no address and left out."""
        known = {canonical_email(each) for each in addresses if "@" in each}
        return cls(user_id, tuple(sorted(known)), tuple(sorted(linked)))

    @property
    def ids(self) -> frozenset[str]:
        """All user ids of the person."""
        return frozenset([self.user_id, *self.linked])

    @property
    def pseudonym(self) -> str:
        """The name that is shown from now on."""
        return f"Erased user {self.user_id[2:10]}"

    @property
    def address(self) -> str:
        """Stands for each address; no such domain can exist (RFC 2606)."""
        return f"erased-{self.user_id[2:10]}@erased.invalid"


@dataclass(frozen=True, slots=True)
class Position:
    """How far an erasure is: the row last looked at, and how many rows this pass
    changed. `done`: a whole pass changed none."""

    pk: str = ""
    sk: str = ""
    changed: int = 0
    done: bool = False

    def dump(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def load(cls, members: Mapping[str, Any]) -> Position:
        """Inverse of `dump`."""
        return cls(**members)


class Scrubber:
    """Takes a person out of parsed JSON."""

    def __init__(self, person: Person) -> None:
        self._person = person
        self._ids = person.ids
        self._addresses = _pattern(person.addresses)

    def mentioned_in(self, text: str) -> bool:
        """Cheap: whether `scrub` may find something in a JSON text."""
        if any(user_id in text for user_id in self._ids):
            return True
        return self._addresses is not None and self._addresses.search(text) is not None

    def may_be_in(self, data: bytes) -> bool:
        """Cheap: the same for a serialized message, where an address may stand between
        any bytes: the tag of the next field looks like a part of it."""
        text = data.decode("utf-8", "replace").lower()
        return any(each.lower() in text for each in (*self._ids, *self._person.addresses))

    def scrub(self, value: Any) -> Any:
        """The value without the person's data; equal if there was none."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return [self.scrub(each) for each in value]
        if isinstance(value, dict):
            return self._object(value)
        return value

    def _text(self, text: str) -> str:
        if self._addresses is None or "@" not in text:
            return text
        return self._addresses.sub(self._person.address, text)

    def _object(self, members: dict[str, Any]) -> dict[str, Any]:
        about = members.get("user_id") or ""
        if not isinstance(about, str):
            about = ""  # of a client's own making
        if about and about not in self._ids:  # somebody else, perhaps of one address
            kept = {name: members[name] for name in IDENTIFYING if name in members}
            others = {n: self.scrub(v) for n, v in members.items() if n not in kept}
            return others | kept
        out = {self._text(name): self.scrub(value) for name, value in members.items()}
        if about:
            out = {name: value for name, value in out.items() if name not in DROPPED}
            stands_for = {"email": self._person.address}
            for name in IDENTIFYING:
                if isinstance(out.get(name), str) and out[name]:
                    out[name] = stands_for.get(name, self._person.pseudonym)
        owner = out.get("owner_user_id")
        if out.get("type") == "personal" and isinstance(owner, str) and owner in self._ids:
            out["name"] = self._person.pseudonym
        return out


class Erasure:
    """Walks a store and rewrites what mentions one person."""

    def __init__(self, records: RecordStore, person: Person) -> None:
        self._records = records
        self._person = person
        self._scrubber = Scrubber(person)

    async def step(self, position: Position, *, rows: int) -> Position:
        """Look at about `rows` rows after `position`. Call it until `done`."""
        seen = 0
        while seen < rows and not position.done:
            after = Key(position.pk, position.sk) if position.pk else None
            items = await self._records.scan(after, _SCAN)
            if not items:
                return Position(done=position.changed == 0)
            changed = await self._rewrite_all(items)
            last = items[-1].key
            position = replace(
                position, pk=last.pk, sk=last.sk, changed=position.changed + changed
            )
            seen += len(items)
        return position

    async def _rewrite_all(self, items: Iterable[Item]) -> int:
        """By partition, a few rows at once. How many were rewritten."""
        waiting: dict[str, list[Item]] = {}
        changed = 0
        for item in items:
            if (record := _record_of_versions(item)) is not None:
                changed += await self._rewrite_versions(record, item)
            elif item.family == CONFLICT:
                changed += await self._rewrite_conflict(item)
            elif self._rewritten(item, self._records.actor) is not None:
                waiting.setdefault(item.key.pk, []).append(item)
        for pk, found in waiting.items():
            for at in range(0, len(found), _AT_ONCE):
                await self._commit(pk, found[at : at + _AT_ONCE])
        return changed + sum(map(len, waiting.values()))

    async def _rewrite_versions(self, record: Key, item: Item) -> bool:
        """Rewrite the versions side by side of a record, and what they show. Whether
        the row `item`, the record's or that of a version, had something of the person."""
        if not self._scrubber.mentioned_in(item.body):
            return False
        (rows,) = await self._records.rows([record])
        return await self._rewrite(record.pk, self._version_puts(rows))

    async def _rewrite_conflict(self, item: Item) -> bool:
        """The row of a conflict without the name of the person whose record it is."""
        row = json.loads(item.body)
        clean = self._scrubber.scrub(row)
        if row["name"] and await self._is_of_person(item.key.pk, row):
            clean["name"] = self._person.pseudonym
        if clean == row:
            return False
        put = _put(item, json.dumps(clean, sort_keys=True), item.stamp)
        return await self._rewrite(item.key.pk, [put])

    async def _is_of_person(self, pk: str, row: Mapping[str, Any]) -> bool:
        """Whether a conflict is about the user, a membership or the own account."""
        if row["family"] != "account":
            return row["sk"].rpartition("#")[2] in self._person.ids
        account = await self._records.get_row(Key(pk, row["sk"]))
        members = json.loads(account.body) if account and account.body else {}
        owner = members.get("owner_user_id")
        return members.get("type") == "personal" and owner in self._person.ids

    async def _rewrite(self, pk: str, puts: list[Put]) -> bool:
        """Whether there was something to rewrite. What changed meanwhile is met again
        in the next pass. Versions that do not fit into one commit go one after another:
        each row is right by itself."""
        with suppress(ConditionFailed):
            for part in parts_that_fit(puts, beside=1):
                await self._records.rewrite(pk, part)
        return bool(puts)

    def _version_puts(self, rows: Rows) -> list[Put]:
        """Nothing if the record has one version by now: then it is a row like others."""
        state, item = rows.state, rows.item
        if state is None or item is None or not Stamp.load(item.stamp).siblings:
            return []
        family = FAMILIES[state.family]
        clean = {dot: self._clean(family, each) for dot, each in state.versions.items()}
        after = replace(state, versions=clean)
        stamp = Stamp.load(item.stamp)
        shown = shown_of(family, after)
        if stamp.digest != shown_of(family, state).version.digest:  # a suspended revocation
            kept = self._clean(family, Version.of(stamp, travelling(family, item.body)))
            shown = Shown(kept, stamp.partial, Contest("policy"))
        found = Found(hlc_millis(stamp.hlc))
        puts = rows.puts(after, shown, origin="", found=found)
        same = clean == state.versions and puts[0].body == item.body
        return [] if same else puts

    def _clean(self, family: Family, version: Version) -> Version:
        members = json.loads(version.body)
        scrubbed = self._scrubber.scrub(members)
        if scrubbed == members:
            return version
        content = dump(content_of(family, scrubbed))
        digest = text_digest(family.name, version.deleted, content)
        return replace(version, body=dump(scrubbed), digest=digest, erased=True)

    async def _commit(self, pk: str, items: list[Item]) -> None:
        """Rewrite these rows; those that change meanwhile are read again."""
        current: list[Item] = items
        for number in range(_ATTEMPTS):
            try:
                # Whoever mints again what this actor made waits until this has ended.
                with self._records.actors.minting() as actor:
                    found = (self._rewritten(item, actor) for item in current)
                    puts = [put for put in found if put is not None]
                    if not puts:
                        return
                    for part in parts_that_fit(puts, beside=2):
                        await self._records.rewrite(pk, part, told=_told(part))
            except ConditionFailed:
                await asyncio.sleep(min(_LONGEST_PAUSE, 0.001 * 2**number))
                again = [await self._records.get_row(item.key) for item in items]
                current = [item for item in again if item is not None]
            else:
                return
        # A partition that is never at rest is met again in the next pass.

    def _rewritten(self, item: Item, actor: str) -> Put | None:
        """The row, as `actor` leaves it, without the person; None if it has nothing of him."""
        if item.family in _NOT_ABOUT_PEOPLE or not item.body:
            return None
        if item.family == "request":
            body = self._request(item.body)
            return None if body is None else _put(item, body, item.stamp)
        if not self._scrubber.mentioned_in(item.body):
            return None
        members = json.loads(item.body)
        scrubbed = self._scrubber.scrub(members)
        if item.family == _KEPT_ASIDE:
            scrubbed = _inside(self._scrubber, scrubbed)
        if scrubbed == members:
            return None
        if item.family == _EVENT:
            scrubbed = without_nonce(item.body, scrubbed)
        family = FAMILIES.get(item.family)
        if family is None:
            return _put(item, json.dumps(scrubbed), item.stamp)
        return self._record(item, family, members, scrubbed, actor)

    def _record(
        self,
        item: Item,
        family: Family,
        members: dict[str, Any],
        scrubbed: dict[str, Any],
        actor: str,
    ) -> Put:
        old, new = content_of(family, members), content_of(family, scrubbed)
        stamp = Stamp.load(item.stamp)
        digest = text_digest(family.name, item.deleted, dump(new))
        if family.policy != "append_only":
            stamp = stamp_write(
                stamp, old, new, digest=digest, deleted=item.deleted, actor=actor, hlc=stamp.hlc
            )
        # No surface has it like this: the next push takes it where the row came from.
        stamp = replace(stamp, digest=digest, erased=True, origin="")
        body = dump(scrubbed)
        indexes = item.indexes
        if family.name != _EVENT and not item.deleted:
            indexes = family.index_entries(decode(family.message, body))
        return replace(_put(item, body, stamp.dump()), indexes=indexes)

    def _request(self, body: str) -> str | None:
        """A request row with the stored answer scrubbed."""
        row = json.loads(body)
        data = base64.b64decode(row.get("answer", ""))
        if not self._scrubber.may_be_in(data):
            return None
        answer = _scrubbed_answer(self._scrubber, row.get("type", ""), data)
        if answer == data:
            return None
        return json.dumps(row | {"answer": base64.b64encode(answer).decode()})


def _told(puts: Sequence[Put]) -> tuple[Activity, Sequence[Change]] | None:
    """What an event says of the events among these rows; None if there are none."""
    events = [put for put in puts if put.family == _EVENT]
    if not events:
        return None
    last = json.loads(events[-1].body)
    about = {name: last.get(name, "") for name in ("account_id", "project_id")}
    changes = [
        Change(_EVENT, put.key.sk, "", dump({"digest": Stamp.load(put.stamp).digest}))
        for put in events
    ]
    return Activity("activity.erased", "activity", **about), changes


def _inside(scrubber: Scrubber, value: Any) -> Any:
    """Rows kept as they came have their bodies as texts: what those say goes, too."""
    if isinstance(value, dict):
        return {name: _inside(scrubber, each) for name, each in value.items()}
    if isinstance(value, list):
        return [_inside(scrubber, each) for each in value]
    if not isinstance(value, str) or not value.startswith(("{", "[")):
        return value
    try:
        members = json.loads(value)
    except (ValueError, RecursionError):
        return value  # no JSON: its addresses are gone already
    scrubbed = _inside(scrubber, scrubber.scrub(members))
    return value if scrubbed == members else json.dumps(scrubbed)


def _record_of_versions(item: Item) -> Key | None:
    """The record with versions side by side that a row belongs to."""
    if item.family == SIBLING:
        return None if item.deleted else record_key(item.key)
    several = item.family in FAMILIES and bool(Stamp.load(item.stamp).siblings)
    return item.key if several else None


def _scrubbed_answer(scrubber: Scrubber, kind: str, data: bytes) -> bytes:
    """An answer that cannot be read is emptied: a repeat then learns that the call
    was done, and nothing else."""
    try:
        found = descriptor_pool.Default().FindMessageTypeByName(kind)
        answer = message_factory.GetMessageClass(found)()
        answer.ParseFromString(data)
    except (KeyError, DecodeError):
        return b""
    members = MessageToDict(answer, preserving_proto_field_name=True)
    scrubbed = scrubber.scrub(members)
    if scrubbed == members:
        return data
    clean = message_factory.GetMessageClass(found)()
    ParseDict(scrubbed, clean)
    return bytes(clean.SerializeToString(deterministic=True))


def _put(item: Item, body: str, stamp: str) -> Put:
    return Put(
        item.key, Match(item.token), item.family, body, stamp, deleted=item.deleted,
        expires_at=item.expires_at, indexes=item.indexes,
    )


def _pattern(addresses: tuple[str, ...]) -> re.Pattern[str] | None:
    """Any of the addresses as a whole, ASCII letters in either case."""
    if not addresses:
        return None
    any_of = "|".join(map(re.escape, sorted(addresses, key=len, reverse=True)))
    return re.compile(
        rf"(?<![A-Za-z0-9._%+-])(?:{any_of})(?![A-Za-z0-9_%+-]|\.[A-Za-z0-9])",
        re.IGNORECASE | re.ASCII,
    )
