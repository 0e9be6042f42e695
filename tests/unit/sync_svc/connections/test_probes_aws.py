"""What a test says of the ways back: versions of objects, moments of the table (moto)."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from workspace.sync.v1.connection_pb2 import Connection

from sync_svc.connections.probes import probes_of
from sync_svc.surfaces.aws import variable_of
from tests.servers import aws
from tests.unit.sync_svc.connections.judging import said_of_recovery


@pytest.fixture
def connection(aws_environment: None, monkeypatch: pytest.MonkeyPatch) -> Connection:
    monkeypatch.setenv(variable_of("cloud", "ACCESS_KEY_ID"), aws.ACCESS_KEY)
    monkeypatch.setenv(variable_of("cloud", "SECRET_ACCESS_KEY"), aws.SECRET_KEY)
    name = f"ways-{uuid.uuid4().hex[:12]}"
    aws.make_table(aws.moto(), name)
    aws.make_bucket(aws.moto(), name)
    url = aws.moto().url.removesuffix("/moto-api/")
    settings = {
        "region": aws.REGION, "table": name, "bucket": name, "path_style": "true",
        "s3_endpoint": url, "dynamodb_endpoint": url,
    }  # fmt: skip
    return Connection(connection_id="cloud", provider="aws", settings=settings)


async def test_what_is_off_is_named_until_it_is_on(connection: Connection) -> None:
    text = await said_of_recovery(connection)
    assert "former versions" in text
    assert "point-in-time" in text
    clients = aws.clients_of(aws.moto())
    name = connection.settings["bucket"]
    clients.client("s3", path_style=True).put_bucket_versioning(
        Bucket=name, VersioningConfiguration={"Status": "Enabled"}
    )
    assert "former versions" not in await said_of_recovery(connection)
    clients.client("dynamodb").update_continuous_backups(
        TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    assert await said_of_recovery(connection) == ""
    await clients.close()


async def test_what_is_not_there_to_ask_is_no_warning(connection: Connection) -> None:
    gone: dict[str, Any] = {"bucket": "ways-none", "table": "ways-none"}
    connection.settings.update(gone)
    assert await said_of_recovery(connection) == ""


def test_folders_have_no_such_check() -> None:
    folder = Connection(provider="local", settings={"folder": "/srv/x"})
    assert "recovery" not in probes_of(folder)
