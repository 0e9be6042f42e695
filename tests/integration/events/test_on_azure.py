"""A whole process whose events, mail, secrets and keys are on Azure (fakes of its services)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.model.errors import WorkspaceError
from tests.chosen_records import postgres_of
from tests.fakes.app_configuration import Store
from tests.fakes.communication import Resource
from tests.fakes.event_grid import Topic
from tests.fakes.https import CUT, Answer
from tests.fakes.vault import Vault
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
from tests.servers import azure

pytestmark = pytest.mark.usefixtures("azure_environment")
SENDER = "workspace@example.com"
DOWN = Answer(503, {"error": {"code": "ServiceUnavailable", "message": ""}})


@pytest.fixture
def topic() -> Iterator[Topic]:
    started = Topic(azure.certificate()).start()
    yield started
    started.stop()


@pytest.fixture
def vault() -> Iterator[Vault]:
    started = Vault(azure.certificate()).start()
    yield started
    started.stop()


def on_azure(**more: Any) -> dict[str, Any]:
    return {"azure_ca_file": Path(azure.ca_file())} | more


def on_topic(topic: Topic) -> dict[str, Any]:
    return on_azure(events="eventgrid", azure_event_topic=f"{topic.url}/api/events")


async def test_events_are_on_the_topic_in_order_through_faults(
    tmp_path: Path, topic: Topic
) -> None:
    async with Workspace.open(tmp_path, **on_topic(topic)) as ws:
        projects = await create_projects(ws, "one", "two", "three")
        topic.faults.extend(
            [
                Answer(429, {"error": {"code": "TooManyRequests", "message": ""}}),
                CUT,
                Answer(403, {"error": {"code": "Forbidden", "message": ""}}),
            ]
        )
        await rename_all(ws, projects, 5)
        while not all(_count(topic, each) >= 6 for each in projects):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        assert not topic.faults
    assert are_in_order(topic.events)
    assert ANN not in str([e for e in topic.events if e["type"].startswith("workspace.user.")])


def _count(topic: Topic, project_id: str) -> int:
    return count_of(project_id, [each.get("subject", "") for each in topic.events])


async def test_what_happened_while_the_topic_was_away_is_published_later(
    tmp_path: Path, topic: Topic
) -> None:
    topic.always = DOWN
    async with Workspace.open(tmp_path, **on_topic(topic)) as ws:
        await create_projects(ws, "one")
    assert topic.events == []
    topic.always = None
    async with Workspace.open(tmp_path, **on_topic(topic)):
        while "workspace.project.created" not in [e["type"] for e in topic.events]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_mail_of_notifications_goes_through_communication_services(tmp_path: Path) -> None:
    resource = Resource(azure.certificate(), SENDER).start()
    settings = on_azure(
        mail="communication", mail_from=SENDER, azure_communication_endpoint=resource.url
    )
    async with Workspace.open(tmp_path, **settings) as ws:
        scene = Scene(ws)
        await scene.enter()
        await scene.invite(email="new@example.org")
        # Without end it would not have been sent: the test's own deadline says so.
        while not any(m["To"] == "new@example.org" for m in resource.messages):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    for each in resource.messages:
        assert each["From"] == SENDER
    resource.stop()


async def test_replicas_without_a_lasting_folder_are_one_deployment(
    tmp_path: Path, vault: Vault
) -> None:
    """The connection string and the keys of both come from Key Vault."""
    vault.put("db", postgres_of(tmp_path)["records_dsn"])
    settings = on_azure(
        records="postgresql", records_dsn="keyvault:acme/db", keys_secret="keyvault:acme/keys",
        azure_vault_endpoint=vault.url,
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
        ({"keys_secret": "keyvault:acme/gone"}, "WM_KEYS_SECRET"),
        ({"smtp_password": "keyvault:acme/none"}, "WM_SMTP_PASSWORD"),
        ({"smtp_password": "appconfig:acme-eu/none"}, "WM_SMTP_PASSWORD"),
    ],
)
async def test_a_secret_that_cannot_be_had_stops_the_start(
    tmp_path: Path, vault: Vault, given: dict[str, str], field: str
) -> None:
    vault.put("gone", "x")
    vault.delete("gone")
    store = Store(azure.certificate()).start()
    endpoints = {"azure_vault_endpoint": vault.url, "azure_configuration_endpoint": store.url}
    with pytest.raises(WorkspaceError) as caught:
        async with Workspace.open(tmp_path, **on_azure(**endpoints, **given)):
            pass
    assert caught.value.metadata["field"] == field
    store.stop()
