"""Requests on the account, its databases, its containers and their partition key ranges."""

from __future__ import annotations

from typing import Any

from tests.fakes.cosmos.account import Account
from tests.fakes.cosmos.containers import Container, Database, owner_missing
from tests.fakes.cosmos.documents import Request
from tests.fakes.cosmos.errors import Answer, Refused, bad_request
from tests.fakes.cosmos.values import dumped, parsed

__all__ = ["serve"]


def serve(account: Account, request: Request) -> Answer:
    """Raises Refused."""
    match request.path:
        case []:
            return _answer(200, account.document(request.host, request.scheme))
        case ["dbs"]:
            return _databases(account, request)
        case ["dbs", name]:
            return _database(account, request, name)
        case ["dbs", name, "colls"]:
            return _containers(account, request, account.database(name, owner=True))
        case ["dbs", name, "colls", inner]:
            return _container(account, request, name, inner)
        case ["dbs", name, "colls", inner, "pkranges"] if request.method == "GET":
            return _ranges(account.container(name, inner, owner=True), request)
    raise owner_missing("/".join(request.path)[:100])


def _answer(status: int, document: dict[str, Any] | None, **headers: str) -> Answer:
    if document is not None and "_etag" in document:
        headers["etag"] = document["_etag"]
    return Answer(status, b"" if document is None else dumped(document), dict(headers))


def _databases(account: Account, request: Request) -> Answer:
    if request.method == "GET":
        found = [each.document() for each in account.databases.values()]
        return _answer(200, {"_rid": "", "Databases": found, "_count": len(found)})
    definition = _definition(request)
    return _answer(201, account.new_database(definition.get("id")).document())


def _database(account: Account, request: Request, name: str) -> Answer:
    found = account.database(name, owner=False)
    if request.method == "DELETE":
        del account.databases[name]
        return _answer(204, None)
    return _answer(200, found.document())


def _containers(account: Account, request: Request, database: Database) -> Answer:
    if request.method == "GET":
        found = [each.document() for each in database.containers.values()]
        return _answer(200, {"_rid": "", "DocumentCollections": found, "_count": len(found)})
    made = account.new_container(database, _definition(request))
    return _answer(201, made.document())


def _container(account: Account, request: Request, database: str, name: str) -> Answer:
    found = account.container(database, name, owner=False)
    if request.method == "DELETE":
        del account.databases[database].containers[name]
        return _answer(204, None)
    if request.method == "PUT":
        found.replace(_definition(request))
    elif request.method != "GET":
        raise Refused(405, "The method is not allowed here.")
    return _answer(200, found.document())


def _ranges(container: Container, request: Request) -> Answer:
    """All partition key ranges, or those that were made since the etag."""
    wanted = request.header("x-ms-cosmos-intended-collection-rid")
    if wanted and wanted != container.rid_text:
        raise bad_request("The container was made again: its resource id is another.", 1024)
    etag = f'"{container.routing}"'
    seen = request.header("if-none-match").strip('"')
    since = int(seen) if seen.isdecimal() else 0
    count = len(container.ranges)
    found = [
        each.document(container.rid_text, container.self_link, count)
        for each in container.ranges
        if each.born > since
    ]
    if not found:
        return Answer(304, b"", {"etag": etag})
    body = {"_rid": container.rid_text, "PartitionKeyRanges": found, "_count": len(found)}
    return Answer(200, dumped(body), {"etag": etag})


def _definition(request: Request) -> dict[str, Any]:
    value = parsed(request.body)
    if not isinstance(value, dict):
        raise bad_request("The definition must be a JSON object.")
    return value
