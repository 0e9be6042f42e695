"""The outbox relay: hands activity events to durable consumers.

A consumer turns events into something outside of the store: webhooks, mail, an
event bus. Register one by returning it in `ServiceModule.consumers`:

    class Mail:
        name = "mail"                       # names its rows; never change it

        async def deliver(self, events: Sequence[OutboxEvent]) -> None:
            for event in events:            # of one partition: in commit order
                await self._queue(event)    # idempotent by event.event_id

What the relay promises:

* Each event of this instance is delivered at least once, and in order per
  partition, whatever process dies when. Events that came from other instances
  (sync) are theirs to publish. A consumer starts with what is committed after
  the first start of a process that has it.
* One process at a time delivers to a consumer (a lease); after a crash another
  goes on. `deliver` is never called twice at once in one process; when a
  lease passes on, for a moment it may be in two.
* The position is written after `deliver` returned, at most once a second, and
  only if nobody else wrote one. So repeats happen after a crash: keep by
  `event_id` what has had its effect.
* A `deliver` that raises is repeated. Raise `NotNow` (or a WorkspaceError with
  BACKEND_UNAVAILABLE) when the outside does not answer: the relay waits, as long
  as it takes, and nothing is lost. Anything else counts against the event:
  the events are then delivered one by one, those of other partitions go on,
  and what still fails after eight tries is parked in a row with the error's
  name, counted and logged; `Relay.parked` lists it. Later events of its
  partition go on without it.
* After a restore (the feed's cursor is lost) the whole feed is read again, and
  what is clearly older than the last delivery is passed over.

`deliver` should be quick (queue the slow part durably, for example as due work):
the next batch waits for it. It runs outside of any call.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections import Counter as Counts
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from services.events.feed import Feed
from services.events.outbox import (
    BEGINNING,
    OutboxEvent,
    Position,
    follow_events,
    instance_of,
)
from services.model.clocks import hlc_millis
from services.model.errors import Reason, WorkspaceError
from services.records.lease import LEASE_SECONDS, Lease
from services.records.port import ABSENT, Condition, ConditionFailed, Index, Key, Match, Put
from services.records.store import RecordStore
from services.rpc.context import set_current_call

__all__ = ["Consumer", "NotNow", "Parked", "Relay", "RelayMetrics"]

TRIES = 8
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 30.0
_LINGER = 0.1
_FEW_EVENTS = 100
_SAVE_SECONDS = 1.0
_SAVE_IDLE_SECONDS = 30.0
_CLOCK_SKEW_MS = 5 * 60 * 1000
_PARKED_SECONDS = 90 * 24 * 3600
_log = logging.getLogger("workspace.relay")


class NotNow(Exception):
    """Raised by `deliver`: the outside does not answer now; try all of it later."""


class Consumer(Protocol):
    """See the module."""

    @property
    def name(self) -> str:
        """1 to 64 characters of `a-z0-9_-`; its rows are `RELAY#{name}`."""
        ...

    async def deliver(self, events: Sequence[OutboxEvent]) -> None:
        """Take these events (1 to 500), durably. Idempotent per event."""
        ...


class RelayMetrics:
    """`workspace_relay_lag_seconds`, `workspace_relay_delivered_total` and
    `workspace_relay_parked_total`, each by consumer."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.lag = Gauge(
            "workspace_relay_lag_seconds",
            "Age of the oldest event that waits for delivery.",
            ("consumer",),
            registry=registry,
        )
        self.delivered = Counter(
            "workspace_relay_delivered", "Events delivered.", ("consumer",), registry=registry
        )
        self.parked = Counter(
            "workspace_relay_parked", "Events given up.", ("consumer",), registry=registry
        )


@dataclass(frozen=True, slots=True)
class Parked:
    """An event that a consumer did not take: its key and what the last try said."""

    pk: str
    sk: str
    error: str


