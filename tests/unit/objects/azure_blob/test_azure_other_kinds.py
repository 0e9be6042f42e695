"""Page blobs and blobs to append to, which a URL that may write or create can make where only
block blobs are expected. They count as what their bytes are, and never as an outage."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest

from services.objects.azure_blob import AzureBlobDriver
from services.objects.azure_blob.reading import Digest
from services.objects.azure_blob.staging import staged_name
from services.objects.port import (
    ObjectExists,
    ObjectInfo,
    ObjectMissing,
    PartInfo,
    SignRequest,
    WrongBytes,
)
from tests.servers import azure, containers
from tests.servers.marks import needs_azurite

pytestmark = [needs_azurite, pytest.mark.usefixtures("azure_environment")]

PART = 1024
DATA = b"parts of" * 128
SHA = hashlib.sha256(DATA).hexdigest()
PAGE, APPEND = (
    {"x-ms-blob-type": "PageBlob", "x-ms-blob-content-length": str(PART)},
    {"x-ms-blob-type": "AppendBlob"},
)
KINDS = pytest.mark.parametrize("kind", [PAGE, APPEND], ids=["page", "append"])


@dataclass
class Uploader:
    """A driver, and a client that has nothing but URLs."""

    driver: AzureBlobDriver
    client: httpx.AsyncClient

    async def begun(self) -> str:
        return await self.driver.multipart_create("key", "a/b", SHA)

    async def send(self, multipart_id: str) -> int:
        return (await self.client.put(self._part(multipart_id), content=DATA)).status_code

    async def spoil(self, multipart_id: str, kind: dict[str, str]) -> None:
        """Make the staged blob another kind, with the announced bytes where it can be."""
        parts = urlsplit(self._part(multipart_id))
        of_part = ("comp=", "blockid=")
        query = "&".join(each for each in parts.query.split("&") if not each.startswith(of_part))
        url = urlunsplit(parts._replace(query=query))
        assert (await self.client.put(url, headers=kind)).status_code == 201
        if kind is PAGE:
            pages = {"x-ms-range": f"bytes=0-{PART - 1}", "x-ms-page-write": "update"}
            sent = await self.client.put(f"{url}&comp=page", headers=pages, content=DATA)
            assert sent.status_code == 201

    async def foreign(self, kind: dict[str, str]) -> None:
        """At the key itself, by a URL to create it."""
        request = SignRequest("PUT", "key", 60, size=PART, content_type="a/b", sha256=SHA)
        sent = await self.client.put(self.driver.sign(request).url, headers=kind)
        assert sent.status_code == 201

    async def complete(self, multipart_id: str) -> ObjectInfo:
        return await self.driver.multipart_complete(
            "key", multipart_id, [PartInfo(1, PART, "", "")], size=PART, sha256=SHA
        )

    def _part(self, multipart_id: str) -> str:
        request = SignRequest("PUT", "key", 60, size=PART, upload_part=(multipart_id, 1))
        return self.driver.sign(request).url


@pytest.fixture
async def uploader() -> AsyncIterator[Uploader]:
    driver = await AzureBlobDriver.open(
        containers.local_clients(), azure.ACCOUNT, containers.new_container(), part_bytes=PART
    )
    async with httpx.AsyncClient(verify=azure.trusted(), trust_env=False) as client:
        yield Uploader(driver, client)
    await driver.close()


async def write(driver: AzureBlobDriver, key: str, size: int) -> ObjectInfo:
    async def stream() -> AsyncIterator[bytes]:
        yield b"y" * size  # of zeros, a page blob would be the same bytes

    return await driver.write(key, stream(), size=size, sha256=None, content_type="a/b")


@KINDS
async def test_a_staged_blob_of_another_kind_has_no_parts_and_takes_them_again(
    uploader: Uploader, kind: dict[str, str]
) -> None:
    """Were it left, the store would refuse every part that is sent again."""
    multipart_id = await uploader.begun()
    await uploader.spoil(multipart_id, kind)
    assert await uploader.send(multipart_id) == 409
    assert await uploader.driver.multipart_parts("key", multipart_id) == ()
    assert await uploader.send(multipart_id) == 201
    assert (await uploader.complete(multipart_id)).sha256 == SHA


@KINDS
async def test_it_is_no_upload_though_it_has_the_bytes(
    uploader: Uploader, kind: dict[str, str]
) -> None:
    multipart_id = await uploader.begun()
    await uploader.send(multipart_id)
    await uploader.spoil(multipart_id, kind)
    with pytest.raises(WrongBytes):
        await uploader.complete(multipart_id)
    with pytest.raises(ObjectMissing):
        await uploader.driver.head("key")


@KINDS
async def test_parts_that_are_replaced_after_they_were_listed(
    uploader: Uploader, kind: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    multipart_id = await uploader.begun()
    await uploader.send(multipart_id)
    staging = uploader.driver._staging
    real = staging._joined

    async def joined(*arguments: object) -> object:
        await uploader.spoil(multipart_id, kind)
        return await real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(staging, "_joined", joined)
    with pytest.raises(WrongBytes):
        await uploader.complete(multipart_id)


@KINDS
async def test_an_upload_that_is_dropped_takes_it_along(
    uploader: Uploader, kind: dict[str, str]
) -> None:
    """As the collector does with uploads that are due: rules of the account cannot remove
    page blobs."""
    multipart_id = await uploader.begun()
    await uploader.spoil(multipart_id, kind)
    await uploader.driver.multipart_abort("key", multipart_id)
    assert await uploader.driver._reading.find(staged_name("key", multipart_id)) is None


@KINDS
@pytest.mark.parametrize("size", [PART, 3 * PART], ids=["whole", "blocks"])
async def test_a_key_that_holds_one_is_taken(
    uploader: Uploader, kind: dict[str, str], size: int
) -> None:
    await uploader.foreign(kind)
    with pytest.raises(ObjectExists):
        await write(uploader.driver, "key", size)
    await uploader.driver.delete("key")
    assert (await write(uploader.driver, "key", size)).size == size


@KINDS
async def test_a_copy_finds_it_in_the_last_moment(
    uploader: Uploader, kind: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = uploader.driver
    await write(driver, "source", PART)
    copying, looks = driver._copying, list[ObjectInfo | None]()
    real = copying.same

    async def same(*arguments: object) -> ObjectInfo | None:
        looks.append(await real(*arguments))  # type: ignore[arg-type]
        if len(looks) == 1:
            await uploader.foreign(kind)
        return looks[-1]

    monkeypatch.setattr(copying, "same", same)
    source = await driver._reading.find("source")
    assert source is not None
    with pytest.raises(ObjectExists):
        await copying.place(source, "key", Digest(PART, source.info.sha256), "a/b")
    assert looks == [None]
