"""Accounts of the fake of Cosmos DB: settings, sign-in, databases, containers, faults."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from azure.core.exceptions import AzureError
from azure.cosmos import exceptions
from azure.cosmos.aio import ContainerProxy, CosmosClient

from services.azure.clients import AzureClients
from tests.fakes.cosmos.client import CosmosControl
from tests.fakes.sign_in import OBJECT_ID
from tests.servers import azure
from tests.unit.fakes.conftest import DEFINITION, Wire

DOCS = "/dbs/db/colls/items/docs"


def item(identifier: str) -> dict[str, Any]:
    return {"id": identifier, "pk": "p"}


async def test_the_document_of_an_account(account: CosmosControl, wire: Wire) -> None:
    account.settings(
        consistency="Session", multi_write=True, locations=["North Europe", "West Europe"]
    )
    _, document, _ = await wire.send("GET", "/")
    assert document["userConsistencyPolicy"] == {"defaultConsistencyLevel": "Session"}
    assert document["enableMultipleWriteLocations"] is True
    assert [each["name"] for each in document["writableLocations"]] == [
        "North Europe", "West Europe",
    ]  # fmt: skip
    assert document["readableLocations"][0]["databaseAccountEndpoint"] == f"{account.url}/"
    account.settings(multi_write=False)
    _, document, _ = await wire.send("GET", "/")
    assert len(document["writableLocations"]) == 1


async def test_reads_go_to_other_locations(account: CosmosControl) -> None:
    account.settings(locations=["North Europe", "West Europe"])
    clients = AzureClients(azure.place({"cosmos": account.url}))
    options = clients.options()
    options.pop("permit_redirects", None)
    async with CosmosClient(
        account.url, clients.credential, preferred_locations=["West Europe"], **options
    ) as client:
        container = client.get_database_client("db").get_container_client("items")
        await container.create_item(item("a"))
        assert (await container.read_item("a", "p"))["id"] == "a"
    await clients.close()


async def test_session_consistency(account: CosmosControl) -> None:
    account.settings(consistency="Session")
    clients = AzureClients(azure.place({"cosmos": account.url}))
    options = clients.options()
    options.pop("permit_redirects", None)
    async with CosmosClient(
        account.url, clients.credential, consistency_level="Session", **options
    ) as client:
        container = client.get_database_client("db").get_container_client("items")
        await container.create_item(item("a"))
        assert (await container.read_item("a", "p"))["id"] == "a"
        assert client.client_connection.session is not None
    await clients.close()


@pytest.mark.parametrize(
    ("asked", "status"), [("Strong", 400), ("Session", 404), ("Eventual", 404), ("Best", 400)]
)
async def test_a_request_may_ask_for_less_consistency_only(
    account: CosmosControl, wire: Wire, asked: str, status: int
) -> None:
    account.settings(consistency="Session")
    answer = await wire.send("GET", f"{DOCS}/a", key="p", x_ms_consistency_level=asked)
    assert answer[0] == status


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer x", "type=aad&ver=1.0&sig=x", "type=master&ver=1.0&sig=eHg%3D",
     "type%3Dmaster%26ver%3D1.0%26sig%3DeHg%3D"],
)  # fmt: skip
async def test_only_good_tokens_sign_in(wire: Wire, authorization: str) -> None:
    for method, path in (("GET", "/"), ("GET", "/dbs/db"), ("GET", f"{DOCS}/a")):
        assert (await wire.send(method, path, authorization=authorization))[0] == 401


async def test_a_token_of_another_service_does_not_sign_in(wire: Wire) -> None:
    token, _ = azure.sign_in().token("https://storage.azure.com")
    answer = await wire.send("GET", "/", authorization=f"type=aad&ver=1.0&sig={token}")
    assert answer[0] == 401


async def test_a_token_may_be_quoted(wire: Wire) -> None:
    authorization = f"type%3Daad%26ver%3D1.0%26sig%3D{wire.token}"
    assert (await wire.send("GET", "/", authorization=authorization))[0] == 200


async def test_another_tenant_does_not_sign_in(account: CosmosControl, wire: Wire) -> None:
    account.settings(tenant="22222222-2222-4333-8444-555555555555")
    assert (await wire.send("GET", "/"))[0] == 401


async def test_without_the_data_role_nothing_is_allowed(
    account: CosmosControl, wire: Wire
) -> None:
    account.settings(roles={OBJECT_ID: "none"})
    for path in ("/", "/dbs/db/colls/items", f"{DOCS}/a"):
        status, body, headers = await wire.send("GET", path, key="p")
        assert (status, headers["x-ms-substatus"]) == (403, "5301")
        assert "RBAC" in body["message"]
    account.settings(roles={})
    assert (await wire.send("GET", "/"))[0] == 200


async def test_readers_do_not_write(account: CosmosControl, wire: Wire) -> None:
    account.settings(default_role="reader")
    assert (await wire.send("GET", f"{DOCS}/a", key="p"))[0] == 404
    assert (await wire.send("POST", DOCS, item("a"), key="p"))[0] == 403


async def test_data_tokens_do_not_manage(account: CosmosControl, wire: Wire) -> None:
    """As on the service, where these are for Azure Resource Manager; a setting lets them."""
    for method, path in (
        ("POST", "/dbs"), ("POST", "/dbs/db/colls"), ("PUT", "/dbs/db/colls/items"),
        ("DELETE", "/dbs/db/colls/items"), ("DELETE", "/dbs/db"),
    ):  # fmt: skip
        status, _, headers = await wire.send(method, path, {"id": "more"})
        assert (status, headers["x-ms-substatus"]) == (403, "5300")
    account.settings(management=True)
    assert (await wire.send("POST", "/dbs", {"id": "more"}))[0] == 201
    assert (await wire.send("POST", "/dbs", {"id": "more"}))[0] == 409
    assert (await wire.send("POST", "/dbs/more/colls", DEFINITION))[0] == 201
    assert (await wire.send("POST", "/dbs/more/colls", DEFINITION))[0] == 409
    assert (await wire.send("DELETE", "/dbs/more/colls/items"))[0] == 204
    assert (await wire.send("GET", "/dbs/more/colls/items"))[0] == 404
    assert (await wire.send("DELETE", "/dbs/more"))[0] == 204
    assert (await wire.send("POST", "/dbs/more/colls", DEFINITION))[0] == 404


async def test_the_document_of_a_container(account: CosmosControl, wire: Wire) -> None:
    status, document, headers = await wire.send("GET", "/dbs/db/colls/items")
    assert status == 200
    assert headers["etag"] == document["_etag"]
    assert {**document, **DEFINITION}["defaultTtl"] == document["defaultTtl"]
    assert document["partitionKey"] == DEFINITION["partitionKey"]
    policy = {**DEFINITION["indexingPolicy"], "automatic": True}
    assert document["indexingPolicy"] == policy
    _, database, _ = await wire.send("GET", "/dbs/db")
    assert document["_self"].startswith(database["_self"])


@pytest.mark.parametrize(
    "change",
    [
        {"id": "a/b"}, {"id": ""}, {"id": "x" * 256}, {"partitionKey": {"paths": []}},
        {"partitionKey": {"paths": ["/a", "/b"], "kind": "MultiHash"}}, {"defaultTtl": 0},
        {"defaultTtl": -2}, {"indexingPolicy": {"includedPaths": [{"path": "/a/?"}],
                                                "excludedPaths": []}},
        {"indexingPolicy": {"includedPaths": [{"path": "a"}], "excludedPaths": [{"path": "/*"}]}},
        {"indexingPolicy": {"indexingMode": "sometimes"}},
    ],
)  # fmt: skip
async def test_a_definition_that_is_wrong(
    account: CosmosControl, wire: Wire, change: dict[str, Any]
) -> None:
    account.settings(management=True)
    wanted = {**DEFINITION, "id": "more", **change}
    assert (await wire.send("POST", "/dbs/db/colls", wanted))[0] == 400


async def test_a_replaced_policy_serves_other_queries(account: CosmosControl, wire: Wire) -> None:
    account.settings(management=True)
    for number in (3, 1, 2):
        await wire.send("POST", DOCS, {"id": f"i{number}", "pk": "p", "m": number}, key="p")
    query = {"query": "SELECT * FROM c WHERE c.m > 0 ORDER BY c.m"}
    sent = {"x_ms_documentdb_isquery": "True"}
    assert (await wire.send("POST", DOCS, query, key="p", **sent))[0] == 400
    policy = {"includedPaths": [{"path": "/m/?"}], "excludedPaths": [{"path": "/*"}]}
    wanted = {**DEFINITION, "indexingPolicy": policy}
    assert (await wire.send("PUT", "/dbs/db/colls/items", wanted))[0] == 200
    _, found, _ = await wire.send("POST", DOCS, query, key="p", **sent)
    assert [each["id"] for each in found["Documents"]] == ["i1", "i2", "i3"]
    wanted["partitionKey"] = {"paths": ["/other"], "kind": "Hash", "version": 2}
    assert (await wire.send("PUT", "/dbs/db/colls/items", wanted))[0] == 400


@pytest.mark.parametrize(
    ("fault", "status", "sub"),
    [
        ("THROTTLED", 429, 3200), ("RETRY_WITH", 449, 0), ("UNAVAILABLE", 503, 0),
        ("TIMEOUT", 408, 0), ("BROKEN", 500, 0), ("WRITE_FORBIDDEN", 403, 3),
        ("GONE", 410, 1002), ("SPLITTING", 410, 1007), ("EXPIRED", 401, 0), ("SKEWED", 403, 0),
    ],
)  # fmt: skip
async def test_a_refusal_does_nothing(
    account: CosmosControl, wire: Wire, fault: str, status: int, sub: int
) -> None:
    account.fail(fault, "create", retry_after_ms=7)
    answer, _, headers = await wire.send("POST", DOCS, item("a"), key="p")
    assert (answer, int(headers["x-ms-substatus"])) == (status, sub)
    assert headers.get("x-ms-retry-after-ms") == ("7" if status in (429, 449) else None)
    assert (await wire.send("GET", f"{DOCS}/a", key="p"))[0] == 404
    assert account.faults_done() == {fault: 1}


@pytest.mark.parametrize("fault", ["BROKEN_AFTER", "TIMEOUT_AFTER", "UNAVAILABLE_AFTER"])
async def test_a_refusal_after_the_work(account: CosmosControl, wire: Wire, fault: str) -> None:
    account.fail(fault, "create")
    assert (await wire.send("POST", DOCS, item("a"), key="p"))[0] >= 408
    assert (await wire.send("GET", f"{DOCS}/a", key="p"))[0] == 200


@pytest.mark.parametrize(
    ("fault", "there"),
    [("CUT", False), ("CUT_AFTER", True), ("SILENT", False), ("SILENT_AFTER", True)],
)
async def test_no_answer(
    account: CosmosControl, container: ContainerProxy, fault: str, there: bool
) -> None:
    account.plan([{"fault": fault, "operation": "create"}], silence=0.1)
    with pytest.raises(AzureError):
        await container.create_item(item("a"))
    if there:
        assert (await container.read_item("a", "p"))["id"] == "a"
    else:
        with pytest.raises(exceptions.CosmosResourceNotFoundError):
            await container.read_item("a", "p")


async def test_the_nth_request_of_a_kind_fails(account: CosmosControl, wire: Wire) -> None:
    account.plan(
        [
            {"fault": "BROKEN", "operation": "create", "at": 2, "times": 2},
            {"fault": "THROTTLED", "operation": "*", "at": 6},
        ]
    )
    statuses = [(await wire.send("POST", DOCS, item(f"i{n}"), key="p"))[0] for n in range(5)]
    assert statuses == [201, 500, 500, 201, 201]
    assert (await wire.send("GET", f"{DOCS}/i0", key="p"))[0] == 429
    assert (await wire.send("GET", f"{DOCS}/i0", key="p"))[0] == 200
    assert account.counts() == {"create": 5, "read": 2}


async def test_a_seeded_plan_is_the_same_again(account: CosmosControl, wire: Wire) -> None:
    seeded = {"seed": 7, "rate": 0.4, "faults": ["BROKEN", "THROTTLED"], "operations": ["read"]}
    runs = []
    for _ in range(2):
        account.plan(seeded=seeded)
        runs.append([(await wire.send("GET", f"{DOCS}/a", key="p"))[0] for _ in range(30)])
    assert runs[0] == runs[1]
    assert {404, 429, 500} == set(runs[0])
    assert (await wire.send("POST", DOCS, item("a"), key="p"))[0] == 201


async def test_accounts_do_not_see_each_other(account: CosmosControl, wire: Wire) -> None:
    other = azure.cosmos_account()
    other.make_container("db", DEFINITION)
    other.advance(1000)
    other.fail("BROKEN", times=100)
    assert (await wire.send("POST", DOCS, item("a"), key="p"))[0] == 201
    assert other.counts() == {}
    assert account.counts() == {"create": 1}


async def test_of_many_writers_one_wins(container: ContainerProxy) -> None:
    async def write(number: int) -> int:
        try:
            await container.execute_item_batch(
                [("create", ({**item("a"), "n": number},)), ("create", (item(f"by{number}"),))],
                partition_key="p",
            )
        except exceptions.CosmosBatchOperationError as error:
            return int(error.status_code or 0)
        return 200

    won = await asyncio.gather(*[write(number) for number in range(20)])
    assert sorted(won) == [200, *[409] * 19]
    query = container.query_items("SELECT * FROM c", partition_key="p")
    found = {each["id"] async for each in query}
    assert found == {"a", f"by{won.index(200)}"}
