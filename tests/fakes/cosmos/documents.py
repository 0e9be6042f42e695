"""Requests on the items of a container."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.fakes.cosmos import batch, feed
from tests.fakes.cosmos.account import Account
from tests.fakes.cosmos.containers import Container
from tests.fakes.cosmos.errors import Answer, Refused, bad_request
from tests.fakes.cosmos.items import Holder, Item, LogicalPartition
from tests.fakes.cosmos.pages import Scope, check_indexes, page, read_query
from tests.fakes.cosmos.ranges import PhysicalPartition
from tests.fakes.cosmos.values import dumped, parsed
from tests.fakes.cosmos.writes import ITEM_LIMIT, KEY_LIMIT, Operation, Transaction

__all__ = ["Request", "kind_of", "serve"]

_ILLEGAL = frozenset("/\\#?")
_WRITES = {"create": "Create", "upsert": "Upsert", "replace": "Replace", "delete": "Delete"}
_CROSS = (
    "Cross partition query is required but disabled. Please set "
    "x-ms-documentdb-query-enablecrosspartition to true, specify x-ms-documentdb-partitionkey, "
    "or revise your query to avoid this exception."
)


@dataclass(slots=True)
class Request:
    """`path` is without the account, each part decoded; `headers` have names in lower case."""

    method: str
    path: list[str]
    headers: dict[str, str]
    body: bytes
    host: str = ""
    scheme: str = "https"
    flags: set[str] = field(default_factory=set)

    def header(self, name: str) -> str:
        return self.headers.get(name, "")

    def has(self, name: str) -> bool:
        return self.headers.get(name, "").lower() == "true"


def kind_of(request: Request) -> str:
    """What is counted, and what a plan of faults names."""
    if len(request.path) == 6:
        return {"GET": "read", "PUT": "replace", "DELETE": "delete"}.get(request.method, "patch")
    if request.method == "GET":
        return "feed" if request.header("a-im") else "read_feed"
    if request.has("x-ms-cosmos-is-query-plan-request"):
        return "plan"
    if request.has("x-ms-documentdb-isquery"):
        return "query"
    if request.has("x-ms-cosmos-is-batch-request"):
        return "batch"
    return "upsert" if request.has("x-ms-documentdb-is-upsert") else "create"


def serve(account: Account, request: Request, kind: str) -> Answer:
    """Raises Refused."""
    container = account.container(request.path[1], request.path[3], owner=True)
    _check_rid(container, request)
    account.check_consistency(request.header("x-ms-consistency-level"))
    container.expire()
    if len(request.body) > ITEM_LIMIT:
        raise Refused(413, "Request size is too large")
    if kind == "batch":
        answer = _batch(container, request)
    elif kind in ("query", "read_feed"):
        answer = _query(container, request)
    elif kind == "plan":
        answer = _plan(request)
    elif kind == "feed":
        answer = _feed(container, request)
    else:
        answer = _item(container, request, kind)
    answer.headers["x-ms-alt-content-path"] = container.link
    answer.headers["x-ms-content-path"] = container.rid_text
    return answer


def _check_rid(container: Container, request: Request) -> None:
    wanted = request.header("x-ms-cosmos-intended-collection-rid")
    if wanted and wanted != container.rid_text:
        raise bad_request("The container was made again: its resource id is another.", 1024)


def _item(container: Container, request: Request, kind: str) -> Answer:
    identifier = request.path[5] if len(request.path) == 6 else ""
    if _ILLEGAL.intersection(identifier):
        # The signature over the link does not fit: azure-cosmos-dotnet-v3#1734.
        raise Refused(401, "The input authorization token can't serve the request.")
    if kind == "patch":
        raise bad_request("Patch is not part of this fake.")
    operation = Operation(
        _WRITES.get(kind, "Read"),
        id=identifier,
        body=parsed(request.body) if kind in ("create", "upsert", "replace") else None,
        if_match=request.header("if-match"),
        if_none_match=request.header("if-none-match"),
    )
    transaction = Transaction(container, _key(request), strict_ids=True)
    status, item = transaction.perform(operation)
    transaction.apply()
    minimal = kind != "read" and "return=minimal" in request.header("prefer")
    return _of_item(transaction.partition, status, item, minimal=minimal)


def _of_item(part: LogicalPartition, status: int, item: Item | None, *, minimal: bool) -> Answer:
    headers = {"x-ms-session-token": _session(part.range)}
    if item is None:
        return Answer(status, b"", headers)
    headers["etag"] = item.etag
    return Answer(status, b"" if minimal else item.text, headers)


def _batch(container: Container, request: Request) -> Answer:
    if not request.has("x-ms-cosmos-batch-atomic"):
        raise bad_request("This fake has atomic batches only.")
    key = _key(request)
    minimal = "return=minimal" in request.header("prefer")
    status, body = batch.execute(container, key, parsed(request.body), minimal=minimal)
    return Answer(status, body, {"x-ms-session-token": _session(container.partition(key).range)})


def _query(container: Container, request: Request) -> Answer:
    """A query, or all items (GET)."""
    wanted = {"query": "SELECT * FROM c"} if request.method == "GET" else parsed(request.body)
    query, digest = read_query(wanted)
    scan = request.has("x-ms-documentdb-query-enable-scan")
    check_indexes(container, query, scan=scan)
    scope, partition = _scope(container, request, everything=request.method == "GET")
    results, token = page(
        container, scope, query, digest, count=_count(request),
        continuation=request.header("x-ms-continuation"), empty="EMPTY_PAGE" in request.flags,
    )  # fmt: skip
    headers = {"x-ms-session-token": _session(partition), "x-ms-item-count": str(len(results))}
    if token:
        headers["x-ms-continuation"] = token
    return Answer(200, _listed(container, results), headers)


def _plan(request: Request) -> Answer:
    """How a client spreads a query over all partitions. Those with an order or TOP are
    refused: the driver merges feed ranges itself, and this fake rewrites no query."""
    query, _ = read_query(parsed(request.body))
    if query.order or query.top is not None:
        raise bad_request("This fake has no query plan for ORDER BY and TOP.")
    info: dict[str, Any] = {
        "distinctType": "None", "top": None, "offset": None, "limit": None, "orderBy": [],
        "orderByExpressions": [], "groupByExpressions": [], "groupByAliases": [],
        "aggregates": [], "groupByAliasToAggregateType": {}, "rewrittenQuery": "",
        "hasSelectValue": query.value, "hasNonStreamingOrderBy": False,
    }  # fmt: skip
    everything = {"min": "", "max": "FF", "isMinInclusive": True, "isMaxInclusive": False}
    plan = {"partitionedQueryExecutionInfoVersion": 2, "queryInfo": info,
            "queryRanges": [everything]}  # fmt: skip
    return Answer(200, dumped(plan))


def _feed(container: Container, request: Request) -> Answer:
    if request.header("a-im").lower().replace(" ", "") not in ("incrementalfeed", "incremental"):
        raise bad_request("This fake has the change feed in latest version mode only.")
    scope, partition = _scope(container, request)
    if not isinstance(partition, PhysicalPartition):
        raise bad_request("The change feed is read by range.")
    session = {"x-ms-session-token": _session(partition)}
    try:
        after = feed.start_of(
            partition, request.header("if-none-match"), request.header("if-modified-since")
        )
    except Refused as refused:
        refused.headers.update(session)
        raise
    found: list[bytes] = []
    reached = after  # EMPTY_PAGE: a stretch of the log that had nothing of the scope
    if "EMPTY_PAGE" not in request.flags:
        found, reached = feed.changes(partition, scope, after=after, count=_count(request))
    headers = {**session, "etag": f'"{reached}"', "x-ms-item-count": str(len(found))}
    if not found and "EMPTY_PAGE" not in request.flags:
        return Answer(304, b"", headers)
    return Answer(200, _listed(container, found), headers)


def _scope(
    container: Container, request: Request, *, everything: bool = False
) -> tuple[Scope, PhysicalPartition]:
    """Where a query or a feed looks. Raises 400 for all partitions at once unless
    `everything` may be read, and 410."""
    identifier = request.header("x-ms-documentdb-partitionkeyrangeid")
    low, high = request.header("x-ms-start-epk"), request.header("x-ms-end-epk") or "FF"
    if request.header("x-ms-documentdb-partitionkey"):
        part = container.partition(_key(request))
        if identifier:
            container.range_by_id(identifier)
        if request.header("a-im"):
            return _feed_scope(part.range, part.epk, f"{part.epk}!"), part.range
        return Scope(part, f"key {dumped(part.value).decode()}"), part.range
    if identifier:
        found = container.range_by_id(identifier)
        return _feed_scope(found, low, high), found
    if len(container.ranges) == 1:
        return _feed_scope(container.ranges[0], low, high), container.ranges[0]
    if everything:
        holder = Holder(0)
        for each in container.ranges:
            holder.by_sequence.update(each.by_sequence)
        return Scope(holder, "all"), container.ranges[0]
    if request.has("x-ms-documentdb-query-enablecrosspartition"):
        raise bad_request("Cross partition query only with a query plan.", 1004)
    raise bad_request(_CROSS)


def _feed_scope(partition: PhysicalPartition, low: str, high: str) -> Scope:
    return Scope(partition, partition.id, partition.parents, low, high)


def _listed(container: Container, texts: list[bytes]) -> bytes:
    rid = container.rid_text.encode()
    return b'{"_rid":"%s","Documents":[%s],"_count":%d}' % (rid, b",".join(texts), len(texts))


def _key(request: Request) -> Any:
    """The value of the partition key in the header. Raises 400."""
    text = request.header("x-ms-documentdb-partitionkey")
    if not text:
        raise bad_request("PartitionKey value must be supplied for this operation.")
    try:
        values = parsed(text.replace("'", '"').encode() if text == "[{}]" else text.encode())
    except Refused as refused:
        raise bad_request(f"Partition key {text[:100]} is invalid.") from refused
    if not isinstance(values, list) or len(values) != 1:
        raise bad_request("Partition key provided either doesn't correspond to definition in the "
                          "collection.", 1001)  # fmt: skip
    value = values[0]
    if isinstance(value, list) or (isinstance(value, dict) and value):
        raise bad_request("Partition key must be a text, a number, a boolean or null.")
    if isinstance(value, str) and len(value.encode()) > KEY_LIMIT:
        raise bad_request(f"The partition key supplied exceeds {KEY_LIMIT} bytes.")
    return value


def _count(request: Request) -> int:
    """0 is the default of the service, -1 as many as fit."""
    text = request.header("x-ms-max-item-count")
    if not text:
        return 0
    if not text.lstrip("-").isdecimal() or int(text) < -1 or int(text) == 0:
        raise bad_request(f"The page size '{text}' is invalid.")
    return int(text)


def _session(partition: PhysicalPartition) -> str:
    return f"{partition.id}:1#{partition.lsn}"
