"""The same conversation with the fake of Cosmos DB and with @vercel/cosmosdb-server, where
both claim it: the fake is not alone in its idea of the protocol."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.cosmos import PartitionKey, exceptions
from azure.cosmos.aio import ContainerProxy, CosmosClient

from services.azure.clients import AzureClients
from tests.servers import azure, tools

pytestmark = pytest.mark.usefixtures("azure_environment")
ITEMS = [{"id": f"i{number:02}", "pk": "p", "n": number} for number in range(11)]
OF_P = "SELECT * FROM c WHERE c.pk = @pk ORDER BY c.n"
KEY = base64.b64encode(b"no key at all, but as long as one").decode()
needs_npm = pytest.mark.skipif(not tools.HAS_NPM, reason="capability: cosmosdb-server needs npm")


@pytest.fixture(params=["fake", pytest.param("vercel", marks=needs_npm)])
async def container(request: pytest.FixtureRequest) -> AsyncIterator[ContainerProxy]:
    """A new container that indexes everything."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(_client(stack, request.param))
        database = await client.create_database(azure.new_name())
        yield await database.create_container("items", PartitionKey("/pk"))


def _client(stack: AsyncExitStack, server: str) -> CosmosClient:
    clients = AzureClients(azure.place({"blob": "https://127.0.0.1:1"}))
    stack.push_async_callback(clients.close)
    options = clients.options()
    options.pop("permit_redirects", None)
    if server == "vercel":
        return CosmosClient(azure.cosmosdb_server().url, KEY, **options)
    account = azure.cosmos_account(management=True, partitions=1)
    return CosmosClient(account.url, clients.credential, **options)


async def filled(container: ContainerProxy) -> None:
    for item in ITEMS:
        await container.create_item(item)


def without_system(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if not name.startswith("_")}


async def test_an_item_is_what_was_written(container: ContainerProxy) -> None:
    item = {"id": "a b'ü", "pk": "p", "text": "\U0001f600", "deep": {"er": [1, None, True]}}
    made = await container.create_item(item)
    read = await container.read_item("a b'ü", "p")
    assert without_system(made) == without_system(read) == item
    assert read["_etag"] == made["_etag"]
    assert {"_rid", "_self", "_ts"} <= set(read)


async def test_an_id_is_taken_in_its_partition(container: ContainerProxy) -> None:
    """(What is missing is 404 of the fake and of the service, and 500 of the other.)"""
    await container.create_item(ITEMS[0])
    with pytest.raises(exceptions.CosmosResourceExistsError):
        await container.create_item({**ITEMS[0], "n": 7})
    await container.create_item({**ITEMS[0], "pk": "q"})
    await container.delete_item("i00", "p")
    assert (await container.read_item("i00", "q"))["pk"] == "q"
    assert (await container.create_item({**ITEMS[0], "n": 8}))["n"] == 8


async def test_etags(container: ContainerProxy) -> None:
    old = await container.create_item(ITEMS[0])
    new = await container.replace_item(
        "i00", {**ITEMS[0], "n": 1}, etag=old["_etag"],
        match_condition=MatchConditions.IfNotModified,
    )  # fmt: skip
    assert new["_etag"] != old["_etag"]
    stale: dict[str, Any] = {
        "etag": old["_etag"], "match_condition": MatchConditions.IfNotModified,
    }  # fmt: skip
    for call in (
        container.replace_item("i00", ITEMS[0], **stale),
        container.upsert_item(ITEMS[0], **stale),
        container.delete_item("i00", "p", **stale),
    ):
        with pytest.raises(exceptions.CosmosAccessConditionFailedError):
            await call
    assert (await container.read_item("i00", "p"))["n"] == 1


async def test_pages(container: ContainerProxy) -> None:
    await filled(container)
    await container.create_item({"id": "other", "pk": "q", "n": 3})
    found = container.query_items(
        OF_P, parameters=[{"name": "@pk", "value": "p"}], partition_key="p", max_item_count=4
    ).by_page()
    pages = [[item["n"] async for item in page] async for page in found]
    assert pages == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        ("c.n > 7", [8, 9, 10]),
        ("c.n >= 2 AND c.n < 4", [2, 3]),
        ("c.n = 1 OR c.id = 'i05'", [1, 5]),
        ("NOT (c.n > 0)", [0]),
        ("c.n IN (3, 4, 'x')", [3, 4]),
        ("STARTSWITH(c.id, 'i1')", [10]),
        ("ARRAY_CONTAINS(@list, c.id)", [2]),
        ("IS_DEFINED(c.none)", []),
        ("c.n != 4 AND c.n > 3 AND c.n <= 5", [5]),
        ("c.id > 'i08'", [9, 10]),
        ("c.n > 'a'", []),
    ],
)
async def test_conditions(container: ContainerProxy, where: str, wanted: list[int]) -> None:
    await filled(container)
    found = container.query_items(
        f"SELECT * FROM c WHERE c.pk = 'p' AND ({where}) ORDER BY c.n",
        parameters=[{"name": "@list", "value": ["i02", 7]}], partition_key="p",
    )  # fmt: skip
    assert [item["n"] async for item in found] == wanted


async def test_a_batch_of_creations(container: ContainerProxy) -> None:
    done = await container.execute_item_batch(
        [("create", (item,)) for item in ITEMS], partition_key="p"
    )
    assert [each["statusCode"] for each in done] == [201] * len(ITEMS)
    read = await container.read_item("i07", "p")
    assert without_system(read) == ITEMS[7]


async def test_the_document_of_the_container(container: ContainerProxy) -> None:
    document = await container.read()
    assert document["id"] == "items"
    assert document["partitionKey"]["paths"] == ["/pk"]
    assert {"_rid", "_self", "_etag", "indexingPolicy"} <= set(document)
    assert len([each async for each in container.read_feed_ranges()]) == 1
