"""Queries of the fake of Cosmos DB: its part of the language, indexes, pages."""

from __future__ import annotations

from typing import Any

import pytest
from azure.cosmos import exceptions
from azure.cosmos.aio import ContainerProxy

from tests.fakes.cosmos.client import CosmosControl
from tests.unit.fakes.conftest import Wire, calls

DOCS = "/dbs/db/colls/items/docs"
QUERY = {"x_ms_documentdb_isquery": "True", "content_type": "application/query+json"}
ITEMS: list[dict[str, Any]] = [
    {"id": "a", "k": "p\x01a", "n": 1, "text": "one", "tags": ["x", "y"], "deep": {"er": [1, 2]}},
    {"id": "b", "k": "p\x01b", "n": 2, "text": "two", "flag": True},
    {"id": "c", "k": "p\x01c", "n": 2, "text": None, "flag": False},
    {"id": "d", "k": "p\x01d", "n": "2", "text": "Two"},
    {"id": "e", "k": "p\x01é"},
]


async def filled(container: ContainerProxy) -> ContainerProxy:
    for item in ITEMS:
        await container.create_item({"pk": "p", **item})
    return container


async def ids(container: ContainerProxy, text: str, *values: Any, **more: Any) -> list[str]:
    """Ids found in partition p; `@0`, `@1`, ... are the values."""
    parameters: list[dict[str, object]] = [
        {"name": f"@{position}", "value": value} for position, value in enumerate(values)
    ]
    options: dict[str, Any] = {"partition_key": "p", "enable_scan_in_query": True, **more}
    found = container.query_items(text, parameters=parameters, **options)
    return [item["id"] async for item in found]


@pytest.mark.parametrize(
    ("where", "values", "found"),
    [
        ("c.n = 2", (), "bc"),
        ("c['n'] = @0", (2,), "bc"),
        ("2 <= c.n", (), "bc"),
        ("c.n != 2", (), "a"),
        ("c.n <> 2", (), "a"),
        ("NOT (c.n = 2)", (), "a"),
        ("NOT (c.n = 1 OR c.n = 2)", (), ""),
        ("c.n < 2", (), "a"),
        ("c.n > -1.5e0 AND c.n < 10", (), "abc"),
        ("c.n >= '2'", (), "d"),
        ("c.n IN (1, '2')", (), "ad"),
        ("c.n NOT IN (1)", (), "bc"),
        ("ARRAY_CONTAINS(@0, c.text)", (["one", None],), "ac"),
        ("ARRAY_CONTAINS(c.tags, 'y')", (), "a"),
        ("array_contains(@0, c.n)", ([],), ""),
        ("STARTSWITH(c.k, @0)", ("p\x01",), "abcde"),
        ("STARTSWITH(c.text, 'tw')", (), "b"),
        ("c.text = null", (), "c"),
        ("c.flag", (), "b"),
        ("NOT c.flag", (), "c"),
        ("c.flag = true OR c.text = \"one\"", (), "ab"),
        ("IS_DEFINED(c.n) AND NOT IS_DEFINED(c.flag)", (), "ad"),
        ("NOT IS_DEFINED(c.n)", (), "e"),
        ("c.deep.er[1] = 2 AND c.deep['er'][0] = 1", (), "a"),
        ("c.tags = @0", (["x", "y"],), "a"),
        ("c.tags > @0", ([],), ""),
        ("c.n = undefined", (), ""),
        ("c.k > @0 AND c.k <= @1", ("p\x01a", "p\x01c"), "bc"),
        ("c.k >= @0 AND c.k < @1 AND c.n = 2", ("p\x01a", "p\x01c"), "b"),
        ("c.k > 'p\\u0001a' AND c.k < 'p\\u0001c'", (), "b"),
        ("c.k = 'p\\'a'", (), ""),
        ("c.k IN (@0, @1, @2)", ("p\x01d", "zz", "p\x01b"), "bd"),
        ("c.k IN (@0, @1) AND c.k > @1", ("p\x01d", "p\x01b"), "d"),
        ("c.k IN (@0, @1) AND c.k IN (@1, @2)", ("p\x01a", "p\x01b", "p\x01c"), "b"),
        ("c.k IN (@0, 1)", ("p\x01d",), "d"),
        ("NOT (c.n IN ('1', '3'))", (), "d"),
        ("c.n = 1 OR c.n = 2 AND c.flag = true", (), "ab"),
    ],
)  # fmt: skip
async def test_conditions(
    container: ContainerProxy, where: str, values: tuple[Any, ...], found: str
) -> None:
    await filled(container)
    assert "".join(await ids(container, f"SELECT * FROM c WHERE {where}", *values)) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("SELECT * FROM c ORDER BY c.k", "abcde"),
        ("SELECT * FROM c ORDER BY c.k DESC", "edcba"),
        ("SELECT * FROM c WHERE c.k > 'p' ORDER BY c.k DESC", "edcba"),
        ("SELECT * FROM c ORDER BY c.n ASC", "eabcd"),
        ("SELECT * FROM c WHERE c.n >= 2 ORDER BY c.n", "bc"),
        ("SELECT * FROM c ORDER BY c.n ASC, c.k DESC", "eacbd"),
        ("SELECT * FROM c ORDER BY c.n DESC, c.k ASC", "dbcae"),
        ("SELECT TOP 2 * FROM c ORDER BY c.k", "ab"),
        ("SELECT TOP 0 * FROM c", ""),
        ("SELECT c.id FROM c WHERE c.n = 1", "a"),
        ("select r.id from root r where r.n = 1", "a"),
        ("SELECT r.id, r.n AS number FROM root AS r ORDER BY r.k", "abcde"),
    ],
)
async def test_orders_and_selections(container: ContainerProxy, text: str, found: str) -> None:
    await filled(container)
    assert "".join(await ids(container, text)) == found
    assert "".join(await ids(container, text, max_item_count=1)) == found
    assert "".join(await ids(container, text, max_item_count=2)) == found


