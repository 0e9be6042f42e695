"""The key that seals SHA-256 of files is changed as docs/guides/azure.md says: it is deleted,
and processes start again. What was sealed is read instead; no file is lost or refused."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import pytest

from services.objects.azure_blob import AzureBlobDriver
from services.objects.azure_blob.sealing import KEY_BLOB
from tests.servers import azure, containers
from tests.servers.marks import needs_azurite

pytestmark = [pytest.mark.usefixtures("azure_environment"), needs_azurite]
BYTES = b"sealed before"
SHA256 = hashlib.sha256(BYTES).hexdigest()


async def started(name: str) -> AzureBlobDriver:
    """A process that starts."""
    return await AzureBlobDriver.open(containers.local_clients(), azure.ACCOUNT, name)


async def write(driver: AzureBlobDriver, key: str) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield BYTES

    info = await driver.write(
        key, chunks(), size=len(BYTES), sha256=SHA256, content_type="text/plain"
    )
    assert info.sha256 == SHA256


async def known(driver: AzureBlobDriver, key: str) -> str:
    return (await driver.head(key)).sha256


async def read(driver: AzureBlobDriver, key: str) -> bytes:
    return b"".join([chunk async for chunk in driver.open_read(key)])


async def test_the_key_is_changed_and_no_file_is_lost() -> None:
    name = containers.new_container()
    before = await started(name)
    await write(before, "home/first")
    with containers.client(name) as container:
        old = container.download_blob(KEY_BLOB).readall()
        container.delete_blob(KEY_BLOB)
    after = await started(name)
    with containers.client(name) as container:
        assert container.download_blob(KEY_BLOB).readall() != old
    assert await known(after, "home/first") == "", "the seal of the old key says nothing"
    assert await read(after, "home/first") == BYTES
    copied = await after.copy("home/first", "home/copied")
    assert copied.sha256 == await known(after, "home/copied") == SHA256, "it was read"
    # A process from before has the old key until it starts again.
    assert await known(before, "home/first") == SHA256
    await write(before, "home/late")
    assert await known(after, "home/late") == ""
    await before.close()
    again = await started(name)
    await write(again, "home/second")
    for driver in (again, after):
        assert await known(driver, "home/second") == SHA256
        await driver.close()
