"""The container as data: what setup creates, templates declare, and `open` insists on.

One container holds everything: items, and one row of the driver's own, which names this
store. Every order of the port is the order of one text property (see codec.py), and no
other property is indexed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.model.errors import Reason, WorkspaceError
from services.model.indexes import Index

__all__ = [
    "INDEXES", "KEY_PROPERTY", "OWN_ID", "OWN_PK", "check_container", "container_definition",
    "index_property", "is_own", "refused",
]  # fmt: skip

OWN_PK, OWN_ID = "~STORE", "STORE"
"""The partition of the driver's own row, which no item has, and its id."""
KEY_PROPERTY = "k"
"""What keys are ordered by."""
INDEXES: tuple[Index, ...] = tuple(index for index in Index if index is not Index.BASE)
_PARTITION_PATH = "/pk"
_WRONG = (
    "use a new container name and `wm setup azure`, which makes the right one; what is in this "
    "container is left alone"
)


def is_own(pk: str) -> bool:
    """Whether a partition is the driver's own, and no item's."""
    return pk == OWN_PK


def index_property(index: Index) -> str:
    """What an index is ordered by: `i1` to `i4`; of the base table `k`."""
    return KEY_PROPERTY if index is Index.BASE else f"i{index.value}"


def container_definition(name: str) -> dict[str, Any]:
    """The resource of the container (Cosmos DB REST, "Create a Collection"; "Indexing
    policies"). A default time to live of -1 switches expiry on, for rows that ask for it."""
    ordered = [index_property(index) for index in Index]
    return {
        "id": name,
        "partitionKey": {"paths": [_PARTITION_PATH], "kind": "Hash", "version": 2},
        "indexingPolicy": {
            "indexingMode": "consistent",
            "automatic": True,
            "includedPaths": [{"path": f"/{each}/?"} for each in ordered],
            "excludedPaths": [{"path": "/*"}, {"path": '/"_etag"/?'}],
        },
        "defaultTtl": -1,
    }


def check_container(properties: Mapping[str, Any]) -> None:
    """Raises INVALID_STATE when it is not our container: what differs is named. More
    indexed paths do no harm, but cost."""
    differences = [
        *_key_differences(properties.get("partitionKey") or {}),
        *_index_differences(properties.get("indexingPolicy") or {}),
    ]
    if properties.get("defaultTtl") != -1:
        differences.append("its time to live is not 'on, no default' (-1)")
    if (properties.get("uniqueKeyPolicy") or {}).get("uniqueKeys"):
        differences.append("it has unique keys")
    if differences:
        raise refused(
            str(properties.get("id", "")), f"has another form: {'; '.join(differences)}; {_WRONG}",
            schema="another",
        )  # fmt: skip


def refused(container: str, what: str, **metadata: str) -> WorkspaceError:
    """An error for people about the container."""
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE,
        f"the Cosmos DB container {container} {what}",
        metadata={"field": "WM_AZURE_COSMOS_CONTAINER", **metadata},
    )


def _key_differences(found: Mapping[str, Any]) -> list[str]:
    paths = list(found.get("paths") or ())
    if paths != [_PARTITION_PATH]:
        return [f"its partition key is {', '.join(map(str, paths)) or 'none'}, not /pk"]
    if found.get("kind", "Hash") != "Hash" or found.get("version") != 2:
        return ["its partition key is not hashed in version 2"]
    return []


def _index_differences(found: Mapping[str, Any]) -> list[str]:
    if str(found.get("indexingMode", "")).lower() != "consistent":
        return ["its indexing mode is not consistent"]
    if found.get("automatic") is False:
        return ["its indexing is not automatic"]
    included, excluded = (
        {str(each.get("path")) for each in found.get(name) or ()}
        for name in ("includedPaths", "excludedPaths")
    )
    wanted = [index_property(index) for index in Index]
    missing = [each for each in wanted if not _is_indexed(each, included, excluded)]
    return [f"no index on /{each}" for each in missing]


def _is_indexed(name: str, included: set[str], excluded: set[str]) -> bool:
    """The more precise path wins ("Indexing policies: include/exclude precedence")."""
    own = {f"/{name}/?", f"/{name}/*"}
    if own & included:
        return f"/{name}/?" in included or not own & excluded
    return "/*" in included and "/*" not in excluded and not own & excluded