async def test_projections(container: ContainerProxy) -> None:
    await filled(container)
    text = "SELECT c.n, c.deep.er AS inner, c.none FROM c WHERE c.id = 'a'"
    found = [each async for each in container.query_items(text, partition_key="p")]
    assert found == [{"n": 1, "inner": [1, 2]}]
    text = "SELECT VALUE c.flag FROM c"
    flags: list[Any] = [each async for each in container.query_items(text, partition_key="p")]
    assert flags == [True, False]


@pytest.mark.parametrize(
    "text",
    [
        "", "SELECT", "SELECT * FROM", "SELECT * WHERE c.n = 1", "SELECT * FROM c WHERE",
        "SELECT * FROM c WHERE c.n", "SELECT * FROM c WHERE c.n = ", "SELECT * FROM c WHERE c.n ==",
        "SELECT * FROM c WHERE c.n = 1 AND", "SELECT * FROM c WHERE (c.n = 1",
        "SELECT * FROM c WHERE d.n = 1", "SELECT * FROM c WHERE n = 1", "SELECT * FROM c LIMIT 1",
        "SELECT * FROM c OFFSET 0 LIMIT 1", "SELECT * FROM c; DROP", "SELECT * FROM c JOIN d",
        "SELECT COUNT(1) FROM c", "SELECT VALUE COUNT(1) FROM c", "SELECT DISTINCT c.n FROM c",
        "SELECT * FROM c GROUP BY c.n", "SELECT * FROM c ORDER BY", "SELECT * FROM c ORDER BY n",
        "SELECT * FROM c ORDER BY c.k c.n", "SELECT * FROM c WHERE c.n BETWEEN 1 AND 2",
        "SELECT * FROM c WHERE c.text LIKE 'a%'", "SELECT * FROM c WHERE CONTAINS(c.text, 'a')",
        "SELECT * FROM c WHERE IS_DEFINED(c.n, 1)", "SELECT * FROM c WHERE c.n = @none",
        "SELECT * FROM c WHERE c.text = 'open", "SELECT * FROM c WHERE c.n = 1 2",
        "SELECT TOP x * FROM c", "SELECT *, c.n FROM c", "SELECT c.n, c.n FROM c",
        "SELECT * FROM c WHERE c.n ! 1", "SELECT * FROM c -- more",
        "SELECT * FROM c WHERE c.n = 1a", "SELECT * FROM c WHERE NOT c.n = 1",
    ],
)  # fmt: skip
async def test_what_it_does_not_know_is_a_syntax_error(wire: Wire, text: str) -> None:
    """Never all items."""
    status, body, _ = await wire.send("POST", DOCS, {"query": text}, key="p", **QUERY)
    if text == "SELECT * FROM c WHERE c.n":
        assert (status, body["Documents"]) == (200, [])  # a number is not true
    else:
        assert status == 400


