"""Record driver for Amazon DynamoDB.

`DynamoDriver` is loaded on first use, since boto3 is an extra
(`workspace-management[aws]`); the schema of the table needs none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from services.records.dynamodb.driver import DynamoDriver

__all__ = ["DynamoDriver"]


def __getattr__(name: str) -> Any:
    if name == "DynamoDriver":
        from services.records.dynamodb.driver import DynamoDriver

        return DynamoDriver
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
