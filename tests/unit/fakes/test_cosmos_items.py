"""Items of the fake of Cosmos DB, through the SDK; limits and rules by the wire."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core import MatchConditions
from azure.cosmos import exceptions
from azure.cosmos.aio import ContainerProxy

from tests.fakes.cosmos.client import CosmosControl
from tests.unit.fakes.conftest import Wire

DOCS = "/dbs/db/colls/items/docs"
MEGABYTE = 1024 * 1024


def item(identifier: str, key: str = "p", **more: Any) -> dict[str, Any]:
    return {"id": identifier, "pk": key, "k": f"{key}\x01{identifier}", **more}


async def test_an_item_is_made_once(container: ContainerProxy) -> None:
    made = await container.create_item(item("a", text="é\U0001f600", number=1.5))
    assert made["text"] == "é\U0001f600"
    assert made["number"] == 1.5
    assert {"_rid", "_self", "_etag", "_ts", "_attachments"} <= set(made)
    assert "_lsn" not in made
    with pytest.raises(exceptions.CosmosResourceExistsError):
        await container.create_item(item("a"))
    await container.create_item(item("a", "q"))
    assert dict(await container.read_item("a", "p")) == dict(made)


async def test_what_is_not_there_is_404(container: ContainerProxy) -> None:
    for call in (
        container.read_item("a", "p"),
        container.replace_item("a", item("a")),
        container.delete_item("a", "p"),
    ):
        with pytest.raises(exceptions.CosmosResourceNotFoundError) as caught:
            await call
        assert caught.value.sub_status == 0


async def test_what_was_deleted_is_not_there(container: ContainerProxy) -> None:
    await container.create_item(item("a"))
    await container.delete_item("a", "p")
    for call in (container.read_item("a", "p"), container.delete_item("a", "p")):
        with pytest.raises(exceptions.CosmosResourceNotFoundError):
            await call
    left = container.query_items("SELECT * FROM c", partition_key="p")
    assert [each async for each in left] == []


async def test_a_missing_container_is_404_of_the_owner(wire: Wire) -> None:
    status, _, headers = await wire.send("GET", "/dbs/db/colls/none/docs/a", key="p")
    assert (status, headers["x-ms-substatus"]) == (404, "1003")


async def test_every_write_has_another_etag(container: ContainerProxy) -> None:
    etags = {(await container.upsert_item(item("a", n=n)))["_etag"] for n in range(3)}
    assert len(etags) == 3
    assert all(etag.startswith('"') and etag.endswith('"') for etag in etags)


async def test_a_replaced_item_keeps_its_rid_and_one_made_again_does_not(
    container: ContainerProxy,
) -> None:
    first = await container.create_item(item("a"))
    second = await container.replace_item("a", item("a", n=1))
    assert first["_rid"] == second["_rid"]
    await container.delete_item("a", "p")
    assert (await container.create_item(item("a")))["_rid"] != first["_rid"]


async def test_a_stale_etag_changes_nothing(container: ContainerProxy) -> None:
    old = await container.create_item(item("a", n=1))
    new = await container.replace_item(
        "a", item("a", n=2), etag=old["_etag"], match_condition=MatchConditions.IfNotModified
    )
    stale: dict[str, Any] = {
        "etag": old["_etag"], "match_condition": MatchConditions.IfNotModified,
    }  # fmt: skip
    for call in (
        container.replace_item("a", item("a", n=3), **stale),
        container.upsert_item(item("a", n=3), **stale),
        container.delete_item("a", "p", **stale),
    ):
        with pytest.raises(exceptions.CosmosAccessConditionFailedError):
            await call
    assert dict(await container.read_item("a", "p")) == dict(new)
    await container.delete_item(
        "a", "p", etag=new["_etag"], match_condition=MatchConditions.IfNotModified
    )


async def test_an_upsert_of_nothing_ignores_the_etag(container: ContainerProxy) -> None:
    await container.upsert_item(
        item("a"), etag='"x"', match_condition=MatchConditions.IfNotModified
    )
    assert (await container.read_item("a", "p"))["id"] == "a"


async def test_an_unchanged_item_is_not_sent_again(wire: Wire) -> None:
    _, made, headers = await wire.send("POST", DOCS, item("a"), key="p")
    assert headers["etag"] == made["_etag"]
    status, body, _ = await wire.send("GET", f"{DOCS}/a", key="p", if_none_match=made["_etag"])
    assert (status, body) == (304, None)
    status, body, _ = await wire.send("GET", f"{DOCS}/a", key="p", if_none_match='"other"')
    assert (status, body["id"]) == (200, "a")


async def test_a_write_may_leave_out_the_item(container: ContainerProxy) -> None:
    answer = await container.create_item(item("a"), no_response=True)
    assert "id" not in answer
    assert answer.get_response_headers()["etag"]


@pytest.mark.parametrize("character", ["/", "\\", "#", "?"])
async def test_ids_that_cannot_be_in_a_path(wire: Wire, character: str) -> None:
    """Refused alone; a batch stores them, and nothing can read them by their id."""
    identifier = f"a{character}b"
    assert (await wire.send("POST", DOCS, item(identifier), key="p"))[0] == 400
    operations = [{"operationType": "Create", "resourceBody": item(identifier)}]
    status, _, _ = await wire.send(
        "POST", DOCS, operations, key="p",
        x_ms_cosmos_is_batch_request="True", x_ms_cosmos_batch_atomic="True",
    )  # fmt: skip
    assert status == 200
    quoted = f"a%{ord(character):02X}b"
    assert (await wire.send("GET", f"{DOCS}/{quoted}", key="p"))[0] == 401


@pytest.mark.parametrize(
    ("identifier", "status"),
    [("x" * 1023, 201), ("x" * 1024, 400), ("é" * 512, 400), ("", 400), (7, 400)],
)
async def test_the_length_of_ids(wire: Wire, identifier: Any, status: int) -> None:
    body = {"id": identifier, "pk": "p"}
    assert (await wire.send("POST", DOCS, body, key="p"))[0] == status


async def test_ids_of_any_other_characters(container: ContainerProxy) -> None:
    for identifier in ("a%2Fb", "ü \U0001f600", "a+b&c=d", "a..", "a'b\"c", "~!$()*,;:@"):
        await container.create_item(item(identifier))
        assert (await container.read_item(identifier, "p"))["id"] == identifier


async def test_the_key_of_the_item_is_that_of_the_header(wire: Wire) -> None:
    status, _, headers = await wire.send("POST", DOCS, item("a"), key="q")
    assert (status, headers["x-ms-substatus"]) == (400, "1001")
    assert (await wire.send("POST", DOCS, item("a")))[0] == 400
    assert (await wire.send("GET", f"{DOCS}/a"))[0] == 400


@pytest.mark.parametrize(("length", "status"), [(2048, 201), (2049, 400)])
async def test_the_length_of_partition_keys(wire: Wire, length: int, status: int) -> None:
    key = "é" * (length // 2) + "x" * (length % 2)
    assert (await wire.send("POST", DOCS, {"id": "a", "pk": key}, key=key))[0] == status


async def test_an_item_has_two_megabytes_at_most(container: ContainerProxy) -> None:
    await container.create_item(item("a", text="x" * (2 * MEGABYTE - 1000)))
    with pytest.raises(exceptions.CosmosHttpResponseError) as caught:
        await container.create_item(item("b", text="x" * (2 * MEGABYTE)))
    assert caught.value.status_code == 413


@pytest.mark.parametrize(
    "body",
    [b"{", b'{"id":"a","pk":"p","n":NaN}', b'{"id":"a","pk":"p","t":"\\ud800"}', b"[]", b'"a"'],
)
async def test_what_is_no_json_object_is_refused(wire: Wire, body: bytes) -> None:
    assert (await wire.send("POST", DOCS, body, key="p"))[0] == 400


async def test_numbers_are_doubles(container: ContainerProxy) -> None:
    stored = await container.create_item(item("a", exact=2**53, more=2**53 + 1))
    assert stored["exact"] == 2**53
    assert stored["more"] == 2**53


async def test_items_end_at_their_time(account: CosmosControl, container: ContainerProxy) -> None:
    await container.create_item(item("short", ttl=10))
    await container.create_item(item("long", ttl=1000))
    await container.create_item(item("ever"))
    account.advance(11)
    with pytest.raises(exceptions.CosmosResourceNotFoundError):
        await container.read_item("short", "p")
    left = [each["id"] async for each in container.query_items(
        "SELECT * FROM c", partition_key="p")]  # fmt: skip
    assert left == ["long", "ever"]
    await container.create_item(item("short", ttl=10))
    account.advance(5)
    await container.upsert_item(item("short", ttl=10))
    account.advance(6)
    assert (await container.read_item("short", "p"))["id"] == "short"


@pytest.mark.parametrize("ttl", [0, -2, 1.5, "10", True])
async def test_a_ttl_is_a_positive_number_of_seconds(wire: Wire, ttl: Any) -> None:
    assert (await wire.send("POST", DOCS, item("a", ttl=ttl), key="p"))[0] == 400


async def test_without_ttl_of_the_container_nothing_ends(
    account: CosmosControl, wire: Wire
) -> None:
    definition = {"id": "plain", "partitionKey": {"paths": ["/pk"], "kind": "Hash"}}
    account.make_container("db", definition)
    docs = "/dbs/db/colls/plain/docs"
    assert (await wire.send("POST", docs, item("a", ttl=1), key="p"))[0] == 201
    account.advance(100)
    assert (await wire.send("GET", f"{docs}/a", key="p"))[0] == 200


async def test_the_container_has_a_ttl_for_all(account: CosmosControl, wire: Wire) -> None:
    definition = {
        "id": "brief", "partitionKey": {"paths": ["/pk"], "kind": "Hash"}, "defaultTtl": 10,
    }  # fmt: skip
    account.make_container("db", definition)
    docs = "/dbs/db/colls/brief/docs"
    await wire.send("POST", docs, item("a"), key="p")
    await wire.send("POST", docs, item("b", ttl=-1), key="p")
    account.advance(11)
    assert (await wire.send("GET", f"{docs}/a", key="p"))[0] == 404
    assert (await wire.send("GET", f"{docs}/b", key="p"))[0] == 200


async def test_keys_of_other_types(container: ContainerProxy) -> None:
    for number, key in enumerate((1, 1.5, True, False, None)):
        await container.create_item({"id": f"i{number}", "pk": key})
        assert (await container.read_item(f"i{number}", key))["pk"] == key


async def test_every_answer_has_the_headers_of_the_service(wire: Wire) -> None:
    _, _, headers = await wire.send("POST", DOCS, item("a"), key="p", x_ms_activity_id="abc")
    assert headers["x-ms-activity-id"] == "abc"
    assert float(headers["x-ms-request-charge"]) > 0
    assert headers["x-ms-session-token"].partition(":")[2] == "1#1"
    _, body, headers = await wire.send("GET", f"{DOCS}/none", key="p")
    assert body["code"] == "NotFound"
    assert headers["x-ms-activity-id"]


async def test_patch_is_refused(wire: Wire) -> None:
    await wire.send("POST", DOCS, item("a"), key="p")
    assert (await wire.send("PATCH", f"{DOCS}/a", {"operations": []}, key="p"))[0] == 400
