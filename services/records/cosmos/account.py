"""The SDK's client of an account, made so that one call is one request.

Its own repetitions are off in each of the places where it has them: throttling
(RetryOptions), connections (ConnectionRetryPolicy), other endpoints (endpoint discovery).
Requests go to the account's own host, which is the write region's.
"""

from __future__ import annotations

import asyncio
import io
import ssl
from typing import Any

import aiohttp
from azure.cosmos._retry_options import RetryOptions
from azure.cosmos.aio import CosmosClient
from azure.cosmos.documents import ConnectionPolicy

from services.azure.clients import AzureClients
from services.azure.transport import SteadyTransport

__all__ = ["account_client", "close_client", "looked_around"]

_CONNECTIONS = 100
_CONNECT_SECONDS = 3.0
_LOOK_SECONDS = 8.0
_WHOLE_BYTES = 512 * 1024


class _Transport(SteadyTransport):
    """Verifies every server, also on loopback, with one TLS context: the SDK would do
    without there, and load the authorities again for each request."""

    async def send(self, request: Any, **config: Any) -> Any:
        config.update(connection_verify=True, connection_cert=None)
        if isinstance(request.data, bytes) and len(request.data) > _WHOLE_BYTES:
            request.data = io.BytesIO(request.data)  # sent in pieces, as aiohttp wants it
        return await super().send(request, **config)


def account_client(clients: AzureClients, account: str) -> CosmosClient:
    """Not connected yet. The caller closes it."""
    place = clients.place
    policy = ConnectionPolicy()
    policy.RetryOptions = RetryOptions(0, None, 0)
    return CosmosClient(
        place.cosmos_url(account),
        clients.credential,
        connection_policy=policy,
        enable_endpoint_discovery=False,
        connection_timeout=min(_CONNECT_SECONDS, place.call_seconds),
        read_timeout=place.call_seconds,
        retry_total=0,
        retry_connect=0,
        retry_read=0,
        retry_status=0,
        enable_compact_utf8_item_writes=True,
        user_agent_suffix="workspace-management",
        transport=_Transport(session=_session(place.ca_file)),
    )


async def looked_around(client: CosmosClient) -> None:
    """Until the SDK has ended its look at the account's endpoints in the background, which
    comes with the first request and every five minutes. It ends by itself in seconds;
    ended in its middle it leaves a connection open."""
    manager: Any = client.client_connection._global_endpoint_manager
    if manager.refresh_task is not None:
        await asyncio.wait([manager.refresh_task], timeout=_LOOK_SECONDS)


async def close_client(client: CosmosClient) -> None:
    """End it and its connections."""
    await looked_around(client)
    await client.close()


def _session(ca_file: str) -> aiohttp.ClientSession:
    """As the SDK makes its own, but for the authorities and the environment (see
    `SteadyTransport`)."""
    context = ssl.create_default_context(cafile=ca_file or None)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context, limit=_CONNECTIONS),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )
