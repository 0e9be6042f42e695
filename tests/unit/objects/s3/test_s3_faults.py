"""The driver on a store that fails: tried again, looked at, or reported with a remedy."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from services.aws.clients import AwsClients
from services.aws.place import AwsPlace
from services.model.errors import Reason, WorkspaceError
from services.objects.port import (
    ByteRange,
    ObjectExists,
    ObjectMissing,
    SignRequest,
    StoreFull,
    StoreUnavailable,
    WrongBytes,
)
from services.objects.s3 import S3Driver
from tests.servers.buckets import credentials
from tests.unit.objects.s3.fake_s3 import FakeS3, Fault, serving

DATA = b"some bytes" * 50_000
SHA = hashlib.sha256(DATA).hexdigest()


@dataclass
class Kit:
    fake: FakeS3
    driver: S3Driver

    async def write(self, data: bytes = DATA, key: str = "k") -> None:
        await self.driver.write(
            key, stream(data), size=len(data), sha256=None, content_type="a/b"
        )


async def stream(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]


@pytest.fixture(autouse=True)
def _credentials() -> Iterator[None]:
    with credentials():
        yield


def clients(url: str, *, region: str = "eu-central-1") -> AwsClients:
    return AwsClients(AwsPlace(region, endpoints={"s3": url}, call_seconds=5.0))


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    with serving() as fake:
        driver = await S3Driver.open(clients(fake.url), "b")
        yield Kit(fake, driver)
        await driver.close()


PASSING = [
    Fault(503, "SlowDown"), Fault(500, "InternalError"), Fault(503), Fault(0),
    Fault(400, "RequestTimeout"), Fault(429, "TooManyRequestsException"),
    Fault(409, "OperationAborted"), Fault(409, "ConditionalRequestConflict"), Fault(502),
]  # fmt: skip


@pytest.mark.parametrize("fault", PASSING, ids=str)
async def test_what_passes_is_tried_again(kit: Kit, fault: Fault) -> None:
    kit.fake.faults = [fault, fault]
    await kit.write()
    # The answer to a HEAD has no body: only its number says what it is.
    kit.fake.faults = [fault] if fault.status != 400 else []
    assert (await kit.driver.head("k")).sha256 == SHA
    kit.fake.faults = [fault]
    assert b"".join([each async for each in kit.driver.open_read("k")]) == DATA
    kit.fake.faults = [fault]
    await kit.driver.delete("k")
    assert kit.fake.objects == {}


@pytest.mark.parametrize("status", [0, 500, 503])
async def test_an_effect_whose_answer_was_lost_is_found(kit: Kit, status: int) -> None:
    kit.fake.faults = [Fault(status, method="PUT", after=True)]
    await kit.write()
    assert kit.fake.objects["k"] == (DATA, "a/b")
    assert [each for each in kit.fake.seen if each.startswith("PUT")] == ["PUT k"] * 2


async def test_a_page_of_a_proxy_is_no_success(kit: Kit) -> None:
    kit.fake.faults = [Fault(200, method="PUT")]
    await kit.write()
    assert kit.fake.objects["k"] == (DATA, "a/b")


COPY_SEEMS_DONE = [
    Fault(200, "InternalError", "PUT"), Fault(200, "SlowDown", "PUT"), Fault(200, method="PUT"),
]  # fmt: skip


@pytest.mark.parametrize("fault", COPY_SEEMS_DONE, ids=str)
async def test_a_copy_that_fails_behind_its_200_is_made_again(kit: Kit, fault: Fault) -> None:
    await kit.write()
    kit.fake.faults = [fault]
    assert (await kit.driver.copy("k", "l")).sha256 == SHA
    assert kit.fake.objects["l"][0] == DATA
    assert [each for each in kit.fake.seen if each == "PUT l"] == ["PUT l"] * 2


async def test_a_store_that_ignores_ranges_gives_no_wrong_bytes(kit: Kit) -> None:
    await kit.write()
    kit.fake.without_ranges = True
    with pytest.raises(StoreUnavailable, match="range"):
        [each async for each in kit.driver.open_read("k", ByteRange(10, 19))]


async def test_calls_after_the_end_are_refused(kit: Kit) -> None:
    await kit.driver.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await kit.driver.head("k")


async def test_a_read_that_is_cut_off_by_the_end_says_so(kit: Kit) -> None:
    kit.fake.objects["k"] = (DATA * 20, "a/b")
    chunks = kit.driver.open_read("k")
    assert await anext(chunks)
    await kit.driver.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await anext(chunks)


@pytest.mark.parametrize("size", [1_000, 3 * 1024 * 1024])
async def test_a_write_that_is_cut_off_by_the_end_says_so(kit: Kit, size: int) -> None:
    """Also one whose SHA-256 is the work of a thread."""

    async def ending() -> AsyncIterator[bytes]:
        yield bytes(size - 1)
        await kit.driver.close()
        yield b"x"

    with pytest.raises(StoreUnavailable, match="closed"):
        await kit.driver.write("k", ending(), size=size, sha256=None, content_type="a/b")
    assert kit.fake.objects == {}


async def test_after_a_lost_answer_other_bytes_are_still_others(kit: Kit) -> None:
    kit.fake.objects["k"] = (b"theirs", "a/b")
    kit.fake.faults = [Fault(0, method="PUT")]
    with pytest.raises(ObjectExists):
        await kit.write()
    assert kit.fake.objects["k"][0] == b"theirs"


REPORTED = [
    (Fault(400, "ExpiredToken"), StoreUnavailable, "sign in again"),
    (Fault(403, "AccessDenied"), StoreUnavailable, "s3:PutObject"),
    (Fault(403, "InvalidAccessKeyId"), StoreUnavailable, "AWS_PROFILE"),
    (Fault(403, "RequestTimeTooSkewed"), StoreUnavailable, "clock"),
    (Fault(404, "NoSuchBucket"), StoreUnavailable, "wm setup aws"),
    (Fault(507), StoreFull, "quota"),
    (Fault(507, "InsufficientStorage"), StoreFull, "quota"),
    (Fault(403, "QuotaExceeded"), StoreFull, "quota"),
    (Fault(400, "BadDigest"), WrongBytes, "BadDigest"),
]


@pytest.mark.parametrize(("fault", "kind", "text"), REPORTED, ids=str)
async def test_what_does_not_pass_is_reported_at_once(
    kit: Kit, fault: Fault, kind: type[Exception], text: str
) -> None:
    kit.fake.faults = [fault]
    with pytest.raises(kind, match=text):
        await kit.write()
    assert kit.fake.objects == {}
    assert len([each for each in kit.fake.seen if each.startswith("PUT")]) == 1


async def test_patience_ends() -> None:
    with serving() as fake:
        driver = await S3Driver.open(clients(fake.url), "b", patience=0.5)
        fake.faults = [Fault(503, "SlowDown")] * 100
        with pytest.raises(StoreUnavailable, match="repeat later"):
            await driver.head("k")
        assert 1 < len(fake.seen) < 60
        with pytest.raises(StoreUnavailable):
            await driver.probe()
        fake.faults = []
        await driver.probe()
        await driver.close()


async def test_a_read_that_breaks_off_goes_on(kit: Kit) -> None:
    data = DATA * 10
    kit.fake.objects["k"] = (data, "a/b")
    kit.fake.cut_reads = 3
    assert b"".join([each async for each in kit.driver.open_read("k")]) == data
    kit.fake.cut_reads = 2
    part = kit.driver.open_read("k", ByteRange(5, len(data) - 5))
    assert b"".join([each async for each in part]) == data[5:-4]
    kit.fake.cut_reads = 1_000
    with pytest.raises(StoreUnavailable):
        _ = [each async for each in kit.driver.open_read("k")]


async def test_reads_that_are_given_up_leave_the_driver_usable(kit: Kit) -> None:
    kit.fake.objects["k"] = (DATA * 20, "a/b")
    for _ in range(5):
        chunks = kit.driver.open_read("k")
        assert await anext(chunks)
        await chunks.aclose()
    with pytest.raises(ObjectMissing):
        _ = [each async for each in kit.driver.open_read("absent")]


OPENING = [
    (Fault(404), "wm setup aws"),
    (Fault(301, headers=(("x-amz-bucket-region", "us-west-2"),)), "us-west-2"),
    (Fault(403, headers=(("x-amz-bucket-region", "us-west-2"),)), "us-west-2"),
    (Fault(403), "s3:ListBucket"),
]


@pytest.mark.parametrize(("fault", "text"), OPENING, ids=str)
async def test_a_bucket_that_cannot_be_used(fault: Fault, text: str) -> None:
    with serving() as fake:
        fake.faults = [fault]
        made = clients(fake.url)
        with pytest.raises(WorkspaceError, match=text) as caught:
            await S3Driver.open(made, "b")
        assert caught.value.reason == Reason.ERROR_REASON_BACKEND_UNAVAILABLE
        await made.close()


@pytest.mark.parametrize(
    ("code", "text"),
    [("ExpiredToken", "sign in again"), ("InvalidAccessKeyId", "AWS_PROFILE"),
     ("AccessDenied", "s3:ListBucket"), ("RequestTimeTooSkewed", "clock")],
)
async def test_a_head_that_says_only_a_number_is_asked_again(code: str, text: str) -> None:
    with serving() as fake:
        fake.faults = [Fault(400), Fault(400, code)]
        made = clients(fake.url)
        with pytest.raises(WorkspaceError, match=text):
            await S3Driver.open(made, "b")
        await made.close()


async def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with serving() as fake:
        made = clients(fake.url)
        with pytest.raises(WorkspaceError, match="aws sso login"):
            await S3Driver.open(made, "b")
        assert fake.seen == []
        await made.close()


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    made = clients(f"http://127.0.0.1:{port}")
    with pytest.raises(WorkspaceError, match="repeat later"):
        await S3Driver.open(made, "b", patience=0.3)
    await made.close()


async def test_opened_for_reading() -> None:
    with serving() as fake:
        fake.objects["k"] = (b"x", "a/b")
        driver = await S3Driver.open(clients(fake.url), "b", read_only=True)
        assert (await driver.head("k")).size == 1
        for call in (driver.delete("k"), driver.copy("k", "l"), driver.multipart_create("l", "")):
            with pytest.raises(WorkspaceError):
                await call
        assert set(fake.objects) == {"k"}
        await driver.close()


@pytest.mark.case("U26")
async def test_the_session_token_is_signed_and_bounds_the_url(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [4_102_444_800.0]
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a+token/==")
    monkeypatch.setenv("AWS_CREDENTIAL_EXPIRATION", "2100-01-01T01:00:00Z")  # in an hour
    with serving() as fake:
        driver = await S3Driver.open(clients(fake.url), "b", now=lambda: now[0])
        ends = 4_102_444_800 + 3600
        short = driver.sign(SignRequest("GET", "k", 60))
        assert short.expires_at == now[0] + 60
        assert "X-Amz-Security-Token=a%2Btoken%2F%3D%3D" in short.url
        assert driver.sign(SignRequest("GET", "k", 7200)).expires_at == ends - 60
        now[0] = ends - 30.0
        with pytest.raises(StoreUnavailable, match="sign in again"):
            driver.sign(SignRequest("GET", "k", 7200))
        await driver.close()


async def test_a_url_lives_a_week_at_most(kit: Kit) -> None:
    transfer = kit.driver.sign(SignRequest("GET", "k", 10**9))
    assert "X-Amz-Expires=604800&" in transfer.url


async def test_connections_are_used_again(kit: Kit) -> None:
    for number in range(10):
        await kit.write(key=f"k{number}")
        await kit.driver.head(f"k{number}")
        _ = [each async for each in kit.driver.open_read(f"k{number}")]
        with pytest.raises(ObjectMissing):
            await kit.driver.head("absent")
        await kit.driver.delete(f"k{number}")
    assert kit.fake.connections == 1