@dataclass(slots=True)
class _Progress:
    """The cursor row of a consumer. Of a feed that is read again, readings below
    `floor` were delivered before."""

    position: Position
    token: str
    saved: Position
    saved_at: float
    delivered: bool = False
    floor: str = ""


class Relay:
    """Runs one consumer. `now` is unix seconds, `lease_seconds` how long a
    process that died is waited for, `first_pause` the first of the growing
    pauses between tries, `linger` lets small commits come together (seconds)."""

    def __init__(
        self,
        consumer: Consumer,
        *,
        records: RecordStore,
        feed: Feed,
        metrics: RelayMetrics,
        now: Callable[[], float],
        lease_seconds: float = LEASE_SECONDS,
        first_pause: float = _FIRST_PAUSE,
        linger: float = _LINGER,
    ) -> None:
        self.consumer = consumer
        self._records = records
        self._feed = feed
        self._now = now
        self._lease_seconds = lease_seconds
        self._first_pause = first_pause
        self._linger = linger
        self._instance = instance_of(records.actor)
        self._pk = f"RELAY#{consumer.name}"
        self._key = Key(self._pk, "CURSOR")
        self._lag = metrics.lag.labels(consumer.name)
        self._delivered = metrics.delivered.labels(consumer.name)
        self._parked = metrics.parked.labels(consumer.name)

    async def register(self) -> None:
        """Begin the consumer's history now, unless it has one."""
        if await self._records.get_row(self._key) is None:
            began = f"{int(self._now() * 1000):013d}.00000"
            position = Position(await self._feed.tail(), hlc=began)
            try:
                await self._records.put_row(self._row(ABSENT, position))
            except ConditionFailed:
                return  # another process began it

    async def run(self) -> None:
        """Deliver until cancelled, whenever this process gets the lease."""
        set_current_call(None)
        lease = Lease(
            self._records,
            Key(self._pk, "LEASE"),
            holder=secrets.token_hex(8),
            now=self._now,
            seconds=self._lease_seconds,
        )
        while True:
            try:
                await self.register()
                await lease.hold(self._publish)
            except (WorkspaceError, ConditionFailed) as error:
                _log.warning("relay %s begins again: %s", self.consumer.name, _name(error))
            except Exception:
                _log.exception("relay %s begins again", self.consumer.name)
            await asyncio.sleep(min(5.0, self._lease_seconds / 4))

    async def parked(self) -> list[Parked]:
        """What was given up in the last 90 days, by event id."""
        found: list[Parked] = []
        after: str | None = None
        while True:
            page = await self._records.run(
                Index.BASE, self._pk, lower="PARKED#", upper="PARKED$", limit=500, after=after
            )
            found += [Parked(**json.loads(item.body)) for item in page.items]
            after = page.next
            if after is None:
                return found

    async def _publish(self) -> None:
        progress = await self._load()
        try:
            while True:
                try:
                    await self._follow(progress)
                except WorkspaceError as error:
                    if error.reason != Reason.ERROR_REASON_CURSOR_LOST:
                        raise
                    _log.warning("relay %s reads the whole feed again", self.consumer.name)
                    floor = max(hlc_millis(progress.position.hlc) - _CLOCK_SKEW_MS, 0)
                    progress.floor, progress.position = f"{floor:013d}", BEGINNING
        finally:
            if progress.delivered:
                await self._save(progress)

    async def _follow(self, progress: _Progress) -> None:
        async with aclosing(follow_events(self._feed, progress.position)) as batches:
            async for batch in batches:
                events = [e for e, _ in batch.events if self._is_ours(e, progress)]
                if events:
                    await self._deliver(events)
                    progress.delivered = True
                self._lag.set(0.0)
                progress.position = batch.position
                await self._save_in_time(progress)
                if len(batch.events) < _FEW_EVENTS:
                    await asyncio.sleep(self._linger)

    def _is_ours(self, event: OutboxEvent, progress: _Progress) -> bool:
        return instance_of(event.actor) == self._instance and event.hlc >= progress.floor

    async def _deliver(self, events: Sequence[OutboxEvent]) -> None:
        for attempt in count():
            self._note_lag(events)
            try:
                await self.consumer.deliver(events)
            except Exception as error:
                _log.warning("relay %s: a delivery failed: %s", self.consumer.name, _name(error))
                if not _is_outage(error):
                    await self._one_by_one(events)
                    return
            else:
                self._delivered.inc(len(events))
                return
            await asyncio.sleep(self._pause(attempt))

    async def _one_by_one(self, events: Sequence[OutboxEvent]) -> None:
        """In rounds: each partition goes on until an event of it fails."""
        waiting: dict[str, deque[OutboxEvent]] = defaultdict(deque)
        for event in events:
            waiting[event.pk].append(event)
        tries: Counts[str] = Counts()
        for round_ in count():
            for pk, queue in tuple(waiting.items()):
                await self._drain(queue, tries)
                if not queue:
                    del waiting[pk]
            if not waiting:
                return
            self._note_lag([queue[0] for queue in waiting.values()])
            await asyncio.sleep(self._pause(round_))

    async def _drain(self, queue: deque[OutboxEvent], tries: Counts[str]) -> None:
        while queue:
            event = queue[0]
            try:
                await self.consumer.deliver([event])
            except Exception as error:
                tries[event.event_id] += 0 if _is_outage(error) else 1
                if tries[event.event_id] < TRIES:
                    return
                await self._park(event, error)
            else:
                self._delivered.inc()
            queue.popleft()

    async def _park(self, event: OutboxEvent, error: Exception) -> None:
        self._parked.inc()
        _log.error(
            "relay %s parks event %s: %s", self.consumer.name, event.event_id, _name(error)
        )
        body = json.dumps({"pk": event.pk, "sk": event.item.key.sk, "error": _name(error)})
        key = Key(self._pk, f"PARKED#{event.event_id}")
        expires = int(self._now()) + _PARKED_SECONDS
        try:
            await self._records.put_row(Put(key, ABSENT, "relay", body, expires_at=expires))
        except ConditionFailed:
            return  # parked before a crash

    def _pause(self, attempt: int) -> float:
        return float(min(self._first_pause * 2 ** min(attempt, 20), _LONGEST_PAUSE))

    def _note_lag(self, events: Sequence[OutboxEvent]) -> None:
        oldest = min(hlc_millis(event.hlc) for event in events)
        self._lag.set(max(self._now() - oldest / 1000, 0.0))

    async def _load(self) -> _Progress:
        item = await self._records.get_row(self._key)
        if item is None:
            raise WorkspaceError(
                Reason.ERROR_REASON_INVALID_STATE, f"{self._pk} has no cursor; register first"
            )
        row = json.loads(item.body)
        position = Position(row["cursor"], hlc=row["hlc"])
        return _Progress(position, item.token, position, time.monotonic())

    async def _save_in_time(self, progress: _Progress) -> None:
        """Writing wakes the feed up, so what delivers nothing is written rarely."""
        age = time.monotonic() - progress.saved_at
        if age >= (_SAVE_SECONDS if progress.delivered else _SAVE_IDLE_SECONDS):
            await self._save(progress)

    async def _save(self, progress: _Progress) -> None:
        if progress.position != progress.saved:
            row = self._row(Match(progress.token), progress.position)
            progress.token = await self._records.put_row(row)
        progress.saved, progress.saved_at = progress.position, time.monotonic()
        progress.delivered = False

    def _row(self, condition: Condition, position: Position) -> Put:
        body = json.dumps({"cursor": position.cursor, "hlc": position.hlc})
        return Put(self._key, condition, "relay", body)


def _is_outage(error: Exception) -> bool:
    unavailable = Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    return isinstance(error, NotNow) or (
        isinstance(error, WorkspaceError) and error.reason == unavailable
    )


def _name(error: Exception) -> str:
    """Without the text, which may hold what is not for logs."""
    if isinstance(error, WorkspaceError):
        return Reason.Name(error.reason)
    return type(error).__name__
