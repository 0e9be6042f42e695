"""The table as data: what setup creates, templates declare, and `open` insists on.

One table holds everything: items, and the driver's own rows, whose partition keys
begin with `FEED` (the change feed's lanes, and the row that names this store).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.model.errors import Reason, WorkspaceError
from services.model.indexes import Index

__all__ = [
    "INDEXES", "OWN_PREFIX", "TTL_ATTRIBUTE", "check_table", "gsi_keys", "gsi_name", "is_own",
    "table_definition",
]  # fmt: skip

OWN_PREFIX = "FEED"
"""Partition keys of the driver's own rows begin so; those of items never do."""
TTL_ATTRIBUTE = "expires_at"
"""Unix seconds; DynamoDB removes the row some time after (within days)."""
INDEXES: tuple[Index, ...] = tuple(index for index in Index if index is not Index.BASE)
"""Each is a global secondary index of the same number, keys only."""
_WRONG = (
    "use an empty table name and `wm setup aws`, which makes the right one; what is in this "
    "table is left alone"
)


def gsi_name(index: Index) -> str:
    """`GSI1` to `GSI4`."""
    return f"GSI{index.value}"


def gsi_keys(index: Index) -> tuple[str, str]:
    """The attributes of an index: its partition and its sort key."""
    return f"{gsi_name(index)}PK", f"{gsi_name(index)}SK"


def is_own(pk: str) -> bool:
    """Whether a partition is the driver's own, and no item's."""
    return pk.startswith(OWN_PREFIX)


def table_definition(name: str) -> dict[str, Any]:
    """Parameters of CreateTable. The TTL attribute is switched on by a call of its own."""
    keys = [("PK", "SK"), *map(gsi_keys, INDEXES)]
    return {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": each, "AttributeType": "S"} for pair in keys for each in pair
        ],
        "KeySchema": _key_schema("PK", "SK"),
        "GlobalSecondaryIndexes": [
            {
                "IndexName": gsi_name(index),
                "KeySchema": _key_schema(*gsi_keys(index)),
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
            for index in INDEXES
        ],
    }


def check_table(description: Mapping[str, Any]) -> bool:
    """Whether regions write side by side (a global table) according to a `Table` of
    DescribeTable. Raises INVALID_STATE when it is not our table: what differs is named.
    More indexes, or indexes with more attributes, do no harm."""
    name = str(description.get("TableName", ""))
    differences = _differences(description, table_definition(name))
    if differences:
        raise _refused(
            name, f"has another schema: {'; '.join(differences)}; {_WRONG}", schema="another"
        )
    if description.get("MultiRegionConsistency") == "STRONG":
        raise _refused(
            name,
            "is a global table of multi-Region strong consistency, which has no transactions; "
            "use a table of one Region",
        )
    return _is_replicated(description)


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    differences = _key_differences("the table", found, wanted)
    types = {each["AttributeName"]: each["AttributeType"] for each in found.get(
        "AttributeDefinitions", ())}
    made = {each["IndexName"]: each for each in found.get("GlobalSecondaryIndexes", ())}
    for index in wanted["GlobalSecondaryIndexes"]:
        label = f"index {index['IndexName']}"
        if index["IndexName"] not in made:
            differences.append(f"{label} is missing")
        else:
            differences += _key_differences(label, made[index["IndexName"]], index)
    for each in wanted["AttributeDefinitions"]:
        attribute = each["AttributeName"]
        if attribute in types and types[attribute] != each["AttributeType"]:
            differences.append(f"{attribute} is of type {types[attribute]}, not S")
    return differences


def _key_differences(
    label: str, found: Mapping[str, Any], wanted: Mapping[str, Any]
) -> list[str]:
    have, want = (
        {each["KeyType"]: each["AttributeName"] for each in side.get("KeySchema", ())}
        for side in (found, wanted)
    )
    if have == want:
        return []
    return [f"{label} has the keys {_said(have)}, not {_said(want)}"]


def _said(keys: Mapping[str, str]) -> str:
    return ", ".join(keys[kind] for kind in ("HASH", "RANGE") if kind in keys) or "none"


def _is_replicated(description: Mapping[str, Any]) -> bool:
    regions = {str(each.get("RegionName")) for each in description.get("Replicas") or ()}
    arn = str(description.get("TableArn", "")).split(":")
    own = {arn[3]} if len(arn) > 3 else set()
    return bool(regions - own) if own else len(regions) > 1


def _key_schema(partition: str, sort: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]


def _refused(table: str, what: str, **metadata: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE,
        f"the DynamoDB table {table} {what}",
        metadata={"field": "WM_AWS_DYNAMODB_TABLE", **metadata},
    )