async def test_an_order_needs_its_index(wire: Wire) -> None:
    for order in ("c.text", "c.id, c.k", "c.n ASC, c.k ASC", "c.k, c.n"):
        query = {"query": f"SELECT * FROM c ORDER BY {order}"}
        assert (await wire.send("POST", DOCS, query, key="p", **QUERY))[0] == 400
    for order in ("c.id", "c._ts", "c.n ASC, c.k DESC", "c.n DESC, c.k ASC"):
        query = {"query": f"SELECT * FROM c ORDER BY {order}"}
        assert (await wire.send("POST", DOCS, query, key="p", **QUERY))[0] == 200


async def test_a_filter_needs_its_index_or_leave_to_scan(wire: Wire) -> None:
    query = {"query": "SELECT * FROM c WHERE c.k > 'a' AND c.text = 'x'"}
    assert (await wire.send("POST", DOCS, query, key="p", **QUERY))[0] == 400
    status, _, _ = await wire.send(
        "POST", DOCS, query, key="p", x_ms_documentdb_query_enable_scan="True", **QUERY
    )
    assert status == 200


async def test_a_query_without_a_partition(container: ContainerProxy, wire: Wire) -> None:
    """400; with leave (of the SDK) by a plan of the service, but not with an order."""
    await filled(container)
    await container.create_item({"id": "z", "pk": "other"})
    assert (await wire.send("POST", DOCS, {"query": "SELECT * FROM c"}, **QUERY))[0] == 400
    found = container.query_items("SELECT * FROM c")
    assert {item["id"] async for item in found} == set("abcdez")
    with pytest.raises(exceptions.CosmosHttpResponseError) as caught:
        assert [item async for item in container.query_items("SELECT * FROM c ORDER BY c.k")]
    assert caught.value.status_code == 400


async def test_pages_have_the_asked_size(container: ContainerProxy, account: CosmosControl) -> None:
    for number in range(205):
        await container.create_item({"id": f"i{number:03}", "pk": "p", "k": f"{number:03}"})
    account.reset()
    text = "SELECT * FROM c WHERE c.k >= '000' ORDER BY c.k"
    pages = container.query_items(text, partition_key="p", max_item_count=50).by_page()
    sizes = [len([item async for item in page]) async for page in pages]
    assert sizes == [50, 50, 50, 50, 5]
    assert calls(account) == {"query": 5}
    pages = container.query_items(text, partition_key="p").by_page()
    assert [len([item async for item in page]) async for page in pages] == [100, 100, 5]


async def test_pages_have_four_megabytes_at_most(container: ContainerProxy) -> None:
    for number in range(6):
        await container.create_item({"id": f"i{number}", "pk": "p", "text": "x" * 1_500_000})
    pages = container.query_items("SELECT * FROM c", partition_key="p").by_page()
    assert [len([item async for item in page]) async for page in pages] == [2, 2, 2]


