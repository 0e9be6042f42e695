"""An event as an entry of PutEvents (EventBridge user guide, "Sending events").

    source       workspace.<environment>
    detail-type  the event's type, as `project.assigned`
    resources    the event's resource name, as `projects/p_abc`
    time         when it was committed
    detail       the CloudEvent that webhooks carry (services/events/cloud_event.py)

Events of projects and accounts go whole, as webhooks get them; of others (people, the
deployment) only what happened and who did it. One that would be too large goes without
`data.changes` and `data.note`, marked with `truncated: true`: `ListActivity` has all of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from workspace.common.v1.activity_pb2 import ActivityEvent

from services.events.cloud_event import cloud_event
from services.events.outbox import OutboxEvent

__all__ = ["MOST_BYTES", "Entry", "entry_of"]

MOST_BYTES: Final = 256 * 1024
"""Of a request with all its entries. Targets take no more than that, whatever the bus
takes (1 MB since 2026)."""
_TIME_BYTES: Final = 14


@dataclass(frozen=True, slots=True)
class Entry:
    """Parameters of an entry, and how many bytes EventBridge counts for it."""

    event: OutboxEvent
    parameters: dict[str, Any]
    size: int


def entry_of(event: OutboxEvent, *, bus: str, source: str, workspace: str) -> Entry:
    """The entry of an event. `workspace` is the CloudEvent's `source`."""
    message = event.event
    if not (message.project_id or message.account_id):
        return _entry(event, _brief(message, event.pk, workspace), bus, source)
    whole = cloud_event(message, source=workspace, partition=event.pk)
    entry = _entry(event, whole, bus, source)
    if entry.size <= MOST_BYTES:
        return entry
    return _entry(event, _brief(message, event.pk, workspace) | {"truncated": True}, bus, source)


def _brief(message: ActivityEvent, partition: str, workspace: str) -> dict[str, Any]:
    """What happened and who did it."""
    cut = ActivityEvent()
    cut.CopyFrom(message)
    cut.ClearField("note")
    return cloud_event(cut, source=workspace, partition=partition, whole=False)


def _entry(event: OutboxEvent, detail: dict[str, Any], bus: str, source: str) -> Entry:
    text = json.dumps(detail, separators=(",", ":"), ensure_ascii=False)
    resources = [event.event.resource] if event.event.resource else []
    parameters = {
        "Time": datetime.fromtimestamp(event.event.occurred_at.ToMilliseconds() / 1000, UTC),
        "Source": source,
        "DetailType": event.type,
        "Detail": text,
        "Resources": resources,
        "EventBusName": bus,
    }
    counted = (source, event.type, text, *resources)
    return Entry(event, parameters, _TIME_BYTES + sum(len(each.encode()) for each in counted))
