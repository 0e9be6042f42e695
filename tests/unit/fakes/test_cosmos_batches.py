"""Transactional batches of the fake of Cosmos DB: all or nothing."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from azure.cosmos import exceptions
from azure.cosmos.aio import ContainerProxy

from tests.fakes.cosmos.client import CosmosControl
from tests.unit.fakes.conftest import Wire, calls

DOCS = "/dbs/db/colls/items/docs"
BATCH = {"x_ms_cosmos_is_batch_request": "True", "x_ms_cosmos_batch_atomic": "True"}


def item(identifier: str, **more: Any) -> dict[str, Any]:
    return {"id": identifier, "pk": "p", **more}


async def stored(container: ContainerProxy) -> dict[str, Any]:
    found = container.query_items("SELECT * FROM c", partition_key="p")
    return {each["id"]: each async for each in found}


async def failed(container: ContainerProxy, operations: list[Any]) -> tuple[int, list[int]]:
    """The status of the failure and those of all operations."""
    with pytest.raises(exceptions.CosmosBatchOperationError) as caught:
        await container.execute_item_batch(operations, partition_key="p")
    statuses = [each["statusCode"] for each in caught.value.operation_responses]
    assert statuses[caught.value.error_index] == caught.value.status_code
    return int(caught.value.status_code or 0), statuses


async def test_every_kind_of_operation(container: ContainerProxy) -> None:
    await container.create_item(item("old", n=1))
    await container.create_item(item("gone"))
    done = await container.execute_item_batch(
        [
            ("create", (item("new"),)),
            ("upsert", (item("up", n=1),)),
            ("replace", ("old", item("old", n=2))),
            ("read", ("old",)),
            ("delete", ("gone",)),
        ],
        partition_key="p",
    )
    assert [each["statusCode"] for each in done] == [201, 201, 200, 200, 204]
    assert done[3]["resourceBody"]["n"] == 2
    found = await stored(container)
    assert set(found) == {"new", "up", "old"}
    assert [each["eTag"] for each in done[:3]] == [
        found[name]["_etag"] for name in ("new", "up", "old")
    ]


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (("create", (item("there"),)), 409),
        (("replace", ("there", item("there")), {"if_match_etag": '"stale"'}), 412),
        (("delete", ("there",), {"if_match_etag": '"stale"'}), 412),
        (("upsert", (item("there"),), {"if_match_etag": '"stale"'}), 412),
        (("replace", ("none", item("none"))), 404),
        (("delete", ("none",)), 404),
        (("read", ("none",)), 404),
        (("create", ({"id": "a", "pk": "other"},)), 400),
        (("create", (item("x" * 1024),)), 400),
        (("create", (item("a", ttl=0),)), 400),
    ],
)
async def test_one_failure_undoes_all(
    container: ContainerProxy, bad: Any, status: int, position: int
) -> None:
    there = await container.create_item(item("there"))
    operations: list[Any] = [("create", (item("one"),)), ("upsert", (item("two"),))]
    operations.insert(position, copy.deepcopy(bad))  # the SDK takes the etags out of it
    wanted = [424, 424, 424]
    wanted[position] = status
    assert await failed(container, operations) == (status, wanted)
    assert await stored(container) == {"there": dict(there)}


async def test_a_good_etag_lets_pass(container: ContainerProxy) -> None:
    old = await container.create_item(item("a", n=1))
    await container.execute_item_batch(
        [("replace", ("a", item("a", n=2)), {"if_match_etag": old["_etag"]})], partition_key="p"
    )
    assert (await stored(container))["a"]["n"] == 2


async def test_the_same_id_twice_is_done_in_order(container: ContainerProxy) -> None:
    done = await container.execute_item_batch(
        [
            ("create", (item("a", n=1),)),
            ("replace", ("a", item("a", n=2))),
            ("delete", ("a",)),
            ("create", (item("a", n=3),)),
        ],
        partition_key="p",
    )
    assert [each["statusCode"] for each in done] == [201, 200, 204, 201]
    assert (await stored(container))["a"]["n"] == 3
    assert await failed(container, [("create", (item("b"),)), ("create", (item("b"),))]) == (
        409,
        [424, 409],
    )


async def test_a_hundred_operations_at_most(container: ContainerProxy) -> None:
    hundred = [("upsert", (item(f"i{number}"),)) for number in range(100)]
    assert len(await container.execute_item_batch(hundred, partition_key="p")) == 100
    with pytest.raises(exceptions.CosmosHttpResponseError) as caught:
        await container.execute_item_batch(
            [*hundred, ("create", (item("more"),))], partition_key="p"
        )
    assert caught.value.status_code == 400
    assert "more" not in await stored(container)


async def test_two_megabytes_at_most(container: ContainerProxy) -> None:
    text = "x" * 1024 * 1024
    with pytest.raises(exceptions.CosmosHttpResponseError) as caught:
        await container.execute_item_batch(
            [("create", (item("a", text=text),)), ("create", (item("b", text=text),))],
            partition_key="p",
        )
    assert caught.value.status_code == 413
    assert await stored(container) == {}


@pytest.mark.parametrize(
    "operations",
    [[], {}, [{"operationType": "Patch", "id": "a"}], [{"operationType": "Delete"}], ["x"]],
)
async def test_what_is_no_batch_is_refused(wire: Wire, operations: Any) -> None:
    assert (await wire.send("POST", DOCS, operations, key="p", **BATCH))[0] == 400


async def test_a_batch_needs_one_partition_key(wire: Wire) -> None:
    operations = [{"operationType": "Create", "resourceBody": item("a")}]
    assert (await wire.send("POST", DOCS, operations, **BATCH))[0] == 400


async def test_a_batch_may_leave_out_the_items(container: ContainerProxy) -> None:
    done = await container.execute_item_batch(
        [("create", (item("a"),)), ("read", ("a",))], partition_key="p", no_response=True
    )
    assert [("resourceBody" in each) for each in done] == [False, True]
    assert done[0]["eTag"]


async def test_one_batch_is_one_request(account: CosmosControl, container: ContainerProxy) -> None:
    """Once the SDK has read the container."""
    await container.upsert_item(item("a"))
    account.reset()
    operations: list[Any] = [("create", (item(f"i{number}"),)) for number in range(50)]
    await container.execute_item_batch(operations, partition_key="p")
    assert calls(account) == {"batch": 1}
