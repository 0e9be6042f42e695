"""The contract of the object port, through the portable store, for every driver."""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.model.errors import Reason, WorkspaceError
from services.objects.port import ByteRange, ObjectInfo, PartInfo, SignedTransfer, SignRequest
from services.objects.store import UNREVOCABLE_DOWNLOAD_SECONDS, ObjectStore
from tests.conformance.objects.rigs import Rig, Row

KEY = "workspaces/w_1/projects/p_1/documents/d_1/raw/report.txt"
TEXT = "text/plain"
REFUSED = frozenset({400, 403, 405})


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def chunked(data: bytes, step: int = 7) -> AsyncIterator[bytes]:
    for start in range(0, len(data), step):
        yield data[start : start + step]


async def put(store: ObjectStore, key: str, data: bytes, **options: object) -> ObjectInfo:
    step = max(7, len(data) // 5)
    fields: dict[str, object] = {"size": len(data), "sha256": sha(data), "content_type": TEXT}
    fields.update(options)
    return await store.write(key, chunked(data, step), **fields)  # type: ignore[arg-type]


async def get(store: ObjectStore, key: str, span: ByteRange | None = None) -> bytes:
    return b"".join([chunk async for chunk in store.open_read(key, span)])


def reason(caught: pytest.ExceptionInfo[WorkspaceError]) -> str:
    return Reason.Name(caught.value.reason).removeprefix("ERROR_REASON_")


async def refuses(wanted: str, awaitable: object) -> None:
    with pytest.raises(WorkspaceError) as caught:
        await awaitable  # type: ignore[misc]
    assert reason(caught) == wanted


def test_what_a_row_leaves_out_is_counted(row: Row) -> None:
    """As a missing capability must not hide more than was looked at."""
    source = Path(__file__).read_text()
    needed = re.findall(r"^    row\.require\(\"(\w+)\"\)$", source, re.MULTILINE)
    assert len([each for each in needed if not getattr(row, each)]) == row.skips


async def test_capabilities_are_those_of_the_table(rig: Rig, row: Row) -> None:
    assert rig.store.capabilities == row.capabilities
    assert rig.driver.capabilities == row.capabilities


@pytest.mark.parametrize("length", [0, 1, 1000, 1024 * 1024, 1024 * 1024 + 1, 3_500_000])
async def test_written_bytes_come_back(rig: Rig, length: int) -> None:
    data = random.Random(length).randbytes(length)
    written = await put(rig.store, KEY, data)
    head = await rig.store.head(KEY)
    assert (written.size, written.sha256, written.content_type) == (length, sha(data), TEXT)
    assert (head.key, head.size, head.sha256, head.content_type) == (KEY, length, sha(data), TEXT)
    assert await get(rig.store, KEY) == data


async def test_unknown_length_and_checksum_are_computed(rig: Rig) -> None:
    info = await put(rig.store, KEY, b"abc", size=None, sha256=None)
    assert (info.size, info.sha256) == (3, sha(b"abc"))


async def test_absent_objects(rig: Rig) -> None:
    await refuses("NOT_FOUND", rig.store.head(KEY))
    await refuses("NOT_FOUND", get(rig.store, KEY))
    await refuses("NOT_FOUND", rig.store.copy(KEY, KEY + ".2"))
    await rig.store.delete(KEY)


async def test_same_bytes_again_succeed_and_others_never_overwrite(rig: Rig) -> None:
    await put(rig.store, KEY, b"first")
    again = await put(rig.store, KEY, b"first")
    assert again.sha256 == sha(b"first")
    await refuses("CHECKSUM_MISMATCH", put(rig.store, KEY, b"other"))
    await refuses("CHECKSUM_MISMATCH", put(rig.store, KEY, b"firsT"))
    assert await get(rig.store, KEY) == b"first"


@pytest.mark.parametrize(
    "wrong", [{"size": 4}, {"size": 6}, {"size": 0}, {"sha256": sha(b"x")}], ids=str
)
async def test_wrong_bytes_leave_nothing(rig: Rig, wrong: dict[str, object]) -> None:
    await refuses("CHECKSUM_MISMATCH", put(rig.store, KEY, b"12345", **wrong))
    await refuses("NOT_FOUND", rig.store.head(KEY))
    assert (await rig.store.list("")).objects == ()


async def test_a_source_that_fails_leaves_nothing(rig: Rig) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        await rig.store.write(KEY, broken(), size=None, sha256=None, content_type=TEXT)
    await refuses("NOT_FOUND", rig.store.head(KEY))


async def test_a_cancelled_write_leaves_nothing(rig: Rig) -> None:
    arrived = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        arrived.set()
        await asyncio.Event().wait()

    write = rig.store.write(KEY, endless(), size=None, sha256=None, content_type=TEXT)
    task = asyncio.create_task(write)
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await refuses("NOT_FOUND", rig.store.head(KEY))
    await put(rig.store, KEY, b"later")


async def test_of_concurrent_writers_of_different_bytes_one_wins(rig: Rig) -> None:
    bodies = [bytes([n]) * 200_000 for n in range(8)]
    results = await asyncio.gather(
        *(put(rig.store, KEY, body) for body in bodies), return_exceptions=True
    )
    winners = [result for result in results if isinstance(result, ObjectInfo)]
    losers = [result for result in results if isinstance(result, WorkspaceError)]
    assert (len(winners), len(losers)) == (1, 7)
    assert sha(await get(rig.store, KEY)) == winners[0].sha256


async def test_concurrent_writers_of_the_same_bytes_all_succeed(rig: Rig) -> None:
    results = await asyncio.gather(*(put(rig.store, KEY, b"same" * 9000) for _ in range(8)))
    assert {info.sha256 for info in results} == {sha(b"same" * 9000)}


@pytest.mark.parametrize(
    ("first", "last", "wanted"),
    [
        (0, 0, b"0"),
        (0, 9, b"0123456789"),
        (3, 5, b"345"),
        (9, None, b"9"),
        (4, None, b"456789"),
        (5, 99, b"56789"),
    ],
)
async def test_range_reads(rig: Rig, first: int, last: int | None, wanted: bytes) -> None:
    await put(rig.store, KEY, b"0123456789")
    assert await get(rig.store, KEY, ByteRange(first, last)) == wanted


@pytest.mark.parametrize("span", [ByteRange(-1, 2), ByteRange(5, 4)])
async def test_impossible_ranges_are_refused(rig: Rig, span: ByteRange) -> None:
    await put(rig.store, KEY, b"0123456789")
    await refuses("INVALID_FIELD", get(rig.store, KEY, span))


async def test_copy_is_verified_and_create_only(rig: Rig) -> None:
    data = random.Random(1).randbytes(1_500_000)
    await put(rig.store, KEY, data)
    copied = await rig.store.copy(KEY, "accounts/a_1/x/report.txt")
    assert (copied.sha256, copied.content_type) == (sha(data), TEXT)
    await rig.store.copy(KEY, "accounts/a_1/x/report.txt")
    await put(rig.store, "taken", b"other")
    await refuses("CHECKSUM_MISMATCH", rig.store.copy(KEY, "taken"))
    assert await get(rig.store, "taken") == b"other"
    assert await get(rig.store, KEY) == data


async def test_delete_then_absent_then_free_again(rig: Rig) -> None:
    await put(rig.store, KEY, b"one")
    await rig.store.delete(KEY)
    await refuses("NOT_FOUND", rig.store.head(KEY))
    await rig.store.delete(KEY)
    await put(rig.store, KEY, b"two")
    assert await get(rig.store, KEY) == b"two"


async def test_writes_survive_deletes_of_neighbours(rig: Rig) -> None:
    async def cycle(number: int) -> None:
        for turn in range(12):
            key = f"p/q/r/{number}.bin"
            await put(rig.store, key, b"%d-%d" % (number, turn))
            assert await get(rig.store, key) == b"%d-%d" % (number, turn)
            await rig.store.delete(key)

    await asyncio.gather(*(cycle(number) for number in range(6)))
    assert (await rig.store.list("")).objects == ()


LISTED = sorted(
    (
        *("a/b/c", "a/b.txt", "a/b-1", "a/bb", "a/c", "ab/c", "a.x", "a-y", "b/ä", "b/z", "b/Z"),
        *(f"n/{number:03d}" for number in range(25)),
    ),
    key=lambda key: key.encode(),
)


@pytest.mark.parametrize("limit", [1, 2, 7, 1000])
@pytest.mark.parametrize("prefix", ["", "a", "a/", "a/b", "b/ä", "n/01", "nothing"])
async def test_list_pages_are_complete_and_in_byte_order(rig: Rig, prefix: str, limit: int) -> None:
    await asyncio.gather(*(put(rig.store, key, key.encode()) for key in LISTED))
    found: list[str] = []
    after: str | None = None
    while True:
        page = await rig.store.list(prefix, after, limit)
        assert len(page.objects) <= limit
        assert all(info.size == len(info.key.encode()) for info in page.objects)
        found += [info.key for info in page.objects]
        if page.next is None:
            break
        after = page.next
    assert found == [key for key in LISTED if key.startswith(prefix)]


async def test_a_page_token_survives_changes(rig: Rig) -> None:
    for key in ("k/1", "k/3", "k/5"):
        await put(rig.store, key, b"x")
    page = await rig.store.list("k/", None, 2)
    await rig.store.delete("k/3")
    await put(rig.store, "k/4", b"x")
    rest = await rig.store.list("k/", page.next, 10)
    assert [info.key for info in rest.objects] == ["k/4", "k/5"]


BAD_KEYS = [
    *("", "/", "/a", "a/", "a//b", ".", "..", "../x", "a/../b", "a/..", "a/./b", "~/../x"),
    *("a\\b", "C:x", "\\\\server\\share", "a/.hidden", ".multipart/x", ".tmp-1", "a\x00b"),
    *("a\nb", "a\rb", "a\tb", "a\x7fb", "a\x85b", "a\u202eb", "a\u200bb", "a\ufeffb", "a\ue000b"),
    *("a\ud800b", "a\ufffeb", "a\u2024b", "a\uff0fb", "a\u2100b", "x.", "x ", " x", "a/ /b"),
    *("CON", "nul.tar.gz", "a/Com1", "LPT9.txt", "a?b", "a*b", 'a"b', "a<b", "a>b", "a|b"),
    *("e\u0301", "é" * 128, "a" * 256, "/".join(["a"] * 255), "/".join(["a" * 200] * 6)),
]


@pytest.mark.case("K01", "K05", "K06", "K07", "K08", "K09", "K10", "K11")
@pytest.mark.case("K15", "K16", "K17", "K18", "K19", "K24")
@pytest.mark.parametrize("key", BAD_KEYS, ids=ascii)
async def test_bad_keys_are_refused_by_every_call(rig: Rig, key: str) -> None:
    sign = SignRequest("GET", key, 60)
    with pytest.raises(WorkspaceError) as caught:
        rig.store.sign(sign)
    assert reason(caught) == "INVALID_FIELD"
    for call in (
        rig.store.head(key),
        get(rig.store, key),
        put(rig.store, key, b"x"),
        rig.store.copy(key, KEY),
        rig.store.copy(KEY, key),
        rig.store.delete(key),
        rig.store.multipart_create(key, TEXT),
        rig.store.multipart_parts(key, "0" * 32),
        rig.store.multipart_abort(key, "0" * 32),
    ):
        await refuses("INVALID_FIELD", call)


GOOD_KEYS = [
    *("a", "é" * 127, "a" * 255, "/".join(["a"] * 254), "with space", "a+b", "a%2fb", "a%", "a#b"),
    *("a&b=c;d", "quote'", "(1)", "[x]", "{y}", "a,b", "~tilde", "@at", "$dollar", "!bang"),
    *("日本語", "😀.png", "Foo", "foo", "CONSOLE.txt", "a/b.c-d_e", "x..y", "\u017f", "x=`^"),
    "/".join(["é" * 102] * 5),  # 1,024 bytes
]


@pytest.mark.case("K14", "K18")
@pytest.mark.parametrize("key", GOOD_KEYS, ids=ascii)
async def test_odd_keys_work_directly_and_through_urls(rig: Rig, key: str) -> None:
    await upload(rig, key, key.encode())
    assert await get(rig.store, key) == key.encode()
    response = await follow(rig, rig.store.sign(SignRequest("GET", key, 60)))
    assert (response.status_code, response.content) == (200, key.encode())
    assert [info.key for info in (await rig.store.list("")).objects] == [key]


async def follow(rig: Rig, transfer: SignedTransfer, body: bytes | None = None):  # type: ignore[no-untyped-def]
    headers = dict(transfer.headers)
    return await rig.client.request(transfer.method, transfer.url, headers=headers, content=body)


async def upload(rig: Rig, key: str, data: bytes) -> None:
    request = SignRequest(
        "PUT", key, 60, size=len(data), content_type=TEXT, sha256=sha(data), principal="u_1"
    )
    response = await follow(rig, rig.store.sign(request), data)
    assert response.status_code in (200, 201)


@pytest.mark.parametrize("length", [0, 1, 2_300_000])
async def test_upload_and_download_by_url_alone(rig: Rig, row: Row, length: int) -> None:
    data = random.Random(3).randbytes(length)
    await upload(rig, KEY, data)
    info = await rig.store.head(KEY)
    assert (info.size, info.sha256) == (length, sha(data) if row.keeps_checksums else "")
    response = await follow(rig, rig.store.sign(SignRequest("GET", KEY, 60)))
    assert response.content == data
    head = await follow(rig, rig.store.sign(SignRequest("HEAD", KEY, 60)))
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(data)))


