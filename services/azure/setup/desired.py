"""The baseline as data: what `wm setup azure` makes and deploy/azure/baseline.bicep says.

Bodies have the form of Azure Resource Manager, which is that of Bicep ("Microsoft.Storage
storageAccounts", "Microsoft.DocumentDB databaseAccounts" in the template reference).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from services.azure.roles import ROLES
from services.records.cosmos.schema import container_definition

__all__ = [
    "API_VERSIONS",
    "CORS_EXPOSED",
    "CORS_HEADERS",
    "CORS_METHODS",
    "MAX_THROUGHPUT",
    "SAS_PERIOD",
    "SKU",
    "SOFT_DELETE_DAYS",
    "STAGED_DAYS",
    "STAGED_PREFIX",
    "STAGED_RULE",
    "VERSIONS_DAYS",
    "VERSIONS_RULE",
    "Baseline",
    "Resource",
    "assignment_name",
    "blob_assignment",
    "blob_service",
    "container",
    "cors_rule",
    "cosmos_account",
    "cosmos_assignment",
    "cosmos_container",
    "cosmos_database",
    "lifecycle",
    "resource_group",
    "resources",
    "staged_rule",
    "storage_account",
    "versions_rule",
]

API_VERSIONS: Final[Mapping[str, str]] = {
    "Microsoft.Resources": "2024-03-01",
    "Microsoft.Storage": "2024-01-01",
    "Microsoft.DocumentDB": "2024-11-15",
    "Microsoft.Authorization": "2022-04-01",
}
"""By provider: the versions in which the bodies below are written, and the templates are."""

SKU: Final = "Standard_LRS"
"""Three copies in one place. What an existing account has stays."""
SAS_PERIOD: Final = "00.01:15:00"
"""The longest life of a signed URL, DD.HH:MM:SS: our uploads and copies live an hour and begin
a quarter of one back. Any that somebody else signs for longer is refused (Microsoft Learn,
"Configure an expiration policy for shared access signatures")."""
VERSIONS_RULE: Final = "workspace-expire-old-versions"
VERSIONS_DAYS: Final = 1
SOFT_DELETE_DAYS: Final = 30
"""Days a deleted or replaced file can be brought back; then it is gone, as erasure wants.
An old version's age counts from when it was written, so the rule ends it within a day or
two of being replaced, and soft delete keeps it from then on (Microsoft Learn, "Soft delete
for blobs", "Configure a lifecycle management policy")."""
_BLOB_TYPES: Final = ("blockBlob", "appendBlob")
"""All that rules can remove: who holds the URL of a part may make the staged blob of any
kind, also after its upload was dropped."""
STAGED_RULE: Final = "workspace-expire-staged"
STAGED_PREFIX: Final = ".multipart/"
STAGED_DAYS: Final = 8
"""Uploads in parts are joined there and copied to their key (services/objects/azure_blob/
staging.py); what a process that died left behind is bytes that no record names, nor erasure
finds. An upload may stay pending for 7 days."""
CORS_METHODS: Final = ("GET", "HEAD", "PUT")
CORS_HEADERS: Final = ("content-type", "if-none-match", "range", "x-ms-blob-type")
"""What browsers must be allowed to send: the headers that upload URLs want."""
CORS_EXPOSED: Final = ("ETag", "Content-Range", "Accept-Ranges", "Content-Disposition")
MAX_THROUGHPUT: Final = 1000
"""RU/s: the least that autoscale takes; it falls to a tenth when nothing happens."""

_NAMESPACE: Final = uuid.UUID("6f0c7d3e-6a0b-5c0e-9d52-2f4f6c1f2a11")


@dataclass(frozen=True, slots=True)
class Baseline:
    """What is asked for. `allow_origins` are web origins that may use signed URLs;
    `keep_versions_days` is for an account that keeps deleted files otherwise already: None
    leaves that alone. `serverless` and `free_tier` count when the account is made."""

    location: str
    resource_group: str
    storage_account: str
    storage_container: str
    cosmos_account: str
    cosmos_database: str
    cosmos_container: str
    tags: Mapping[str, str] = field(default_factory=dict)
    allow_origins: tuple[str, ...] = ()
    keep_versions_days: int | None = None
    serverless: bool = False
    free_tier: bool = False
    max_throughput: int = MAX_THROUGHPUT

    @property
    def versions_days(self) -> int:
        return self.keep_versions_days or SOFT_DELETE_DAYS


@dataclass(frozen=True, slots=True)
class Resource:
    """`kind` is the type, `name` the names of parents and its own, as in a template."""

    kind: str
    name: str
    body: Mapping[str, Any]

    @property
    def api_version(self) -> str:
        return API_VERSIONS[self.kind.partition("/")[0]]

    def path(self, group: str) -> str:
        """The identifier below the resource group's identifier."""
        provider, *types = self.kind.split("/")
        pairs = zip(types, self.name.split("/"), strict=True)
        return f"{group}/providers/{provider}/" + "/".join(map("/".join, pairs))


def resource_group(wanted: Baseline) -> dict[str, Any]:
    """Its location is where its own data is, not where its resources are."""
    return {"location": wanted.location, "tags": dict(wanted.tags)}


def storage_account(wanted: Baseline) -> Resource:
    """Only signed-in callers, over TLS; no account keys, so no SAS of account keys. Who holds
    an upload URL may fill it by a copy: from accounts of this tenant alone (Microsoft Learn,
    "Restrict the source of copy operations to a storage account"). Our own copies stay in
    the account."""
    properties = {
        "accessTier": "Hot",
        "allowedCopyScope": "AAD",
        "allowBlobPublicAccess": False,
        "allowCrossTenantReplication": False,
        "allowSharedKeyAccess": False,
        "defaultToOAuthAuthentication": True,
        "minimumTlsVersion": "TLS1_2",
        "sasPolicy": {"expirationAction": "Block", "sasExpirationPeriod": SAS_PERIOD},
        "supportsHttpsTrafficOnly": True,
    }
    body = {
        "kind": "StorageV2", "location": wanted.location, "sku": {"name": SKU},
        "tags": dict(wanted.tags), "properties": properties,
    }  # fmt: skip
    return Resource("Microsoft.Storage/storageAccounts", wanted.storage_account, body)


def blob_service(wanted: Baseline) -> Resource:
    """Versions and soft delete, and which web pages may use signed URLs."""
    retention = {"enabled": True, "days": wanted.versions_days}
    rules = [cors_rule(wanted.allow_origins)] if wanted.allow_origins else []
    properties = {
        "isVersioningEnabled": True,
        "deleteRetentionPolicy": dict(retention),
        "containerDeleteRetentionPolicy": dict(retention),
        "cors": {"corsRules": rules},
    }
    return Resource(
        "Microsoft.Storage/storageAccounts/blobServices", f"{wanted.storage_account}/default",
        {"properties": properties},
    )  # fmt: skip


def cors_rule(origins: tuple[str, ...]) -> dict[str, Any]:
    """Pages of these origins may use signed URLs."""
    return {
        "allowedOrigins": list(origins),
        "allowedMethods": list(CORS_METHODS),
        "allowedHeaders": list(CORS_HEADERS),
        "exposedHeaders": list(CORS_EXPOSED),
        "maxAgeInSeconds": 3600,
    }


def container(wanted: Baseline) -> Resource:
    """The private container of the files."""
    return Resource(
        "Microsoft.Storage/storageAccounts/blobServices/containers",
        f"{wanted.storage_account}/default/{wanted.storage_container}",
        {"properties": {"publicAccess": "None"}},
    )


def versions_rule(wanted: Baseline) -> dict[str, Any]:
    """Old versions in our container; not those of other containers."""
    old = {"delete": {"daysAfterCreationGreaterThan": VERSIONS_DAYS}}
    filters = {"blobTypes": [*_BLOB_TYPES], "prefixMatch": [f"{wanted.storage_container}/"]}
    return {
        "name": VERSIONS_RULE,
        "enabled": True,
        "type": "Lifecycle",
        "definition": {"actions": {"version": old}, "filters": filters},
    }


def staged_rule(wanted: Baseline) -> dict[str, Any]:
    """Joined parts that nobody copied to their key, with the snapshots that uploaders took."""
    old = {
        "baseBlob": {"delete": {"daysAfterModificationGreaterThan": STAGED_DAYS}},
        "snapshot": {"delete": {"daysAfterCreationGreaterThan": STAGED_DAYS}},
    }
    prefix = f"{wanted.storage_container}/{STAGED_PREFIX}"
    filters = {"blobTypes": [*_BLOB_TYPES], "prefixMatch": [prefix]}
    return {
        "name": STAGED_RULE,
        "enabled": True,
        "type": "Lifecycle",
        "definition": {"actions": old, "filters": filters},
    }


def lifecycle(wanted: Baseline) -> Resource:
    """What goes by itself."""
    return Resource(
        "Microsoft.Storage/storageAccounts/managementPolicies",
        f"{wanted.storage_account}/default",
        {"properties": {"policy": {"rules": [versions_rule(wanted), staged_rule(wanted)]}}},
    )


def cosmos_account(wanted: Baseline) -> Resource:
    """One region writes, reads see every acknowledged write, no account keys."""
    region = {
        "locationName": wanted.location, "failoverPriority": 0, "isZoneRedundant": False
    }  # fmt: skip
    properties = {
        "databaseAccountOfferType": "Standard",
        "locations": [region],
        "consistencyPolicy": {"defaultConsistencyLevel": "Strong"},
        "enableMultipleWriteLocations": False,
        "disableLocalAuth": True,
        "disableKeyBasedMetadataWriteAccess": True,
        "minimalTlsVersion": "Tls12",
        "backupPolicy": {
            "type": "Continuous", "continuousModeProperties": {"tier": "Continuous7Days"}
        },
        "enableFreeTier": wanted.free_tier,
        "capabilities": [{"name": "EnableServerless"}] if wanted.serverless else [],
    }  # fmt: skip
    body = {
        "kind": "GlobalDocumentDB", "location": wanted.location, "tags": dict(wanted.tags),
        "properties": properties,
    }  # fmt: skip
    return Resource("Microsoft.DocumentDB/databaseAccounts", wanted.cosmos_account, body)


def cosmos_database(wanted: Baseline) -> Resource:
    """Throughput is the container's."""
    return Resource(
        "Microsoft.DocumentDB/databaseAccounts/sqlDatabases",
        f"{wanted.cosmos_account}/{wanted.cosmos_database}",
        {"properties": {"resource": {"id": wanted.cosmos_database}, "options": {}}},
    )


def cosmos_container(wanted: Baseline) -> Resource:
    """Partition key, indexes and expiry are those of services/records/cosmos/schema.py."""
    throughput = {"autoscaleSettings": {"maxThroughput": wanted.max_throughput}}
    options: dict[str, Any] = {} if wanted.serverless else throughput
    properties = {"resource": container_definition(wanted.cosmos_container), "options": options}
    return Resource(
        "Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers",
        f"{wanted.cosmos_account}/{wanted.cosmos_database}/{wanted.cosmos_container}",
        {"properties": properties},
    )


def blob_assignment(subscription: str, principal: str) -> dict[str, Any]:
    """The properties of the role assignment on the storage account: signing needs a key
    of the account's, so the container is not enough."""
    definition = "providers/Microsoft.Authorization/roleDefinitions"
    return {
        "roleDefinitionId": f"/subscriptions/{subscription}/{definition}/"
        f"{ROLES['blob'].identifier}",
        "principalId": principal,
    }


def cosmos_assignment(account: str, principal: str) -> dict[str, Any]:
    """The properties of the assignment inside of the Cosmos DB account with identifier
    `account`."""
    return {
        "roleDefinitionId": f"{account}/sqlRoleDefinitions/{ROLES['cosmos'].identifier}",
        "scope": account,
        "principalId": principal,
    }


def assignment_name(scope: str, principal: str, role: str) -> str:
    """The same GUID for the same assignment, so that a second run makes no second one."""
    return str(uuid.uuid5(_NAMESPACE, f"{scope}\n{principal}\n{role}".lower()))


def resources(wanted: Baseline) -> list[Resource]:
    """All that a template of the resource group holds, in the order of making."""
    return [
        storage_account(wanted), blob_service(wanted), container(wanted), lifecycle(wanted),
        cosmos_account(wanted), cosmos_database(wanted), cosmos_container(wanted),
    ]  # fmt: skip
