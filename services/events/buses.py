"""What publishers on event buses share: which document an event is, and what was taken.

Events of projects and accounts go whole, as webhooks get them; of others (people, the
deployment) only what happened and who did it. One that would be too large goes without
`data.changes` and `data.note`, marked with `truncated: true`: `ListActivity` has all of it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, TypeVar

from workspace.common.v1.activity_pb2 import ActivityEvent

from services.events.cloud_event import cloud_event
from services.events.outbox import OutboxEvent

__all__ = ["MOST_EVENT_BYTES", "EntryRefused", "Taken", "made_to_fit"]

T = TypeVar("T")
MOST_EVENT_BYTES: Final = 256 * 1024
"""Of an event. Targets of the buses take no more than that, whatever the bus takes (1 MB)."""
_KNOWN_IDS: Final = 1000


class EntryRefused(Exception):
    """The bus will never take these events. The text has codes only."""


class Taken:
    """Ids of events that the bus has: a delivery that is repeated must not send them again."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._ids

    def add(self, event_id: str) -> None:
        self._ids[event_id] = None
        while len(self._ids) > _KNOWN_IDS:
            self._ids.popitem(last=False)


def made_to_fit(
    event: OutboxEvent,
    workspace: str,
    make: Callable[[dict[str, Any]], T],
    size_of: Callable[[T], int],
) -> T:
    """What `make` makes of the event's CloudEvent, cut when that has more than
    MOST_EVENT_BYTES. `workspace` is the CloudEvent's `source`."""
    message = event.event
    if not (message.project_id or message.account_id):
        return make(_brief(message, event.pk, workspace))
    whole = make(cloud_event(message, source=workspace, partition=event.pk))
    if size_of(whole) <= MOST_EVENT_BYTES:
        return whole
    return make(_brief(message, event.pk, workspace) | {"truncated": True})


def _brief(message: ActivityEvent, partition: str, workspace: str) -> dict[str, Any]:
    """What happened and who did it."""
    cut = ActivityEvent()
    cut.CopyFrom(message)
    cut.ClearField("note")
    return cloud_event(cut, source=workspace, partition=partition, whole=False)
