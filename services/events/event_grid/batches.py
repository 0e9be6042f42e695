"""Events as requests to a topic: CloudEvents in JSON, in batches (Microsoft Learn,
"CloudEvents v1.0 schema with Azure Event Grid", "Azure Event Grid quotas and limits").

Which document an event is, and when it is cut: services/events/buses.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from services.events.buses import made_to_fit
from services.events.outbox import OutboxEvent

__all__ = ["MOST_BATCH_BYTES", "MOST_EVENTS", "Sendable", "batches", "sendable"]

MOST_BATCH_BYTES: Final = 1_000_000
"""Of a request. Event Grid takes 1 MB, in events of up to 1 MB."""
MOST_EVENTS: Final = 5000
_ROOM: Final = 200
"""For what the SDK may add to an event (`traceparent`) and the comma after it."""


@dataclass(frozen=True, slots=True)
class Sendable:
    """A CloudEvent, and at most how many bytes of a request it needs."""

    event_id: str
    document: dict[str, Any]
    size: int


def sendable(event: OutboxEvent, *, workspace: str) -> Sendable:
    """What is sent of an event. `workspace` is the CloudEvent's `source`."""
    return made_to_fit(
        event, workspace, lambda document: _sized(event.event_id, document), lambda one: one.size
    )


def batches(events: Iterable[Sendable]) -> Iterator[list[Sendable]]:
    """All of them in their order, as many to a request as it may have."""
    batch: list[Sendable] = []
    size = 0
    for event in events:
        if batch and (size + event.size > MOST_BATCH_BYTES or len(batch) == MOST_EVENTS):
            yield batch
            batch, size = [], 0
        batch.append(event)
        size += event.size
    if batch:
        yield batch


def _sized(event_id: str, document: dict[str, Any]) -> Sendable:
    """Counted as the SDK writes it: everything in ASCII."""
    return Sendable(event_id, document, len(json.dumps(document)) + _ROOM)
