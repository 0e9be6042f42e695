"""What `wm put` and `wm import` send, to URLs of Azure."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from services.cli.exporting.fetch import opened
from services.cli.importing.put import UrlRefused, put_bytes, put_part
from services.cli.importing.source import Source
from services.objects.azure_blob import AzureBlobDriver
from services.objects.port import SignedTransfer, SignRequest
from tests.servers import azure, containers
from tests.servers.marks import needs_azurite

pytestmark = [needs_azurite, pytest.mark.usefixtures("azure_environment")]

DATA = b"bytes of a file\n" * 100_000


@pytest.fixture
async def driver() -> AsyncIterator[AzureBlobDriver]:
    name = containers.new_container()
    made = await AzureBlobDriver.open(containers.local_clients(), azure.ACCOUNT, name)
    yield made
    await made.close()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, verify=azure.trusted()) as client:
        yield client


@pytest.fixture
def source(tmp_path: Path) -> Source:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    return Source(path, len(DATA), hashlib.sha256(DATA).hexdigest())


def upload(driver: AzureBlobDriver, source: Source) -> SignedTransfer:
    return driver.sign(
        SignRequest(
            "PUT", "a/b.txt", 60, size=source.size, content_type="text/plain",
            sha256=source.sha256,
        )
    )


async def test_a_file_and_the_same_again(
    driver: AzureBlobDriver, http: httpx.AsyncClient, source: Source
) -> None:
    """An answer that was lost: what is there is left to the completion."""
    for _ in range(2):
        await put_bytes(http, upload(driver, source), source)
    info = await driver.head("a/b.txt")
    assert (info.size, info.content_type) == (len(DATA), "text/plain")
    async with opened(http, driver.sign(SignRequest("GET", "a/b.txt", 60))) as response:
        assert await response.aread() == DATA


async def test_parts(driver: AzureBlobDriver, http: httpx.AsyncClient, source: Source) -> None:
    multipart_id = await driver.multipart_create("a/b.txt", "text/plain", source.sha256)
    half = len(DATA) // 2
    for number, first in ((1, 0), (2, half)):
        request = SignRequest("PUT", "a/b.txt", 60, size=half, upload_part=(multipart_id, number))
        await put_part(http, driver.sign(request), source, first, half)
    parts = await driver.multipart_parts("a/b.txt", multipart_id)
    info = await driver.multipart_complete(
        "a/b.txt", multipart_id, parts, size=source.size, sha256=source.sha256
    )
    assert info.sha256 == source.sha256


async def test_a_url_that_is_none_any_more(
    driver: AzureBlobDriver, http: httpx.AsyncClient, source: Source
) -> None:
    transfer = upload(driver, source)
    url = transfer.url.replace("sp=c", "sp=w")
    ended = SignedTransfer("PUT", url, transfer.headers, transfer.expires_at)
    with pytest.raises(UrlRefused):
        await put_bytes(http, ended, source)
