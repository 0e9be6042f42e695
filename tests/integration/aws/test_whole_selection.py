"""Everything of AWS at once: records in DynamoDB, files in S3, people of a user pool, events
on a bus, mail through SES, keys in a secret. The same story is told with indexes that show
nothing of what the process wrote: it is there all the same."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.chosen_records import aws_of
from tests.cognito_pool import CognitoPool
from tests.event_buses import Bus
from tests.integration.events.steps import are_in_order
from tests.integration.working_day import (
    INVITED,
    opened,
    records_go_on_without,
    work_with_files,
    work_with_people,
)
from tests.servers import aws
from tests.servers.faulty import Faulty
from tests.servers.late_indexes import LateIndexes
from tests.servers.marks import needs_servers
from tests.ses_mailbox import Ses

pytestmark = [
    pytest.mark.usefixtures("aws_environment"),
    needs_servers,
]
_EVERYTHING = 1 << 30


@pytest.fixture
async def bus(aws_environment: None) -> AsyncIterator[Bus]:
    opened = await Bus.open()
    yield opened
    await opened.close()


@pytest.fixture
async def ses(aws_environment: None) -> AsyncIterator[Ses]:
    opened = await Ses.open(f"w{secrets.token_hex(6)}.example.com")
    yield opened
    await opened.clients.close()


def selection(folder: Path, bus: Bus, ses: Ses) -> dict[str, Any]:
    """All that there is of AWS."""
    return {
        **aws_of(folder),
        "aws_endpoint": aws.moto_of_messages().url.removesuffix("/moto-api/"),
        "events": "eventbridge", "aws_event_bus": bus.name, "environment": "it",
        "mail": "ses", "mail_from": ses.sender,
        "keys_secret": f"secretsmanager:it/{secrets.token_hex(6)}/keys",
    }  # fmt: skip


@pytest.mark.parametrize("indexes", ["at once", "late"])
async def test_a_working_day_on_aws(tmp_path: Path, bus: Bus, ses: Ses, indexes: str) -> None:
    settings = selection(tmp_path, bus, ses)
    newest = _EVERYTHING if indexes == "late" else 0
    with LateIndexes(settings["aws_dynamodb_endpoint"], newest=newest) as late:
        settings["aws_dynamodb_endpoint"] = late.url
        async with opened(CognitoPool(tmp_path), tmp_path, **settings) as it:
            project_id = await work_with_people(it)
            plain = httpx.AsyncClient(timeout=60)
            await work_with_files(it, project_id, plain, aws.versitygw().url)
            while not any(f"To: {INVITED}".encode() in each for each in ses.sent()):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
            published = await bus.when(lambda found: {"project.created", "grant.created"} <= {
                each["detail-type"] for each in found
            })  # fmt: skip
    assert {each["source"] for each in published} == {"workspace.it"}
    assert are_in_order(each["detail"] for each in published)
    assert "@corp.test" not in str([e for e in published if "user." in e["detail-type"]])


async def test_a_store_of_files_that_does_not_answer_stops_no_records(tmp_path: Path) -> None:
    """More calls than there are threads wait for S3: records have threads of their own."""
    settings = aws_of(tmp_path)
    slow = Faulty(settings["aws_s3_endpoint"], silence=30.0).start()
    try:
        settings = settings | {"aws_s3_endpoint": slow.url}
        async with opened(CognitoPool(tmp_path), tmp_path, **settings) as it:
            await records_go_on_without(it, slow)
    finally:
        slow.stop()
