"""A fresh account of the fake of Cosmos DB, and the SDK's clients for it."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from azure.cosmos.aio import ContainerProxy, CosmosClient

from services.azure.clients import AzureClients
from tests.fakes.cosmos.client import CosmosControl
from tests.servers import azure

DEFINITION: dict[str, Any] = {
    "id": "items",
    "partitionKey": {"paths": ["/pk"], "kind": "Hash", "version": 2},
    "defaultTtl": -1,
    "indexingPolicy": {
        "indexingMode": "consistent",
        "includedPaths": [{"path": "/k/?"}, {"path": "/n/?"}],
        "excludedPaths": [{"path": "/*"}],
        "compositeIndexes": [[{"path": "/n", "order": "ascending"},
                              {"path": "/k", "order": "descending"}]],
    },
}  # fmt: skip


@dataclass(frozen=True)
class Wire:
    """Requests as they are, with a good token: what the SDK would refuse to send."""

    session: aiohttp.ClientSession
    url: str
    token: str

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: Any = None,
        authorization: str | None = None,
        **headers: str,
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Status, JSON and headers; `_` in names of headers is `-`, without `x_ms` too."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent["authorization"] = (
            f"type=aad&ver=1.0&sig={self.token}" if authorization is None else authorization
        )
        if key is not None:
            sent["x-ms-documentdb-partitionkey"] = json.dumps([key])
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        async with self.session.request(
            method, f"{self.url}{path}", data=data, headers=sent
        ) as answer:
            text = await answer.read()
            return answer.status, json.loads(text) if text else None, answer.headers


def calls(account: CosmosControl) -> dict[str, int]:
    """Requests by kind, but for the account, which the SDK reads when it likes."""
    return {kind: count for kind, count in account.counts().items() if kind != "account"}


@pytest.fixture
def account(azure_environment: None) -> CosmosControl:
    """With the container `db/items` of two physical partitions."""
    account = azure.cosmos_account()
    account.make_container("db", DEFINITION)
    return account


@pytest.fixture
async def client(account: CosmosControl) -> AsyncIterator[CosmosClient]:
    """Tries every call once."""
    clients = AzureClients(azure.place({"cosmos": account.url}))
    options = clients.options()
    options.pop("permit_redirects", None)
    async with CosmosClient(account.url, clients.credential, **options) as client:
        client.client_connection.connection_policy.RetryOptions._max_retry_attempt_count = 0
        account.reset()
        yield client
    await clients.close()


@pytest.fixture
def container(client: CosmosClient) -> ContainerProxy:
    return client.get_database_client("db").get_container_client("items")


@pytest.fixture
async def wire(account: CosmosControl) -> AsyncIterator[Wire]:
    tls = ssl.create_default_context(cafile=azure.ca_file())
    token, _ = azure.sign_in().token("https://127.0.0.1")
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
        yield Wire(session, account.url, token)
