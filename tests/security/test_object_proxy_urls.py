"""Signed URLs of a store that only the gateway reaches (versitygw, which verifies them): files
pass through unchanged and unheld, and nothing passes that was not signed."""

from __future__ import annotations

import hashlib
import os
import signal
import tracemalloc
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import pytest

from services.aws.clients import AwsClients
from services.aws.place import AwsPlace
from services.http.object_proxy import ObjectProxy
from services.objects.port import SignRequest
from services.objects.s3 import S3Driver
from services.objects.store import ObjectStore
from tests.integration.gateway_app import Running, serving
from tests.servers.aws import REGION, versitygw
from tests.servers.buckets import credentials, new_bucket
from tests.servers.marks import needs_s3
from tests.servers.process import Server

pytestmark = needs_s3

MIB = 1024 * 1024
LARGE = 64 * MIB
KEY = "workspaces/w_1/projects/p_1/documents/d_1/raw/a report+1%é.txt"
DATA = b"the bytes of the report\n" * 100


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Place:
    """A bucket whose URLs lead to a gateway on a socket."""

    store: ObjectStore
    running: Running
    client: httpx.AsyncClient
    bucket: str
    server: Server

    async def put(self, key: str, data: bytes) -> httpx.Response:
        signed = self.store.sign(SignRequest("PUT", key, 600, size=len(data), sha256=sha(data)))
        return await self.client.put(signed.url, headers=signed.headers, content=data)

    def get(self, key: str, method: str = "GET") -> str:
        return self.store.sign(SignRequest(method, key, 600)).url


@asynccontextmanager
async def reached(server: Server) -> AsyncIterator[Place]:
    origin, bucket = server.url.rstrip("/"), new_bucket(server)
    proxy = ObjectProxy(origin=origin, bucket=bucket)
    async with serving(extra_routes=proxy.routes) as running, running.client() as client:
        public = {"s3": running.url}
        place = AwsPlace(REGION, endpoints={"s3": origin}, public_endpoints=public)
        driver = await S3Driver.open(AwsClients(place), bucket, path_style=True)
        yield Place(ObjectStore(driver), running, client, bucket, server)
        await driver.close()
    await proxy.close()


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    with credentials():
        async with reached(versitygw()) as made:
            yield made


async def test_urls_lead_to_the_gateway_and_nowhere_else(place: Place) -> None:
    assert place.get(KEY).startswith(f"{place.running.url}/{place.bucket}/workspaces/")
    assert (await place.put(KEY, DATA)).status_code == 200
    found = await place.client.get(place.get(KEY))
    assert found.content == DATA
    assert place.server.url.rstrip("/") not in str(found.headers)
    assert [each.key for each in (await place.store.list("")).objects] == [KEY]
    assert (await place.client.head(place.get(KEY, "HEAD"))).headers["content-length"] == str(
        len(DATA)
    )
    assert (await place.put(KEY, DATA)).status_code == 412  # create-only, as it was signed


