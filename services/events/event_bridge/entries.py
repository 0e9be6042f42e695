"""An event as an entry of PutEvents (EventBridge user guide, "Sending events").

    source       workspace.<environment>
    detail-type  the event's type, as `project.assigned`
    resources    the event's resource name, as `projects/p_abc`
    time         when it was committed
    detail       the CloudEvent that webhooks carry (services/events/cloud_event.py)

Which document that is, and when it is cut: services/events/buses.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from services.events.buses import MOST_EVENT_BYTES, made_to_fit
from services.events.outbox import OutboxEvent

__all__ = ["MOST_BYTES", "Entry", "entry_of"]

MOST_BYTES: Final = MOST_EVENT_BYTES
"""Of a request with all its entries."""
_TIME_BYTES: Final = 14


@dataclass(frozen=True, slots=True)
class Entry:
    """Parameters of an entry, and how many bytes EventBridge counts for it."""

    event: OutboxEvent
    parameters: dict[str, Any]
    size: int


def entry_of(event: OutboxEvent, *, bus: str, source: str, workspace: str) -> Entry:
    """The entry of an event. `workspace` is the CloudEvent's `source`."""
    return made_to_fit(
        event,
        workspace,
        lambda detail: _entry(event, detail, bus, source),
        lambda entry: entry.size,
    )


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
