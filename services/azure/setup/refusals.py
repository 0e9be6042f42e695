"""What is not ours to harden, and why: nothing is changed then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.azure.setup.api import ArmApi
from services.azure.setup.desired import API_VERSIONS, Baseline
from services.azure.setup.names import plain_location
from services.azure.setup.state import State
from services.azure.setup.who import Who
from services.records.cosmos.schema import container_definition
from services.setup.patience import refused

__all__ = ["check_names", "check_state"]

_STORAGE = "name another account with --prefix or AZURE_STORAGE_ACCOUNT"
_COSMOS = "name another account with --prefix or AZURE_COSMOS_ACCOUNT"
_ITEMS = "name another container with AZURE_COSMOS_CONTAINER"
# APIs of Cosmos DB other than that for NoSQL.
_OTHER_APIS = frozenset({"EnableCassandra", "EnableGremlin", "EnableMongo", "EnableTable"})


def check_state(wanted: Baseline, state: State) -> None:
    """Raises INVALID_STATE for resources that have another use, or that cannot become
    what is wanted."""
    if state.storage is not None:
        _check_storage(wanted, state.storage)
        _check_containers(wanted, state)
    if state.cosmos is not None:
        _check_cosmos(wanted, state.cosmos)
    if state.container is not None:
        _check_items(wanted, state.container)


async def check_names(api: ArmApi, who: Who, wanted: Baseline, state: State) -> None:
    """Raises INVALID_STATE for names of accounts that others have; they are worldwide."""
    if state.storage is None:
        await _check_storage_name(api, who, wanted)
    if state.cosmos is None:
        await _check_cosmos_name(api, who, wanted)


def _check_storage(wanted: Baseline, there: Mapping[str, Any]) -> None:
    what = f"storage account {wanted.storage_account}"
    _check_location(what, wanted, there, _STORAGE)
    if there.get("kind") != "StorageV2":
        raise _no(f"{what} is of kind {there.get('kind')}, not StorageV2; {_STORAGE}")
    if there.get("properties", {}).get("isHnsEnabled"):
        raise _no(f"{what} has a hierarchical namespace, which keeps no versions; {_STORAGE}")


def _check_containers(wanted: Baseline, state: State) -> None:
    what = f"storage account {wanted.storage_account}"
    account = (state.storage or {}).get("properties", {})
    for each in state.containers:
        properties = each.get("properties", {})
        if each.get("name") == "$web":
            raise _no(f"{what} serves a web site from $web; {_STORAGE}")
        # Where the setting is missing, it is that of accounts from before it.
        is_public = properties.get("publicAccess") not in (None, "None")
        if is_public and account.get("allowBlobPublicAccess") is not False:
            raise _no(
                f"container {each.get('name')} of {what} is open to the public, which would "
                f"end: close it, or {_STORAGE}"
            )
        if each.get("name") != wanted.storage_container:
            continue
        if properties.get("hasImmutabilityPolicy") or properties.get("hasLegalHold"):
            raise _no(
                f"container {wanted.storage_container} of {what} keeps files by policy, so "
                "that erasure cannot end: name another with AZURE_STORAGE_CONTAINER"
            )


def _check_cosmos(wanted: Baseline, there: Mapping[str, Any]) -> None:
    what = f"Cosmos DB account {wanted.cosmos_account}"
    _check_location(what, wanted, there, _COSMOS)
    properties = there.get("properties", {})
    other = _OTHER_APIS & {each.get("name") for each in properties.get("capabilities", [])}
    if other or there.get("kind", "GlobalDocumentDB") != "GlobalDocumentDB":
        shown = ", ".join(sorted(other)) or there.get("kind")
        raise _no(f"{what} is not of the API for NoSQL ({shown}); {_COSMOS}")
    if properties.get("provisioningState") in ("Failed", "Deleting"):
        raise _no(
            f"{what} is {properties['provisioningState'].lower()}: delete it (`az cosmosdb "
            f"delete`) and run again, or {_COSMOS}"
        )


def _check_items(wanted: Baseline, there: Mapping[str, Any]) -> None:
    what = f"container {wanted.cosmos_container} of {wanted.cosmos_account}"
    found = there.get("properties", {}).get("resource", {})
    key = container_definition(wanted.cosmos_container)["partitionKey"]
    has = found.get("partitionKey", {})
    # Version 1 is what is not said: only the first 101 bytes of a key would count.
    version = has.get("version") or 1
    if has.get("paths") != key["paths"] or has.get("kind") != key["kind"]:
        paths = ", ".join(has.get("paths", [])) or "no path"
        raise _no(f"{what} is partitioned by {paths}, not by /pk; {_ITEMS}")
    if version != key["version"]:
        raise _no(f"{what} has a partition key of version {version}, not 2; {_ITEMS}")
    if found.get("uniqueKeyPolicy", {}).get("uniqueKeys"):
        raise _no(f"{what} has unique keys; {_ITEMS}")


def _check_location(
    what: str, wanted: Baseline, there: Mapping[str, Any], another: str
) -> None:
    location = plain_location(str(there.get("location", "")))
    if location != wanted.location:
        raise refused(
            f"{what} is in {location}, not in {wanted.location}: give --location {location}, or "
            f"{another}; nothing was changed",
            field="location",
        )


async def _check_storage_name(api: ArmApi, who: Who, wanted: Baseline) -> None:
    what = f"storage account {wanted.storage_account}"
    body = {"name": wanted.storage_account, "type": "Microsoft.Storage/storageAccounts"}
    answer = await api.ask(
        "POST", f"{who.path}/providers/Microsoft.Storage/checkNameAvailability",
        API_VERSIONS["Microsoft.Storage"], what, body,
    )  # fmt: skip
    if answer is None or answer.get("nameAvailable", True):
        return
    if answer.get("reason") != "AlreadyExists":
        raise _no(f"{what}: Azure does not take the name ({answer.get('reason')}); {_STORAGE}")
    ours = await _group_of(api, who, "Microsoft.Storage/storageAccounts", wanted.storage_account)
    raise _taken(what, ours, _STORAGE)


async def _check_cosmos_name(api: ArmApi, who: Who, wanted: Baseline) -> None:
    what = f"Cosmos DB account {wanted.cosmos_account}"
    version = API_VERSIONS["Microsoft.DocumentDB"]
    path = f"/providers/Microsoft.DocumentDB/databaseAccountNames/{wanted.cosmos_account}"
    if await api.ask("HEAD", path, version, what) is None:
        return
    ours = await _group_of(
        api, who, "Microsoft.DocumentDB/databaseAccounts", wanted.cosmos_account
    )
    raise _taken(what, ours, _COSMOS)


async def _group_of(api: ArmApi, who: Who, kind: str, name: str) -> str:
    """The resource group of an account in this subscription; '' when it is not there."""
    version = API_VERSIONS[kind.partition("/")[0]]
    found = await api.listed(f"{who.path}/providers/{kind}", version, f"accounts of {kind}")
    ids = [str(each["id"]).split("/") for each in found if each.get("name") == name]
    return ids[0][4] if ids else ""


def _taken(what: str, group: str, another: str) -> Exception:
    if group:
        return _no(f"{what} is in resource group {group}: give --resource-group {group}")
    return _no(
        f"the name of {what} belongs to another subscription (names of accounts are "
        f"worldwide): {another}"
    )


def _no(message: str) -> Exception:
    return refused(f"{message}; nothing was changed", field="azure")
