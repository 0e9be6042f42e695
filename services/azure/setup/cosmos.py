"""The plan of the Cosmos DB account, its database and its container."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from services.azure.setup import desired
from services.azure.setup.calls import patch, put, together
from services.azure.setup.desired import Baseline, Resource
from services.azure.setup.state import State
from services.azure.setup.tags import TAGS, merged, missing
from services.model.errors import WorkspaceError
from services.records.cosmos.schema import check_container, container_definition
from services.setup.plan import Call, Step, Verb, compared

__all__ = ["is_serverless", "plan_cosmos"]

_SHOWN: Mapping[str, tuple[str, Mapping[Any, str]]] = {
    "consistencyPolicy": ("consistency", {}),
    "disableLocalAuth": ("account keys", {True: "off", False: "on"}),
    "disableKeyBasedMetadataWriteAccess": ("changes by key", {True: "refused", False: "taken"}),
    "minimalTlsVersion": ("least TLS", {"Tls12": "1.2", "Tls11": "1.1", "Tls": "1.0"}),
}


def plan_cosmos(wanted: Baseline, group: str, state: State) -> list[Step]:
    """The steps. What costs money is chosen when a resource is made, and left alone then."""
    name = f"Cosmos DB account {wanted.cosmos_account}"
    account = _changed(name, wanted, group, state.cosmos) if state.cosmos else _new(
        name, wanted, group
    )  # fmt: skip
    return [*account, _database(name, wanted, group, state), *_items(name, wanted, group, state)]


def is_serverless(account: Mapping[str, Any]) -> bool:
    """Paid by request; for ever so."""
    capabilities = account.get("properties", {}).get("capabilities") or []
    return any(each.get("name") == "EnableServerless" for each in capabilities)


def _new(name: str, wanted: Baseline, group: str) -> list[Step]:
    resource = desired.cosmos_account(wanted)
    steps = [Step(name, "account", Verb.CREATE, f"API for NoSQL, in {wanted.location}")]
    shown = {
        "write regions": "one", "consistency": "Strong", "account keys": "off",
        "changes by key": "refused", "least TLS": "1.2", "backup": "continuous, 7 days",
        "billing": _billing(wanted.serverless, wanted.free_tier),
        "tags": TAGS.shown(wanted.tags),
    }  # fmt: skip
    steps += [Step(name, label, Verb.CREATE, text) for label, text in shown.items()]
    return together(steps, put(group, resource))


def _changed(name: str, wanted: Baseline, group: str, there: Mapping[str, Any]) -> list[Step]:
    """Regions, backups, and the rest are changed by a call each: Cosmos DB takes no two of
    them in one ("Database Accounts - Update")."""
    resource = desired.cosmos_account(wanted)
    found = there.get("properties", {})
    shown = f"API for NoSQL, in {wanted.location}"
    waits: list[Call] = []
    if found.get("provisioningState") not in (None, "Succeeded"):  # an earlier run was cut
        waits = [Call("management", "WAIT", {"path": resource.path(group)}, settle="account")]
    account = Step(name, "account", Verb.KEEP, shown, shown)
    if waits:
        account = Step(name, "account", Verb.CREATE, "ready", "being made", waits)
    return [
        account,
        _regions(name, group, resource, found),
        *_hardened(name, wanted, group, there),
        _backup(name, group, resource, found),
        *_chosen(name, wanted, there),
    ]


def _regions(name: str, group: str, resource: Resource, found: Mapping[str, Any]) -> Step:
    several = bool(found.get("enableMultipleWriteLocations"))
    call = patch(group, resource, {"properties": {"enableMultipleWriteLocations": False}})
    return compared(
        name, "write regions", wanted="one", was="several" if several else "one",
        good=not several, calls=[call],
    )  # fmt: skip


def _hardened(
    name: str, wanted: Baseline, group: str, there: Mapping[str, Any]
) -> list[Step]:
    resource = desired.cosmos_account(wanted)
    found = there.get("properties", {})
    steps, changed = [], dict[str, Any]()
    for key, (label, shown) in _SHOWN.items():
        want, was = resource.body["properties"][key], found.get(key)
        good = _good(key, want, was)
        if not good:
            changed[key] = want
        steps.append(
            compared(
                name, label, wanted=_text(want, shown), was=_text(was, shown) or "not set",
                good=good, calls=[],
            )
        )
    tags = there.get("tags") or {}
    lacks = missing(wanted.tags, tags)
    steps.append(
        compared(
            name, "tags", wanted=TAGS.shown(wanted.tags), was=TAGS.shown(tags),
            good=not lacks, calls=[],
        )
    )  # fmt: skip
    body: dict[str, Any] = {"properties": changed} if changed else {}
    if lacks:
        body["tags"] = merged(wanted.tags, tags)
    return together(steps, patch(group, resource, body)) if body else steps


def _good(key: str, want: Any, was: Any) -> bool:
    if key == "consistencyPolicy":
        level = "defaultConsistencyLevel"
        return bool((was or {}).get(level) == want[level])
    return bool(was == want) or (key == "minimalTlsVersion" and was == "Tls13")


def _text(value: Any, shown: Mapping[Any, str]) -> str:
    if isinstance(value, Mapping):
        return str(value.get("defaultConsistencyLevel", ""))
    return "" if value is None else shown.get(value, str(value))


def _backup(name: str, group: str, resource: Resource, found: Mapping[str, Any]) -> Step:
    """A longer time, which costs, is kept where somebody chose it."""
    policy = found.get("backupPolicy") or {}
    good = policy.get("type") == "Continuous"
    tier = policy.get("continuousModeProperties", {}).get("tier", "Continuous30Days")
    days = str(tier).removeprefix("Continuous").removesuffix("Days")
    want = resource.body["properties"]["backupPolicy"]
    return compared(
        name, "backup", wanted="continuous, 7 days",
        was=f"continuous, {days} days" if good else str(policy.get("type", "none")).lower(),
        good=good, calls=[patch(group, resource, {"properties": {"backupPolicy": want}})],
    )  # fmt: skip


def _chosen(name: str, wanted: Baseline, there: Mapping[str, Any]) -> Iterator[Step]:
    """What an account is made with and stays."""
    serverless = is_serverless(there)
    free = bool(there.get("properties", {}).get("enableFreeTier"))
    was = _billing(serverless, free)
    asked = (wanted.serverless and not serverless) or (wanted.free_tier and not free)
    if asked:
        want = _billing(wanted.serverless, wanted.free_tier)
        yield Step(
            name, "billing", Verb.LEAVE, f"{was}: {want} is chosen when an account is made", was
        )
    else:
        yield Step(name, "billing", Verb.KEEP, was, was)


def _billing(serverless: bool, free_tier: bool) -> str:
    if serverless:
        return "by request (serverless)"
    return "by throughput, free tier" if free_tier else "by throughput"


def _database(name: str, wanted: Baseline, group: str, state: State) -> Step:
    shown = wanted.cosmos_database
    call = put(group, desired.cosmos_database(wanted))
    there = state.database is not None
    return compared(
        name, "database", wanted=shown, was=shown if there else "", good=there, calls=[call]
    )


def _items(name: str, wanted: Baseline, group: str, state: State) -> list[Step]:
    resource = desired.cosmos_container(wanted)
    shown = f"{wanted.cosmos_container}, by /pk"
    serverless = is_serverless(state.cosmos) if state.cosmos else wanted.serverless
    if serverless:
        properties = {**resource.body["properties"], "options": {}}
        resource = Resource(resource.kind, resource.name, {"properties": properties})
    throughput = f"autoscale to {wanted.max_throughput} RU/s"
    if state.container is None:
        steps = [
            Step(name, "container", Verb.CREATE, shown),
            Step(name, "indexes", Verb.CREATE, "the five orders of the records"),
            Step(name, "expiry", Verb.CREATE, "by ttl of each row"),
            Step(name, "throughput", Verb.CREATE, "by request" if serverless else throughput),
        ]
        return together(steps, put(group, resource))
    found = state.container.get("properties", {}).get("resource", {})
    return _same_items(name, wanted, group, found, _throughput(state, serverless=serverless))


def _same_items(
    name: str, wanted: Baseline, group: str, found: Mapping[str, Any], throughput: str
) -> list[Step]:
    want = container_definition(wanted.cosmos_container)
    indexed = _is_indexed(found, want)
    ttl = found.get("defaultTtl")
    steps = [
        Step(name, "container", Verb.KEEP, f"{wanted.cosmos_container}, by /pk"),
        compared(
            name, "indexes", wanted="the five orders of the records",
            was="the five orders of the records" if indexed else "others", good=indexed, calls=[],
        ),
        compared(
            name, "expiry", wanted="by ttl of each row",
            was="off" if ttl is None else "by ttl of each row" if ttl == -1 else f"after {ttl} s",
            good=ttl == -1, calls=[],
        ),
        Step(name, "throughput", Verb.KEEP, throughput, throughput),
    ]  # fmt: skip
    if indexed and ttl == -1:
        return steps
    kept = {key: value for key, value in found.items() if not key.startswith("_")}
    kept.pop("statistics", None)
    body = {**kept, "defaultTtl": -1}
    if not indexed:
        body["indexingPolicy"] = want["indexingPolicy"]
    resource = desired.cosmos_container(wanted)
    changed = Resource(
        resource.kind, resource.name, {"properties": {"resource": body, "options": {}}}
    )
    return together(steps, put(group, changed))


def _is_indexed(found: Mapping[str, Any], want: Mapping[str, Any]) -> bool:
    try:
        check_container({**want, "indexingPolicy": found.get("indexingPolicy")})
    except WorkspaceError:
        return False
    return True


def _throughput(state: State, *, serverless: bool) -> str:
    """What is paid for is people's choice."""
    if serverless:
        return "by request"
    found = (state.throughput or {}).get("properties", {}).get("resource", {})
    most = found.get("autoscaleSettings", {}).get("maxThroughput")
    if most:
        return f"autoscale to {most} RU/s"
    if found.get("throughput"):
        return f"{found['throughput']} RU/s"
    return "the database's"
