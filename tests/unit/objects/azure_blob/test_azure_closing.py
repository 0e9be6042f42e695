"""A driver that is closed while calls are under way, to a service that does not answer."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from services.objects.azure_blob import AzureBlobDriver
from services.objects.port import PartInfo, StoreUnavailable
from tests.servers.left_open import nothing_left_open
from tests.unit.objects.azure_blob.azure_answers import Answer, answering
from tests.unit.objects.azure_blob.test_azure_containers import SEAL_KEY, good, opening, saying

pytestmark = pytest.mark.usefixtures("azure_environment")

DEADLINE = 60.0
"""For what takes no time: a busy machine may."""
ID = "0" * 32
PART = 1000


async def write(driver: AzureBlobDriver, size: int) -> object:
    data = b"x" * size
    sha256 = hashlib.sha256(data).hexdigest()

    async def stream() -> AsyncIterator[bytes]:
        yield data

    return await driver.write("key", stream(), size=size, sha256=sha256, content_type="a/b")


async def read(driver: AzureBlobDriver) -> object:
    return [chunk async for chunk in driver.open_read("key")]


CALLS: dict[str, Callable[[AzureBlobDriver], Awaitable[Any]]] = {
    "head": lambda driver: driver.head("key"),
    "read": read,
    "list": lambda driver: driver.list(""),
    "write": lambda driver: write(driver, PART),
    "write in blocks": lambda driver: write(driver, 3 * PART),
    "copy": lambda driver: driver.copy("key", "other"),
    "delete": lambda driver: driver.delete("key"),
    "begin": lambda driver: driver.multipart_create("key", "a/b"),
    "parts": lambda driver: driver.multipart_parts("key", ID),
    "complete": lambda driver: driver.multipart_complete(
        "key", ID, [PartInfo(1, 1, "", "")], size=1, sha256="0" * 64
    ),
    "abort": lambda driver: driver.multipart_abort("key", ID),
    "probe": lambda driver: driver.probe(),
}


class Silent:
    """Says nothing while `hangs`."""

    def __init__(self) -> None:
        self.hangs = threading.Event()
        self.asked = threading.Event()
        self.released = threading.Event()
        self._say = saying(good(), blob=SEAL_KEY)

    def __call__(self, method: str, path: str) -> Answer:
        if self.hangs.is_set():
            self.asked.set()
            self.released.wait(DEADLINE)
        answer: Answer = self._say(method, path)
        return answer


@pytest.fixture
def silent() -> Iterator[Silent]:
    made = Silent()
    yield made
    made.released.set()


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_under_way_ends_with_the_driver(silent: Silent, name: str) -> None:
    with answering(silent) as server:
        driver = await opening(server.url, part_bytes=PART)
        silent.hangs.set()
        with nothing_left_open():
            calling = asyncio.ensure_future(CALLS[name](driver))
            assert await asyncio.to_thread(silent.asked.wait, DEADLINE)
            await driver.close()
            with pytest.raises(StoreUnavailable, match="is closed"):
                await calling
            del calling
        silent.released.set()


@pytest.mark.parametrize("name", CALLS)
async def test_a_closed_driver_is_unavailable(silent: Silent, name: str) -> None:
    with answering(silent) as server:
        driver = await opening(server.url, part_bytes=PART)
        await driver.close()
        server.asked.clear()
        with pytest.raises(StoreUnavailable, match="is closed"):
            await CALLS[name](driver)
        assert server.asked == []
