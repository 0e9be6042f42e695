"""Microsoft.Storage: accounts, their blob service, containers, lifecycle."""

from __future__ import annotations

import copy
import re
from typing import Any

from tests.fakes.arm.errors import Refused, bad

__all__ = ["account", "blob_service", "changed_account", "container", "lifecycle"]

Body = dict[str, Any]
_NAME = re.compile(r"[a-z0-9]{3,24}")
_CONTAINER = re.compile(r"\$web|[a-z0-9](?!.*--)[a-z0-9-]{1,61}[a-z0-9]")
_KNOWN = {
    "accessTier", "allowBlobPublicAccess", "allowCrossTenantReplication", "allowSharedKeyAccess",
    "allowedCopyScope", "defaultToOAuthAuthentication", "isHnsEnabled", "minimumTlsVersion",
    "networkAcls", "publicNetworkAccess", "sasPolicy", "supportsHttpsTrafficOnly",
}  # fmt: skip
_SCOPES = {"AAD", "PrivateLink", "All"}
_PERIOD = re.compile(r"\d{2}\.\d{2}:\d{2}:\d{2}")
_MADE = "2025-06-01T12:00:00.0000000Z"
_TLS = {"TLS1_0", "TLS1_1", "TLS1_2", "TLS1_3"}
_SERVICE = {
    "changeFeed", "containerDeleteRetentionPolicy", "cors", "defaultServiceVersion",
    "deleteRetentionPolicy", "isVersioningEnabled", "lastAccessTimeTrackingPolicy",
    "restorePolicy",
}  # fmt: skip


def account(name: str, body: Body) -> Body:
    """A new one, with what Azure fills in."""
    if not _NAME.fullmatch(name):
        raise Refused(400, "AccountNameInvalid", f"{name} is not a valid storage account name.")
    _only(body, {"kind", "location", "sku", "tags", "properties", "identity"})
    for needed in ("kind", "location", "sku"):
        if needed not in body:
            raise Refused(400, "InvalidRequestContent", f"{needed} is missing")
    if body["sku"].get("name") not in ("Standard_LRS", "Standard_ZRS", "Standard_GRS"):
        raise Refused(400, "InvalidRequestPropertyValue", "sku")
    filled = {
        "accessTier": "Hot", "allowBlobPublicAccess": False, "allowCrossTenantReplication": False,
        "minimumTlsVersion": "TLS1_0", "supportsHttpsTrafficOnly": True,
        "publicNetworkAccess": "Enabled",
        "keyCreationTime": {"key1": _MADE, "key2": _MADE},
        "primaryEndpoints": {"blob": f"https://{name}.blob.core.windows.net/"},
    }  # fmt: skip
    properties = _checked(body.get("properties", {}))
    sku = {"name": body["sku"]["name"], "tier": "Standard"}
    return {
        "kind": body["kind"], "location": body["location"], "sku": sku,
        "tags": dict(body.get("tags") or {}), "properties": filled | properties,
    }  # fmt: skip


def changed_account(there: Body, body: Body) -> Body:
    """PATCH, or PUT on what is there."""
    _only(body, {"kind", "location", "sku", "tags", "properties"})
    refused = {"kind": "AccountPropertyCannotBeUpdated", "location": "InvalidResourceLocation"}
    for key, code in refused.items():
        if key in body and body[key] != there[key]:
            raise Refused(409, code, f"{key} cannot be changed")
    properties = _checked(body.get("properties", {}))
    if "isHnsEnabled" in properties:
        raise Refused(400, "PropertyIsNotUpdatable", "isHnsEnabled")
    dates = there["properties"].get("keyCreationTime", {})
    if "sasPolicy" in properties and not (dates.get("key1") and dates.get("key2")):
        # What is documented is that it fails, not how.
        raise Refused(409, "KeysNotRotated", "sasPolicy needs keys whose creation is known")
    made = copy.deepcopy(there)
    made["properties"] |= properties
    if "tags" in body:
        made["tags"] = dict(body["tags"])
    return made


