"""The control plane of the fake (`/_control/...`), for tests only: see the package."""

from __future__ import annotations

import json
from typing import Any

from tests.fakes.cosmos.account import Account
from tests.fakes.cosmos.containers import Container
from tests.fakes.cosmos.errors import Answer, Refused, not_found
from tests.fakes.cosmos.values import dumped

__all__ = ["serve"]


def serve(accounts: dict[str, Account], method: str, path: list[str], body: bytes) -> Answer:
    """Raises Refused."""
    given: dict[str, Any] = json.loads(body) if body else {}
    if not path:
        return Answer(200, dumped(sorted(accounts)))
    name, *rest = path
    if method == "POST" and not rest and name != "main":
        accounts[name] = account = Account(name)
        account.configure(given)
        return Answer(201, b"{}")
    if name == "main":
        name = ""
    if name not in accounts:
        raise not_found(name)
    answer = _done(accounts[name], method, rest, given)
    return Answer(200, dumped(answer))


def _done(account: Account, method: str, rest: list[str], given: dict[str, Any]) -> Any:
    match method, rest:
        case "GET", []:
            return _state(account)
        case "POST", ["settings"]:
            account.configure(given)
        case "POST", ["clock"]:
            account.offset += float(given["advance"])
        case "POST", ["faults"]:
            account.faults.plan(given)
        case "POST", ["reset"]:
            account.faults.counts.clear()
            account.faults.done.clear()
        case "POST", ["containers"]:
            return _made(account, given)
        case "DELETE", ["containers"]:
            database = account.database(given["database"], owner=True)
            del database.containers[given["container"]]
        case "POST", ["split"]:
            container = account.container(given["database"], given["container"], owner=True)
            children = container.split(given.get("range") or container.ranges[0].id)
            return {"children": children, "ranges": _ranges(container)}
        case _:
            raise Refused(404, "no such control")
    return {}


def _made(account: Account, given: dict[str, Any]) -> dict[str, Any]:
    """A container, and its database when there is none."""
    name = given["database"]
    database = account.databases.get(name) or account.new_database(name)
    made = account.new_container(database, given["definition"], int(given.get("partitions", 0)))
    return made.document()


def _state(account: Account) -> dict[str, Any]:
    containers = {
        f"{database.name}/{container.name}": {
            "rid": container.rid_text, "ranges": _ranges(container),
        }
        for database in account.databases.values()
        for container in database.containers.values()
    }  # fmt: skip
    return {
        "counts": dict(account.faults.counts), "faults": dict(account.faults.done),
        "clock": account.clock(), "containers": containers,
    }  # fmt: skip


def _ranges(container: Container) -> list[dict[str, Any]]:
    return [
        {"id": each.id, "low": each.low, "high": each.high, "items": len(each.by_sequence),
         "lsn": each.lsn}
        for each in container.ranges
    ]  # fmt: skip
