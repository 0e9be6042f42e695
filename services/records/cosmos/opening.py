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
from services.records.cosmos.gathering import Gathering
from services.records.cosmos.identity import StoreIdentity
from services.records.cosmos.schema import check_container
from services.records.port import DriverUnavailable
from services.records.retrying import Deadline, pauses

__all__ = ["open_account", "open_container", "open_identity"]

T = TypeVar("T")
_SECONDS = 20.0
_STRONG = "Strong"


async def open_account(client: CosmosClient, account: str) -> None:
    """Connect. Raises WorkspaceError with the remedy, also for an account that is no store
    for us, whether it would be the workspace's own or a surface: conditions and decisions
    need Strong consistency, and regions that write side by side keep the later write,
    whatever its condition was."""
    await _answered(client.__aenter__, f"Cosmos DB account {account}")
    await looked_around(client)
    manager: Any = client.client_connection._global_endpoint_manager
    found = manager._database_account_cache  # what connecting has just read
    level = str((found.ConsistencyPolicy or {}).get("defaultConsistencyLevel", ""))
    several = bool(found._EnableMultipleWritableLocations)
    if several or level != _STRONG:
        raise _unfit(account, level, several=several)


async def open_container(calls: ContainerCalls) -> dict[str, Any]:
    """Its properties. Raises WorkspaceError with the remedy when it is missing, or no
    container of ours."""
    properties = await _answered(calls.properties, f"Cosmos DB container {calls.name}")
    check_container(properties)
    return properties


async def open_identity(
    calls: ContainerCalls, identity: StoreIdentity, gathering: Gathering
) -> None:
    """Read, or make, the row that names the store, and see where it lies. Raises
    WorkspaceError with the remedy."""
    try:
        await identity.read()
        await gathering.prove(Deadline(_SECONDS))
    except DriverUnavailable as error:
        cause = error.__cause__
        if isinstance(cause, CallFailed):
            raise setup_error(cause, f"Cosmos DB container {calls.name}") from error
        raise


def _unfit(account: str, level: str, *, several: bool) -> WorkspaceError:
    """Both faults at once, where both are there: mending one would only show the other."""
    faults, remedies = [], []
    if several:
        faults.append(
            "merges the writes of several regions by time, so that an acknowledged change may "
            "vanish"
        )
        remedies.append(
            "use one write region, `az cosmosdb update --enable-multiple-write-locations false`"
        )
    if level != _STRONG:
        faults.append(f"has the default consistency {level or 'unknown'}")
        remedies.append(
            "set it to Strong, `az cosmosdb update --default-consistency-level Strong`"
        )
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE,
        f"the Cosmos DB account {account} {' and '.join(faults)}: {', then '.join(remedies)} "
        "(`wm setup azure` does it)",
        metadata={
            "field": "WM_AZURE_COSMOS_ACCOUNT",
            "capability": "last_writer_wins" if several else "consistency",
        },
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
