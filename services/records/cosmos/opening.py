"""What is looked at before a container is used: the account, and the container."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from azure.cosmos.aio import CosmosClient

from services.azure.failures import Kind
from services.model.errors import Reason, WorkspaceError
from services.records.cosmos.account import looked_around
from services.records.cosmos.calls import ContainerCalls, attempt
from services.records.cosmos.failing import CallFailed, setup_error
from services.records.cosmos.identity import StoreIdentity
from services.records.cosmos.schema import check_container
from services.records.port import DriverUnavailable
from services.records.retrying import Deadline, pauses

__all__ = ["open_account", "open_container", "open_identity"]

T = TypeVar("T")
_SECONDS = 20.0
_STRONG = "Strong"


async def open_account(client: CosmosClient, account: str) -> bool:
    """Connect; whether regions write side by side. Raises WorkspaceError with the remedy,
    also for an account whose reads may be old: conditions and decisions need Strong."""
    await _answered(client.__aenter__, f"Cosmos DB account {account}")
    await looked_around(client)
    manager: Any = client.client_connection._global_endpoint_manager
    found = manager._database_account_cache  # what connecting has just read
    level = str((found.ConsistencyPolicy or {}).get("defaultConsistencyLevel", ""))
    several = bool(found._EnableMultipleWritableLocations)
    if level != _STRONG:
        raise _too_weak(account, level, several=several)
    return several


async def open_container(calls: ContainerCalls) -> dict[str, Any]:
    """Its properties. Raises WorkspaceError with the remedy when it is missing, or no
    container of ours."""
    properties = await _answered(calls.properties, f"Cosmos DB container {calls.name}")
    check_container(properties)
    return properties


async def open_identity(calls: ContainerCalls, identity: StoreIdentity) -> None:
    """Read, or make, the row that names the store. Raises WorkspaceError with the remedy."""
    try:
        await identity.read()
    except DriverUnavailable as error:
        cause = error.__cause__
        if isinstance(cause, CallFailed):
            raise setup_error(cause, f"Cosmos DB container {calls.name}") from error
        raise


def _too_weak(account: str, level: str, *, several: bool) -> WorkspaceError:
    """Accounts with `several` write regions have no Strong consistency."""
    regions = (
        "and writes in several regions: leave one of them, `az cosmosdb update "
        "--enable-multiple-write-locations false`, then "
    )
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE,
        f"the Cosmos DB account {account} has the default consistency {level or 'unknown'}"
        f"{f' {regions}' if several else ': '}set it to Strong, `az cosmosdb update "
        "--default-consistency-level Strong` (`wm setup azure` does it)",
        metadata={"field": "WM_AZURE_COSMOS_ACCOUNT", "capability": "consistency"},
    )


async def _answered(call: Callable[[], Awaitable[T]], what: str) -> T:
    """Repeated while that may help, for 20 seconds."""
    deadline = Deadline(_SECONDS)
    for pause in pauses():
        try:
            return await attempt(call, deadline.left)
        except CallFailed as failed:
            wait = max(pause, failed.failure.retry_after)
            throttled = failed.failure.kind is Kind.THROTTLED
            if not throttled or wait >= deadline.left:
                raise setup_error(failed, what) from failed
        await asyncio.sleep(wait)
    raise AssertionError("unreachable")
