"""The EventBridge publisher on moto: what is on the bus, in which order, and failures."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.events.buses import EntryRefused
from services.events.event_bridge import EventBridgePublisher
from services.events.event_bridge.entries import MOST_BYTES, Entry, entry_of
from services.events.feed import Feed
from services.events.outbox import OutboxEvent
from services.events.relay import NotNow
from services.records.store import RecordStore
from tests import bus_samples
from tests.aws_faults import Answers, partly, seen
from tests.bus_samples import Clock, event, large, quick_relay, webhook_body
from tests.event_buses import Bus
from tests.unit.events.conftest import Commit
from tests.unit.events.test_relay import running

pytestmark = pytest.mark.usefixtures("aws_environment")


@pytest.fixture
async def bus(aws_environment: None) -> AsyncIterator[Bus]:
    opened = await Bus.open()
    yield opened
    await opened.close()


def publisher(bus: Bus, clock: Clock | None = None, *, name: str = "") -> EventBridgePublisher:
    return EventBridgePublisher(
        bus.clients, bus=name or bus.name, environment="test", instance_id="n_one",
        clock=clock or Clock(),
    )  # fmt: skip


def entry(of: OutboxEvent) -> Entry:
    return entry_of(of, bus="b", source="workspace.test", workspace="/workspaces/n_one")


def numbers(found: list[dict[str, Any]], pk: str = "PROJECT#p_one") -> list[int]:
    return bus_samples.numbers([each["detail"] for each in found], pk)


async def test_an_event_on_the_bus_is_the_cloud_event_of_webhooks(bus: Bus) -> None:
    one = event(3, note="because")
    await publisher(bus).deliver([one])
    (found,) = await bus.published()
    assert (found["source"], found["detail-type"]) == ("workspace.test", "project.updated")
    assert found["resources"] == ["projects/p_one"]
    assert found["detail"]["data"]["note"] == "because"
    assert found["detail"] == webhook_body(one)


async def test_events_of_no_project_or_account_say_only_what_happened() -> None:
    one = event(1, resource="users/u_ann", note="ann@example.com")
    change = one.event.changes.add(family="user", sk="USER#u_ann")
    change.after.update({"email": "ann@example.com"})
    text = entry(one).parameters["Detail"]
    assert "example.com" not in text
    assert json.loads(text)["data"]["actorUserId"] == "u_ann"


def test_one_that_is_too_large_goes_as_a_reference() -> None:
    one = large(1)
    made = entry(one)
    detail = json.loads(made.parameters["Detail"])
    assert made.size <= MOST_BYTES
    assert detail["truncated"] is True
    assert (detail["id"], detail["subject"]) == (one.event_id, "projects/p_one")
    assert "changes" not in detail["data"]


async def test_requests_keep_the_limits_and_one_event_of_a_partition(bus: Bus) -> None:
    requests = seen(bus.clients, "events", "PutEvents")
    events = [event(n, f"PROJECT#p_{pk}") for n in range(1, 4) for pk in range(23)]
    for each in events[:5]:
        each.event.changes.add(family="document", sk="x").after.update({"x": "y" * 100_000})
    await publisher(bus).deliver(events)
    assert sum(len(each["Entries"]) for each in requests) == len(events)
    for request in requests:
        partitions = [json.loads(each["Detail"])["partitionkey"] for each in request["Entries"]]
        assert len(set(partitions)) == len(partitions) <= 10
        assert sum(len(each["Detail"].encode()) for each in request["Entries"]) <= MOST_BYTES
    found = await bus.published()
    for pk in range(23):
        assert numbers(found, f"PROJECT#p_{pk}") == [1, 2, 3]


async def test_only_what_failed_is_repeated_and_the_order_stays(bus: Bus) -> None:
    failures = {("PROJECT#p_one", 2): 3, ("PROJECT#p_two", 1): 1}

    def refuse(detail: dict[str, Any]) -> str:
        at = (detail["partitionkey"], int(detail["sequence"]))
        failures[at] = failures.get(at, 0) - 1
        return "ThrottlingException" if failures[at] >= 0 else ""

    partly(bus.clients, refuse)
    partitions = ("PROJECT#p_one", "PROJECT#p_two", "PROJECT#p_three", "PROJECT#p_four")
    events = [event(n, pk) for n in range(1, 6) for pk in partitions]
    # One that is always good, so that no request of the fault layer is empty.
    guards = [event(n, f"PROJECT#guard_{n}") for n in range(1, 9)]
    one = publisher(bus)
    for attempt in range(9):
        try:
            await one.deliver([*events, *guards[: attempt + 1]])
            break
        except NotNow:
            continue
    found = await bus.published()
    for pk in partitions:
        assert numbers(found, pk) == [1, 2, 3, 4, 5]


async def test_what_the_bus_never_takes_is_told_apart_and_goes_last(bus: Bus) -> None:
    def refuse(detail: dict[str, Any]) -> str:
        return "MalformedDetail" if detail["id"].endswith("bad_1") else ""

    partly(bus.clients, refuse)
    with pytest.raises(EntryRefused):
        await publisher(bus).deliver([event(1, "PROJECT#p_bad"), event(1), event(2)])
    assert numbers(await bus.published()) == [1, 2]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ((400, "ThrottlingException", "Rate exceeded"), "events:PutEvents"),
        ((500, "InternalException", ""), "repeat later"),
        ((400, "AccessDeniedException", "User arn:aws:iam::1:x is not"), "events:PutEvents"),
        ((400, "ExpiredTokenException", ""), "sign in again"),
    ],
)
async def test_a_bus_that_takes_nothing_is_waited_for(
    bus: Bus, caplog: pytest.LogCaptureFixture, fault: tuple[int, str, str], said: str
) -> None:
    answers = Answers(bus.clients, "events", "PutEvents")
    answers.faults = [fault]
    one = publisher(bus)
    with caplog.at_level(logging.WARNING), pytest.raises(NotNow):
        await one.deliver([event(1), event(2)])
    assert said in caplog.text
    assert "arn:aws:iam" not in caplog.text
    await one.deliver([event(1), event(2)])
    assert numbers(await bus.published()) == [1, 2]


async def test_a_bus_that_is_missing_loses_nothing(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    """PutEvents of AWS would answer with success for it."""
    requests = seen(bus.clients, "events", "PutEvents")
    with caplog.at_level(logging.WARNING), pytest.raises(NotNow):
        await publisher(bus, name="nowhere").deliver([event(1)])
    assert requests == []
    assert "nowhere" in caplog.text
    assert "wm setup aws" in caplog.text


async def test_the_bus_is_looked_up_again_after_a_minute(bus: Bus) -> None:
    looks = seen(bus.clients, "events", "DescribeEventBus")
    clock = Clock()
    one = publisher(bus, clock)
    for number, at in enumerate((0.0, 59.0, 60.0, 61.0), start=1):
        clock.now = at
        await one.deliver([event(number)])
    assert len(looks) == 2


async def test_through_the_relay_with_faults_in_the_middle(
    bus: Bus, records: RecordStore, feed: Feed, commit: Commit
) -> None:
    answers = Answers(bus.clients, "events", "PutEvents")
    one = quick_relay(publisher(bus), records, feed)
    await one.register()
    async with running(one):
        for number in range(12):
            if number % 4 == 1:
                answers.faults.append((400, "ThrottlingException", ""))
            if number == 6:
                answers.faults.append((500, "InternalFailure", ""))
            await commit(f"p_{number % 2}", name=str(number))
        found = await bus.until(12)
    for pk in ("PROJECT#p_0", "PROJECT#p_1"):
        assert numbers(found, pk) == [1, 2, 3, 4, 5, 6]
    assert await one.parked() == []


async def test_a_poisoned_event_is_parked_and_later_ones_go_on(
    bus: Bus, records: RecordStore, feed: Feed, commit: Commit
) -> None:
    answers = Answers(bus.clients, "events", "PutEvents")
    one = quick_relay(publisher(bus), records, feed)
    await one.register()
    answers.faults = [(400, "ValidationException", "")] * 9
    await commit("p_0")
    async with running(one):
        while not (parked := await one.parked()):  # noqa: ASYNC110 - it is a row, not an event
            await asyncio.sleep(0.01)
        await commit("p_0", name="later")
        found = await bus.until(1)
    assert [each.error for each in parked] == ["EntryRefused"]
    assert numbers(found, "PROJECT#p_0") == [2]
