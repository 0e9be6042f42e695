"""Everything of Azure at once: records in Cosmos DB (the fake of it), files in Blob Storage
(Azurite), people of a tenant of Microsoft Entra, events on a topic of Event Grid, mail through
Communication Services, keys in Key Vault (fakes of them)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from tests.chosen_records import azure_of
from tests.entra_tenant import EntraTenant
from tests.fakes.communication import Resource
from tests.fakes.event_grid import Topic
from tests.fakes.https import HttpsFake
from tests.fakes.vault import Vault
from tests.integration.events.steps import are_in_order
from tests.integration.working_day import (
    INVITED,
    opened,
    records_go_on_without,
    work_with_files,
    work_with_people,
)
from tests.servers import azure
from tests.servers.marks import needs_azurite

F = TypeVar("F", bound=HttpsFake)
pytestmark = [pytest.mark.usefixtures("azure_environment"), needs_azurite]
SENDER = "workspace@example.com"


@pytest.fixture
def started(azure_environment: None) -> Iterator[Callable[[F], F]]:
    """Starts a service; all are ended with the test."""
    with ExitStack() as stack:

        def start(fake: F) -> F:
            stack.callback(fake.start().stop)
            return fake

        yield start


def selection(folder: Path, topic: Topic, mail: Resource, vault: Vault) -> dict[str, Any]:
    """All that there is of Azure."""
    return {
        **azure_of(folder),
        "events": "eventgrid", "azure_event_topic": f"{topic.url}/api/events",
        "environment": "it",
        "mail": "communication", "mail_from": SENDER, "azure_communication_endpoint": mail.url,
        "keys_secret": "keyvault:acme/keys", "azure_vault_endpoint": vault.url,
    }  # fmt: skip


async def test_a_working_day_on_azure(
    tmp_path: Path, started: Callable[[HttpsFake], Any]
) -> None:
    certificate = azure.certificate()
    topic, vault = started(Topic(certificate)), started(Vault(certificate))
    mail = started(Resource(certificate, SENDER))
    settings = selection(tmp_path, topic, mail, vault)
    async with opened(EntraTenant(tmp_path), tmp_path, **settings) as it:
        project_id = await work_with_people(it)
        plain = httpx.AsyncClient(timeout=60, verify=azure.trusted())
        await work_with_files(it, project_id, plain, azure.azurite().url)
        while not any(each["To"] == INVITED for each in mail.messages):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        expected = {"workspace.project.created", "workspace.grant.created"}
        while not expected <= {each["type"] for each in topic.events}:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert are_in_order(topic.events)
    assert "@corp.test" not in str([e for e in topic.events if "user." in e["type"]])
    assert list(vault.secrets) == ["keys"]


async def test_a_store_of_files_that_does_not_answer_stops_no_records(tmp_path: Path) -> None:
    slow = azure.faulty_blob()
    slow.silence = 30.0
    try:
        settings = azure_of(tmp_path) | {"azure_blob_endpoint": slow.url}
        async with opened(EntraTenant(tmp_path), tmp_path, **settings) as it:
            await records_go_on_without(it, slow)
    finally:
        slow.stop()
