"""What is there of the table, read without writing anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from services.aws.setup.api import SetupApi
from services.aws.setup.tags import as_mapping

__all__ = ["TableState", "read_table"]

_GONE = ("ResourceNotFoundException", "TableNotFoundException")


@dataclass(frozen=True, slots=True)
class TableState:
    """`description` as DescribeTable has it; `ttl` the attribute, '' while off."""

    description: Mapping[str, Any]
    recovery: bool = False
    ttl: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def arn(self) -> str:
        return str(self.description.get("TableArn", ""))

    @property
    def on_demand(self) -> bool:
        summary = self.description.get("BillingModeSummary", {})
        return bool(summary.get("BillingMode") == "PAY_PER_REQUEST")

    @property
    def protected(self) -> bool:
        return bool(self.description.get("DeletionProtectionEnabled"))

    @property
    def kms_key(self) -> str:
        """The key of one's own; '' for the service's."""
        sse = self.description.get("SSEDescription", {})
        on = sse.get("Status") in ("ENABLED", "ENABLING", "UPDATING")
        return str(sse.get("KMSMasterKeyArn", "")) if on else ""


async def describe(api: SetupApi, table: str) -> Mapping[str, Any] | None:
    """DescribeTable's answer; None when there is no such table."""
    found = await api.read(
        "dynamodb", "describe_table", f"table {table}", absent=_GONE, TableName=table
    )
    return None if found is None else found["Table"]


async def read_table(api: SetupApi, table: str) -> TableState | None:
    """The table, None when there is none."""
    description = await describe(api, table)
    if description is None:
        return None
    what = f"table {table}"
    backups = await api.read(
        "dynamodb", "describe_continuous_backups", what, absent=_GONE, TableName=table
    )
    recovery = (backups or {}).get("ContinuousBackupsDescription", {})
    point = recovery.get("PointInTimeRecoveryDescription", {})
    return TableState(
        description,
        recovery=point.get("PointInTimeRecoveryStatus") == "ENABLED",
        ttl=await _ttl(api, table),
        tags=await _tags(api, what, str(description.get("TableArn", ""))),
    )


async def _ttl(api: SetupApi, table: str) -> str:
    found = await api.read("dynamodb", "describe_time_to_live", f"table {table}", TableName=table)
    described = (found or {}).get("TimeToLiveDescription", {})
    on = described.get("TimeToLiveStatus") in ("ENABLED", "ENABLING")
    return str(described.get("AttributeName", "")) if on else ""


async def _tags(api: SetupApi, what: str, arn: str) -> dict[str, str]:
    tags: list[dict[str, str]] = []
    more: dict[str, str] = {}
    while True:
        page = await api.read("dynamodb", "list_tags_of_resource", what, ResourceArn=arn, **more)
        tags += (page or {}).get("Tags", [])
        token = (page or {}).get("NextToken")
        if not token:
            return as_mapping(tags)
        more = {"NextToken": token}
