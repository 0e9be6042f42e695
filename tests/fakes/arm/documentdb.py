"""Microsoft.DocumentDB: accounts, SQL databases and containers, data roles."""

from __future__ import annotations

import copy
import re
from typing import Any

from tests.fakes.arm.errors import Refused, bad

__all__ = ["account", "assignment", "changed_account", "container", "database", "throughput"]

Body = dict[str, Any]
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,42}[a-z0-9])")
_LOCATIONS = {"eastus": "East US", "westeurope": "West Europe", "northeurope": "North Europe"}
_KNOWN = {
    "backupPolicy", "capabilities", "consistencyPolicy", "databaseAccountOfferType",
    "disableKeyBasedMetadataWriteAccess", "disableLocalAuth", "enableFreeTier",
    "enableMultipleWriteLocations", "locations", "minimalTlsVersion", "publicNetworkAccess",
}  # fmt: skip
_PATCHED = _KNOWN - {"databaseAccountOfferType", "enableFreeTier"}
_LEVELS = {"Strong", "BoundedStaleness", "Session", "ConsistentPrefix", "Eventual"}
_PLAIN_CONSISTENCY = {
    "defaultConsistencyLevel": "Session", "maxIntervalInSeconds": 5, "maxStalenessPrefix": 100
}  # fmt: skip
_PERIODIC = {
    "type": "Periodic",
    "periodicModeProperties": {
        "backupIntervalInMinutes": 240, "backupRetentionIntervalInHours": 8,
        "backupStorageRedundancy": "Geo",
    },
}  # fmt: skip


def account(name: str, body: Body) -> Body:
    """A new one, with what Azure fills in."""
    if not _NAME.fullmatch(name):
        raise bad(f"DatabaseAccount name '{name}' is invalid.")
    properties = _checked(body.get("properties", {}), _KNOWN)
    if properties.get("databaseAccountOfferType") != "Standard" or not properties.get("locations"):
        raise bad("databaseAccountOfferType and locations are needed")
    filled: Body = {
        "backupPolicy": _PERIODIC, "capabilities": [], "consistencyPolicy": _PLAIN_CONSISTENCY,
        "disableKeyBasedMetadataWriteAccess": False, "disableLocalAuth": False,
        "enableFreeTier": False, "enableMultipleWriteLocations": False,
        "minimalTlsVersion": "Tls12", "publicNetworkAccess": "Enabled",
        "documentEndpoint": f"https://{name}.documents.azure.com:443/",
    }  # fmt: skip
    made = _consistent(copy.deepcopy(filled) | properties)
    if _serverless(made) and (len(made["locations"]) > 1 or made["enableFreeTier"]):
        raise bad("A serverless account has one region and no free tier.")
    made["locations"] = [_location(name, each) for each in made["locations"]]
    place = _display(body.get("location", ""))
    return {
        "kind": body.get("kind", "GlobalDocumentDB"), "location": place,
        "tags": dict(body.get("tags") or {}), "properties": made,
    }  # fmt: skip


def changed_account(there: Body, body: Body) -> Body:
    properties = _checked(body.get("properties", {}), _PATCHED)
    if "backupPolicy" in properties and len(properties) + ("tags" in body) > 1:
        raise bad("Cannot update continuous backup mode and other properties at the same time.")
    if "locations" in properties and len(properties) > 1:
        raise bad("Cannot simultaneously add/remove locations and modify other properties.")
    made = copy.deepcopy(there)
    before = made["properties"]
    was_continuous = before["backupPolicy"]["type"] == "Continuous"
    if was_continuous and properties.get("backupPolicy", {}).get("type") == "Periodic":
        raise bad("Continuous backup cannot be disabled.")
    if "capabilities" in properties and _serverless(before) != _serverless(properties):
        raise bad("EnableServerless cannot be changed.")
    made["properties"] = _consistent(before | properties)
    if "tags" in body:
        made["tags"] = dict(body["tags"])
    return made


def database(name: str, there: Body | None, body: Body) -> Body:
    resource = body.get("properties", {}).get("resource", {})
    if resource.get("id") != name:
        raise bad("The id in the body is not that of the path.")
    before = (there or {}).get("properties", {}).get("resource", {})
    return {"properties": {"resource": {"_rid": "AAA=", "_etag": '"e"'} | before | resource}}


