"""Events as the relay gives them to publishers, and what to look for on a bus."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from prometheus_client import CollectorRegistry
from workspace.common.v1.activity_pb2 import ActivityEvent
from workspace.project.v1.history_pb2 import Webhook

from project_svc.history.webhook_delivery import signed_request
from services.events.feed import Feed
from services.events.outbox import OutboxEvent
from services.events.relay import Consumer, Relay, RelayMetrics
from services.model.families import FAMILIES
from services.records.codec import encode
from services.records.port import Item, Key
from services.records.store import RecordStore

__all__ = ["Clock", "event", "large", "numbers", "quick_relay", "webhook_body"]


class Clock:
    """A clock that stands at `now`."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def event(number: int, pk: str = "PROJECT#p_one", **more: Any) -> OutboxEvent:
    """One of a project, or of what `resource` names."""
    at = Timestamp()
    at.FromJsonString("2026-11-21T10:00:00.250Z")
    place: dict[str, Any] = {"project_id": "p_one", "resource": "projects/p_one"}
    if "resource" in more:
        place = {}
    message = ActivityEvent(
        event_id=f"{pk.partition('#')[2]}_{number}", type="project.updated", actor_user_id="u_ann",
        occurred_at=at, partition_sequence=number, **place, **more,
    )  # fmt: skip
    sk = f"EVENT#{number:013d}.00000#n_one.i_one#{message.event_id}"
    body = json.dumps(encode(FAMILIES["activity_event"], message, {}))
    return OutboxEvent(Item(Key(pk, sk), "t", "activity_event", body))


def large(number: int) -> OutboxEvent:
    """One that is too large for a bus."""
    one = event(number, note="n" * 4000)
    for change in range(40):
        one.event.changes.add(family="document", sk=f"{change}").after.update({"x": "ü" * 4000})
    return one


def numbers(events: Iterable[Mapping[str, Any]], pk: str = "PROJECT#p_one") -> list[int]:
    """The sequence of a partition among CloudEvents."""
    return [int(each["sequence"]) for each in events if each["partitionkey"] == pk]


def webhook_body(one: OutboxEvent) -> Any:
    """The CloudEvent that webhooks carry for it."""
    _, body = signed_request(
        Webhook(webhook_id="w", project_id="p_one"), one.event, key=b"k",
        source="/workspaces/n_one", partition=one.pk, now=1,
    )  # fmt: skip
    return json.loads(body)


def quick_relay(consumer: Consumer, records: RecordStore, feed: Feed) -> Relay:
    """A relay that tries again at once."""
    return Relay(
        consumer, records=records, feed=feed, metrics=RelayMetrics(CollectorRegistry()),
        now=time.time, lease_seconds=2.0, first_pause=0.001, linger=0.001,
    )  # fmt: skip
