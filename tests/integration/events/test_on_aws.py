"""A whole process whose events, mail, secrets and keys are on AWS (moto)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.aws.clients import AwsClients
from services.events.event_bridge import EventBridgePublisher
from services.model.errors import WorkspaceError
from tests.aws_faults import Answers
from tests.chosen_records import postgres_of
from tests.event_buses import Bus
from tests.harness import Workspace
from tests.integration.events.steps import (
    ANN,
    are_in_order,
    count_of,
    create_projects,
    rename_all,
    share_keys,
)
from tests.integration.identity.inviting import Scene
from tests.servers import aws
from tests.ses_mailbox import Ses

pytestmark = pytest.mark.usefixtures("aws_environment")


@pytest.fixture
async def bus(aws_environment: None) -> AsyncIterator[Bus]:
    opened = await Bus.open()
    yield opened
    await opened.close()


@pytest.fixture
async def clients(aws_environment: None) -> AsyncIterator[AwsClients]:
    opened = aws.clients_of(aws.moto_of_messages())
    yield opened
    await opened.close()


def on_moto(**more: Any) -> dict[str, Any]:
    endpoint = aws.moto_of_messages().url.removesuffix("/moto-api/")
    return {"aws_region": aws.REGION, "aws_endpoint": endpoint} | more


def clients_of_bus(ws: Workspace) -> AwsClients:
    for relay in ws.process.relays:
        if isinstance(relay.consumer, EventBridgePublisher):
            return relay.consumer._clients
    raise AssertionError("no publisher")


async def test_events_are_on_the_bus_in_order_through_faults(tmp_path: Path, bus: Bus) -> None:
    settings = on_moto(events="eventbridge", aws_event_bus=bus.name, environment="it")
    async with Workspace.open(tmp_path, **settings) as ws:
        faults = Answers(clients_of_bus(ws), "events", "PutEvents")
        projects = await create_projects(ws, "one", "two", "three")
        faults.faults = [
            (400, "ThrottlingException", ""), (500, "InternalFailure", ""),
            (403, "AccessDeniedException", ""),
        ]  # fmt: skip
        await rename_all(ws, projects, 5)
        found = await bus.when(lambda all_: all(_count(all_, each) >= 6 for each in projects))
        assert faults.faults == []
    for each in found:
        assert each["source"] == "workspace.it"
        assert each["detail"]["type"] == f"workspace.{each['detail-type']}"
    assert are_in_order(each["detail"] for each in found)
    assert ANN not in str([each for each in found if each["detail-type"].startswith("user.")])


def _count(found: list[dict[str, Any]], project_id: str) -> int:
    return count_of(project_id, ["".join(each["resources"]) for each in found])


async def test_what_happened_while_the_bus_was_away_is_published_later(
    tmp_path: Path, bus: Bus
) -> None:
    settings = on_moto(events="eventbridge", aws_event_bus=bus.name)
    async with Workspace.open(tmp_path, **settings) as ws:
        Answers(clients_of_bus(ws), "events", "PutEvents").always = (503, "Unavailable", "")
        await create_projects(ws, "one")
    assert await bus.published() == []
    async with Workspace.open(tmp_path, **settings):
        await bus.when(lambda found: "project.created" in [e["detail-type"] for e in found])


async def test_mail_of_notifications_goes_through_ses(tmp_path: Path) -> None:
    ses = await Ses.open(f"w{secrets.token_hex(6)}.example.com")
    settings = on_moto(mail="ses", mail_from=ses.sender)
    async with Workspace.open(tmp_path, **settings) as ws:
        scene = Scene(ws)
        await scene.enter()
        await scene.invite(email="new@example.org")
        # Without end it would not have been sent: the test's own deadline says so.
        while not any(b"To: new@example.org" in m for m in ses.sent()):  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    for each in ses.sent():
        assert f"From: {ses.sender}".encode() in each
    await ses.clients.close()


async def test_replicas_without_a_lasting_folder_are_one_deployment(
    tmp_path: Path, clients: AwsClients
) -> None:
    """The connection string and the keys of both come from Secrets Manager."""
    name = f"it/{secrets.token_hex(6)}"
    given = postgres_of(tmp_path)
    await clients.call(
        "secretsmanager", "create_secret", Name=f"{name}/db", SecretString=given["records_dsn"]
    )
    settings = on_moto(
        records="postgresql", records_dsn=f"secretsmanager:{name}/db",
        keys_secret=f"secretsmanager:{name}/keys",
    )  # fmt: skip
    folders = [tmp_path / "one", tmp_path / "two"]
    async with (
        Workspace.open(folders[0], **settings) as one,
        Workspace.open(folders[1], **settings) as two,
    ):
        await share_keys(one, two, folders)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"keys_secret": "ssm:/nowhere/with-keys#x"}, "WM_KEYS_SECRET"),
        ({"smtp_password": "secretsmanager:nowhere/mail"}, "WM_SMTP_PASSWORD"),
    ],
)
async def test_a_secret_that_cannot_be_had_stops_the_start(
    tmp_path: Path, given: dict[str, str], field: str
) -> None:
    with pytest.raises(WorkspaceError) as caught:
        async with Workspace.open(tmp_path, **on_moto(**given)):
            pass
    assert caught.value.metadata["field"] == field
