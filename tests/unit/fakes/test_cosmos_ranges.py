"""Physical partitions of the fake of Cosmos DB: ranges, splits, the change feed."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from azure.cosmos import exceptions
from azure.cosmos.aio import ContainerProxy
from azure.cosmos.partition_key import PartitionKey
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.cosmos.client import CosmosControl
from tests.fakes.cosmos.hashing import boundaries, effective_partition_key
from tests.unit.fakes.conftest import DEFINITION, Wire, calls

DOCS = "/dbs/db/colls/items/docs"
RANGES = "/dbs/db/colls/items/pkranges"
ORDERED = "SELECT * FROM c WHERE c.k >= '' ORDER BY c.k"
INCREMENTAL = {"A_IM": "Incremental Feed"}
KEYS = [f"key{number:02}" for number in range(40)]


async def filled(container: ContainerProxy) -> None:
    for key in KEYS:
        await container.create_item({"id": "a", "pk": key, "k": key})


async def ranges_of(container: ContainerProxy) -> list[dict[str, Any]]:
    return [each async for each in container.read_feed_ranges()]


async def changed(container: ContainerProxy, **options: Any) -> tuple[list[dict[str, Any]], str]:
    """The changes, and the continuation after them."""
    pages = container.query_items_change_feed(**options).by_page()
    found = [item async for page in pages async for item in page]
    return found, str(container.client_connection.last_response_headers["etag"])


KEY_VALUES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(
    allow_nan=False
) | st.text()  # fmt: skip


@given(KEY_VALUES)
def test_effective_partition_keys_are_those_of_the_sdk(value: Any) -> None:
    wanted = PartitionKey._get_effective_partition_key_for_hash_partitioning_v2([value])
    assert effective_partition_key(value) == wanted
    assert any(low <= wanted < high for low, high in boundaries(3))


@given(st.integers(1, 50))
def test_ranges_cover_every_key_once(count: int) -> None:
    ranges = boundaries(count)
    assert (ranges[0][0], ranges[-1][1]) == ("", "FF")
    assert all(ranges[at][1] == ranges[at + 1][0] for at in range(count - 1))


async def test_the_sdk_reads_the_ranges_once(
    container: ContainerProxy, account: CosmosControl
) -> None:
    assert len(await ranges_of(container)) == 2
    await ranges_of(container)
    assert calls(account)["pkranges"] == 2  # the ranges, and that there are no more


async def test_a_feed_range_is_one_request_without_a_plan(
    container: ContainerProxy, account: CosmosControl
) -> None:
    await filled(container)
    ranges = await ranges_of(container)
    account.reset()
    found = []
    for feed_range in ranges:
        query = container.query_items(ORDERED, feed_range=feed_range)
        page = [item["pk"] async for item in query]
        assert page == sorted(page)
        assert page
        found += page
    assert sorted(found) == KEYS
    assert calls(account) == {"query": 2}


async def test_parts_of_a_range(wire: Wire, container: ContainerProxy) -> None:
    await filled(container)
    middle = effective_partition_key(KEYS[7])
    query = {"query": "SELECT * FROM c"}
    found: list[list[str]] = []
    for low, high in (("", middle), (middle, "FF")):
        part = []
        for identifier in ("0", "1"):
            _, body, _ = await wire.send(
                "POST", DOCS, query, x_ms_documentdb_isquery="True",
                x_ms_documentdb_partitionkeyrangeid=identifier, x_ms_start_epk=low,
                x_ms_end_epk=high,
            )  # fmt: skip
            part += [item["pk"] for item in body["Documents"]]
        found.append(sorted(part))
    assert found[0] == [key for key in KEYS if effective_partition_key(key) < middle]
    assert found[1] == [key for key in KEYS if effective_partition_key(key) >= middle]


async def test_a_split_range_is_gone(wire: Wire, account: CosmosControl) -> None:
    _, _, headers = await wire.send("GET", RANGES, **INCREMENTAL)
    etag = headers["etag"]
    unchanged = await wire.send("GET", RANGES, if_none_match=etag, **INCREMENTAL)
    assert (unchanged[0], unchanged[2]["etag"]) == (304, etag)
    children = account.split("db", "items", "0")
    status, body, headers = await wire.send("GET", RANGES, if_none_match=etag, **INCREMENTAL)
    assert status == 200
    assert headers["etag"] != etag
    assert [each["id"] for each in body["PartitionKeyRanges"]] == children
    assert all(each["parents"] == ["0"] for each in body["PartitionKeyRanges"])
    for gone in ("0", "99"):
        status, _, headers = await wire.send(
            "POST", DOCS, {"query": "SELECT * FROM c"}, x_ms_documentdb_isquery="True",
            x_ms_documentdb_partitionkeyrangeid=gone,
        )  # fmt: skip
        assert (status, headers["x-ms-substatus"]) == (410, "1002")


async def test_queries_and_feeds_go_on_after_a_split(
    container: ContainerProxy, account: CosmosControl
) -> None:
    await filled(container)
    ranges = await ranges_of(container)
    before = {item["pk"] for item in (await changed(
        container, feed_range=ranges[0], start_time="Beginning"))[0]}  # fmt: skip
    pages = container.query_items(ORDERED, feed_range=ranges[0], max_item_count=3).by_page()
    found = [item["pk"] async for item in await pages.__anext__()]
    account.split("db", "items", "0")
    account.split("db", "items")
    found += [item["pk"] async for page in pages async for item in page]
    assert set(found) == before  # twice some: the SDK begins anew after a split
    after, _ = await changed(container, feed_range=ranges[0], start_time="Beginning")
    assert {item["pk"] for item in after} == before
    assert len(await ranges_of(container)) == 4


async def test_a_feed_continuation_goes_on_after_a_split(
    container: ContainerProxy, account: CosmosControl
) -> None:
    await filled(container)
    feed_range = (await ranges_of(container))[0]
    first, token = await changed(container, feed_range=feed_range, start_time="Beginning")
    account.split("db", "items", "0")
    await container.upsert_item({"id": "a", "pk": first[0]["pk"], "k": "again"})
    await container.upsert_item({"id": "a", "pk": first[-1]["pk"], "k": "again"})
    more, token = await changed(container, continuation=token)
    assert {item["pk"] for item in more} == {first[0]["pk"], first[-1]["pk"]}
    assert (await changed(container, continuation=token))[0] == []


async def test_the_feed_has_every_item_once_where_it_changed_last(
    container: ContainerProxy,
) -> None:
    for name in "abc":
        await container.create_item({"id": name, "pk": "p"})
    await container.upsert_item({"id": "a", "pk": "p", "n": 1})
    await container.delete_item("b", "p")
    found, _ = await changed(container, start_time="Beginning")
    assert [item["id"] for item in found] == ["c", "a"]
    assert found[1]["n"] == 1
    assert found[0]["_lsn"] < found[1]["_lsn"]


async def test_the_feed_from_now_and_from_a_moment(
    container: ContainerProxy, account: CosmosControl
) -> None:
    await container.create_item({"id": "old", "pk": "p"})
    _, token = await changed(container, start_time="Now")
    account.advance(100)
    # ten seconds before the next item, a hundred after the first
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=90)
    await container.create_item({"id": "new", "pk": "p"})
    found, _ = await changed(container, continuation=token)
    assert [item["id"] for item in found] == ["new"]
    found, _ = await changed(container, start_time=moment)
    assert [item["id"] for item in found] == ["new"]


async def test_the_feed_of_one_partition(container: ContainerProxy) -> None:
    await filled(container)
    found, _ = await changed(container, partition_key="key07", start_time="Beginning")
    assert [item["pk"] for item in found] == ["key07"]


async def test_a_page_of_the_feed_never_ends_in_a_transaction(
    wire: Wire, container: ContainerProxy
) -> None:
    for name in "abc":
        await container.execute_item_batch(
            [("create", ({"id": f"{name}{number}", "pk": "p"},)) for number in range(5)],
            partition_key="p",
        )
    identifier = "0" if effective_partition_key("p") < boundaries(2)[0][1] else "1"
    sent = {
        **INCREMENTAL, "x_ms_documentdb_partitionkeyrangeid": identifier,
        "x_ms_max_item_count": "3",
    }  # fmt: skip
    etag, pages = "", []
    while True:
        status, body, headers = await wire.send("GET", DOCS, if_none_match=etag, **sent)
        etag = headers["etag"]
        if status == 304:
            break
        pages.append([item["id"] for item in body["Documents"]])
        assert len({item["_lsn"] for item in body["Documents"]}) == 1
    assert pages == [[f"{name}{number}" for number in range(5)] for name in "abc"]
    assert (await wire.send("GET", DOCS, if_none_match=etag, **sent))[2]["etag"] == etag


async def test_what_is_past_its_time_is_not_in_the_feed(
    container: ContainerProxy, account: CosmosControl
) -> None:
    await container.create_item({"id": "short", "pk": "p", "ttl": 10})
    await container.create_item({"id": "long", "pk": "p"})
    account.advance(11)
    found, _ = await changed(container, start_time="Beginning")
    assert [item["id"] for item in found] == ["long"]


async def test_a_wrong_continuation_of_the_feed(wire: Wire) -> None:
    sent = {**INCREMENTAL, "x_ms_documentdb_partitionkeyrangeid": "0"}
    assert (await wire.send("GET", DOCS, if_none_match='"x"', **sent))[0] == 400
    sent["A_IM"] = "Full-Fidelity Feed"
    assert (await wire.send("GET", DOCS, **sent))[0] == 400


async def test_a_container_made_again_is_another(
    container: ContainerProxy, account: CosmosControl, wire: Wire
) -> None:
    rid = (await container.read())["_rid"]
    account.delete_container("db", "items")
    assert (await wire.send("GET", f"{DOCS}/a", key="p"))[2]["x-ms-substatus"] == "1003"
    account.make_container("db", DEFINITION)
    assert (await container.read())["_rid"] != rid
    status, _, headers = await wire.send(
        "GET", f"{DOCS}/a", key="p", x_ms_cosmos_intended_collection_rid=rid
    )
    assert (status, headers["x-ms-substatus"]) == (400, "1024")
    with pytest.raises(exceptions.CosmosResourceNotFoundError):
        await container.read_item("a", "p")


async def test_all_items_of_a_container(container: ContainerProxy) -> None:
    await filled(container)
    assert sorted([item["pk"] async for item in container.read_all_items()]) == KEYS
