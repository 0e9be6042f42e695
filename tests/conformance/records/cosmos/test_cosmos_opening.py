"""What hinders opening a container of Cosmos DB, told with what helps."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.azure.clients import AzureClients
from services.azure.place import AzurePlace
from services.model.errors import Reason, WorkspaceError
from services.records.cosmos import CosmosDriver
from services.records.cosmos.account import account_client, close_client
from services.records.cosmos.opening import open_account
from services.records.cosmos.schema import OWN_PK, container_definition
from services.records.port import Key
from tests.conformance.records.cosmos_stores import (
    ACCOUNT,
    CONTAINER,
    DATABASE,
    CosmosStore,
    FakeContainer,
)
from tests.conformance.records.harness import Clock, put
from tests.fakes.cosmos.client import CosmosControl
from tests.servers import azure
from tests.servers.ports import free_port


async def refusal(place: FakeContainer, **more: Any) -> WorkspaceError:
    """What opening says."""
    clients = place.clients()
    try:
        with pytest.raises(WorkspaceError) as failed:
            await CosmosDriver.open(
                clients, ACCOUNT, more.get("database", DATABASE), more.get("container", CONTAINER),
                read_only=more.get("read_only", False),
            )  # fmt: skip
    finally:
        await clients.close()
    assert place.fake.url not in failed.value.message
    return failed.value


@pytest.mark.parametrize("level", ["Session", "BoundedStaleness", "ConsistentPrefix", "Eventual"])
async def test_an_account_that_reads_what_is_old_is_refused(
    azure_environment: None, level: str
) -> None:
    error = await refusal(FakeContainer(consistency=level))
    assert error.reason == Reason.ERROR_REASON_INVALID_STATE
    assert level in error.message
    assert "--default-consistency-level Strong" in error.message
    assert "region" not in error.message
    assert error.metadata["capability"] == "consistency"


@pytest.mark.parametrize("level", ["Strong", "Session"])
async def test_an_account_that_writes_in_several_regions_is_refused(
    azure_environment: None, level: str
) -> None:
    """Whatever consistency it declares, and for whoever opens it: a workspace, to read, a
    surface (tests/unit/sync_svc/connections/test_opening_azure.py)."""
    place = FakeContainer(consistency=level, multi_write=True)
    for read_only in (False, True):
        error = await refusal(place, read_only=read_only)
        assert error.reason == Reason.ERROR_REASON_INVALID_STATE
        assert error.metadata["capability"] == "last_writer_wins"
        assert "--enable-multiple-write-locations false" in error.message
        strong = "--default-consistency-level Strong" in error.message
        assert strong == (level != "Strong")


async def test_an_account_that_writes_in_one_region_is_taken(azure_environment: None) -> None:
    place = FakeContainer(multi_write=False)
    driver = await CosmosDriver.open(place.clients(), ACCOUNT, DATABASE, CONTAINER)
    assert driver.capabilities.last_writer_wins is False
    await driver.close()


@pytest.mark.parametrize("missing", ["container", "database"])
async def test_what_is_missing_names_the_command_that_makes_it(
    place: FakeContainer, missing: str
) -> None:
    error = await refusal(place, **{missing: "nothing"})
    assert "wm setup azure" in error.message
    assert error.metadata["failure"] == "missing"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"partitionKey": {"paths": ["/id"], "kind": "Hash", "version": 2}}, "not /pk"),
        ({"defaultTtl": 3600}, "time to live"),
        ({"defaultTtl": None}, "time to live"),
        ({"indexingPolicy": {"indexingMode": "none", "automatic": False}}, "not consistent"),
        (
            {
                "indexingPolicy": {
                    "indexingMode": "consistent", "includedPaths": [{"path": "/k/?"}],
                    "excludedPaths": [{"path": "/*"}],
                }
            },
            "no index on /i1",
        ),
    ],
)  # fmt: skip
async def test_a_container_of_another_form_is_refused(
    place: FakeContainer, change: dict[str, Any], said: str
) -> None:
    definition = {**container_definition("other"), **change}
    place.fake.make_container(
        DATABASE, {key: value for key, value in definition.items() if value is not None}
    )
    error = await refusal(place, container="other")
    assert error.reason == Reason.ERROR_REASON_INVALID_STATE
    assert said in error.message
    assert "wm setup azure" in error.message


async def test_without_the_data_role_the_role_is_named(azure_environment: None) -> None:
    error = await refusal(FakeContainer(default_role="none"))
    assert error.metadata["failure"] == "denied"
    assert "Cosmos DB Built-in Data Contributor" in error.message


async def test_a_reader_may_open_a_workspace_that_is_there_but_not_make_one(
    place: FakeContainer, store: CosmosStore
) -> None:
    place.fake.settings(default_role="reader")
    error = await refusal(place)
    assert "Data Contributor" in error.message
    error = await refusal(place, read_only=True)
    assert error.metadata["store"] == "unused"
    place.fake.settings(default_role="contributor")
    await (await store.open()).commit("P#1", [put("a")])
    place.fake.settings(default_role="reader")
    place.fake.reset()
    clients = place.clients()
    driver = await CosmosDriver.open(clients, ACCOUNT, DATABASE, CONTAINER, read_only=True)
    assert await driver.get(Key("P#1", "a")) is not None
    await driver.changes(None, 10)
    assert not {"create", "batch", "replace", "upsert", "delete"} & set(place.fake.counts())
    await driver.close()


@pytest.mark.parametrize("fault", ["EXPIRED", "SKEWED", "CUT", "BROKEN", "SILENT"])
@pytest.mark.parametrize("at", ["account", "container", "read"])
async def test_what_goes_wrong_while_opening_ends_it(
    place: FakeContainer, fault: str, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {"EXPIRED": "bad_credentials", "SKEWED": "skewed"}.get(fault, "unavailable")
    if expected == "unavailable":  # which is waited for, until the time is over
        monkeypatch.setattr("services.records.cosmos.opening._SECONDS", 1.0)
        monkeypatch.setattr("services.records.cosmos.identity._SECONDS", 1.0)
    place.fake.fail(fault, at, times=1000)
    error = await refusal(place)
    assert error.metadata["failure"] == expected


async def test_without_credentials_the_remedy_is_named(
    place: FakeContainer, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", str(tmp_path))  # no `az`
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "dev")
    error = await refusal(place)
    assert error.metadata["failure"] == "no_credentials"
    assert "az login" in error.message


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
async def test_an_endpoint_that_is_down_is_told(azure_environment: None, host: str) -> None:
    place = AzurePlace(
        endpoints={"cosmos": f"https://{host}:{free_port()}"}, ca_file=azure.ca_file()
    )
    clients = AzureClients(place)
    with pytest.raises(WorkspaceError, match="nothing answers"):
        await CosmosDriver.open(clients, ACCOUNT, DATABASE, CONTAINER)
    await clients.close()


async def test_a_server_that_the_authorities_do_not_vouch_for_is_refused(
    place: FakeContainer,
) -> None:
    clients = AzureClients(AzurePlace(endpoints={"cosmos": place.fake.url}))
    client = account_client(clients, ACCOUNT)
    with pytest.raises(WorkspaceError):
        await open_account(client, ACCOUNT)
    await close_client(client)
    await clients.close()


@pytest.fixture
async def opened(store: CosmosStore) -> CosmosDriver:
    return await store.open()


async def test_a_throttled_opening_waits(
    place: FakeContainer, fake: CosmosControl, clock: Clock
) -> None:
    fake.plan([{"fault": "THROTTLED", "operation": at} for at in ("account", "container", "read")])
    driver = await CosmosDriver.open(
        place.clients(), ACCOUNT, DATABASE, CONTAINER, clock=clock
    )
    await driver.close()


async def test_first_openings_at_once_agree_on_the_store(store: CosmosStore) -> None:
    drivers = await asyncio.gather(*(store.open() for _ in range(4)))
    assert len({await driver.identity() for driver in drivers}) == 1


async def test_the_row_of_the_store_is_made_though_its_answer_is_lost(
    store: CosmosStore, fake: CosmosControl
) -> None:
    fake.fail("CUT_AFTER", "create")
    driver = await store.open()
    assert await driver.identity() == await (await store.open()).identity()


async def test_closing_twice_and_after_use(opened: CosmosDriver) -> None:
    await opened.commit("P#1", [put("a")])
    await opened.close()
    await opened.close()


async def test_an_emptied_container_is_another_store(
    store: CosmosStore, place: FakeContainer
) -> None:
    driver = await store.open()
    before = await driver.identity()
    assert await driver.identity() == before
    await driver._calls.proxy.delete_item("STORE", partition_key=OWN_PK)
    assert await driver.identity() != before


async def test_a_container_made_again_while_processes_run_is_noticed(
    store: CosmosStore, place: FakeContainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = await store.open()
    before = await driver.identity()
    place.fake.delete_container(DATABASE, CONTAINER)
    place.fake.make_container(DATABASE, container_definition(CONTAINER))
    monkeypatch.setattr("services.records.cosmos.identity._KNOWN_SECONDS", 0.0)
    after = await driver.identity()
    assert after != before
    assert after.split(":")[:2] == ["cosmos", ACCOUNT]
    assert after.split(":")[2] != before.split(":")[2]