@pytest.mark.parametrize("signed", ["PUT", "GET", "HEAD"])
@pytest.mark.parametrize("used", ["PUT", "GET", "HEAD", "DELETE", "POST", "PATCH"])
async def test_a_url_allows_its_method_only(
    rig: Rig, row: Row, signed: str, used: str
) -> None:
    row.require("checks_urls")
    await put(rig.store, KEY, b"12345")
    request = SignRequest(signed, KEY, 60, size=5 if signed == "PUT" else None)
    transfer = rig.store.sign(request)
    sends = used not in ("GET", "HEAD")
    headers = dict(transfer.headers) if sends else {}
    response = await rig.client.request(
        used, transfer.url, content=b"12345" if sends else None, headers=headers
    )
    if used == signed:
        assert response.status_code in ({403, 409, 412} if used == "PUT" else {200})
    elif {signed, used} != {"GET", "HEAD"}:
        assert response.status_code in REFUSED
    assert await get(rig.store, KEY) == b"12345"


async def test_a_url_to_look_reads_no_bytes(rig: Rig, row: Row) -> None:
    row.require("tells_head_from_get")
    await put(rig.store, KEY, b"12345")
    look = rig.store.sign(SignRequest("HEAD", KEY, 60))
    assert (await rig.client.get(look.url)).status_code in REFUSED
    read = rig.store.sign(SignRequest("GET", KEY, 60))
    if not rig.store.capabilities.revocable_urls:
        assert (await rig.client.head(read.url)).status_code in REFUSED


