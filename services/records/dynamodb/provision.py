"""Makes the table. What hardens it (recovery, protection, encryption) is setup's."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from services.aws.clients import AwsClients
from services.aws.failures import Kind
from services.model.errors import Reason, WorkspaceError
from services.records.dynamodb.calls import CallFailed, Deadline, TableCalls, pauses, setup_error
from services.records.dynamodb.schema import TTL_ATTRIBUTE, table_definition

__all__ = ["await_active", "create_table", "ensure_table", "switch_on_expiry"]

_CALL_SECONDS = 20.0
_CREATE_SECONDS = 120.0
_GOOD = ("ACTIVE", "UPDATING")
_COMING = ("CREATING",)


async def ensure_table(
    clients: AwsClients, name: str, *, tags: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The table, made if there is none, usable, and with expiry on; its description.
    Raises WorkspaceError with the remedy."""
    await create_table(clients, name, tags or {})
    description = await await_active(clients, name, seconds=_CREATE_SECONDS)
    await switch_on_expiry(clients, name)
    return description


async def create_table(clients: AwsClients, name: str, tags: Mapping[str, str]) -> bool:
    """Ask for the table; whether there was none. It is usable some seconds later
    (`await_active`). Raises WorkspaceError with the remedy."""
    definition = table_definition(name)
    if tags:
        definition["Tags"] = [{"Key": key, "Value": tags[key]} for key in sorted(tags)]
    try:
        await _call(clients, name, "create_table", **definition)
    except CallFailed as failed:
        if failed.failure.code == "ResourceInUseException":
            return False
        raise setup_error(failed, name) from failed
    return True


async def await_active(
    clients: AwsClients, name: str, *, seconds: float = _CALL_SECONDS
) -> dict[str, Any]:
    """The description of the table once it and its indexes can be used. Raises
    WorkspaceError with the remedy, also when that takes longer than `seconds`."""
    deadline = Deadline(seconds)
    for pause in pauses():
        try:
            answer = await _call(clients, name, "describe_table", deadline, TableName=name)
        except CallFailed as failed:
            raise setup_error(failed, name) from failed
        description: dict[str, Any] = answer["Table"]
        waited_for = _not_ready(description)
        if waited_for is None:
            return description
        if pause >= deadline.left:
            raise _unusable(name, f"{waited_for}; repeat in a minute")
        await asyncio.sleep(pause)
    raise AssertionError("unreachable")


async def switch_on_expiry(clients: AwsClients, name: str) -> bool:
    """Let DynamoDB remove expired rows; whether it did not yet."""
    try:
        answer = await _call(clients, name, "describe_time_to_live", TableName=name)
        found = answer.get("TimeToLiveDescription", {})
        if found.get("TimeToLiveStatus") in ("ENABLED", "ENABLING"):
            if found.get("AttributeName") in (TTL_ATTRIBUTE, None):
                return False
            raise _unusable(
                name,
                f"removes rows by the attribute {found['AttributeName']}, which is not ours; "
                "switch that off, or use another table",
            )
        await _call(
            clients, name, "update_time_to_live", TableName=name,
            TimeToLiveSpecification={"Enabled": True, "AttributeName": TTL_ATTRIBUTE},
        )  # fmt: skip
    except CallFailed as failed:
        raise setup_error(failed, name) from failed
    return True


async def _call(
    clients: AwsClients,
    name: str,
    operation: str,
    deadline: Deadline | None = None,
    **parameters: Any,
) -> dict[str, Any]:
    """One call, repeated while the service asks for that. Raises CallFailed."""
    calls, limit = TableCalls(clients, name), deadline or Deadline(_CALL_SECONDS)
    for pause in pauses():
        try:
            return await calls.once(operation, limit, **parameters)
        except CallFailed as failed:
            if failed.failure.kind is Kind.FULL or not failed.failure.passing:
                raise
            if pause >= limit.left:
                raise
        await asyncio.sleep(pause)
    raise AssertionError("unreachable")


def _not_ready(description: Mapping[str, Any]) -> str | None:
    """What there is to wait for; None when nothing. Raises INVALID_STATE for a state
    that waiting does not change."""
    name = str(description.get("TableName"))
    status = description.get("TableStatus", "ACTIVE")
    if status in _COMING:
        return "is still being made"
    if status not in _GOOD:
        raise _unusable(name, f"is {str(status).lower()}: it cannot be used in that state")
    for index in description.get("GlobalSecondaryIndexes", ()):
        if index.get("IndexStatus", "ACTIVE") in _COMING:
            return f"fills its index {index.get('IndexName')}"
    return None


def _unusable(table: str, what: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE,
        f"the DynamoDB table {table} {what}",
        metadata={"field": "WM_AWS_DYNAMODB_TABLE"},
    )
