"""The proxy before Blob Storage: what goes wrong reaches the SDK as the service says it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
)
from azure.storage.blob.aio import ContainerClient

from services.azure.clients import AzureClients
from tests.servers import azure, tools
from tests.servers.faulty import Fault, Faulty

pytestmark = pytest.mark.skipif(not tools.HAS_NPM, reason="capability: Azurite needs npm")
DATA = b"a few bytes"


@pytest.fixture
def proxy() -> Iterator[Faulty]:
    proxy = azure.faulty_blob()
    try:
        yield proxy
    finally:
        proxy.stop()


@pytest.fixture
async def container(proxy: Faulty, azure_environment: None) -> AsyncIterator[ContainerClient]:
    url = f"{proxy.url}/{azure.ACCOUNT}"
    clients = AzureClients(azure.place({"blob": url}))
    async with ContainerClient(
        url, azure.new_name(), credential=clients.credential, **clients.options()
    ) as container:
        await container.create_container()
        proxy.asked.clear()
        yield container
        proxy.plan = lambda _asked: None
        await container.delete_container()
    await clients.close()


async def test_requests_pass_and_are_named(container: ContainerClient, proxy: Faulty) -> None:
    await container.upload_blob("a", DATA)
    blob = await container.download_blob("a")
    assert await blob.readall() == DATA
    await container.delete_blob("a")
    assert [asked.operation for asked, _ in proxy.asked] == ["PUT", "GET", "DELETE"]


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (Fault.THROTTLED, 503, "ServerBusy"),
        (Fault.BROKEN, 500, "InternalError"),
        (Fault.EXPIRED, 401, "InvalidAuthenticationInfo"),
        (Fault.SKEWED, 401, "InvalidAuthenticationInfo"),
    ],
)
async def test_a_refused_write_does_nothing(
    container: ContainerClient, proxy: Faulty, fault: Fault, status: int, code: str
) -> None:
    proxy.plan = lambda _asked: fault
    with pytest.raises(HttpResponseError) as caught:
        await container.upload_blob("a", DATA)
    assert caught.value.status_code == status
    answer: Any = caught.value.response
    assert answer.headers["x-ms-error-code"] == code
    assert isinstance(caught.value, ClientAuthenticationError) == (status == 401)
    proxy.plan = lambda _asked: None
    with pytest.raises(ResourceNotFoundError):
        await container.download_blob("a")


async def test_a_cut_write_does_nothing(container: ContainerClient, proxy: Faulty) -> None:
    proxy.plan = lambda asked: Fault.CUT if asked.operation == "PUT" else None
    with pytest.raises(AzureError):
        await container.upload_blob("a", DATA)
    with pytest.raises(ResourceNotFoundError):
        await container.download_blob("a")


@pytest.mark.parametrize("fault", [Fault.BROKEN_AFTER, Fault.CUT_AFTER, Fault.SILENT_AFTER])
async def test_a_write_without_its_answer_is_there(
    container: ContainerClient, proxy: Faulty, fault: Fault
) -> None:
    proxy.silence = 0.1
    proxy.plan = lambda asked: fault if asked.operation == "PUT" else None
    with pytest.raises(AzureError):
        await container.upload_blob("a", DATA)
    blob = await container.download_blob("a")
    assert await blob.readall() == DATA
