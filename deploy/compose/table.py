"""In the container `table` of compose.aws.yaml: make the table, once DynamoDB Local answers.

python table.py URL NAME
"""

from __future__ import annotations

import asyncio
import sys
import time

from services.aws.clients import AwsClients
from services.aws.place import AwsPlace
from services.model.errors import WorkspaceError
from services.records.dynamodb.provision import ensure_table
from services.records.port import DriverUnavailable

_SECONDS = 120.0


async def main(url: str, name: str) -> int:
    """0 when the table is there; else 1, with the reason."""
    clients = AwsClients(AwsPlace("us-east-1", endpoints={"dynamodb": url}))
    deadline = time.monotonic() + _SECONDS
    try:
        while True:
            try:
                await ensure_table(clients, name)
            except (DriverUnavailable, WorkspaceError) as error:
                if time.monotonic() > deadline:
                    sys.stderr.write(f"{error}\n")
                    return 1
            else:
                sys.stdout.write(f"The table {name} is there.\n")
                return 0
            await asyncio.sleep(1)
    finally:
        await clients.close()


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main(*sys.argv[1:])))
