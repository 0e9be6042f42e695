"""What only an S3 bucket has: parts joined aside, copies in parts, keys of others."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest

from services.objects.port import (
    ObjectExists,
    ObjectMissing,
    PartInfo,
    SignRequest,
    StoreUnavailable,
    WrongBytes,
)
from services.objects.s3 import S3Driver, copying
from services.objects.s3.copying import Copying
from services.objects.s3.errors import failed
from services.objects.s3.parts import Parts
from services.objects.s3.wire import Answer, Call, Wire
from tests.conformance.objects.rigs import DRIVERS, Rig

KEY = "projects/p_1/raw/a b+c.bin"
MIB = 1024 * 1024
DATA = random.Random(4).randbytes(11 * MIB)
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(params=["s3-moto", "s3-versitygw"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    row = DRIVERS[request.param]
    row.require("go")
    async with row.open(None) as opened:  # type: ignore[arg-type]
        yield opened


def driver_of(rig: Rig) -> S3Driver:
    assert isinstance(rig.driver, S3Driver)
    return rig.driver


async def stream(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), MIB):
        yield data[start : start + MIB]


async def all_keys(rig: Rig) -> list[str]:
    """Those of the bucket itself."""
    call = Call("ListObjectsV2", "GET", "", (("list-type", "2"),))
    body = (await driver_of(rig)._wire.call(call)).body.decode()
    return [each.split("</Key>")[0] for each in body.split("<Key>")[1:]]


async def received(rig: Rig, data: bytes = DATA) -> str:
    multipart_id = await rig.driver.multipart_create(KEY, "a/b", SHA)
    for number, start in enumerate(range(0, len(data), 6 * MIB), 1):
        part = data[start : start + 6 * MIB]
        request = SignRequest("PUT", KEY, 60, size=len(part), upload_part=(multipart_id, number))
        transfer = rig.driver.sign(request)
        response = await rig.client.put(transfer.url, content=part, headers=dict(transfer.headers))
        assert response.status_code == 200
    return multipart_id


async def complete(rig: Rig, multipart_id: str, parts: list[PartInfo]) -> str:
    info = await rig.driver.multipart_complete(
        KEY, multipart_id, parts, size=len(DATA), sha256=SHA
    )
    return info.sha256


@pytest.mark.parametrize("copied", [False, True], ids=["before the copy", "after the copy"])
async def test_a_completion_that_was_cut_off_goes_on(rig: Rig, copied: bool) -> None:
    multipart_id = await received(rig)
    parts = list(await rig.driver.multipart_parts(KEY, multipart_id))
    whole = Copying.place

    async def cut(self: Copying, *arguments: object) -> None:
        if copied:
            await whole(self, *arguments)  # type: ignore[arg-type]
        raise StoreUnavailable("cut off")

    with patch.object(Copying, "place", cut), pytest.raises(StoreUnavailable):
        await complete(rig, multipart_id, parts)
    if not copied:
        with pytest.raises(ObjectMissing):
            await rig.driver.head(KEY)
    assert (await rig.driver.list("")).objects == () or copied
    with pytest.raises(ObjectMissing):
        await rig.driver.multipart_parts(KEY, multipart_id)
    planned = [PartInfo(part.number, part.size, "", "") for part in parts]
    assert await complete(rig, multipart_id, planned) == SHA
    assert await all_keys(rig) == [KEY]
    assert await complete(rig, multipart_id, planned) == SHA


async def test_an_abort_takes_away_what_was_joined(rig: Rig) -> None:
    multipart_id = await received(rig)
    parts = list(await rig.driver.multipart_parts(KEY, multipart_id))
    cut = patch.object(Copying, "place", side_effect=StoreUnavailable)
    with cut, pytest.raises(StoreUnavailable):
        await complete(rig, multipart_id, parts)
    assert len(await all_keys(rig)) == 1
    await rig.driver.multipart_abort(KEY, multipart_id)
    assert await all_keys(rig) == []
    planned = [PartInfo(part.number, part.size, "", "") for part in parts]
    with pytest.raises(ObjectMissing):
        await complete(rig, multipart_id, planned)


async def test_copies_in_parts(rig: Rig) -> None:
    await rig.driver.write("source", stream(DATA), size=len(DATA), sha256=SHA, content_type="a/b")
    with patch.object(copying, "WHOLE_BYTES", 5 * MIB):
        info = await rig.driver.copy("source", "target")
        assert (info.size, info.sha256, info.content_type) == (len(DATA), SHA, "a/b")
        assert await rig.driver.head("target") == info
        await rig.driver.copy("source", "target")
        await rig.driver.write("other", stream(b"x"), size=1, sha256=None, content_type="")
        with pytest.raises(ObjectExists):
            await rig.driver.copy("source", "other")
    read = b"".join([chunk async for chunk in rig.driver.open_read("target")])
    assert hashlib.sha256(read).hexdigest() == SHA


@contextmanager
def lost_completion() -> Iterator[None]:
    """The first completion has its effect, and a 500 for an answer; then the upload is
    over (these servers remember it for a while, others do not)."""
    whole, lost = Wire.send, list[Call]()

    def send(self: Wire, call: Call) -> Answer:
        if call.operation != "CompleteMultipartUpload":
            return whole(self, call)
        if lost:
            over = b"<Error><Code>NoSuchUpload</Code></Error>"
            raise failed(call.operation, 404, {}, over)
        lost.append(call)
        whole(self, call)
        raise failed(call.operation, 500, {}, b"")

    with patch.object(Wire, "send", send):
        yield
    assert lost


@pytest.mark.parametrize("told", [False, True], ids=["unannounced", "announced"])
async def test_a_completion_whose_answer_was_lost_is_found(rig: Rig, told: bool) -> None:
    data = DATA * 2  # two parts
    digest = hashlib.sha256(data).hexdigest()
    with lost_completion():
        info = await rig.driver.write(
            KEY, stream(data), size=len(data), sha256=digest if told else None, content_type="a/b"
        )
    assert (info.sha256, await all_keys(rig)) == (digest, [KEY])


async def test_a_copy_in_parts_whose_answer_was_lost_is_found(rig: Rig) -> None:
    await rig.driver.write("source", stream(DATA), size=len(DATA), sha256=SHA, content_type="a/b")
    with patch.object(copying, "WHOLE_BYTES", 5 * MIB), lost_completion():
        assert (await rig.driver.copy("source", "target")).sha256 == SHA
    assert await all_keys(rig) == ["source", "target"]


async def test_a_write_whose_parts_fail_leaves_no_upload(rig: Rig) -> None:
    data = DATA * 2
    for digest in (None, hashlib.sha256(data).hexdigest()):
        cut = patch.object(Parts, "complete", side_effect=StoreUnavailable)
        with cut, pytest.raises(StoreUnavailable):
            await rig.driver.write(KEY, stream(data), size=None, sha256=digest, content_type="")
    call = Call("ListMultipartUploads", "GET", "", (("uploads", ""),))
    assert b"<UploadId>" not in (await driver_of(rig)._wire.call(call)).body
    assert await all_keys(rig) == []


async def test_keys_of_others_are_left_out_of_lists(rig: Rig) -> None:
    wire = driver_of(rig)._wire
    for key in (".hidden", ".multipart/x/y", "a/", "b", "c"):
        await wire.call(Call("PutObject", "PUT", key))
    for limit in (1, 2, 1000):
        found, after = [], None
        while True:
            page = await rig.driver.list("", after, limit)
            found += [each.key for each in page.objects]
            after = page.next
            if after is None:
                break
        assert found == ["b", "c"]


async def test_metadata_of_an_object_of_one_put_is_not_its_checksum(rig: Rig) -> None:
    headers = {"x-amz-meta-sha256": SHA}
    await driver_of(rig)._wire.call(Call("PutObject", "PUT", "k", headers=headers))
    assert (await rig.driver.head("k")).sha256 == ""
    with pytest.raises(ObjectExists):
        await rig.driver.write("k", stream(b"x"), size=1, sha256=None, content_type="")
    await rig.driver.write("k", stream(b""), size=0, sha256=None, content_type="")


async def test_bytes_that_are_not_those_of_the_checksum_are_not_handed_over(rig: Rig) -> None:
    """An object of parts whose metadata is wrong: read whole, it is refused."""
    parts = Parts(driver_of(rig)._wire)
    upload = await parts.begin("k", "a/b", metadata={"sha256": SHA}, checked=True)
    sent = await parts.put(upload, 1, b"other", hashlib.sha256(b"other").hexdigest())
    await parts.complete(upload, [sent], create_only=True)
    assert (await rig.driver.head("k")).sha256 == SHA
    with pytest.raises(WrongBytes):
        _ = [chunk async for chunk in rig.driver.open_read("k")]
    with pytest.raises(WrongBytes):
        await rig.driver.copy("k", "l")
