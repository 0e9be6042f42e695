"""A blob that the service is still filling: who holds a URL to create may start Copy Blob from
anywhere ("Copy Blob: working with a pending copy operation"). Azurite copies at once, so the
answers here are a server's that says what Azure documents."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate

import pytest

from services.objects.azure_blob import AzureBlobDriver
from services.objects.port import WrongBytes
from tests.security.test_azure_hostile_store import STAMP
from tests.unit.objects.azure_blob.azure_answers import Answer, Handler, answering, refused
from tests.unit.objects.azure_blob.test_azure_containers import SEAL_KEY, good, opening, saying

pytestmark = pytest.mark.usefixtures("azure_environment")

KEY = "home/file"
PENDING = {"etag": '"1"', "last-modified": STAMP, "x-ms-copy-id": "1",
           "x-ms-copy-status": "pending"}  # fmt: skip


_OF_RANGE = "#range"


class Ranged(Handler):
    """Marks the path of a request for a range."""

    def do_GET(self) -> None:  # noqa: N802 - name of the library
        if self.headers.get("x-ms-range"):
            self.path += _OF_RANGE
        super().do_GET()


@dataclass
class Blob:
    """Bytes that the service shows for the time being, in a store that takes no others."""

    data: bytes
    headers: dict[str, str]

    def __call__(self, method: str, path: str) -> Answer:
        if "seal-key" in path or "restype=" in path:
            answer: Answer = saying(good(), blob=SEAL_KEY)(method, path)
            return answer
        if method == "HEAD":
            return 200, {**self.headers, "content-length": str(len(self.data))}, b""
        if method != "GET":
            return refused(409, "PendingCopyOperation")
        if not self.data:  # as Azure has it: no range of nothing
            empty = path.endswith(_OF_RANGE)
            return refused(416, "InvalidRange") if empty else (200, self.headers, b"")
        last = len(self.data) - 1
        return 206, {**self.headers, "content-range": f"bytes 0-{last}/{last + 1}"}, self.data


async def whole(driver: AzureBlobDriver) -> bytes:
    return b"".join([chunk async for chunk in driver.open_read(KEY)])


async def copied(driver: AzureBlobDriver) -> object:
    return await driver.copy(KEY, "home/other")


@pytest.mark.parametrize("data", [b"", bytes(1000)], ids=["block blob", "page blob"])
@pytest.mark.parametrize("act", [whole, copied])
async def test_bytes_that_are_still_to_come_are_not_verified(
    data: bytes, act: Callable[[AzureBlobDriver], object]
) -> None:
    with answering(Blob(data, PENDING), Ranged) as server:
        driver = await opening(server.url)
        with pytest.raises(WrongBytes, match="still copying"):
            await act(driver)  # type: ignore[misc]
        await driver.close()


async def test_no_seal_counts_before_they_are_there() -> None:
    with answering(Blob(b"", PENDING), Ranged) as server:
        driver = await opening(server.url)
        sealed = driver._seals.metadata(KEY, 0, hashlib.sha256(b"").hexdigest())
        server.say = Blob(b"", {**PENDING, "x-ms-meta-wmseal": sealed["wmseal"],
                                "x-ms-creation-time": formatdate(usegmt=True)})  # fmt: skip
        assert (await driver.head(KEY)).sha256 == ""
        server.say.headers["x-ms-copy-status"] = "success"
        assert (await driver.head(KEY)).sha256 == hashlib.sha256(b"").hexdigest()
        await driver.close()


@pytest.mark.parametrize("status", ["success", "failed", "aborted"])
@pytest.mark.parametrize("data", [b"", b"bytes"])
async def test_what_has_ended_is_bytes_like_others(status: str, data: bytes) -> None:
    with answering(Blob(data, {**PENDING, "x-ms-copy-status": status}), Ranged) as server:
        driver = await opening(server.url)
        assert await whole(driver) == data
        await driver.close()


@pytest.mark.parametrize("ended", [False, True])
async def test_a_copy_that_is_under_way_hinders_no_deletion(ended: bool) -> None:
    """It may take two weeks, and nothing may be changed meanwhile. `ended`: just now."""
    done: list[str] = []
    headers = {**PENDING, "x-ms-copy-status": "success" if ended else "pending"}

    def say(method: str, path: str) -> Answer:
        if KEY not in path or method not in ("PUT", "DELETE"):
            return Blob(b"", headers)(method, path)
        done.append("abort" if "comp=copy&copyid=1" in path else method)
        if len(done) == 1:
            return refused(409, "PendingCopyOperation")
        return 202 if method == "DELETE" else 204, {}, b""

    with answering(say) as server:
        driver = await opening(server.url)
        await driver.delete(KEY)
        await driver.close()
    assert done == ["DELETE", *([] if ended else ["abort"]), "DELETE"]