async def test_a_url_without_its_query_is_nothing(rig: Rig, row: Row) -> None:
    row.require("checks_urls")
    await put(rig.store, KEY, b"12345")
    url = rig.store.sign(SignRequest("GET", KEY, 60)).url
    assert (await rig.client.get(url.split("?")[0])).status_code in {401, 403, 404, 409}


async def test_constraints_are_reported_as_declared(rig: Rig) -> None:
    request = SignRequest("PUT", KEY, 60, size=3, content_type=TEXT, sha256=sha(b"abc"))
    transfer = rig.store.sign(request)
    enforced = {c.kind for c in transfer.constraints if c.enforcement.value == "enforced"}
    assert enforced == rig.store.capabilities.enforces


@pytest.mark.parametrize(
    ("method", "asked", "given"),
    [("GET", 10, 10), ("GET", 10**9, 900), ("PUT", 10**9, 3600), ("HEAD", 901, 900)],
)
async def test_expiry_is_clamped(rig: Rig, method: str, asked: int, given: int) -> None:
    size = 1 if method == "PUT" else None
    able = rig.store.capabilities
    longest = min(given, able.max_url_seconds)
    if method != "PUT" and not able.revocable_urls:
        longest = min(longest, UNREVOCABLE_DOWNLOAD_SECONDS)
    two = [rig.store.sign(SignRequest(method, KEY, longest, size=size)).expires_at]
    two.append(rig.store.sign(SignRequest(method, KEY, asked, size=size)).expires_at)
    assert 0 <= two[1] - two[0] <= 1


