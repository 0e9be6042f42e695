"""The sign-in of the server is lent to the containers that its operator names, and to no
others; its tokens go to Azure alone; manifests hold no secret."""

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

LISTED = {
    "cosmos_account": "shared-cosmos", "cosmos_database": "workspace",
    "cosmos_container": "items", "storage_account": "shareddocs", "storage_container": "docs",
}  # fmt: skip
PLACES = "cosmos:shared-cosmos/workspace/items,blob:shareddocs/docs"
EMULATORS = {
    "cosmos_endpoint": "https://127.0.0.1:9", "blob_endpoint": "https://127.0.0.1:9",
    "ca_file": "/etc/ssl/emulator.pem",
}  # fmt: skip


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with Workspace.open(tmp_path, sync_places=PLACES) as ws:
        opened = Desk(ws, tmp_path)
        await opened.enter()
        yield opened


def create(connection_id: str = "cloud", **settings: str) -> cs.CreateConnectionRequest:
    return cs.CreateConnectionRequest(
        connection=co.Connection(
            connection_id=connection_id, provider="azure", settings={**LISTED, **settings}
        )
    )


def settings_to(**settings: str) -> cs.UpdateConnectionRequest:
    return cs.UpdateConnectionRequest(
        connection=co.Connection(connection_id="cloud", settings={**LISTED, **settings}),
        update_mask=FieldMask(paths=["settings"]),
    )


@pytest.mark.case("S08")
@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"cosmos_account": "payroll"}, "cosmos_container"),
        ({"cosmos_container": "payroll"}, "cosmos_container"),
        ({"storage_account": "payroll"}, "storage_container"),
        ({"storage_container": "payroll"}, "storage_container"),
        ({"cloud": "china"}, "cosmos_container"), (EMULATORS, "cosmos_container"),
        ({**EMULATORS, "blob_endpoint": "https://10.0.0.1:9"}, "blob_endpoint"),
        ({"cosmos_endpoint": "https://collector.example.org"}, "cosmos_endpoint"),
        ({"cosmos_account": "a.example.org/"}, "cosmos_account"),
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
    for settings in ({"cosmos_database": "payroll"}, {"storage_container": "payroll"}):
        _, reason, metadata, _ = await refused(
            desk.ann.UpdateConnection(settings_to(**settings))
        )
        assert (reason, metadata["field"].split(".")[1]) == ("INVALID_FIELD", "settings")
        await desk.admin.UpdateConnection(settings_to(**settings))
        await desk.admin.UpdateConnection(settings_to())


@pytest.mark.case("S08")
async def test_nobody_sends_tokens_elsewhere(desk: Desk) -> None:
    """Not even a platform admin, who may be one for the workspace and not for the machine."""
    await desk.admin.CreateConnection(create())
    for endpoint in (
        "https://collector.example.org", "http://127.0.0.1:9", "https://169.254.169.254",
        "https://shared-cosmos.documents.azure.com.example.org",
    ):  # fmt: skip
        for name in ("cosmos_endpoint", "blob_endpoint"):
            given = {**EMULATORS, name: endpoint}
            _, reason, metadata, _ = await refused(
                desk.admin.UpdateConnection(settings_to(**given))
            )
            assert (reason, metadata["field"]) == ("INVALID_FIELD", f"connection.settings.{name}")


async def test_a_store_has_one_connection(desk: Desk) -> None:
    await desk.admin.CreateConnection(create())
    for settings in (
        {"cosmos_container": "other"}, {"storage_container": "other"},
        {"cosmos_container": "other", "cloud": "public"},
    ):  # fmt: skip
        call = desk.admin.CreateConnection(create("other", **settings))
        assert (await refused(call))[1] == "ALREADY_EXISTS"
    both = {"cosmos_container": "other", "storage_container": "other"}
    await desk.admin.CreateConnection(create("other", **both))


@pytest.mark.case("S10")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("account_key", "hidden1x"), ("client_secret", "hidden1x"),
        ("storage_container", "docs?sv=2026-04-06&sr=c&sig" + "=hidden1x"),
        ("storage_account", "AccountName=a;AccountKey=" + "hidden1x=="),
        ("blob_endpoint", "https://a.blob.core.windows.net/?se=2030&sig=" + "hidden1x"),
        ("cosmos_account", "AccountEndpoint=https://a/;AccountKey=" + "hidden1x==;"),
    ],
)  # fmt: skip
async def test_a_manifest_holds_no_secret(desk: Desk, name: str, value: str) -> None:
    _, reason, metadata, message = await refused(
        desk.admin.CreateConnection(create(**{name: value}))
    )
    assert (reason, metadata["field"]) == ("SECRET_REFUSED", f"connection.settings.{name}")
    assert "hidden1x" not in message
    listed = await desk.admin.ListConnections(cs.ListConnectionsRequest())
    assert not listed.connections
