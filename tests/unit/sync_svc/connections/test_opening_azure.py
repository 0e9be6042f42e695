"""What opening containers on Azure refuses, and what it says that helps."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from workspace.sync.v1.connection_pb2 import CheckOutcome, Connection

from services.backends import wall_millis
from services.model.errors import Reason, WorkspaceError
from services.records.cosmos.schema import container_definition
from sync_svc.connections import testing
from sync_svc.surfaces import azure as surfaces
from sync_svc.surfaces.azure import open_blob_objects, open_cosmos_records
from sync_svc.surfaces.cloud import variable_of
from sync_svc.surfaces.opening import SurfaceOpener
from tests.fakes.sign_in import SignIn
from tests.servers import azure
from tests.servers.azure_stores import DATABASE, Stores, new_stores
from tests.servers.containers import client, new_container
from tests.servers.faulty import Fault
from tests.servers.marks import needs_azurite

pytestmark = [pytest.mark.usefixtures("azure_environment"), needs_azurite]
FAILED, WARNING = CheckOutcome.CHECK_OUTCOME_FAILED, CheckOutcome.CHECK_OUTCOME_WARNING
PASSED = CheckOutcome.CHECK_OUTCOME_PASSED
PARTS = ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET")
BOTH = pytest.mark.parametrize("opening", [open_cosmos_records, open_blob_objects])


@pytest.fixture
def stores() -> Stores:
    return new_stores()


def at(stores: Stores, **settings: str) -> Connection:
    there = {**stores.settings, **settings}
    return Connection(connection_id="cloud", provider="azure", settings=there)


async def refused(
    opening: Callable[..., Any], connection: Connection, *, read_only: bool = False
) -> WorkspaceError:
    with pytest.raises(WorkspaceError) as caught:
        await opening(connection, read_only=read_only)
    assert "eyJ" not in str(caught.value), "a token"
    return caught.value


def opener(tmp_path: Path) -> SurfaceOpener:
    return SurfaceOpener(own_instance_id="", data_dir=tmp_path / "wm-data", wall_ms=wall_millis)


async def surface_refused(tmp_path: Path, connection: Connection) -> WorkspaceError:
    with pytest.raises(WorkspaceError) as caught:
        async with opener(tmp_path)(connection):
            raise AssertionError("it was opened")
    return caught.value


MISSING = [
    (open_cosmos_records, "cosmos_container"), (open_cosmos_records, "cosmos_database"),
    (open_blob_objects, "storage_container"),
]  # fmt: skip


@pytest.mark.parametrize(("opening", "setting"), MISSING)
async def test_what_is_missing_is_made_by_setup(
    opening: Any, setting: str, stores: Stores
) -> None:
    error = await refused(opening, at(stores, **{setting: "not-there"}))
    assert "wm setup azure" in error.message
    assert "wm connections set cloud" in error.message


@BOTH
async def test_without_credentials_it_says_which_variables(
    opening: Any, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure.sign_in(), "refuse", True)
    monkeypatch.setenv("PATH", "")  # no command of Azure either
    error = await refused(opening, at(stores))
    assert error.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    for part in PARTS:
        assert variable_of("cloud", part) in error.message
    assert "az login" in error.message


@BOTH
async def test_a_part_of_a_secret_is_never_used(
    opening: Any, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable_of("cloud", "CLIENT_SECRET"), "hidden1")
    asked = len(azure.sign_in().asked)
    error = await refused(opening, at(stores))
    assert "go together" in error.message
    assert "hidden1" not in str(error)
    assert len(azure.sign_in().asked) == asked, "nor the server's own instead"


async def test_another_tenant_is_said_to_be_one(
    monkeypatch: pytest.MonkeyPatch, stores: Stores
) -> None:
    monkeypatch.setattr(azure.sign_in(), "tenant", "99999999-0000-4000-8000-000000000000")
    stores.account.settings(tenant=SignIn().tenant)
    error = await refused(open_cosmos_records, at(stores))
    assert error.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    assert "tenant" in error.message
    assert variable_of("cloud", "TENANT_ID") in error.message


async def test_a_role_that_is_missing_is_named(stores: Stores) -> None:
    stores.account.settings(default_role="none")
    error = await refused(open_cosmos_records, at(stores))
    assert "Cosmos DB Built-in Data Contributor" in error.message


@pytest.mark.parametrize("fault", [Fault.EXPIRED, Fault.SKEWED])
async def test_tokens_that_blob_storage_does_not_take(stores: Stores, fault: Fault) -> None:
    proxy = azure.faulty_blob(lambda _: fault)
    error = await refused(open_blob_objects, at(stores, blob_endpoint=proxy.url))
    proxy.stop()
    assert error.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    assert variable_of("cloud", "CLIENT_ID") in error.message


async def test_a_key_for_signing_that_cannot_be_had(stores: Stores) -> None:
    """As of an account that takes its own keys alone."""
    proxy = azure.faulty_blob(
        lambda asked: Fault.EXPIRED if asked.operation.endswith("userdelegationkey") else None
    )
    connection = at(stores, blob_endpoint=proxy.url)
    error = await refused(open_blob_objects, connection)
    assert "user delegation key" in error.message
    reading = await open_blob_objects(connection, read_only=True)  # needs none
    assert not (await reading.list("", limit=1)).objects
    await reading.close()
    proxy.stop()


@BOTH
async def test_a_server_that_is_down_is_said_to_be(opening: Any, stores: Stores) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
    error = await refused(opening, at(stores, cosmos_endpoint=url, blob_endpoint=url))
    assert error.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    assert error.metadata["backend"] == "azure", "a plan would take it for an empty one"


@BOTH
async def test_a_server_that_says_nothing_does_not_hang_it(
    opening: Any, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surfaces, "_OPEN_SECONDS", 0.5)
    monkeypatch.setattr(surfaces, "_CALL_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        error = await refused(opening, at(stores, cosmos_endpoint=url, blob_endpoint=url))
    assert error.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE


@BOTH
async def test_no_token_goes_to_a_server_of_another_authority(
    opening: Any, stores: Stores, tmp_path: Path
) -> None:
    from tests.authority import Authority

    Authority(tmp_path, "other")
    error = await refused(opening, at(stores, ca_file=str(tmp_path / "other.pem")))
    assert error.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE
    assert stores.account.counts().get("account", 0) == 0


async def test_a_container_of_something_else_is_refused(stores: Stores) -> None:
    other = container_definition("other")
    other["partitionKey"]["paths"] = ["/tenant"]
    stores.account.make_container(DATABASE, other)
    error = await refused(open_cosmos_records, at(stores, cosmos_container="other"))
    assert error.reason == Reason.ERROR_REASON_INVALID_STATE
    assert "/tenant, not /pk" in error.message
    assert "wm setup azure" in error.message


@pytest.mark.parametrize("read_only", [False, True])
async def test_another_partition_key_is_a_matter_of_the_form_and_of_no_credentials(
    tmp_path: Path, stores: Stores, read_only: bool
) -> None:
    other = container_definition("other")
    other["partitionKey"]["paths"] = ["/tenant"]
    stores.account.make_container(DATABASE, other)
    report = await checked(tmp_path, at(stores, cosmos_container="other"), read_only=read_only)
    assert not report.usable
    assert said(report, FAILED).keys() == {"format"}
    assert "/tenant, not /pk" in said(report, FAILED)["format"]
    assert said(report, PASSED).keys() == {"credentials"}


@pytest.mark.parametrize("level", ["Session", "BoundedStaleness", "Eventual"])
async def test_an_account_of_a_weaker_consistency_is_refused(tmp_path: Path, level: str) -> None:
    connection = at(new_stores(consistency=level))
    error = await surface_refused(tmp_path, connection)
    assert error.reason == Reason.ERROR_REASON_INVALID_STATE
    assert level in error.message
    assert "Strong" in error.message
    report = await testing.Tester(opening=opener(tmp_path), now=lambda: 0.0).run(
        connection, read_only=False
    )
    assert [each.check for each in report.checks if each.outcome == FAILED] == ["consistency"]


async def test_an_account_that_is_written_in_several_regions_is_refused(tmp_path: Path) -> None:
    connection = at(new_stores(multi_write=True, locations=["North Europe", "West Europe"]))
    error = await surface_refused(tmp_path, connection)
    assert error.reason == Reason.ERROR_REASON_INVALID_STATE
    assert "one write region" in error.message
    assert error.metadata["capability"] == "last_writer_wins"
    report = await checked(tmp_path, connection, read_only=False)
    assert said(report, FAILED).keys() == {"consistency"}


async def checked(tmp_path: Path, connection: Connection, *, read_only: bool) -> testing.Report:
    tester = testing.Tester(opening=opener(tmp_path), now=lambda: wall_millis() / 1000)
    return await tester.run(connection, read_only=read_only)


def said(report: testing.Report, outcome: CheckOutcome.ValueType) -> dict[str, str]:
    return {each.check: each.error.message for each in report.checks if each.outcome == outcome}


async def test_the_checks_of_two_containers(tmp_path: Path, stores: Stores) -> None:
    connection = at(stores)
    unused = await checked(tmp_path, connection, read_only=True)
    assert "never used" in said(unused, FAILED)["credentials"], "nothing is written to look at it"
    report = await checked(tmp_path, connection, read_only=False)
    assert report.usable, report.checks
    assert [each.check for each in report.checks] == [
        "credentials", "instance", "format", "records_read", "objects_read", "records_write",
        "objects_write", "consistency", "clock", "encryption", "recovery",
    ]  # fmt: skip
    assert said(report, WARNING).keys() <= {"recovery"}
    assert (await checked(tmp_path, connection, read_only=True)).usable
    with client(stores.name) as container:
        left = [each.name for each in container.list_blobs()]
    assert [name for name in left if not name.startswith(".")] == []


async def test_a_container_that_everybody_may_read(tmp_path: Path, stores: Stores) -> None:
    connection = at(stores)
    assert (await checked(tmp_path, connection, read_only=False)).usable
    connection.settings["storage_container"] = new_container(public="blob")
    public = await checked(tmp_path, connection, read_only=False)
    assert said(public, FAILED).keys() == {"encryption"}
    assert "is public" in said(public, FAILED)["encryption"]
    reading = await checked(tmp_path, connection, read_only=True)
    assert reading.usable, "it can still be read"
    assert "everybody can read" in said(reading, WARNING)["encryption"]


async def test_rights_to_read_alone_are_told(tmp_path: Path, stores: Stores) -> None:
    connection = at(stores)
    assert (await checked(tmp_path, connection, read_only=False)).usable
    stores.account.settings(default_role="reader")
    report = await checked(tmp_path, connection, read_only=False)
    assert not report.usable
    assert "Cosmos DB Built-in Data Contributor" in " ".join(said(report, FAILED).values())
    assert (await checked(tmp_path, connection, read_only=True)).usable
