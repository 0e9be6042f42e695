"""RecordStore: what every use case reads and writes records through.

The portable class adds, once for all drivers: validation, stamps, HEAD rows,
activity events, request rows, limits and error reasons. A driver never
decides anything of these.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any
from weakref import WeakValueDictionary

from google.protobuf.message import Message

from services.model.clocks import HybridClock
from services.model.errors import Reason, WorkspaceError
from services.model.families import Family
from services.model.indexes import Index
from services.records.actors import Actors
from services.records.cache import DecodeCache
from services.records.conflict_rows import PREFIX, Found
from services.records.deciding import Still
from services.records.events import Change
from services.records.last_owners import settle_owners
from services.records.limits import check_rows, check_writes, fit
from services.records.plan import CommitPlan, head_of, next_head, same_head
from services.records.port import (
    Capabilities,
    ChangePage,
    ConditionFailed,
    CursorLost,
    DriverUnavailable,
    Item,
    ItemPage,
    Key,
    Put,
    RecordDriver,
    StorageFull,
)
from services.records.record import Activity, Committed, Head, Page, Record, Write
from services.records.requests import Once, StoredAnswer
from services.records.siblings import Rows, read_rows

__all__ = ["CommitListener", "Decide", "RecordStore"]

CommitListener = Callable[[str, Sequence[Key]], None]
"""Told of a durable commit: the partition and the keys that it wrote."""

Decide = Callable[[Sequence[Rows]], Awaitable[Sequence[Put]]]
"""The puts to make of what is stored of some records."""

_HEAD_RETRIES = 64
_KEYS_A_READ = 500
_AMBIGUOUS_RETRIES = 5
_log = logging.getLogger("workspace.records")


class RecordStore:
    """Records over one driver, written by one `actor` (instance + incarnation).

    `clock` gives the hybrid clock readings of stamps and events.
    """

    def __init__(self, driver: RecordDriver, *, actor: str, clock: HybridClock) -> None:
        self._driver = driver
        self.actors = Actors(actor)
        self._clock = clock
        self._decoded = DecodeCache()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._listeners: list[CommitListener] = []
        self._sending: set[asyncio.Future[list[str]]] = set()

    @property
    def driver(self) -> RecordDriver:
        """The driver, for health probes, doctor and the change feed."""
        return self._driver

    @property
    def capabilities(self) -> Capabilities:
        """What the driver declares."""
        return self._driver.capabilities

    @property
    def actor(self) -> str:
        """Who mints the versions of commits that are planned now."""
        return self.actors.current

    async def become(self, actor: str) -> None:
        """Mint later versions as `actor`; returns when every commit that was planned
        as another has ended, so that what these wrote can be seen."""
        await self.actors.become(actor)

    def through(self, driver: RecordDriver) -> RecordStore:
        """This store by way of another driver, for example one that limits calls.
        Same actor and clock; listeners are not taken along."""
        store = RecordStore(driver, actor=self.actor, clock=self._clock)
        store.actors = self.actors
        return store

    def on_commit(self, listener: CommitListener) -> Callable[[], None]:
        """Call `listener(pk, keys)` after each commit of this process is durable
        and before it is acknowledged: caches drop what they hold of those keys,
        watchers wake up. It must be quick and must not raise. Returns what takes
        the listener off again."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def get(self, family: Family, key: Key, *, deleted: bool = False) -> Record[Any] | None:
        """The record of a key by strong read; None if absent. A tombstone is
        returned only with `deleted=True`: writing needs it as the base."""
        return (await self.batch_get(family, [key], deleted=deleted))[0]

    async def batch_get(
        self, family: Family, keys: Sequence[Key], *, deleted: bool = False
    ) -> list[Record[Any] | None]:
        """Like `get` for up to 500 keys of one family, in the order asked."""
        with _reasons():
            if len(keys) == 1:
                items = [await self._driver.get(keys[0])]
            else:
                items = await self._driver.batch_get(keys)
        return [
            self._decoded.record(family, item)
            if item is not None and (deleted or not item.deleted)
            else None
            for item in items
        ]

    async def batch_get_mixed(
        self, keys: Sequence[tuple[Family, Key]]
    ) -> list[Record[Any] | None]:
        """Like `batch_get` for any number of keys of several families, 500 a read."""
        items = await self.get_rows([key for _, key in keys])
        return [
            self._decoded.record(family, item) if item is not None and not item.deleted else None
            for (family, _), item in zip(keys, items, strict=True)
        ]

    async def query(
        self,
        family: Family,
        index: Index,
        partition: str,
        *,
        prefix: str = "",
        lower: str = "",
        upper: str = "",
        limit: int = 100,
        after: str | None = None,
        descending: bool = False,
    ) -> Page[Any]:
        """Live records of one family whose sort key starts with `prefix` and, in
        byte order, is not below `lower` and is below `upper` (sort keys inside
        the prefix; empty: all of it).

        Where indexes lag, the newest may be missing; what was taken away is never
        shown (`RecordDriver.query`).
        """
        for bound in (lower, upper):
            if bound and not bound.startswith(prefix):
                raise ValueError(f"lower and upper must start with the prefix {prefix!r}")
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else None
        with _reasons():
            page = await self._driver.query(
                index, partition, lower=lower or prefix, upper=upper or end, limit=limit,
                after=after, descending=descending,
            )
        live = [i for i in page.items if not i.deleted and i.family == family.name]
        return Page([self._decoded.record(family, item) for item in live], page.next)

    async def head(self, pk: str) -> Head:
        """The commit counter of a partition, for `commit(if_head=...)`."""
        with _reasons():
            return head_of(pk, await self._driver.get(Key(pk, "#HEAD")))

    async def heads(self, pks: Sequence[str]) -> list[Head]:
        """The commit counters of many partitions by strong reads, in order."""
        found: list[Head] = []
        for at in range(0, len(pks), _KEYS_A_READ):
            part = pks[at : at + _KEYS_A_READ]
            with _reasons():
                items = await self._driver.batch_get([Key(pk, "#HEAD") for pk in part])
            found += map(head_of, part, items)
        return found

    async def run(
        self,
        index: Index,
        partition: str,
        *,
        lower: str,
        upper: str,
        limit: int,
        after: str | None,
        descending: bool = False,
    ) -> ItemPage:
        """Undecoded items with lower <= sort < upper, tombstones included: what
        a merge of several index partitions needs of each candidate."""
        with _reasons():
            return await self._driver.query(
                index, partition, lower=lower, upper=upper, limit=limit, after=after,
                descending=descending,
            )

    async def scan(self, after: Key | None, limit: int) -> Sequence[Item]:
        """Undecoded items of the whole store (`RecordDriver.scan`): in key order only
        where `capabilities.ordered_scan`, and only an empty page is the end."""
        with _reasons():
            return await self._driver.scan(after, limit)

    async def get_row(self, key: Key) -> Item | None:
        """A kernel row (`KERNEL_ROWS` of the families table)."""
        with _reasons():
            return await self._driver.get(key)

    async def get_rows(self, keys: Sequence[Key]) -> list[Item | None]:
        """`get_row` for any number of keys, 500 a read."""
        items: list[Item | None] = []
        for at in range(0, len(keys), _KEYS_A_READ):
            with _reasons():
                items += await self._driver.batch_get(keys[at : at + _KEYS_A_READ])
        return items

    async def put_row(self, put: Put) -> str:
        """Write a kernel row, or local fields of a record: no stamp, no event,
        nothing that travels. Returns the new token. Raises ConditionFailed. An
        answer that is lost is settled by reading the row back."""
        return (await self.put_rows([put]))[0]

    async def put_rows(self, puts: Sequence[Put]) -> list[str]:
        """`put_row` for several rows of one partition: all of them or none. The
        bodies must differ from those before, or a lost answer cannot be settled.
        Raises INVALID_FIELD for more than a commit takes (limits.py)."""
        check_rows(puts)
        pk = puts[0].key.pk
        with _reasons():
            try:
                tokens = await self._driver.commit(pk, puts)
            except DriverUnavailable as error:
                items = await self._settled(puts) if error.ambiguous else None
                if items is None:
                    raise
                tokens = items
        self._announce(pk, puts)
        return tokens

    async def _settled(self, puts: Sequence[Put]) -> list[str] | None:
        """The tokens if the rows are as these puts write them, else None."""
        items = await self._driver.batch_get([put.key for put in puts])
        tokens: list[str] = []
        for put, item in zip(puts, items, strict=True):
            if item is None or (item.body, item.deleted) != (put.body, put.deleted):
                return None
            tokens.append(item.token)
        return tokens

    async def touch(self, pk: str) -> None:
        """Make every decision that is under way in this partition fail: the HEAD row
        gets a new version, nothing else changes. For facts that lie elsewhere but
        are decided on under `if_head` here, for example that a user is enabled."""
        head = head_of(pk, await self.get_row(Key(pk, "#HEAD")))
        if head.token is None:
            return
        with suppress(ConditionFailed):  # somebody's commit did the same
            await self.put_row(same_head(head))

    async def rewrite(
        self, pk: str, puts: Sequence[Put], *, told: tuple[Activity, Sequence[Change]] | None = None
    ) -> None:
        """Replace rows as they are, without stamps, and make decisions under way fail as
        `touch` does. For erasure alone: nothing else may change history. Where events are
        among them the same commit has an event that is `told` of it, else it has none.
        Raises ConditionFailed, INVALID_FIELD for more than a commit takes with HEAD and
        event (limits.py)."""
        head = head_of(pk, await self.get_row(Key(pk, "#HEAD")))
        heads = [same_head(head)] if head.token is not None else []
        if told is not None:
            activity, changes = told
            plan = CommitPlan.of(
                pk, [], activity=activity, once=None, answer=None, actor=self.actor,
                hlc=self._clock.now(),
            )
            heads = replace(plan, changes=changes).puts(head)
        check_rows([*heads, *puts])
        with _reasons():
            try:
                await self._driver.commit(pk, [*heads, *puts])
            finally:
                self._announce(pk, [*heads, *puts])

    async def commit(
        self,
        pk: str,
        writes: Sequence[Write[Any]],
        *,
        activity: Activity,
        once: Once | None = None,
        answer: Callable[[Sequence[Record[Any]]], Message] | None = None,
        if_head: Head | None = None,
        still: Still | None = None,
    ) -> Committed:
        """All writes with HEAD, event and request row, or nothing; durable.

        Raises ETAG_MISMATCH when a base is no longer current, ALREADY_EXISTS
        when a record that must be absent is there, CONFLICTING_WRITE when
        `if_head` is no longer the head, INVALID_FIELD for more than any provider
        takes, versions side by side included (limits.py). `answer` makes the reply that the
        request row keeps from the records as they will be. `still` is asked last, for a
        right that rests on other partitions; what it raises ends the commit.
        """
        check_writes(pk, writes)
        with self.actors.minting() as actor:
            contested = await self._contested(writes)
            self._observe_superseded(writes, contested)
            plan = CommitPlan.of(
                pk, writes, activity=activity, once=once, answer=answer, actor=actor,
                hlc=self._clock.now(), contested=contested,
            )
            # Asked before: nothing may come between the commit and its acknowledgement.
            settles = plan.touches_owners and await self._has_conflicts(pk)
            if still is not None:
                await still()
            lock = self._locks.setdefault(pk, asyncio.Lock())
            async with lock:
                with _reasons():
                    done = await self._commit(plan, if_head)
            if settles and not done.replayed:
                await self._settle_owners(plan)
        return done

    async def _has_conflicts(self, pk: str) -> bool:
        """Whether a conflict lies in the partition: what is suspended is one."""
        page = await self.run(
            Index.BASE, pk, lower=PREFIX, upper=PREFIX + "~", limit=1, after=None
        )
        return bool(page.items)

    async def _settle_owners(self, plan: CommitPlan) -> None:
        """The commit is durable and its caller has to learn so, whatever comes of this:
        the next write or join in the partition decides again."""
        try:
            await settle_owners(self, plan.pk, Found(plan.time_ms))
        except WorkspaceError as error:
            _log.warning("owners of a partition are not settled: %s", Reason.Name(error.reason))

    async def rows(self, keys: Sequence[Key], met: Sequence[Key] = ()) -> list[Rows]:
        """What is stored under up to 500 record keys, versions side by side included, and
        the rows `met` beside records that do not name them."""
        with _reasons():
            return await read_rows(self._driver, keys, met)

    async def converge(
        self,
        pk: str,
        keys: Sequence[Key],
        decide: Decide,
        *,
        known: Sequence[Rows] = (),
    ) -> None:
        """Change records of one partition as `decide` says from what is there, and
        ask it again whenever that changed meanwhile. For state that was made
        elsewhere: no version, no event, but a new HEAD, so that decisions under
        way fail. An answer that is lost is settled by deciding again. `known`: the rows
        of HEAD and of the keys, just read, which saves reading them for the first try.

        Raises OverflowError when `decide` wants more than one commit takes (limits.py),
        and CONFLICTING_WRITE when others won every retry.
        """
        async with self._locks.setdefault(pk, asyncio.Lock()):
            with _reasons():
                met: set[Key] = set()
                for _ in range(_HEAD_RETRIES):
                    rows = known or await read_rows(self._driver, [Key(pk, "#HEAD"), *keys], met)
                    known = ()
                    if await self._converged(pk, rows, decide, met):
                        return
        raise _lost_every_retry()

    async def _converged(
        self, pk: str, rows: Sequence[Rows], decide: Decide, met: set[Key]
    ) -> bool:
        """`met` gets the key of a row that was not expected: it is read the next time."""
        puts = await decide(rows[1:])
        if not puts:
            return True
        puts = [next_head(head_of(pk, rows[0].item)), *puts]
        if not fit(puts):
            raise OverflowError(f"{len(puts)} rows do not go into one commit")
        try:
            await self._driver.commit(pk, puts)
        except ConditionFailed as failed:
            met.add(puts[failed.position].key)
            return False
        except DriverUnavailable as error:
            if not error.ambiguous:
                raise
            return False
        finally:
            self._announce(pk, puts)
        return True

    def reading(self) -> str:
        """The clock of stamps, now: later than all that this process stamped."""
        return self._clock.now()

    def observe(self, hlc: str) -> None:
        """Later writes of this process are later than this reading of elsewhere."""
        self._clock.observe(hlc)

    def _observe_superseded(
        self, writes: Sequence[Write[Any]], contested: dict[Key, Rows]
    ) -> None:
        """A write is later than what it replaces, whoever wrote that and whatever this
        machine's clock says: sync tells forged clocks by it (sync_svc/engine/forged.py)."""
        states = [each.state for each in contested.values()]
        states += [each.joins for each in writes]
        readings = [v.hlc for state in states if state for v in state.versions.values()]
        readings += [each.base.stamp.hlc for each in writes if each.base]
        for reading in readings:
            self._clock.observe(reading)

    async def _contested(self, writes: Sequence[Write[Any]]) -> dict[Key, Rows]:
        """The rows of the written records that have, or get, versions side by side."""
        keys = [
            Key(*each.family.key_of(each.message))
            for each in writes
            if each.joins is not None or (each.base and each.base.stamp.siblings)
        ]
        return {rows.key: rows for rows in await self.rows(keys)} if keys else {}

    async def replayed(self, pk: str, once: Once) -> StoredAnswer | None:
        """The answer that this very call gave before, or None."""
        with _reasons():
            item = await self._driver.get(Key(pk, once.sk))
        return once.answer_in(item) if item else None

    async def changes(self, cursor: str | None, limit: int = 1000) -> ChangePage:
        """The change feed, kernel rows included, at least once each."""
        with _reasons():
            return await self._driver.changes(cursor, limit)

    async def tail(self) -> str:
        """The feed cursor of now (`RecordDriver.tail`)."""
        with _reasons():
            return await self._driver.tail()

    async def close(self) -> None:
        await self._driver.close()

    async def _commit(self, plan: CommitPlan, if_head: Head | None) -> Committed:
        for _ in range(_HEAD_RETRIES):
            head = if_head or head_of(plan.pk, await self._driver.get(Key(plan.pk, "#HEAD")))
            try:
                tokens = await self._announced(plan, head)
            except ConditionFailed as failure:
                replay = await self._replay(plan)
                if replay:
                    return replay
                if failure.position != 0 or if_head is not None:
                    raise plan.conflict(failure) from None
                continue
            return plan.committed(head, tokens)
        raise _lost_every_retry()

    async def _announced(self, plan: CommitPlan, head: Head) -> list[str]:
        """Send, and tell the listeners. A caller who is cancelled leaves at once;
        the commit may be done all the same, and is then announced."""
        sending = asyncio.ensure_future(self._send_and_announce(plan, head))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)
        ended = self.actors.hold(plan.actor)
        sending.add_done_callback(lambda _: ended())
        return await asyncio.shield(sending)

    async def _send_and_announce(self, plan: CommitPlan, head: Head) -> list[str]:
        try:
            tokens = await self._send(plan, head)
        except DriverUnavailable:
            self._announce(plan.pk, plan.puts(head))  # it may have happened
            raise
        self._announce(plan.pk, plan.puts(head))
        return tokens

    def _announce(self, pk: str, puts: Sequence[Put]) -> None:
        if self._listeners:
            keys = [put.key for put in puts]
            for listener in tuple(self._listeners):
                listener(pk, keys)

    async def _send(self, plan: CommitPlan, head: Head) -> list[str]:
        puts = plan.puts(head)
        check_rows(puts)
        for attempt in range(_AMBIGUOUS_RETRIES):
            try:
                return self._learned(plan, await self._driver.commit(plan.pk, puts))
            except DriverUnavailable as error:
                if not error.ambiguous or attempt + 1 == _AMBIGUOUS_RETRIES:
                    raise
            except ConditionFailed:
                # Either we lost a race, or our own earlier try went through.
                if attempt == 0 or not await self._happened(plan):
                    raise
                return await self._tokens(plan, head)
            if await self._happened(plan):
                return await self._tokens(plan, head)
        raise AssertionError("unreachable")

    def _learned(self, plan: CommitPlan, tokens: list[str]) -> list[str]:
        """The tokens; these versions need not be decoded when they are read."""
        for record, token in zip(plan.records, tokens[1:], strict=False):
            self._decoded.learn(record, token)
        return tokens

    async def _happened(self, plan: CommitPlan) -> bool:
        """An ambiguous commit succeeded iff its event row is there."""
        return await self._driver.get(plan.event_key) is not None

    async def _tokens(self, plan: CommitPlan, head: Head) -> list[str]:
        found = await self._driver.batch_get([put.key for put in plan.puts(head)])
        return [item.token if item else "" for item in found]

    async def _replay(self, plan: CommitPlan) -> Committed | None:
        if plan.once is None:
            return None
        item = await self._driver.get(Key(plan.pk, plan.once.sk))
        if item is None:
            return None
        stored = plan.once.answer_in(item)
        return Committed(
            plan.pk, stored.pseq, stored.time_ms, replayed=True, answer=stored.data, cut=stored.cut
        )


def _lost_every_retry() -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_CONFLICTING_WRITE,
        "other changes of the same record group won every retry; repeat the call",
        retry_after=0.1,
    )


def _said(error: DriverUnavailable) -> str:
    if error.remedy:
        return f"the record store does not answer: {error.remedy}"
    return "the record store does not answer; repeat with the same request_id"


class _reasons:  # noqa: N801 - reads as a statement
    """Driver exceptions become documented reasons, here and nowhere else."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if isinstance(error, StorageFull):
            raise WorkspaceError(
                Reason.ERROR_REASON_STORAGE_FULL, "the record store is full; free space and repeat"
            ) from error
        if isinstance(error, DriverUnavailable):
            raise WorkspaceError(
                Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
                _said(error),
                metadata={"backend": "records"},
                retry_after=1.0,
            ) from error
        if isinstance(error, CursorLost):
            raise WorkspaceError(
                Reason.ERROR_REASON_CURSOR_LOST,
                "the cursor is too old or of another store; start again without one",
            ) from error
