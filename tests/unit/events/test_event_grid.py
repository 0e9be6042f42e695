"""The Event Grid publisher: what is on the topic, in which order, and failures."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Any

import pytest

from services.azure.clients import AzureClients
from services.events.buses import MOST_EVENT_BYTES, EntryRefused
from services.events.event_grid import EventGridPublisher
from services.events.event_grid.batches import (
    MOST_BATCH_BYTES,
    MOST_EVENTS,
    Sendable,
    batches,
    sendable,
)
from services.events.feed import Feed
from services.events.outbox import OutboxEvent
from services.events.relay import NotNow
from services.records.store import RecordStore
from tests.bus_samples import Clock, event, large, numbers, quick_relay, webhook_body
from tests.fakes.event_grid import Topic
from tests.fakes.https import CUT, CUT_AFTER, Answer
from tests.servers import azure
from tests.unit.events.conftest import Commit
from tests.unit.events.test_relay import running

pytestmark = pytest.mark.usefixtures("azure_environment")
WORKSPACE = "/workspaces/n_one"


@pytest.fixture
def topic() -> Iterator[Topic]:
    started = Topic(azure.certificate()).start()
    yield started
    started.stop()


class Clocked(EventGridPublisher):
    """A publisher whose clock the test holds."""

    def __init__(self, url: str) -> None:
        self.time = Clock()
        super().__init__(
            AzureClients(azure.place({"none": "none"})), topic=url, environment="test",
            instance_id="n_one", clock=self.time,
        )  # fmt: skip


@pytest.fixture
async def publisher(topic: Topic) -> AsyncIterator[Clocked]:
    opened = Clocked(f"{topic.url}/api/events")
    yield opened
    await opened.close()


def busy(status: int = 429, code: str = "TooManyRequests", text: str = "") -> Answer:
    return Answer(status, {"error": {"code": code, "message": text or code}}, {"Retry-After": "9"})


def _parsed(document: dict[str, Any]) -> dict[str, Any]:
    return document | {"time": datetime.fromisoformat(document["time"])}


async def test_an_event_on_the_topic_is_the_cloud_event_of_webhooks(
    topic: Topic, publisher: Clocked
) -> None:
    one = event(3, note="because")
    await publisher.deliver([one])
    (found,) = topic.events
    assert found["data"]["note"] == "because"
    assert _parsed(found) == _parsed(webhook_body(one))
    assert (
        topic.requests[0].headers["content-type"].startswith("application/cloudevents-batch+json")
    )


async def test_the_path_of_a_topic_may_be_left_out(topic: Topic) -> None:
    one = Clocked(topic.url)
    await one.deliver([event(1)])
    await one.close()
    assert numbers(topic.events) == [1]


def test_events_of_no_project_or_account_say_only_what_happened() -> None:
    one = event(1, resource="users/u_ann", note="ann@example.com")
    change = one.event.changes.add(family="user", sk="USER#u_ann")
    change.after.update({"email": "ann@example.com"})
    made = sendable(one, workspace=WORKSPACE)
    assert "example.com" not in json.dumps(made.document)
    assert made.document["data"]["actorUserId"] == "u_ann"


async def test_one_that_is_too_large_goes_as_a_reference(topic: Topic, publisher: Clocked) -> None:
    one = large(1)
    await publisher.deliver([one])
    (found,) = topic.events
    assert sendable(one, workspace=WORKSPACE).size <= MOST_EVENT_BYTES
    assert found["truncated"] is True
    assert (found["id"], found["subject"]) == (one.event_id, "projects/p_one")
    assert "changes" not in found["data"]


def _of_100_kb(number: int, pk: str) -> OutboxEvent:
    one = event(number, pk)
    one.event.changes.add(family="document", sk="x").after.update({"x": "ü" * 17_000})
    return one


async def test_requests_keep_the_limits_and_the_order(topic: Topic, publisher: Clocked) -> None:
    events = [_of_100_kb(n, f"PROJECT#p_{pk}") for n in range(1, 11) for pk in range(3)]
    await publisher.deliver(events)
    assert [each["id"] for each in topic.events] == [each.event_id for each in events]
    assert len(topic.requests) == 4
    for request in topic.requests:
        assert len(request.body) <= MOST_BATCH_BYTES


def test_a_request_has_no_more_events_than_the_topic_takes() -> None:
    made = [Sendable(str(number), {}, 10) for number in range(MOST_EVENTS + 1)]
    assert [len(batch) for batch in batches(made)] == [MOST_EVENTS, 1]
    assert list(batches([])) == []


async def test_what_was_taken_before_is_not_sent_again(topic: Topic, publisher: Clocked) -> None:
    events = [_of_100_kb(n, "PROJECT#p_one") for n in range(1, 13)]
    await publisher.deliver(events[:9])
    topic.faults.append(busy())
    with pytest.raises(NotNow):
        await publisher.deliver(events)
    await publisher.deliver(events)
    assert numbers(topic.events) == list(range(1, 13))


async def test_after_a_lost_answer_all_of_the_request_is_sent_again(
    topic: Topic, publisher: Clocked
) -> None:
    for fault, found in ((CUT, [1, 2]), (CUT_AFTER, [1, 2, 3, 4, 3, 4])):
        numbers_ = (1, 2) if fault == CUT else (3, 4)
        topic.faults.append(fault)
        events = [event(number) for number in numbers_]
        with pytest.raises(NotNow):
            await publisher.deliver(events)
        await publisher.deliver(events)
        assert numbers(topic.events) == found


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (busy(), "fewer requests"),
        (busy(503, "ServiceUnavailable"), "repeat later"),
        (busy(500, "InternalServerError"), "repeat later"),
        (busy(403, "Forbidden", "of /subscriptions/s"), "'EventGrid Data Sender'"),
        (busy(401, "Unauthorized", "The token of /subscriptions/s is bad"), "az login"),
        (busy(404, "NotFound"), "wm setup azure"),
    ],
)
async def test_a_topic_that_takes_nothing_is_waited_for(
    topic: Topic, publisher: Clocked, caplog: pytest.LogCaptureFixture, fault: Answer, said: str
) -> None:
    topic.faults.append(fault)
    with caplog.at_level(logging.WARNING), pytest.raises(NotNow) as caught:
        await publisher.deliver([event(1), event(2)])
    assert said in caplog.text
    assert "127.0.0.1" in caplog.text
    assert "/subscriptions" not in caplog.text + str(caught.value)
    await publisher.deliver([event(1), event(2)])
    assert numbers(topic.events) == [1, 2]


async def test_who_may_not_send_is_told_the_role(
    topic: Topic, publisher: Clocked, caplog: pytest.LogCaptureFixture
) -> None:
    """Event Grid answers 401 for it."""
    topic.role = False
    with caplog.at_level(logging.WARNING), pytest.raises(NotNow):
        await publisher.deliver([event(1)])
    assert "'EventGrid Data Sender'" in caplog.text
    topic.role = True
    await publisher.deliver([event(1)])
    assert numbers(topic.events) == [1]


async def test_a_topic_of_another_schema_parks_nothing(
    topic: Topic, publisher: Clocked, caplog: pytest.LogCaptureFixture
) -> None:
    topic.schema = "EventGridEvent"
    with caplog.at_level(logging.WARNING), pytest.raises(NotNow):
        await publisher.deliver([event(1)])
    assert "CloudEventSchemaV1_0" in caplog.text


async def test_a_topic_that_is_nowhere_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    away = Topic(azure.certificate()).start()
    url = away.url
    away.stop()
    one = Clocked(f"{url}/api/events")
    with caplog.at_level(logging.WARNING), pytest.raises(NotNow):
        await one.deliver([event(1)])
    await one.close()
    assert "nothing answers" in caplog.text


async def test_without_an_identity_nothing_is_lost(
    topic: Topic, publisher: Clocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure.sign_in(), "refuse", True)
    with pytest.raises(NotNow):
        await publisher.deliver([event(1)])
    monkeypatch.setattr(azure.sign_in(), "refuse", False)
    assert topic.events == []


async def test_credentials_that_cannot_be_are_no_fault_of_the_events(
    publisher: Clocked, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.setenv(f"AZURE_{name}", "no name!")
    with caplog.at_level(logging.WARNING), pytest.raises(NotNow):
        await publisher.deliver([event(1)])
    assert "AZURE_TENANT_ID" in caplog.text


async def test_the_same_trouble_is_told_once_a_minute(
    topic: Topic, publisher: Clocked, caplog: pytest.LogCaptureFixture
) -> None:
    topic.always = busy()
    for at in (0.0, 30.0, 59.0, 60.0, 61.0):
        publisher.time.now = at
        with pytest.raises(NotNow):
            await publisher.deliver([event(1)])
    assert len([each for each in caplog.records if each.name == "workspace.event_grid"]) == 2


@pytest.mark.parametrize("fault", [busy(400, "BadRequest"), busy(413, "RequestEntityTooLarge")])
async def test_what_the_topic_never_takes_is_told_apart(
    topic: Topic, publisher: Clocked, fault: Answer
) -> None:
    topic.faults.append(fault)
    with pytest.raises(EntryRefused, match=fault.document["error"]["code"]):
        await publisher.deliver([event(1)])


async def when(topic: Topic, count: int) -> None:
    while len(topic.events) < count:  # noqa: ASYNC110 - another thread has them
        await asyncio.sleep(0.01)


async def test_through_the_relay_with_faults_in_the_middle(
    topic: Topic, publisher: Clocked, records: RecordStore, feed: Feed, commit: Commit
) -> None:
    one = quick_relay(publisher, records, feed)
    await one.register()
    async with running(one):
        for number in range(12):
            if number % 4 == 1:
                topic.faults.append(busy())
            if number == 6:
                topic.faults.append(CUT)
            await commit(f"p_{number % 2}", name=str(number))
        await when(topic, 12)
    for pk in ("PROJECT#p_0", "PROJECT#p_1"):
        assert numbers(topic.events, pk) == [1, 2, 3, 4, 5, 6]
    assert await one.parked() == []


async def test_a_poisoned_event_is_parked_and_later_ones_go_on(
    topic: Topic, publisher: Clocked, records: RecordStore, feed: Feed, commit: Commit
) -> None:
    one = quick_relay(publisher, records, feed)
    await one.register()
    topic.faults.extend([busy(400, "BadRequest")] * 9)
    await commit("p_0")
    async with running(one):
        while not (parked := await one.parked()):  # noqa: ASYNC110 - it is a row, not an event
            await asyncio.sleep(0.01)
        await commit("p_0", name="later")
        await when(topic, 1)
    assert [each.error for each in parked] == ["EntryRefused"]
    assert numbers(topic.events, "PROJECT#p_0") == [2]
