"""Publishes activity events on an EventBridge bus: a consumer of the relay.

* At least once, and in order per partition: a request carries at most one event of a
  partition, because its entries may fail each on its own. What failed is sent again
  before the next of its partition; what was taken is not.
* When the bus does not take events (throttled, denied, away) the relay waits, with
  growing pauses, as long as it takes; the log says what helps. An entry that the bus
  will never take is parked by the relay.
* PutEvents to a bus that does not exist succeeds and drops the events. So the bus is
  looked up before the first event, and again when the last look is a minute old.

EventBridge itself promises no order to its targets: `detail.sequence` (in
`detail.partitionkey`) has it, and `detail.id` tells repeats.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from services.aws.clients import AwsClients

# After the clients: without the SDK those say how to install it.
from services.aws.failures import failure_of, iam_action
from services.events.buses import EntryRefused, Taken
from services.events.event_bridge.entries import MOST_BYTES, Entry, entry_of
from services.events.outbox import OutboxEvent
from services.events.relay import NotNow

__all__ = ["EventBridgePublisher"]

_SERVICE: Final = "events"
_MOST_ENTRIES: Final = 10
_LOOK_SECONDS: Final = 60.0
_NEVER: Final = frozenset(
    ["MalformedDetail", "InvalidArgument", "ValidationException", "ParamValidationError"]
)
"""Codes of entries that will be refused again. Others are worth another try."""
_log = logging.getLogger("workspace.event_bridge")


class EventBridgePublisher:
    """See the module. `bus` is a name or an ARN, `environment` ends the source,
    `instance_id` names the workspace in the CloudEvents. `clock` is monotonic."""

    name = "eventbridge"

    def __init__(
        self,
        clients: AwsClients,
        *,
        bus: str,
        environment: str,
        instance_id: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clients = clients
        self._bus = bus
        self._source = f"workspace.{environment}"
        self._workspace = f"/workspaces/{instance_id}"
        self._clock = clock
        self._looked_at: float | None = None
        self._taken = Taken()

    async def deliver(self, events: Sequence[OutboxEvent]) -> None:
        """Publish those that were not before. Raises NotNow while the bus takes nothing,
        or not all, and EntryRefused for what it will never take."""
        await self._look()
        queues: dict[str, deque[Entry]] = defaultdict(deque)
        for event in events:
            if event.event_id not in self._taken:
                queues[event.pk].append(self._entry(event))
        failed: dict[str, str] = {}
        while heads := _request([q[0] for pk, q in queues.items() if q and pk not in failed]):
            codes = await self._put(heads)
            for entry, code in zip(heads, codes, strict=True):
                if code:
                    failed[entry.event.pk] = code
                else:
                    queues[entry.event.pk].popleft()
                    self._taken.add(entry.event.event_id)
        self._raise(failed)

    async def close(self) -> None:
        """End the clients."""
        await self._clients.close()

    async def _put(self, entries: Sequence[Entry]) -> list[str]:
        """The error code of each entry; '' for those that were taken."""
        try:
            answer = await self._call("put_events", Entries=[each.parameters for each in entries])
        except EntryRefused as refused:  # of the whole request: the relay finds out of which
            return [str(refused)] * len(entries)
        results = answer.get("Entries", [])
        if len(results) != len(entries):
            raise NotNow("the bus answered for other entries")
        return ["" if each.get("EventId") else str(each.get("ErrorCode")) for each in results]

    async def _look(self) -> None:
        now = self._clock()
        if self._looked_at is None or now - self._looked_at >= _LOOK_SECONDS:
            await self._call("describe_event_bus", Name=self._bus)
            self._looked_at = now

    async def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        try:
            return await self._clients.call(_SERVICE, operation, **parameters)
        except Exception as error:
            self._looked_at = None
            failure = failure_of(error, _SERVICE, operation)
            if operation == "put_events" and failure.code in _NEVER:
                raise EntryRefused(failure.code) from None
            _log.warning("events wait for the bus %s: %s", self._bus, failure)
            raise NotNow(failure.code) from None

    def _entry(self, event: OutboxEvent) -> Entry:
        return entry_of(event, bus=self._bus, source=self._source, workspace=self._workspace)

    def _raise(self, failed: dict[str, str]) -> None:
        """Passing failures first: while there are some, nothing is given up."""
        codes = sorted(set(failed.values()))
        if not codes:
            return
        _log.warning(
            "the bus %s did not take events of %d partitions: %s%s",
            self._bus, len(failed), ", ".join(codes), _remedy(codes),
        )  # fmt: skip
        if not _NEVER.issuperset(codes):
            raise NotNow(codes[0])
        raise EntryRefused(codes[0])


def _remedy(codes: Sequence[str]) -> str:
    if any("Auth" in code or "Denied" in code for code in codes):
        return f"; allow {iam_action(_SERVICE, 'put_events')} in IAM and in the bus's own policy"
    return ""


def _request(heads: Sequence[Entry]) -> list[Entry]:
    """As many entries as fit into a request; at least one."""
    taken: list[Entry] = []
    size = 0
    for entry in heads:
        size += entry.size
        if len(taken) == _MOST_ENTRIES or (taken and size > MOST_BYTES):
            break
        taken.append(entry)
    return taken