def container(name: str, there: Body | None, body: Body, *, serverless: bool) -> Body:
    properties = body.get("properties", {})
    resource, options = properties.get("resource", {}), properties.get("options", {})
    if resource.get("id") != name:
        raise bad("The id in the body is not that of the path.")
    if serverless and options:
        raise bad("Setting offer throughput or autopilot on container is not supported for "
                  "serverless accounts.")  # fmt: skip
    most = options.get("autoscaleSettings", {}).get("maxThroughput", 1000)
    if most % 1000 or most < 1000:
        raise bad("maxThroughput")
    if not resource.get("partitionKey", {}).get("paths"):
        raise bad("Partition key paths must contain at least one valid path.")
    if there is not None:
        if options:
            raise bad("Throughput of a container is changed by its throughputSettings.")
        _check_unchanged(there["properties"]["resource"], resource)
    made = copy.deepcopy(resource)
    if there is None:
        made["partitionKey"].setdefault("version", 1)
    made.setdefault("conflictResolutionPolicy", {"mode": "LastWriterWins"})
    policy = made.setdefault("indexingPolicy", {})
    policy.setdefault("indexingMode", "consistent")
    policy.setdefault("automatic", True)
    policy.setdefault("includedPaths", [{"path": "/*"}])
    excluded = policy.setdefault("excludedPaths", [])
    if {"path": '/"_etag"/?'} not in excluded:
        excluded.append({"path": '/"_etag"/?'})
    return {"properties": {"resource": made | {"_rid": "AAAB", "_ts": 1, "_etag": '"e"'}}}


def throughput(body: Body) -> Body | None:
    """`throughputSettings/default` of a container that is made so."""
    options = body.get("properties", {}).get("options", {})
    if "autoscaleSettings" in options:
        most = options["autoscaleSettings"]["maxThroughput"]
        found = {"throughput": most // 10, "autoscaleSettings": {"maxThroughput": most}}
    elif "throughput" in options:
        found = {"throughput": options["throughput"]}
    else:
        return None
    return {"properties": {"resource": found}}


def assignment(path: str, body: Body) -> Body:
    properties = body.get("properties", {})
    parent = path.rpartition("/sqlRoleAssignments/")[0]
    role, scope = str(properties.get("roleDefinitionId")), str(properties.get("scope"))
    if not role.lower().startswith(f"{parent}/sqlroledefinitions/".lower()):
        raise bad("roleDefinitionId is not of this account")
    if not scope.lower().startswith(parent.lower()) or not properties.get("principalId"):
        raise bad("scope or principalId")
    return {"properties": dict(properties)}


def _check_unchanged(there: Body, body: Body) -> None:
    if body.get("partitionKey") != there.get("partitionKey"):
        raise bad("Document collection partition key cannot be changed.")
    if body.get("uniqueKeyPolicy") != there.get("uniqueKeyPolicy"):
        raise bad("The unique index cannot be modified.")


def _checked(properties: Body, known: set[str]) -> Body:
    if unknown := set(properties) - known:
        raise bad(f"unknown {sorted(unknown)}")
    level = properties.get("consistencyPolicy", {}).get("defaultConsistencyLevel", "Strong")
    if level not in _LEVELS:
        raise bad("defaultConsistencyLevel")
    if properties.get("minimalTlsVersion", "Tls12") not in ("Tls", "Tls11", "Tls12"):
        raise bad("minimalTlsVersion")
    made = copy.deepcopy(properties)
    if "consistencyPolicy" in made:
        made["consistencyPolicy"] = _PLAIN_CONSISTENCY | made["consistencyPolicy"]
    return made


def _consistent(properties: Body) -> Body:
    level = properties["consistencyPolicy"]["defaultConsistencyLevel"]
    if properties["enableMultipleWriteLocations"] and level == "Strong":
        raise bad("Strong consistency is not for accounts with several write locations.")
    return properties


def _serverless(properties: Body) -> bool:
    return {"name": "EnableServerless"} in properties.get("capabilities", [])


def _location(name: str, location: Body) -> Body:
    shown = _display(location["locationName"])
    return {**location, "id": f"{name}-{location['locationName']}", "locationName": shown,
            "provisioningState": "Succeeded"}  # fmt: skip


def _display(name: str) -> str:
    shown = _LOCATIONS.get(name.replace(" ", "").lower())
    if shown is None:
        raise Refused(400, "LocationNotAvailableForResourceType", name)
    return shown
