"""Delivery to a real HTTPS receiver: signed, repeated, given up, switched off."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from workspace.project.v1 import history_service_pb2 as pb
from workspace.project.v1.history_pb2 import WebhookStatus
from workspace.project.v1.history_service_pb2_grpc import HistoryServiceStub
from workspace.project.v1.project_service_pb2 import (
    AssignProjectRequest,
    CreateProjectRequest,
    UpdateProjectRequest,
)
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from project_svc.history.webhook_delivery import PAUSES, WEBHOOK_DELIVERY, WebhookDelivery
from project_svc.history.webhook_rows import find_webhook
from services.events.egress import Egress
from services.events.outbox import OutboxEvent, Position, follow_events
from services.records.port import Key
from services.records.record import Activity
from tests.harness import Workspace
from tests.integration.project.files import history, project
from tests.integration.project.world import World
from tests.receiver import Receiver, Request

LOOPBACK = ("127.0.0.0/8", "::1/128")
FAILING = WebhookStatus.WEBHOOK_STATUS_FAILING


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[Receiver]:
    async with Receiver.open(tmp_path / "receiver") as opened:
        yield opened


def verified(request: Request, secret: str) -> dict[str, Any]:
    """The body of a delivery as its receiver checks it, by the specification."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode()
    mac = hmac.new(key, signed + request.body, hashlib.sha256).digest()
    assert request.headers["webhook-signature"] == "v1," + base64.b64encode(mac).decode()
    return dict(json.loads(request.body))


@dataclass
class Scene:
    """A project with a webhook, and the parts of delivery driven by hand."""

    world: World
    delivery: WebhookDelivery
    project_id: str
    webhook_id: str
    secret: str
    position: Position

    async def change(self, name: str = "New") -> None:
        await self.world.projects("ann").UpdateProject(
            UpdateProjectRequest(
                project={"project_id": self.project_id, "name": name},
                update_mask={"paths": ["name"]},
            )
        )

    async def move(self) -> None:
        await self.world.projects("ann").AssignProject(
            AssignProjectRequest(project_id=self.project_id, account_id="a_one")
        )

    async def events(self) -> list[OutboxEvent]:
        """What happened since the last call."""
        async with aclosing(follow_events(self.world.kernel.feed, self.position)) as batches:
            batch = await anext(batches)
        self.position = batch.position
        return [event for event, _ in batch.events]

    async def relay(self) -> list[OutboxEvent]:
        found = await self.events()
        await self.delivery.deliver(found)
        return found

    async def due(self) -> int:
        return await self.world.kernel.due.run({WEBHOOK_DELIVERY: self.delivery.attempt})

    async def later(self, seconds: float) -> int:
        self.world.offset += seconds
        return await self.due()

    async def webhook(self) -> Any:
        record = await find_webhook(self.world.records, self.webhook_id)
        assert record is not None
        return record.message

    async def row(self, event: OutboxEvent) -> Any:
        key = Key(f"WEBHOOK#{self.webhook_id}", f"DELIVERY#{event.event_id}")
        return await self.world.records.get_row(key)


