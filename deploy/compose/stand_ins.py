"""In the container `azure` of compose.azure.yaml: the stand-in for Cosmos DB at port 8081
(TLS), the managed identity at 8082, and what the workspace needs there and in Azurite.

python stand_ins.py [--check]
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

from azure.core.exceptions import AzureError, ResourceExistsError
from azure.identity.aio import ManagedIdentityCredential
from azure.storage.blob.aio import ContainerClient

from services.records.cosmos.schema import container_definition
from tests.fakes.cosmos.client import CosmosControl
from tests.fakes.cosmos.server import run
from tests.fakes.sign_in import SignIn

_COSMOS, _IDENTITY = 8081, 8082
_INSIDE = 18081
_NAME = "workspace"
_CONTAINER = f"https://azurite:10000/devstoreaccount1/{_NAME}"
_TRIES = 60
_READY = Path("/tmp/ready")  # noqa: S108 - of the container


async def main() -> None:
    """Serve until the end. The fakes listen on this container's loopback alone."""
    folder = Path(os.environ["WM_CERTIFICATE"])
    identity = SignIn().start()
    endpoint = identity.environment()
    os.environ.update(endpoint)
    inside = urlsplit(endpoint["IDENTITY_ENDPOINT"]).port
    assert inside is not None
    fake = asyncio.ensure_future(run(_INSIDE, str(folder / "tls.crt"), str(folder / "tls.key")))
    await _pass_on(_COSMOS, _INSIDE)
    await _pass_on(_IDENTITY, inside)
    await asyncio.to_thread(_make_records, str(folder / "ca.crt"))
    await _make_objects(str(folder / "ca.crt"))
    await asyncio.to_thread(_READY.touch)
    await fake


def _make_records(authority: str) -> None:
    control = CosmosControl(f"https://localhost:{_INSIDE}", authority)
    control.account(_NAME).make_container(_NAME, container_definition(_NAME))


async def _make_objects(authority: str) -> None:
    for tried in range(_TRIES):
        credential = ManagedIdentityCredential()
        client = ContainerClient.from_container_url(
            _CONTAINER, credential, connection_verify=authority
        )
        async with credential, client:
            try:
                await client.create_container()
            except ResourceExistsError:
                return
            except AzureError:
                if tried + 1 == _TRIES:
                    raise
            else:
                return
        await asyncio.sleep(1)


async def _pass_on(port: int, inside: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", inside)
        await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))

    await asyncio.start_server(serve, "0.0.0.0", port)  # noqa: S104 - of the container


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


def check() -> int:
    """0 when it serves."""
    with socket.create_connection(("127.0.0.1", _COSMOS), 5):
        return 0 if _READY.exists() else 1


if __name__ == "__main__":
    if "--check" in sys.argv:
        raise SystemExit(check())
    asyncio.run(main())