def blob_service(body: Body) -> Body:
    """What a PUT does not name has its default again."""
    properties = body.get("properties", {})
    if unknown := set(properties) - _SERVICE:
        raise Refused(400, "InvalidRequestContent", f"unknown {sorted(unknown)}")
    for key in ("deleteRetentionPolicy", "containerDeleteRetentionPolicy"):
        policy = properties.get(key, {})
        if policy.get("enabled") and not 1 <= policy.get("days", 0) <= 365:
            raise Refused(400, "InvalidRequestPropertyValue", f"{key}.days")
    for rule in properties.get("cors", {}).get("corsRules", []):
        _check_rule(rule)
    filled: Body = {"cors": {"corsRules": []}, "deleteRetentionPolicy": {"enabled": False}}
    return {"properties": copy.deepcopy(filled | properties)}


def container(name: str, there: Body | None, body: Body, *, open_allowed: bool) -> Body:
    if not _CONTAINER.fullmatch(name):
        raise Refused(400, "ContainerNameInvalid", name)
    properties = dict(body.get("properties", {}))
    if unknown := set(properties) - {"publicAccess", "metadata"}:
        raise Refused(400, "InvalidRequestContent", f"unknown {sorted(unknown)}")
    if properties.get("publicAccess", "None") != "None" and not open_allowed:
        raise Refused(409, "PublicAccessNotPermitted", "Public access is not permitted.")
    filled = {"publicAccess": "None", "hasImmutabilityPolicy": False, "hasLegalHold": False}
    before = (there or {}).get("properties", {})
    return {"properties": filled | before | properties}


def lifecycle(body: Body) -> Body:
    rules = body.get("properties", {}).get("policy", {}).get("rules")
    if not rules:
        raise Refused(400, "InvalidRequestContent", "a policy has rules")
    for rule in rules:
        definition = rule.get("definition", {})
        actions, filters = definition.get("actions"), definition.get("filters", {})
        if rule.get("type") != "Lifecycle" or not rule.get("name") or not actions:
            raise Refused(400, "InvalidRequestContent", "rule")
        if not set(actions) <= {"baseBlob", "snapshot", "version"} or not filters.get("blobTypes"):
            raise Refused(400, "InvalidRequestContent", "definition")
    return {"properties": copy.deepcopy(body["properties"])}


def _checked(properties: Body) -> Body:
    if unknown := set(properties) - _KNOWN:
        raise Refused(400, "InvalidRequestContent", f"unknown {sorted(unknown)}")
    for key, value in properties.items():
        is_flag = key.startswith(("allow", "is", "supports", "defaultTo")) and (
            key != "allowedCopyScope"
        )
        if is_flag and not isinstance(value, bool):
            raise Refused(400, "InvalidRequestContent", key)
    if properties.get("minimumTlsVersion", "TLS1_2") not in _TLS:
        raise Refused(400, "InvalidRequestPropertyValue", "minimumTlsVersion")
    if properties.get("allowedCopyScope", "AAD") not in _SCOPES:
        raise Refused(400, "InvalidRequestPropertyValue", "allowedCopyScope")
    if "sasPolicy" in properties:
        _check_policy(properties["sasPolicy"])
    return copy.deepcopy(properties)


def _check_policy(policy: Body) -> None:
    _only(policy, {"expirationAction", "sasExpirationPeriod"})
    good = policy.get("expirationAction") in ("Log", "Block")
    if not good or not _PERIOD.fullmatch(policy.get("sasExpirationPeriod", "")):
        raise Refused(400, "InvalidRequestPropertyValue", "sasPolicy")


def _check_rule(rule: Body) -> None:
    names = {"allowedOrigins", "allowedMethods", "allowedHeaders", "exposedHeaders",
             "maxAgeInSeconds"}  # fmt: skip
    if set(rule) != names or not rule["allowedOrigins"]:
        raise Refused(400, "InvalidXmlDocument", "a CORS rule has five members")


def _only(body: Body, known: set[str]) -> None:
    if unknown := set(body) - known:
        raise bad(f"unknown {sorted(unknown)}")