@pytest.fixture
async def scene(world: World, receiver: Receiver) -> Scene:
    """Created with a public address, which then moves to the receiver's."""
    home = await project(world)
    made = await history(world, "ann").CreateWebhook(
        pb.CreateWebhookRequest(
            project_id=home, url=f"https://93.184.215.14:{receiver.port}/hook",
            event_types=["project.*", "webhook.disabled"],
        )
    )  # fmt: skip

    async def resolve(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    egress = Egress(networks=LOOPBACK, ca_file=receiver.ca_file, resolve=resolve, seconds=2)
    egress._send = _named(egress)  # type: ignore[method-assign]
    delivery = WebhookDelivery(kernel=world.kernel, egress=egress)
    tail = Position(await world.kernel.feed.tail())
    return Scene(world, delivery, home, made.webhook.webhook_id, made.signing_secret, tail)


def _named(egress: Egress) -> Any:
    """The certificate of the receiver is for localhost."""
    send = egress._send

    async def sent(url: Any, *rest: Any) -> int:
        return await send(url.copy_with(host="localhost"), *rest)

    return sent


async def test_an_event_is_a_signed_cloud_event(scene: Scene, receiver: Receiver) -> None:
    await scene.change()
    event = (await scene.relay())[0]
    assert await scene.delivery.attempt(f"{scene.webhook_id}|{event.event_id}") is None
    request = receiver.requests[0]
    body = verified(request, scene.secret)
    assert request.line == "POST /hook HTTP/1.1"
    assert request.headers["content-type"].startswith("application/cloudevents+json")
    assert (body["specversion"], body["type"]) == ("1.0", "workspace.project.updated")
    assert body["id"] == request.headers["webhook-id"] == event.event_id
    assert body["subject"] == f"projects/{scene.project_id}"
    assert body["source"] == "/workspaces/n_test"
    assert body["sequence"] == str(event.event.partition_sequence)
    assert body["data"]["eventId"] == event.event_id
    assert body["data"]["changes"][0]["after"]["name"] == "New"


async def test_only_what_the_filter_lets_through_is_queued(
    scene: Scene, receiver: Receiver
) -> None:
    await scene.world.records.commit(
        f"PROJECT#{scene.project_id}", [],
        activity=_activity("other.thing", scene.project_id),
    )  # fmt: skip
    other = await project(scene.world)
    for event in await scene.relay():
        assert await scene.row(event) is None
    await scene.change()
    assert await scene.row((await scene.relay())[-1]) is not None
    assert other


def _activity(kind: str, project_id: str) -> Any:
    return Activity(kind, f"projects/{project_id}", project_id=project_id)


async def test_a_repeat_of_the_relay_queues_nothing_twice(
    scene: Scene, receiver: Receiver
) -> None:
    """Crash between delivery and the relay's mark (D15): one effect."""
    await scene.change()
    found = await scene.relay()
    await scene.delivery.deliver(found)
    await scene.later(60)
    await scene.delivery.deliver(found)
    await scene.later(60)
    assert len(receiver.requests) == 1


async def test_failures_are_tried_again_later_and_later(scene: Scene, receiver: Receiver) -> None:
    receiver.statuses = ["500 Oops", "302 Found", "404 No", "200 OK"]
    receiver.headers = "location: https://localhost/\r\n"
    await scene.change()
    event = (await scene.relay())[0]
    await scene.later(31)
    assert len(receiver.requests) == 1
    await scene.later(5)
    assert len(receiver.requests) == 1, "not before its time"
    for number, pause in enumerate(PAUSES[:3]):
        await scene.later(pause * 1.1)
        assert len(receiver.requests) == number + 2
    row = await scene.row(event)
    assert row.deleted
    assert len({r.headers["webhook-id"] for r in receiver.requests}) == 1
    for request in receiver.requests:
        verified(request, scene.secret)
    await scene.later(40_000)
    assert len(receiver.requests) == 4


async def test_eight_tries_in_a_day_then_the_webhook_is_switched_off(
    scene: Scene, receiver: Receiver
) -> None:
    receiver.statuses = ["503 Down"]
    await scene.change()
    event = (await scene.relay())[0]
    await scene.due()
    await scene.later(31)
    began = scene.world.offset
    for pause in PAUSES:
        await scene.later(pause * 1.1)
    assert len(receiver.requests) == 8
    assert 22 * 3600 < scene.world.offset - began < 30 * 3600
    assert (await scene.row(event)).deleted
    assert (await scene.webhook()).status == FAILING
    told = [each.event for each in await scene.events()]
    assert [each.type for each in told] == ["webhook.disabled"]
    assert told[0].resource == f"webhooks/{scene.webhook_id}"
    await scene.delivery.deliver([])
    await scene.change("Later")
    await scene.relay()
    await scene.later(60)
    assert len(receiver.requests) == 8, "nothing is sent any more"


async def test_a_webhook_of_which_something_gets_through_stays(
    scene: Scene, receiver: Receiver
) -> None:
    receiver.statuses = ["503 Down"]
    await scene.change("Bad")
    await scene.relay()
    await scene.later(31)
    for pause in PAUSES[:-1]:
        await scene.later(pause * 1.1)
    receiver.statuses = ["200 OK"]
    await scene.change("Good")
    await scene.relay()
    await scene.later(31)
    receiver.statuses = ["503 Down"]
    await scene.later(PAUSES[-1] * 1.1)
    assert (await scene.webhook()).status != FAILING


async def test_what_was_queued_before_the_project_moved_stays_here(
    scene: Scene, receiver: Receiver
) -> None:
    await scene.change()
    await scene.relay()
    await scene.move()
    await scene.later(31)
    assert receiver.requests == []
    assert (await scene.webhook()).status == FAILING


async def test_a_webhook_does_not_follow_its_project_to_another_home(
    scene: Scene, receiver: Receiver
) -> None:
    assert (await scene.webhook()).home_id == "w_ann"
    await scene.move()
    await scene.relay()
    assert (await scene.webhook()).status == FAILING
    assert "webhook.disabled" in [each.event.type for each in await scene.relay()]
    await scene.change("Secret of the new home")
    await scene.relay()
    await scene.later(60)
    assert receiver.requests == []


async def test_gone_switches_off_at_once(scene: Scene, receiver: Receiver) -> None:
    receiver.statuses = ["410 Gone"]
    await scene.change()
    await scene.relay()
    await scene.later(31)
    assert (await scene.webhook()).status == FAILING
    assert len(receiver.requests) == 1


async def test_a_deleted_webhook_gets_nothing_more(scene: Scene, receiver: Receiver) -> None:
    await scene.change()
    await scene.relay()
    await history(scene.world, "ann").DeleteWebhook(
        pb.DeleteWebhookRequest(webhook_id=scene.webhook_id)
    )
    await scene.change("After")
    await scene.relay()
    await scene.later(60)
    assert receiver.requests == []


async def test_a_name_that_moved_inside_is_not_called(scene: Scene, receiver: Receiver) -> None:
    """Checked again at each delivery, not only when it was registered."""
    scene.delivery._egress._networks = []
    await scene.change()
    event = (await scene.relay())[0]
    await scene.later(31)
    assert receiver.requests == []
    assert json.loads((await scene.row(event)).body)["tries"] == 1


async def test_an_account_s_webhook_learns_what_happened_not_what_was_written(
    world: World, receiver: Receiver, scene: Scene
) -> None:
    made = await history(world, "ann").CreateWebhook(
        pb.CreateWebhookRequest(
            account_id="a_one", url=f"https://93.184.215.14:{receiver.port}/account"
        )
    )
    await scene.relay()
    hidden = await project(world, "eve", account_id="a_one")
    await scene.relay()
    await scene.later(31)
    request = next(r for r in receiver.requests if r.line.startswith("POST /account"))
    bodies = [
        verified(r, made.signing_secret) for r in receiver.requests if "/account" in r.line
    ]
    created = next(b for b in bodies if b["type"] == "workspace.project.created")
    assert created["data"]["projectId"] == hidden
    assert "changes" not in created["data"]
    assert request.headers["webhook-id"]


async def test_from_the_commit_to_the_receiver_and_over_a_restart(
    tmp_path: Path, receiver: Receiver
) -> None:
    settings = {
        "webhook_networks": "127.0.0.0/8, ::1/128", "webhook_ca_file": receiver.ca_file,
    }  # fmt: skip
    async with Workspace.open(tmp_path, **settings) as ws:
        await ws.sign_in("ann@example.com")
        projects = ws.stub(ProjectServiceStub, as_="ann@example.com")
        home = (await projects.CreateProject(CreateProjectRequest(name="Bridge"))).project
        made = await ws.stub(HistoryServiceStub, as_="ann@example.com").CreateWebhook(
            pb.CreateWebhookRequest(project_id=home.project_id, url=receiver.url())
        )

        async def rename(name: str) -> None:
            await projects.UpdateProject(
                UpdateProjectRequest(
                    project={"project_id": home.project_id, "name": name},
                    update_mask={"paths": ["name"]},
                )
            )

        await rename("One")
        async with asyncio.timeout(20):
            await receiver.until_body("One")
        await rename("Two")
    async with Workspace.open(tmp_path, **settings), asyncio.timeout(20):
        await receiver.until_body("Two")
    bodies = {r.headers["webhook-id"]: verified(r, made.signing_secret) for r in receiver.requests}
    names = [
        change["after"]["name"]
        for body in bodies.values()
        if body["type"] == "workspace.project.updated"
        for change in body["data"]["changes"]
    ]
    assert sorted(names) == ["One", "Two"]
