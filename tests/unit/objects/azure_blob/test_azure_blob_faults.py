"""What goes wrong on the way: throttling, broken answers, answers that are lost."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

import httpx
import pytest

from services.objects.azure_blob import AzureBlobDriver, copying, reading
from services.objects.azure_blob.reading import Digest, Found
from services.objects.port import (
    ObjectExists,
    ObjectInfo,
    ObjectMissing,
    PartInfo,
    SignRequest,
    StoreUnavailable,
    WrongBytes,
)
from tests.servers import azure, containers
from tests.servers.faulty import Asked, Fault, Faulty
from tests.servers.marks import needs_azurite
from tests.unit.objects.azure_blob.azure_answers import Answer, Say, answering, refused
from tests.unit.objects.azure_blob.test_azure_containers import good, opening, saying

pytestmark = [needs_azurite, pytest.mark.usefixtures("azure_environment")]

DATA = bytes(range(256)) * 1000
PART = 100_000
AFTER = (Fault.BROKEN_AFTER, Fault.CUT_AFTER)
BEFORE = (Fault.THROTTLED, Fault.BROKEN, Fault.CUT)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def proxy() -> Iterator[Faulty]:
    started = azure.faulty_blob()
    yield started
    started.stop()


@pytest.fixture
async def driver(proxy: Faulty) -> AsyncIterator[AzureBlobDriver]:
    opened = await AzureBlobDriver.open(
        containers.local_clients(proxy.url), azure.ACCOUNT, containers.new_container(),
        part_bytes=PART, patience=60,
    )
    yield opened
    await opened.close()


async def write(driver: AzureBlobDriver, key: str, data: bytes = DATA) -> ObjectInfo:
    async def stream() -> AsyncIterator[bytes]:
        yield data

    return await driver.write(
        key, stream(), size=len(data), sha256=sha(data), content_type="text/plain"
    )


async def read(driver: AzureBlobDriver, key: str) -> bytes:
    return b"".join([chunk async for chunk in driver.open_read(key)])


def first_of_each(fault: Fault) -> Callable[[Asked], Fault | None]:
    """Every kind of request goes wrong at its first time, by path and operation."""
    seen: set[tuple[str, str]] = set()

    def plan(asked: Asked) -> Fault | None:
        name = (asked.operation, asked.path.split("&")[0])
        if name in seen:
            return None
        seen.add(name)
        return fault

    return plan


@pytest.mark.parametrize("fault", [*BEFORE, *AFTER], ids=lambda fault: fault.name)
async def test_everything_goes_wrong_once(
    driver: AzureBlobDriver, proxy: Faulty, fault: Fault
) -> None:
    proxy.plan = first_of_each(fault)
    for key, data in (("small", DATA[:1000]), ("large", DATA)):
        assert (await write(driver, key, data)).sha256 == sha(data)
        assert (await driver.head(key)).sha256 == sha(data)
        assert await read(driver, key) == data
        assert (await driver.copy(key, f"{key}-copy")).sha256 == sha(data)
    keys = [info.key for info in (await driver.list("")).objects]
    assert keys == ["large", "large-copy", "small", "small-copy"]
    for key in keys:
        await driver.delete(key)
    assert (await driver.list("")).objects == ()
    assert {found for _, found in proxy.asked if found} == {fault}


@pytest.mark.parametrize("data", [DATA[:1000], DATA], ids=["whole", "blocks"])
async def test_a_lost_answer_does_not_hide_other_bytes(
    driver: AzureBlobDriver, proxy: Faulty, data: bytes
) -> None:
    await write(driver, "key", data)
    proxy.plan = first_of_each(Fault.CUT_AFTER)
    with pytest.raises(ObjectExists):
        await write(driver, "key", data[:-1] + b"?")
    assert await read(driver, "key") == data


async def test_an_upload_in_parts_with_lost_answers(
    driver: AzureBlobDriver, proxy: Faulty
) -> None:
    multipart_id = await driver.multipart_create("key", "text/plain", sha(DATA))
    request = SignRequest("PUT", "key", 60, size=len(DATA), upload_part=(multipart_id, 1))
    async with httpx.AsyncClient(verify=azure.trusted(), trust_env=False) as client:
        assert (await client.put(driver.sign(request).url, content=DATA)).status_code == 201
    parts = await driver.multipart_parts("key", multipart_id)
    proxy.plan = first_of_each(Fault.CUT_AFTER)
    for _ in range(2):
        info = await driver.multipart_complete(
            "key", multipart_id, parts, size=len(DATA), sha256=sha(DATA)
        )
        assert (info.sha256, info.content_type) == (sha(DATA), "text/plain")
    with pytest.raises(ObjectMissing):
        await driver.multipart_parts("key", multipart_id)


@pytest.mark.parametrize("stopped", ["PUT blocklist", "PUT block", "GET", "DELETE"])
async def test_a_completion_that_was_cut_off_goes_on(
    driver: AzureBlobDriver, proxy: Faulty, stopped: str
) -> None:
    """The second process has what the first one left."""
    multipart_id = await driver.multipart_create("key", "text/plain", sha(DATA))
    request = SignRequest("PUT", "key", 60, size=len(DATA), upload_part=(multipart_id, 1))
    async with httpx.AsyncClient(verify=azure.trusted(), trust_env=False) as client:
        assert (await client.put(driver.sign(request).url, content=DATA)).status_code == 201
    parts = await driver.multipart_parts("key", multipart_id)
    driver._wire._patience = 0
    proxy.plan = lambda asked: Fault.CUT_AFTER if asked.operation == stopped else None
    with pytest.raises(StoreUnavailable):
        await driver.multipart_complete(
            "key", multipart_id, parts, size=len(DATA), sha256=sha(DATA)
        )
    proxy.plan = lambda _asked: None
    try:
        parts = await driver.multipart_parts("key", multipart_id)
    except ObjectMissing:  # as storage_svc does it
        parts = [PartInfo(1, len(DATA), "", "")]
    info = await driver.multipart_complete(
        "key", multipart_id, parts, size=len(DATA), sha256=sha(DATA)
    )
    assert info.sha256 == sha(DATA)
    assert [each.key for each in (await driver.list("")).objects] == ["key"]


async def test_what_does_not_pass_is_given_up(driver: AzureBlobDriver, proxy: Faulty) -> None:
    driver._wire._patience = 0
    for fault in (*BEFORE, Fault.SKEWED):
        proxy.plan = lambda _asked, fault=fault: fault  # type: ignore[misc]
        for call in (write(driver, "k"), driver.head("k"), driver.list(""), driver.probe()):
            with pytest.raises(StoreUnavailable):
                await call


async def test_a_blob_that_is_replaced_while_it_is_read(driver: AzureBlobDriver) -> None:
    """All of a read is of one version, whoever wrote past us."""
    driver_step, reading.STEP = reading.STEP, 64 * 1024
    try:
        await write(driver, "key")
        chunks = driver.open_read("key")
        assert len(await anext(chunks)) == 64 * 1024
        await driver._wire.call(
            driver._wire.blob("key").upload_blob, b"x" * len(DATA), overwrite=True
        )
        with pytest.raises(WrongBytes):
            await anext(chunks)
        assert (await driver.head("key")).sha256 == ""
    finally:
        reading.STEP = driver_step


async def test_bytes_that_changed_are_not_served(driver: AzureBlobDriver) -> None:
    """A seal that holds and bytes that do not: the disk of somebody else."""
    await write(driver, "key")
    headers = driver._seals.metadata("key", 5, sha(b"12345"))
    await driver._wire.call(
        driver._wire.blob("key").upload_blob, b"1234?", overwrite=True, metadata=headers
    )
    assert (await driver.head("key")).sha256 == sha(b"12345")
    with pytest.raises(WrongBytes):
        await read(driver, "key")


@pytest.mark.parametrize("place", ["reading", "copying"])
async def test_two_completions_at_once_do_not_fail_each_other(
    driver: AzureBlobDriver, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Who joins second makes another version of what the first one reads or copies."""
    multipart_id = await driver.multipart_create("key", "text/plain", sha(DATA))
    request = SignRequest("PUT", "key", 60, size=len(DATA), upload_part=(multipart_id, 1))
    async with httpx.AsyncClient(verify=azure.trusted(), trust_env=False) as client:
        assert (await client.put(driver.sign(request).url, content=DATA)).status_code == 201
    parts = await driver.multipart_parts("key", multipart_id)
    staging, joined = driver._staging, list[object]()
    verified = staging._verified

    async def join(upload: Any) -> None:
        if not joined:
            joined.append(await staging._joined(upload, parts))

    async def between(upload: Any, found: Found, *more: Any) -> Digest:
        if place == "reading":
            await join(upload)
        digest = await verified(upload, found, *more)
        await join(upload)
        return digest

    monkeypatch.setattr(staging, "_verified", between)
    info = await driver.multipart_complete(
        "key", multipart_id, parts, size=len(DATA), sha256=sha(DATA)
    )
    assert (info.sha256, len(joined)) == (sha(DATA), 1)
    assert await read(driver, "key") == DATA


