"""One commit, computed: stamped writes, then HEAD, event and request row.

Everything but HEAD is fixed when the plan is made, so that a retry after a
lost HEAD race or an ambiguous answer sends the identical change.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from google.protobuf.message import Message
from workspace.common.v1.activity_pb2 import ActivityEvent

from services.model.canonical import canonical_object, text_digest
from services.model.clocks import hlc_millis
from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES, Family
from services.model.seals import Link, link_of, opening, sealed_digest
from services.model.shown import shown_of
from services.model.stamp import Dot, Stamp, stamp_write
from services.model.versions import State, Version, join, past_kept, seen_in, supersede
from services.records.codec import content_of, decode, dump, encode
from services.records.conflict_rows import Found
from services.records.events import Change, event_indexes, event_members
from services.records.last_owners import OWNER_FAMILIES, touches_owners
from services.records.limits import check_sizes
from services.records.port import ABSENT, ConditionFailed, Item, Key, Match, Put
from services.records.record import Activity, Committed, Head, Record, Write
from services.records.requests import REQUEST_SECONDS, Once
from services.records.siblings import Rows, travelling
from services.rpc.context import peek_call

__all__ = ["CommitPlan", "head_of", "next_head", "same_head"]

_EVENT = FAMILIES["activity_event"]
_NO_ROWS: Mapping[Key, Rows] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class CommitPlan:
    """See the module. `rows` are the puts of the writes, in order."""

    pk: str
    commit_id: str
    nonce: str
    hlc: str
    actor: str
    activity: Activity
    writes: Sequence[Write[Any]]
    rows: Sequence[Put]
    records: Sequence[Record[Any]]
    changes: Sequence[Change]
    once: Once | None
    answer: Message | None
    beside: Sequence[Put] = ()
    """Sibling and conflict rows that change with the records."""

    @classmethod
    def of(
        cls,
        pk: str,
        writes: Sequence[Write[Any]],
        *,
        activity: Activity,
        once: Once | None,
        answer: Callable[[Sequence[Record[Any]]], Message] | None,
        actor: str,
        hlc: str,
        contested: Mapping[Key, Rows] = _NO_ROWS,
    ) -> CommitPlan:
        """Stamp the writes; `answer` makes the reply from the records as they
        will be. `contested` has the rows of those with versions side by side.
        Raises INVALID_FIELD when they are too large."""
        stamped = [
            _decided(each, contested[each.put.key]) if each.put.key in contested else each
            for each in (_stamped(write, actor, hlc) for write in writes)
        ]
        rows = [each.put for each in stamped]
        check_sizes([row.body for row in rows])
        records = [each.record("") for each in stamped]
        return cls(
            pk, secrets.token_hex(16), secrets.token_hex(16), hlc, actor, activity, writes, rows,
            records, [each.change for each in stamped], once, answer(records) if answer else None,
            [put for each in stamped for put in each.beside],
        )

    @property
    def time_ms(self) -> int:
        return hlc_millis(self.hlc)

    @property
    def touches_owners(self) -> bool:
        """Whether a record that somebody owns by, or what decides on it, is written."""
        return any(
            touches_owners(
                self.pk, row.key.sk, row.family,
                json.loads(write.base.item.body) if write.base and not write.base.deleted else None,
                None if row.deleted else json.loads(row.body),
            )
            for write, row in zip(self.writes, self.rows, strict=True)
            if row.key.sk == self.pk or row.family in OWNER_FAMILIES
        )

    @property
    def event_key(self) -> Key:
        return Key(self.pk, f"EVENT#{self.hlc}#{self.actor}#{self.commit_id}")

    def puts(self, head: Head) -> list[Put]:
        """HEAD first (position 0), then the writes, the event, the request."""
        pseq = head.pseq + 1
        event, link = self._event(head)
        rows = [next_head(head, self.commit_id, link.dump()), *self.rows, event]
        if self.once is not None:
            rows.append(self._request(self.once, pseq))
        return [*rows, *self.beside]

    def committed(self, head: Head, tokens: Sequence[str]) -> Committed:
        """What the caller learns once the driver has acknowledged."""
        records = [
            replace(record, item=replace(record.item, token=token))
            for record, token in zip(self.records, tokens[1:], strict=False)
        ]
        return Committed(
            self.pk, head.pseq + 1, self.time_ms, records,
            answer=self.answer.SerializeToString() if self.answer else b"",
        )

    def conflict(self, failure: ConditionFailed) -> WorkspaceError:
        """The reason behind a failed condition that is not a replay."""
        if not 0 < failure.position <= len(self.writes):
            return WorkspaceError(
                Reason.ERROR_REASON_CONFLICTING_WRITE,
                "the record group changed meanwhile; repeat the call",
                retry_after=0.05,
            )
        write = self.writes[failure.position - 1]
        if write.base is None:
            return WorkspaceError(
                Reason.ERROR_REASON_ALREADY_EXISTS,
                f"{self.activity.resource}: such a {write.family.name} exists already",
                metadata={"resource": self.activity.resource},
            )
        return WorkspaceError(
            Reason.ERROR_REASON_ETAG_MISMATCH,
            f"{self.activity.resource} changed since it was read; read it again and repeat",
            metadata={"resource": self.activity.resource},
        )

    def _event(self, head: Head) -> tuple[Put, Link]:
        """The row of the event, sealed behind `head`, and the link that it makes."""
        pseq = head.pseq + 1
        previous = head.link or opening(self.pk, head.pseq, head.commit_id).dump()
        members = event_members(
            self.activity, commit_id=self.commit_id, hlc=self.hlc, pseq=pseq,
            changes=self.changes, previous=previous, nonce=self.nonce,
        )
        body = canonical_object(members)
        key = self.event_key
        link = link_of(
            self.pk, key.sk, sequence=pseq, previous=previous, digest=sealed_digest(body)
        )
        stamp = stamp_write(
            None, {}, members, digest=text_digest(_EVENT.name, False, body), deleted=False,
            actor=self.actor, hlc=self.hlc,
        )
        message = ActivityEvent(
            event_id=self.commit_id,
            account_id=self.activity.account_id,
            project_id=self.activity.project_id,
        )
        indexes = event_indexes(message, key.sk)
        return Put(key, ABSENT, _EVENT.name, body, stamp.dump(), indexes=indexes), link

    def _request(self, once: Once, pseq: int) -> Put:
        return Put(
            Key(self.pk, once.sk),
            ABSENT,
            "request",
            once.body(self.answer, pseq=pseq, time_ms=self.time_ms),
            expires_at=self.time_ms // 1000 + REQUEST_SECONDS,
        )


def head_of(pk: str, item: Item | None) -> Head:
    """The head that a HEAD row (or its absence) stands for."""
    if item is None:
        return Head(pk, 0, None)
    body = json.loads(item.body)
    return Head(pk, body["pseq"], item.token, body["commit_id"], body.get("link", ""))


def next_head(head: Head, commit_id: str = "", link: str = "") -> Put:
    """The HEAD row after one more commit; without a `link` of an event of its own it keeps
    the last one."""
    return _head_row(head, head.pseq + 1, commit_id, link or head.link)


def same_head(head: Head) -> Put:
    """A new version of the HEAD row that says the same."""
    return _head_row(head, head.pseq, head.commit_id, head.link)


def _head_row(head: Head, pseq: int, commit_id: str, link: str) -> Put:
    condition = Match(head.token) if head.token else ABSENT
    members: dict[str, str | int] = {"pseq": pseq, "commit_id": commit_id}
    body = json.dumps(members | ({"link": link} if link else {}))
    return Put(Key(head.pk, "#HEAD"), condition, "head", body)


@dataclass(frozen=True, slots=True)
class _Stamped:
    """A write with everything about it computed."""

    write: Write[Any]
    put: Put
    stamp: Stamp
    change: Change
    beside: Sequence[Put] = ()

    def record(self, token: str) -> Record[Any]:
        row = self.put
        item = Item(row.key, token, row.family, row.body, row.stamp, row.deleted)
        message = self.write.message
        if self.beside:
            message = decode(self.write.family.message, row.body)
        return Record(self.write.family, message, item, self.stamp)


def _stamped(write: Write[Any], actor: str, hlc: str) -> _Stamped:
    family, base = write.family, write.base
    before = json.loads(base.item.body) if base and base.item.body else {}
    after = {} if write.deleted else encode(family, write.message, before)
    old, new = content_of(family, before), content_of(family, after)
    body, content = dump(after), dump(new)
    stamp = stamp_write(
        base.stamp if base else None, old, new,
        digest=text_digest(family.name, write.deleted, content),
        deleted=write.deleted, actor=actor, hlc=hlc,
    )
    put = Put(
        Key(*family.key_of(write.message)),
        Match(base.item.token) if base else ABSENT,
        family.name,
        body,
        stamp.dump(),
        deleted=write.deleted,
        expires_at=write.expires_at,
        indexes={} if write.deleted else family.index_entries(write.message),
    )
    return _Stamped(write, put, stamp, _change(write, put.key.sk, old, content))


def _decided(written: _Stamped, rows: Rows) -> _Stamped:
    """A write to a record with versions side by side: it supersedes those that were
    shown, or those that it names; what is shown then may be more than its own body."""
    write = written.write
    state = join(rows.state, write.joins)
    shown_before = write.base.stamp.shown if write.base else ()
    gone = tuple(write.resolves) or seen_in(state, shown_before)
    body = travelling(write.family, written.put.body)
    version = past_kept(state, gone, Version.of(written.stamp, body))
    if write.resolves:
        version = _authored(write.family, state, gone, version)
    after = supersede(state, gone, version)
    found = Found(hlc_millis(written.stamp.hlc), user_id=_user())
    shown = shown_of(write.family, after)
    main, *beside = rows.puts(after, shown, origin="", found=found, local=written.put.body)
    stamp = Stamp.load(main.stamp)
    put = replace(main, condition=written.put.condition, expires_at=written.put.expires_at)
    return replace(written, put=put, stamp=stamp, beside=beside)


def _authored(family: Family, state: State, gone: Iterable[Dot], version: Version) -> Version:
    """Who decides a conflict is the author of what it was about, also where the value
    that was shown stays: of two decisions made apart neither may vanish."""
    decided = {dot: state.versions[dot] for dot in gone if dot in state.versions}
    if len(decided) < 2:
        return version
    contest = shown_of(family, replace(state, versions=decided)).contest
    names = contest.fields if contest else ()
    return replace(version, fields={**version.fields, **dict.fromkeys(names, version.dot)})


def _user() -> str:
    call = peek_call()
    return call.user_id if call else ""


def _change(write: Write[Any], sk: str, old: Mapping[str, Any], new: str) -> Change:
    """The write as the event tells it. A row that never changes again keeps its
    values itself: its key is enough."""
    silent = write.deleted or write.family.policy == "append_only"
    before = dump(old) if write.base and not write.base.deleted else ""
    return Change(write.family.name, sk, before, "" if silent else new)
