"""The credentials of the server are lent to the stores that its operator names, and to
no others; manifests hold none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from workspace.sync.v1 import connection_pb2 as co
from workspace.sync.v1 import connection_service_pb2 as cs

from tests.harness import Workspace
from tests.integration.sync.test_connections import Desk, refused

LISTED = {"region": "eu-central-1", "table": "shared", "bucket": "shared-docs"}
PLACES = "dynamodb:eu-central-1/shared,s3:shared-docs"


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with Workspace.open(tmp_path, sync_places=PLACES) as ws:
        opened = Desk(ws, tmp_path)
        await opened.enter()
        yield opened


def create(connection_id: str = "cloud", **settings: str) -> cs.CreateConnectionRequest:
    return cs.CreateConnectionRequest(
        connection=co.Connection(
            connection_id=connection_id, provider="aws", settings={**LISTED, **settings}
        )
    )


@pytest.mark.case("S08")
@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"table": "payroll"}, "table"), ({"bucket": "payroll"}, "bucket"),
        ({"region": "us-east-1"}, "table"), ({"profile": "admin"}, "profile"),
        ({"s3_endpoint": "https://collector.example.org"}, "bucket"),
        ({"dynamodb_endpoint": "http://127.0.0.1:9"}, "table"),
        ({"s3_endpoint": "http://169.254.169.254"}, "s3_endpoint"),
        ({"s3_endpoint": "http://10.0.0.1:8080"}, "s3_endpoint"),
    ],
)  # fmt: skip
async def test_an_owner_names_no_other_store(
    desk: Desk, settings: dict[str, str], field: str
) -> None:
    code, reason, metadata, _ = await refused(desk.ann.CreateConnection(create(**settings)))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert metadata["field"] == f"connection.settings.{field}"


@pytest.mark.case("S08")
async def test_an_owner_moves_no_connection_to_another_store(desk: Desk) -> None:
    await desk.ann.CreateConnection(create())
    for settings in ({"table": "payroll"}, {"bucket": "payroll"}, {"profile": "admin"}):
        moved = cs.UpdateConnectionRequest(
            connection=co.Connection(connection_id="cloud", settings={**LISTED, **settings}),
            update_mask=FieldMask(paths=["settings"]),
        )
        _, reason, metadata, _ = await refused(desk.ann.UpdateConnection(moved))
        assert (reason, metadata["field"].split(".")[1]) == ("INVALID_FIELD", "settings")
        await desk.admin.UpdateConnection(moved)
        back = cs.UpdateConnectionRequest(
            connection=co.Connection(connection_id="cloud", settings=LISTED),
            update_mask=FieldMask(paths=["settings"]),
        )
        await desk.admin.UpdateConnection(back)


async def test_a_store_has_one_connection(desk: Desk) -> None:
    await desk.admin.CreateConnection(create())
    for settings in (
        {"table": "other"}, {"bucket": "other-docs"},
        {"table": "other", "s3_endpoint": "https://s3.eu-central-1.amazonaws.com"},
        {"bucket": "other-docs", "profile": "another-account"},
    ):  # fmt: skip
        call = desk.admin.CreateConnection(create("other", **settings))
        assert (await refused(call))[1] == "ALREADY_EXISTS"
    await desk.admin.CreateConnection(create("other", table="other", bucket="other-docs"))


@pytest.mark.case("S10")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("aws_access_key_id", "AKIA" + "IOSFODNN7EXAMPLE"), ("secret_access_key", "hidden1x"),
        ("profile", "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY"),
        ("s3_endpoint", "https://key:hidden1x" + "@minio.example.org"),
    ],
)  # fmt: skip
async def test_a_manifest_holds_no_key(desk: Desk, name: str, value: str) -> None:
    _, reason, _, message = await refused(desk.admin.CreateConnection(create(**{name: value})))
    assert reason == "SECRET_REFUSED"
    assert value not in message
    listed = await desk.admin.ListConnections(cs.ListConnectionsRequest())
    assert not listed.connections
