"""An activity event as a CloudEvent 1.0 in JSON: what webhooks and event buses carry."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import MessageToDict
from workspace.common.v1.activity_pb2 import ActivityEvent

from services.model.seals import take_off

__all__ = ["cloud_event"]


def cloud_event(
    event: ActivityEvent, *, source: str, partition: str, whole: bool = True
) -> dict[str, Any]:
    """The document. `source` names the workspace, `partition` the one that changed;
    `sequence` is the event's number in it (extensions "partitioning" and "sequence").
    Without `whole` it says what happened and who did it, not what was written."""
    shown = ActivityEvent()
    shown.CopyFrom(event)
    take_off(shown)
    if not whole:
        del shown.changes[:]
    return {
        "specversion": "1.0",
        "id": event.event_id,
        "source": source,
        "type": f"workspace.{event.type}",
        "subject": event.resource,
        "time": event.occurred_at.ToJsonString(),
        "datacontenttype": "application/json",
        "partitionkey": partition,
        "sequence": str(event.partition_sequence),
        "data": MessageToDict(shown),
    }
