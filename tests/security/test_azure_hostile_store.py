"""A store that means no good: connections name servers that are not ours."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from services.objects.azure_blob import AzureBlobDriver
from services.objects.port import ObjectInfo, StoreUnavailable, WrongBytes
from tests.unit.objects.azure_blob.azure_answers import Answer, Handler, answering, refused
from tests.unit.objects.azure_blob.test_azure_containers import good, opening, saying

pytestmark = pytest.mark.usefixtures("azure_environment")

STAMP = "Fri, 20 Nov 2026 10:00:00 GMT"
LIST = (
    "<?xml version='1.0'?><EnumerationResults ContainerName='docs'><Blobs><Blob>"
    "<Name>{name}</Name><Properties><Last-Modified>" + STAMP + "</Last-Modified>"
    "<Etag>1</Etag><Content-Length>5</Content-Length><BlobType>BlockBlob</BlobType>"
    "</Properties></Blob></Blobs><NextMarker>{marker}</NextMarker></EnumerationResults>"
)
MOST = 50
_KIB = 1024


async def opened(server: Any) -> AzureBlobDriver:
    return await opening(server.url, read_only=True)


def store(answer: Callable[[int, str, str], Answer]) -> Callable[[str, str], Answer]:
    """Answers what is not about the container or the seals; ends after a while, so that a
    failing test does."""
    count = 0
    plain = saying(good())

    def say(method: str, path: str) -> Answer:
        nonlocal count
        if "seal-key" in path or ("restype=container" in path and "comp=list" not in path):
            return plain(method, path)
        count += 1
        return answer(count, method, path) if count <= MOST else refused(404, "BlobNotFound")

    return say


def listing(name: str, marker: str) -> Answer:
    text = LIST.format(name=name, marker=marker).encode()
    return 200, {"content-type": "application/xml"}, text


@pytest.mark.parametrize("changing", [False, True])
async def test_lists_without_end_are_given_up(changing: bool) -> None:
    def say(count: int, method: str, path: str) -> Answer:
        return listing(".hidden", f"m{count if changing else 0}")

    with answering(store(say)) as server:
        driver = await opened(server)
        with pytest.raises(StoreUnavailable, match="again and again"):
            await driver.list("")
        await driver.close()
        assert len(server.asked) < MOST


async def test_names_outside_of_what_was_asked_for_are_left_out() -> None:
    def say(count: int, method: str, path: str) -> Answer:
        return listing(("../../etc/passwd", "b/x", "a/../b", "a/good")[count - 1],
                       f"m{count}" if count < 4 else "")  # fmt: skip

    with answering(store(say)) as server:
        driver = await opened(server)
        assert [info.key for info in (await driver.list("a/")).objects] == ["a/good"]
        await driver.close()


class Endless(Handler):
    def do_GET(self) -> None:  # noqa: N802 - name of the library
        if "comp=list" not in self.path:
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        block = b"%x\r\n" % (_KIB * _KIB) + b" " * (_KIB * _KIB) + b"\r\n"
        self.server.sent = 0
        for _ in range(100):
            try:
                self.wfile.write(block)
            except OSError:
                break
            self.server.sent += 1
        else:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True


async def test_an_answer_without_end_is_not_kept() -> None:
    with answering(store(lambda *_: refused(404, "BlobNotFound")), Endless) as server:
        driver = await opened(server)
        with pytest.raises(StoreUnavailable):
            await driver.list("")
        await driver.close()
        assert server.sent < 100


ODD = [
    (200, {"etag": '"1"'}, b"12345"),
    (206, {"etag": '"1"', "content-range": "bytes 0-4/99999999"}, b"12345"),
    (206, {"etag": '"1"', "content-range": "bytes 5-9/10"}, b"12345"),
    (206, {"etag": '"1"', "content-range": "bytes 0-4/3"}, b"12345"),
    (206, {"etag": '"1"', "content-range": "bytes x-y/z"}, b"12345"),
    (206, {"etag": '"1"', "content-range": "bytes 0-4/5", "content-length": "99999999"}, b"12345"),
    (302, {"location": "https://169.254.169.254/"}, b""),
    (500, {"content-encoding": "gzip"}, b"no gzip"),
    (204, {}, b""),
]


@pytest.mark.parametrize("answer", ODD)
async def test_odd_answers_to_a_read(answer: Answer) -> None:
    with answering(store(lambda *_: answer)) as server:
        driver = await opened(server)
        with pytest.raises((StoreUnavailable, WrongBytes)):
            async for _ in driver.open_read("a"):
                pass
        await driver.close()


@pytest.mark.parametrize(
    "headers",
    [{}, {"content-length": "x"}, {"content-length": "-5"}, {"last-modified": "soon"}],
)
async def test_odd_answers_to_a_look(headers: dict[str, str]) -> None:
    with answering(store(lambda *_: (200, headers, b""))) as server:
        driver = await opened(server)
        try:
            info = await driver.head("a")
        except StoreUnavailable:
            pass
        else:
            assert (info.size, info.sha256) == (0, "")
        await driver.close()


async def test_a_seal_of_the_store_itself_counts_for_nothing_without_our_key() -> None:
    seal = f"1.{hashlib.sha256(b'x').hexdigest()}.{1795168800}.{'0' * 64}"
    headers = {"x-ms-meta-wmseal": seal, "x-ms-creation-time": STAMP, "etag": '"1"'}
    with answering(store(lambda *_: (200, headers, b""))) as server:
        driver = await opened(server)
        info: ObjectInfo = await driver.head("a")
        assert info.sha256 == ""
        await driver.close()


@pytest.mark.case("S08")
async def test_tokens_go_to_no_other_host() -> None:
    """A redirect is not followed."""
    with answering(lambda *_: good()) as other:
        moved = (307, {"location": f"{other.url}/x"}, b"")
        with answering(store(lambda *_: moved)) as server:
            driver = await opened(server)
            for call in (driver.head("a"), driver.list("")):
                with pytest.raises(StoreUnavailable):
                    await call
            await driver.close()
        assert other.asked == []


