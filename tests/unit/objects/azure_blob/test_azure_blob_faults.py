"""What goes wrong on the way: throttling, broken answers, answers that are lost."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest

from services.objects.azure_blob import AzureBlobDriver, reading
from services.objects.port import (
    ObjectExists,
    ObjectInfo,
    ObjectMissing,
    PartInfo,
    SignRequest,
    StoreUnavailable,
    WrongBytes,
)
from tests.conformance.objects.rigs import trusted
from tests.servers import azure, containers
from tests.servers.faulty import Asked, Fault, Faulty
from tests.servers.marks import needs_azurite

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
    async with httpx.AsyncClient(verify=trusted(), trust_env=False) as client:
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
    async with httpx.AsyncClient(verify=trusted(), trust_env=False) as client:
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