@pytest.mark.parametrize(
    "request_",
    [
        SignRequest("GET", KEY, 0),
        SignRequest("GET", KEY, -5),
        SignRequest("PUT", KEY, 60),
        SignRequest("PUT", KEY, 60, size=-1),
        SignRequest("PUT", KEY, 60, size=100 * 1024 * 1024 + 1),
        SignRequest("PUT", KEY, 60, size=1, sha256="AB" * 32),
        SignRequest("DELETE", KEY, 60),
        SignRequest("get", KEY, 60),
    ],
    ids=repr,
)
async def test_what_cannot_be_bound_is_not_signed(rig: Rig, request_: SignRequest) -> None:
    with pytest.raises(WorkspaceError) as caught:
        rig.store.sign(request_)
    assert reason(caught) == "INVALID_FIELD"


_LEAST = 5 * 1024 * 1024  # a part but the last has no fewer bytes on S3
PARTS = [random.Random(n).randbytes(size) for n, size in enumerate((_LEAST + 70_000, _LEAST, 1))]
WHOLE = b"".join(PARTS)


async def send_part(rig: Rig, key: str, multipart_id: str, number: int, data: bytes) -> None:
    request = SignRequest("PUT", key, 60, size=len(data), upload_part=(multipart_id, number))
    response = await follow(rig, rig.store.sign(request), data)
    assert response.status_code in (200, 201)