async def test_a_continuation_goes_on_where_it_was(container: ContainerProxy) -> None:
    await filled(container)
    text = "SELECT * FROM c WHERE c.k > 'p' ORDER BY c.k"
    pages: Any = container.query_items(text, partition_key="p", max_item_count=2).by_page()
    first = await pages.__anext__()
    assert [item["id"] async for item in first] == ["a", "b"]
    token = pages.continuation_token
    await container.delete_item("a", "p")
    await container.create_item({"id": "bb", "pk": "p", "k": "p\x01bb"})
    again = container.query_items(text, partition_key="p", max_item_count=2).by_page(token)
    rest = [item["id"] async for page in again async for item in page]
    assert rest == ["bb", "c", "d", "e"]


@pytest.mark.parametrize(("order", "found"), [("", "abde"), (" ORDER BY c.k DESC", "edba")])
async def test_pages_of_several_values(container: ContainerProxy, order: str, found: str) -> None:
    await filled(container)
    values = ("p\x01d", "p\x01a", "p\x01é", "p\x01b", "p\x01a")
    text = f"SELECT * FROM c WHERE c.k IN (@0, @1, @2, @3, @4){order}"
    assert "".join(await ids(container, text, *values, max_item_count=1)) == found


async def test_a_continuation_is_of_its_query_and_range(wire: Wire) -> None:
    for number in range(3):
        body = {"id": f"i{number}", "pk": "p", "k": str(number)}
        await wire.send("POST", DOCS, body, key="p")
    query = {"query": "SELECT * FROM c ORDER BY c.k"}
    sent = {**QUERY, "x_ms_max_item_count": "1"}
    _, _, headers = await wire.send("POST", DOCS, query, key="p", **sent)
    token = headers["x-ms-continuation"]
    status, body, _ = await wire.send("POST", DOCS, query, key="p", x_ms_continuation=token, **sent)
    assert (status, body["Documents"][0]["id"]) == (200, "i1")
    other = {"query": "SELECT * FROM c ORDER BY c.k DESC"}
    for asked, key, given in ((other, "p", token), (query, "q", token), (query, "p", "x")):
        status, _, _ = await wire.send(
            "POST", DOCS, asked, key=key, x_ms_continuation=given, **sent
        )
        assert status == 400


async def test_a_page_may_be_empty(container: ContainerProxy, account: CosmosControl) -> None:
    await filled(container)
    account.plan([{"fault": "EMPTY_PAGE", "operation": "query", "at": 1},
                  {"fault": "EMPTY_PAGE", "operation": "query", "at": 3}])  # fmt: skip
    text = "SELECT * FROM c WHERE c.k > 'p' ORDER BY c.k"
    pages = container.query_items(text, partition_key="p", max_item_count=3).by_page()
    assert [item["id"] async for page in pages async for item in page] == list("abcde")
    assert account.faults_done() == {"EMPTY_PAGE": 2}


@pytest.mark.parametrize("count", ["0", "-2", "x"])
async def test_a_page_size_is_positive_or_minus_one(wire: Wire, count: str) -> None:
    query = {"query": "SELECT * FROM c"}
    status, _, _ = await wire.send(
        "POST", DOCS, query, key="p", x_ms_max_item_count=count, **QUERY
    )
    assert status == 400


async def test_texts_are_ordered_by_code_points(container: ContainerProxy) -> None:
    texts = ["", "\x01", " ", "A", "Z", "a", "z", "é", "\uffff", "\U0001f600"]
    for number, text in enumerate(reversed(texts)):
        await container.create_item({"id": f"i{number}", "pk": "p", "k": text})
    query = "SELECT c.k FROM c WHERE c.k >= '' ORDER BY c.k"
    found = [item["k"] async for item in container.query_items(query, partition_key="p")]
    assert found == texts