async def test_64_mib_pass_both_ways_and_are_not_held(place: Place) -> None:
    block = os.urandom(MIB)
    digest = hashlib.sha256()
    for _ in range(LARGE // MIB):
        digest.update(block)

    async def sent() -> AsyncIterator[bytes]:
        for _ in range(LARGE // MIB):
            yield block

    request = SignRequest("PUT", KEY, 600, size=LARGE, sha256=digest.hexdigest())
    signed = place.store.sign(request)
    tracemalloc.start()
    try:
        answer = await place.client.put(
            signed.url, headers=signed.headers, content=sent(), timeout=120
        )
        assert answer.status_code == 200
        received, size = hashlib.sha256(), 0
        async with place.client.stream("GET", place.get(KEY), timeout=120) as found:
            async for chunk in found.aiter_raw():
                received.update(chunk)
                size += len(chunk)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (size, received.hexdigest()) == (LARGE, digest.hexdigest())
    assert peak < 8 * MIB  # of the client and the gateway together


@pytest.mark.case("U29", "U30")
async def test_ranges(place: Place) -> None:
    await place.put(KEY, DATA)
    for given, content in (("bytes=4-9", DATA[4:10]), ("bytes=-5", DATA[-5:])):
        found = await place.client.get(place.get(KEY), headers={"Range": given})
        assert (found.status_code, found.content) == (206, content)
    found = await place.client.get(place.get(KEY), headers={"Range": f"bytes={len(DATA)}-"})
    assert found.status_code == 416
    tag = (await place.client.head(place.get(KEY, "HEAD"))).headers["etag"]
    found = await place.client.get(place.get(KEY), headers={"If-None-Match": tag})
    assert (found.status_code, found.content) == (304, b"")


async def test_an_upload_in_parts(place: Place) -> None:
    first, last = os.urandom(5 * MIB), b"the end"
    whole = sha(first + last)
    upload = await place.store.multipart_create(KEY, content_type="text/plain", sha256=whole)
    for number, data in ((1, first), (2, last)):
        signed = place.store.sign(
            SignRequest("PUT", KEY, 600, size=len(data), upload_part=(upload, number))
        )
        assert signed.url.startswith(f"{place.running.url}/{place.bucket}/.multipart/")
        answer = await place.client.put(signed.url, headers=signed.headers, content=data)
        assert answer.status_code == 200
        assert answer.headers["etag"]
    parts = await place.store.multipart_parts(KEY, upload)
    await place.store.multipart_complete(KEY, upload, parts, size=len(first + last), sha256=whole)
    assert (await place.client.get(place.get(KEY))).content == first + last


def tampered(url: str) -> Iterator[str]:
    """One thing changed that the signature covers."""
    text, _, signature = url.rpartition("X-Amz-Signature=")
    yield text + "X-Amz-Signature=" + ("0" if signature[0] != "0" else "1") + signature[1:]
    yield url.replace("d_1", "d_2", 1)
    yield url.replace("X-Amz-Expires=300", "X-Amz-Expires=301")
    yield url + "&response-content-type=text%2Fhtml"
    yield url.replace("private%2C%20no-store", "public")


@pytest.mark.case("U02", "U05", "U06", "U28")
async def test_what_differs_from_the_signature_is_refused_by_the_store(place: Place) -> None:
    await place.put(KEY, DATA)
    await place.put(KEY.replace("d_1", "d_2"), DATA)
    url = place.get(KEY)
    for other in tampered(url):
        found = await place.client.get(other)
        assert (found.status_code, b"SignatureDoesNotMatch" in found.content) == (403, True)
        assert DATA not in found.content
    assert (await place.client.get(url, headers={"Host": "files.example.com"})).status_code == 403
    assert (await place.client.head(url)).status_code == 403
    assert (await place.client.put(url, content=b"x")).status_code == 403
    assert (await place.client.get(url)).content == DATA


@pytest.mark.case("U06", "U17", "U18", "U19")
async def test_uploads_are_no_other_than_they_were_signed(place: Place) -> None:
    signed = place.store.sign(
        SignRequest("PUT", KEY, 600, size=len(DATA), content_type="text/plain", sha256=sha(DATA))
    )
    for headers, content in (
        (signed.headers, DATA[:-1] + b"!"),
        ({**signed.headers, "Content-Type": "text/html"}, DATA),
        ({"Content-Length": str(len(DATA))}, DATA),
        ({**signed.headers, "Content-Length": "5"}, b"bytes"),
        ({**signed.headers, "x-amz-copy-source": f"/{place.bucket}/a"}, DATA),
        ({**signed.headers, "Content-Encoding": "gzip"}, DATA),
    ):
        answer = await place.client.put(signed.url, headers=headers, content=content)
        assert answer.status_code in (400, 403, 415)
        assert (await place.store.list("")).objects == ()
    answer = await place.client.put(signed.url, headers=signed.headers, content=DATA)
    assert answer.status_code == 200


async def test_nothing_else_of_the_store_is_reached(place: Place) -> None:
    await place.put(KEY, DATA)
    other = new_bucket(place.server)
    url = urlsplit(place.get(KEY))
    for path in (
        f"/{place.bucket}", f"/{place.bucket}/", f"/{other}/a", f"/{place.bucket}/../{other}/a",
        f"/{place.bucket}/%2e%2e/{other}/a", f"/{place.bucket}//{other}/a", f"//{other}/a",
    ):  # fmt: skip
        for query in (url.query, "list-type=2", "versions", "", f"{url.query}&list-type=2"):
            head = f"GET {path}?{query} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: close\r\n\r\n"
            answer = await place.running.raw(head.encode())
            assert answer[:12] in (b"HTTP/1.1 404", b"HTTP/1.1 403")
            assert b"<" not in answer.partition(b"\r\n\r\n")[2]  # ours, not the store's


@pytest.mark.case("U34")
async def test_a_sign_in_does_not_stand_for_a_signature(place: Place) -> None:
    """Credentials of the store itself are of no use either: only URLs are passed on."""
    await place.put(KEY, DATA)
    signing = AwsClients(AwsPlace(REGION, endpoints={"s3": place.running.url}))

    def asked() -> int:
        client = signing.client("s3", path_style=True)
        try:
            client.get_object(Bucket=place.bucket, Key=KEY)
        except client.exceptions.ClientError as error:
            return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
        return 200

    assert await signing.run(asked) == 404
    await signing.close()


async def test_a_store_that_is_killed_breaks_the_transfers_through_it() -> None:
    with credentials():
        server = versitygw.__wrapped__()  # one of its own
        try:
            async with reached(server) as place:
                await place.put(KEY, os.urandom(LARGE))
                async with place.client.stream("GET", place.get(KEY)) as found:
                    assert found.status_code == 200
                    os.killpg(server.pid, signal.SIGKILL)
                    with pytest.raises(httpx.RemoteProtocolError):
                        await found.aread()
        finally:
            server.stop()


async def test_a_store_that_is_killed_takes_no_half_of_an_upload() -> None:
    with credentials():
        server = versitygw.__wrapped__()
        try:
            async with reached(server) as place:

                async def sent() -> AsyncIterator[bytes]:
                    for number in range(LARGE // MIB):
                        if number == LARGE // MIB // 2:
                            os.killpg(server.pid, signal.SIGKILL)
                        yield bytes(MIB)

                digest = sha(bytes(LARGE))
                signed = place.store.sign(SignRequest("PUT", KEY, 600, size=LARGE, sha256=digest))
                try:
                    status = (
                        await place.client.put(signed.url, headers=signed.headers, content=sent())
                    ).status_code
                except httpx.TransportError:  # its answer was lost with what it did not read
                    status = 503
                assert status == 503
                found = await place.client.get(place.get(uuid.uuid4().hex))
                assert (found.status_code, found.headers["retry-after"]) == (503, "1")
        finally:
            server.stop()