async def complete(rig: Rig, multipart_id: str, data: bytes = WHOLE) -> ObjectInfo:
    parts = await rig.store.multipart_parts(KEY, multipart_id)
    return await rig.store.multipart_complete(
        KEY, multipart_id, parts, size=len(data), sha256=sha(data)
    )


async def test_multipart_out_of_order_resumed_and_completed(rig: Rig) -> None:
    multipart_id = await rig.store.multipart_create(KEY, TEXT)
    for number in (3, 1):
        await send_part(rig, KEY, multipart_id, number, PARTS[number - 1])
    received = await rig.store.multipart_parts(KEY, multipart_id)
    assert [(part.number, part.size) for part in received] == [(1, _LEAST + 70_000), (3, 1)]
    await refuses("NOT_FOUND", rig.store.head(KEY))
    await send_part(rig, KEY, multipart_id, 2, b"first attempt")
    await send_part(rig, KEY, multipart_id, 2, PARTS[1])
    info = await complete(rig, multipart_id)
    assert (info.size, info.sha256, info.content_type) == (len(WHOLE), sha(WHOLE), TEXT)
    assert await get(rig.store, KEY) == WHOLE


async def test_multipart_completion_can_be_repeated(rig: Rig) -> None:
    multipart_id = await rig.store.multipart_create(KEY, TEXT)
    await send_part(rig, KEY, multipart_id, 1, WHOLE)
    parts = await rig.store.multipart_parts(KEY, multipart_id)
    for _ in range(2):
        info = await rig.store.multipart_complete(
            KEY, multipart_id, parts, size=len(WHOLE), sha256=sha(WHOLE)
        )
        assert info.sha256 == sha(WHOLE)
    await refuses("NOT_FOUND", rig.store.multipart_parts(KEY, multipart_id))


async def test_multipart_completion_verifies(rig: Rig) -> None:
    multipart_id = await rig.store.multipart_create(KEY, TEXT, sha(WHOLE))
    for number, data in enumerate(PARTS, 1):
        await send_part(rig, KEY, multipart_id, number, data)
    parts = list(await rig.store.multipart_parts(KEY, multipart_id))
    unknown = [*parts[:2], PartInfo(3, 1, sha(b"?"), sha(b"?"))]
    for chosen, size, digest in (
        (parts, len(WHOLE), sha(b"other")),
        (parts, len(WHOLE) + 1, sha(WHOLE)),
        (parts[:2], len(WHOLE), sha(WHOLE)),
        (parts[::-1], len(WHOLE), sha(WHOLE)),
        (unknown, len(WHOLE), sha(WHOLE)),
    ):
        call = rig.store.multipart_complete(KEY, multipart_id, chosen, size=size, sha256=digest)
        await refuses("CHECKSUM_MISMATCH", call)
        await refuses("NOT_FOUND", rig.store.head(KEY))
    assert (await complete(rig, multipart_id)).sha256 == sha(WHOLE)


@pytest.mark.parametrize("announced", ["", sha(WHOLE)], ids=["nothing", "announced"])
async def test_joined_bytes_that_are_not_those_announced_are_nothing(
    rig: Rig, announced: str
) -> None:
    multipart_id = await rig.store.multipart_create(KEY, TEXT, announced)
    await send_part(rig, KEY, multipart_id, 1, b"x" * len(WHOLE))
    await refuses("CHECKSUM_MISMATCH", complete(rig, multipart_id))
    await refuses("NOT_FOUND", rig.store.head(KEY))
    assert (await rig.store.list("")).objects == ()
    await put(rig.store, KEY, b"free")