async def test_a_copy_that_cannot_go_on_asks_for_no_more_blocks(
    driver: AzureBlobDriver, proxy: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large blob there are hundreds, and each would be tried again for a while."""
    monkeypatch.setattr(copying, "BLOCK_BYTES", 1024 * 1024)
    data = DATA * 41  # 10 MiB and more
    await write(driver, "source", data)
    driver._wire._patience = 0
    proxy.asked.clear()
    proxy.plan = lambda asked: Fault.BROKEN if asked.operation == "PUT block" else None
    with pytest.raises(StoreUnavailable):
        await driver.copy("source", "target")
    assert len([asked for asked, _ in proxy.asked if asked.operation == "PUT block"]) <= 4


@pytest.mark.parametrize("first", [True, False])
async def test_an_answer_of_nothing_is_no_end(
    monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    """A blob of 250 bytes in steps of 100, of which the store denies the second, or all."""
    monkeypatch.setattr(reading, "STEP", 100)
    moment = "Fri, 20 Nov 2026 10:00:00 GMT"
    head = {"etag": '"1"', "last-modified": moment, "x-ms-blob-type": "BlockBlob"}
    asked, plain = list[str](), cast("Say", saying(good()))

    def say(method: str, path: str) -> Answer:
        if "key?" not in f"{path}?" or "seal-key" in path or "restype" in path:
            return plain(method, path)
        if method == "HEAD":
            return 200, {**head, "content-length": "250"}, b""
        asked.append(path)
        if first or len(asked) > 1:
            return refused(416, "InvalidRange")
        return 206, {**head, "content-range": "bytes 0-99/250"}, b"x" * 100

    with answering(say) as server:
        driver = await opening(server.url, read_only=True)
        with pytest.raises(StoreUnavailable):
            await read(driver, "key")
        await driver.close()
