"""Record driver for Azure Cosmos DB for NoSQL.

`CosmosDriver` is loaded on first use, since its SDK is an extra
(`workspace-management[azure]`); the schema of the container needs none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from services.records.cosmos.driver import CosmosDriver

__all__ = ["CosmosDriver"]


def __getattr__(name: str) -> Any:
    if name == "CosmosDriver":
        from services.records.cosmos.driver import CosmosDriver

        return CosmosDriver
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