async def test_a_long_stream_of_unknown_length(rig: Rig) -> None:
    data = random.Random(5).randbytes(1024 * 1024) * 18
    info = await put(rig.store, KEY, data, size=None, sha256=None)
    assert (info.size, info.sha256, info.content_type) == (len(data), sha(data), TEXT)
    assert (await rig.store.head(KEY)).sha256 == sha(data)
    assert [each.key for each in (await rig.store.list("")).objects] == [KEY]
    assert hashlib.sha256(await get(rig.store, KEY)).hexdigest() == sha(data)
    await refuses("CHECKSUM_MISMATCH", put(rig.store, KEY, data[1:], size=None, sha256=None))


async def test_a_long_stream_of_known_length(rig: Rig) -> None:
    data = random.Random(6).randbytes(1024 * 1024) * 18
    wrong = put(rig.store, KEY, data, sha256=sha(b"other"))
    await refuses("CHECKSUM_MISMATCH", wrong)
    await refuses("CHECKSUM_MISMATCH", put(rig.store, KEY, data, size=len(data) + 1))
    await refuses("NOT_FOUND", rig.store.head(KEY))
    for _ in range(2):
        assert (await put(rig.store, KEY, data)).sha256 == sha(data)
    assert (await rig.store.head(KEY)).sha256 == sha(data)
    await rig.store.copy(KEY, "copied")
    assert (await rig.store.head("copied")).sha256 == sha(data)
    await refuses("CHECKSUM_MISMATCH", put(rig.store, KEY, data[:-1] + b"?"))


async def test_multipart_never_overwrites(rig: Rig) -> None:
    await put(rig.store, KEY, b"here first")
    multipart_id = await rig.store.multipart_create(KEY, TEXT)
    await send_part(rig, KEY, multipart_id, 1, WHOLE)
    await refuses("CHECKSUM_MISMATCH", complete(rig, multipart_id))
    assert await get(rig.store, KEY) == b"here first"


async def test_multipart_abort(rig: Rig, row: Row) -> None:
    row.require("checks_uploads")
    multipart_id = await rig.store.multipart_create(KEY, TEXT)
    await send_part(rig, KEY, multipart_id, 1, b"part")
    await rig.store.multipart_abort(KEY, multipart_id)
    await rig.store.multipart_abort(KEY, multipart_id)
    await refuses("NOT_FOUND", rig.store.multipart_parts(KEY, multipart_id))


async def test_a_part_of_a_dropped_upload(rig: Rig, row: Row) -> None:
    row.require("ends_part_urls")
    multipart_id = await rig.store.multipart_create(KEY, TEXT)
    await rig.store.multipart_abort(KEY, multipart_id)
    request = SignRequest("PUT", KEY, 60, size=4, upload_part=(multipart_id, 1))
    assert (await follow(rig, rig.store.sign(request), b"part")).status_code == 404


async def test_a_part_that_comes_after_the_end_is_nothing(rig: Rig, row: Row) -> None:
    row.require("checks_uploads")
    multipart_id = await rig.store.multipart_create(KEY, TEXT)
    request = SignRequest("PUT", KEY, 60, size=4, upload_part=(multipart_id, 1))
    transfer = rig.store.sign(request)
    await rig.store.multipart_abort(KEY, multipart_id)
    await follow(rig, transfer, b"part")
    await refuses("NOT_FOUND", rig.store.multipart_parts(KEY, multipart_id))
    part = PartInfo(1, 4, "", "")
    await refuses(
        "NOT_FOUND",
        rig.store.multipart_complete(KEY, multipart_id, [part], size=4, sha256=sha(b"part")),
    )
    assert (await rig.store.list("")).objects == ()


async def test_multipart_ids_belong_to_their_key(rig: Rig, row: Row) -> None:
    row.require("checks_uploads")
    multipart_id = await rig.store.multipart_create(KEY, TEXT)
    await refuses("NOT_FOUND", rig.store.multipart_parts("another", multipart_id))
    await rig.store.multipart_abort("another", multipart_id)
    assert await rig.store.multipart_parts(KEY, multipart_id) == ()
    for odd in ("", "x", "../objects", "0" * 32, "0" * 31 + "/"):
        await refuses("NOT_FOUND", rig.store.multipart_parts(KEY, odd))


async def test_parts_are_not_listed_as_objects(rig: Rig) -> None:
    multipart_id = await rig.store.multipart_create(KEY, TEXT)
    await send_part(rig, KEY, multipart_id, 1, b"part")
    assert (await rig.store.list("")).objects == ()
