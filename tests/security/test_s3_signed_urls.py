"""Signed URLs of S3 against a server that checks them (versitygw): what was signed is
allowed, whatever differs from it is refused, and leaves nothing.

moto checks no signature and is of no use here.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx
import pytest

from services.model.errors import Reason, WorkspaceError
from services.objects.port import SignedTransfer, SignRequest
from services.objects.s3 import S3Driver
from services.objects.s3.digests import base64_of
from services.objects.store import ObjectStore
from tests.servers.aws import versitygw
from tests.servers.buckets import credentials, local_clients, new_bucket
from tests.servers.marks import needs_s3

pytestmark = needs_s3  # the server that checks signatures

KEY = "workspaces/w_1/projects/p_1/documents/d_1/raw/a report+1%.txt"
OTHER = "workspaces/w_1/projects/p_1/documents/d_2/raw/report.txt"
TEXT = "text/plain"
DATA = b"the bytes of the report\n" * 100
REFUSED = frozenset({400, 403, 404, 405, 411, 412, 501})


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Bucket:
    """A bucket, and a client that has nothing but URLs."""

    driver: S3Driver
    store: ObjectStore
    client: httpx.AsyncClient
    name: str
    offset: float = 0.0

    def now(self) -> float:
        return time.time() + self.offset

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> int:
        response = await self.client.request(method, url, headers=dict(headers), content=body)
        return response.status_code

    async def keys(self) -> list[str]:
        return [each.key for each in (await self.store.list("")).objects]

    def put(self, **options: object) -> SignedTransfer:
        fields: dict[str, object] = {
            "size": len(DATA), "content_type": TEXT, "sha256": sha(DATA), **options
        }  # fmt: skip
        return self.store.sign(SignRequest("PUT", KEY, 600, **fields))  # type: ignore[arg-type]


@pytest.fixture
async def bucket() -> AsyncIterator[Bucket]:
    with credentials():
        server = versitygw()
        made = Bucket(None, None, None, new_bucket(server))  # type: ignore[arg-type]
        clients = local_clients(server)
        made.driver = await S3Driver.open(clients, made.name, path_style=True, now=made.now)
        made.store = ObjectStore(made.driver)
        async with httpx.AsyncClient(trust_env=False) as made.client:
            yield made
        await made.driver.close()


async def stored(bucket: Bucket, key: str = KEY, data: bytes = DATA) -> None:
    async def stream() -> AsyncIterator[bytes]:
        yield data

    await bucket.store.write(key, stream(), size=len(data), sha256=None, content_type=TEXT)


def changed(url: str, **fields: str | None) -> str:
    """The URL with query parameters replaced, added, or (None) left out."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name, value in fields.items():
        name = name.replace("_", "-")
        if value is None:
            query.pop(name)
        else:
            query[name] = value
    return urlunsplit(parts._replace(query=urlencode(query)))


@pytest.mark.case("U15")
async def test_what_was_signed_is_allowed_once(bucket: Bucket) -> None:
    transfer = bucket.put()
    assert await bucket.send("PUT", transfer.url, transfer.headers, DATA) == 200
    assert (await bucket.store.head(KEY)).sha256 == sha(DATA)
    assert await bucket.send("PUT", transfer.url, transfer.headers, DATA) == 412
    get = bucket.store.sign(SignRequest("GET", KEY, 60, disposition='attachment; filename="r.txt"'))
    response = await bucket.client.get(get.url)
    assert (response.status_code, response.content) == (200, DATA)
    assert response.headers["content-disposition"] == 'attachment; filename="r.txt"'
    assert (await bucket.client.get(get.url, headers={"Range": "bytes=4-8"})).content == b"bytes"


def with_header(headers: Mapping[str, str], name: str, value: str | None) -> dict[str, str]:
    kept = {each: given for each, given in headers.items() if each.lower() != name.lower()}
    return kept if value is None else kept | {name: value}


WRONG_HEADERS = [
    ("Content-Type", "text/html", DATA),
    ("Content-Type", None, DATA),
    ("If-None-Match", None, DATA),
    ("If-None-Match", '"abc"', DATA),
    ("x-amz-checksum-sha256", None, DATA),
    ("x-amz-checksum-sha256", base64_of(sha(b"other")), DATA),
    ("Content-Length", str(len(DATA) - 1), DATA[:-1]),
    ("Content-Length", str(len(DATA) + 1), DATA + b"!"),
    ("Content-Length", "0", b""),
]


@pytest.mark.parametrize(("name", "value", "body"), WRONG_HEADERS)
@pytest.mark.case("U17", "U18", "U19")
async def test_every_signed_header_is_held_to(
    bucket: Bucket, name: str, value: str | None, body: bytes
) -> None:
    transfer = bucket.put()
    headers = with_header(transfer.headers, name, value)
    assert await bucket.send("PUT", transfer.url, headers, body) in REFUSED
    assert await bucket.keys() == []


@pytest.mark.case("U19")
async def test_other_bytes_of_the_same_length_are_refused(bucket: Bucket) -> None:
    transfer = bucket.put()
    other = DATA[:-1] + b"?"
    assert await bucket.send("PUT", transfer.url, transfer.headers, other) in REFUSED
    headers = with_header(transfer.headers, "x-amz-checksum-sha256", base64_of(sha(other)))
    assert await bucket.send("PUT", transfer.url, headers, other) in REFUSED
    assert await bucket.keys() == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.case("U02", "U03")
async def test_another_method(bucket: Bucket, method: str) -> None:
    await stored(bucket, OTHER)
    for request in (SignRequest("PUT", OTHER, 60, size=1), SignRequest("HEAD", OTHER, 60)):
        if request.method == method:
            continue
        transfer = bucket.store.sign(request)
        sends = method not in ("GET", "HEAD", "OPTIONS")
        headers = transfer.headers if sends else {}
        status = await bucket.send(method, transfer.url, headers, b"x" if sends else None)
        assert status in REFUSED
    assert (await bucket.store.head(OTHER)).sha256 == sha(DATA)


@pytest.mark.parametrize("method", ["PUT", "GET"])
@pytest.mark.case("U05")
async def test_another_key_or_bucket(bucket: Bucket, method: str) -> None:
    await stored(bucket, OTHER)
    second = new_bucket(versitygw())
    transfer = bucket.put() if method == "PUT" else bucket.store.sign(SignRequest("GET", KEY, 60))
    body = DATA if method == "PUT" else None
    path = urlsplit(transfer.url).path
    for wrong in (
        path.replace("d_1", "d_2"), path + "x", path.replace("%2B", "+"), path.replace("%20", "+"),
        path.replace("report", "repor%74x"), path.replace(bucket.name, second),
        f"/{bucket.name}/{OTHER}", f"/{bucket.name}/x/../{OTHER}", f"/{bucket.name}",
        f"/{bucket.name}/{KEY}/..", path.replace("%25", "%2525"), path.replace("/raw/", "//raw/"),
    ):  # fmt: skip
        if wrong == path:
            continue
        url = urlunsplit(urlsplit(transfer.url)._replace(path=wrong))
        assert await bucket.send(method, url, transfer.headers, body) in REFUSED, wrong
    assert await bucket.keys() == [OTHER]


@pytest.mark.parametrize("signed", ["PUT", "GET"])
@pytest.mark.case("U05")
async def test_every_bit_of_the_signature(bucket: Bucket, signed: str) -> None:
    """All 256 bits, one at a time; then other lengths and spellings."""
    if signed == "GET":
        await stored(bucket)
    transfer = bucket.put() if signed == "PUT" else bucket.store.sign(SignRequest("GET", KEY, 60))
    good = dict(parse_qsl(urlsplit(transfer.url).query))["X-Amz-Signature"]
    number = int(good, 16)
    wrong = [f"{number ^ (1 << bit):064x}" for bit in range(256)]
    wrong += [good[:-1], good + "0", good.upper(), "", "0" * 64, good[1:] + good[0]]
    body = DATA if signed == "PUT" else None
    for each in wrong:
        url = transfer.url.replace(good, each)
        assert await bucket.send(signed, url, transfer.headers, body) in REFUSED
    assert await bucket.keys() == ([] if signed == "PUT" else [KEY])


def meaning_of(url: str) -> list[tuple[str, str]]:
    """What a URL says; names of headers have no case."""
    query = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    return sorted((n, v.lower() if n == "X-Amz-SignedHeaders" else v) for n, v in query)


@pytest.mark.case("U05")
async def test_random_flips_anywhere_in_the_url(bucket: Bucket) -> None:
    await stored(bucket)
    url = bucket.store.sign(SignRequest("GET", KEY, 60, content_type=TEXT)).url
    start, chooser = url.index("?") + 1, random.Random(7)
    meaning = meaning_of(url)
    for _ in range(150):
        at = chooser.randrange(start, len(url))
        flipped = url[:at] + chr(ord(url[at]) ^ (1 << chooser.randrange(6))) + url[at + 1 :]
        safe = flipped.isascii() and flipped.isprintable() and " " not in flipped
        if not safe or "#" in flipped:
            continue
        if meaning_of(flipped) == meaning:
            continue
        assert await bucket.send("GET", flipped, {}, None) in REFUSED, flipped


@pytest.mark.parametrize(
    "fields",
    [
        {"X_Amz_Expires": "604800"},
        {"X_Amz_Expires": "-1"},
        {"X_Amz_Expires": "9999999"},
        {"X_Amz_Expires": None},
        {"X_Amz_Date": "20260101T000000Z"},
        {"X_Amz_Date": None},
        {"X_Amz_Algorithm": "AWS4-HMAC-SHA1"},
        {"X_Amz_Credential": "OTHERKEY/20261121/eu-central-1/s3/aws4_request"},
        {"X_Amz_Credential": None},
        {"X_Amz_SignedHeaders": "x-a"},
        {"X_Amz_SignedHeaders": ""},
        {"X_Amz_SignedHeaders": None},
        {"X_Amz_Signature": None},
        {"X_Amz_Security_Token": "FwoGZXIvYXdzEXAMPLE"},
        {"response_content_type": "text/html"},
        {"response_content_type": None},
        {"response_content_disposition": "inline"},
        {"versionId": "x"},
        {"acl": ""},
        {"uploadId": "1", "partNumber": "1"},
        {"anything": "1"},
    ],
    ids=str,
)
@pytest.mark.case("U05", "U06")
async def test_every_parameter(bucket: Bucket, fields: dict[str, str | None]) -> None:
    await stored(bucket)
    url = bucket.store.sign(SignRequest("GET", KEY, 60, content_type=TEXT)).url
    assert await bucket.send("GET", changed(url), {}, None) == 200
    assert await bucket.send("GET", changed(url, **fields), {}, None) in REFUSED


@pytest.mark.case("U07")
async def test_parameters_twice(bucket: Bucket) -> None:
    await stored(bucket)
    url = bucket.store.sign(SignRequest("GET", KEY, 60, content_type=TEXT)).url
    for more in ("&response-content-type=text/html", "&X-Amz-Expires=604800"):
        assert await bucket.send("GET", url + more, {}, None) in REFUSED


@pytest.mark.case("U28")
async def test_another_host(bucket: Bucket) -> None:
    """The Host header is signed: the URL works nowhere else."""
    await stored(bucket)
    url = bucket.store.sign(SignRequest("GET", KEY, 60)).url
    assert await bucket.send("GET", url, {"Host": "127.0.0.1"}, None) in REFUSED
    other = url.replace("127.0.0.1", "localhost")
    assert await bucket.send("GET", other, {}, None) in REFUSED


async def test_no_query_no_rights(bucket: Bucket) -> None:
    await stored(bucket)
    url = bucket.store.sign(SignRequest("GET", KEY, 60)).url.split("?")[0]
    for method in ("GET", "HEAD", "DELETE"):
        assert await bucket.send(method, url, {}, None) in REFUSED
    assert await bucket.send("PUT", url + "x", {"Content-Length": "1"}, b"x") in REFUSED
    assert await bucket.keys() == [KEY]


@pytest.mark.case("U12")
async def test_expired_urls(bucket: Bucket) -> None:
    await stored(bucket, OTHER)
    bucket.offset = -120.0
    get, put = bucket.store.sign(SignRequest("GET", OTHER, 60)), bucket.put()
    assert get.expires_at <= time.time()
    assert await bucket.send("GET", get.url, {}, None) in REFUSED
    assert await bucket.send("PUT", put.url, put.headers, DATA) == 200
    bucket.offset = -3_700.0
    late = bucket.store.sign(SignRequest("PUT", KEY + "2", 3600, size=1))
    bucket.offset = 0.0  # requests of our own are signed by the same clock
    assert await bucket.send("PUT", late.url, late.headers, b"x") in REFUSED
    assert sorted(await bucket.keys()) == sorted([KEY, OTHER])


async def test_metadata_sent_along_is_no_checksum(bucket: Bucket) -> None:
    """A store that takes headers nobody signed (AWS refuses them) is not believed."""
    transfer = bucket.store.sign(SignRequest("PUT", KEY, 60, size=len(DATA)))
    headers = {**transfer.headers, "x-amz-meta-sha256": sha(b"other")}
    await bucket.send("PUT", transfer.url, headers, DATA)
    for key in await bucket.keys():
        assert (await bucket.store.head(key)).sha256 in ("", sha(DATA))


async def test_what_an_uploader_sends_along_reaches_no_download(bucket: Bucket) -> None:
    """Headers without `x-amz-` need no signature, and S3 keeps them. Told that the bytes
    are gzip, a browser would show others than those that were verified."""
    transfer = bucket.put()
    more = {"Content-Encoding": "gzip", "Cache-Control": "public, max-age=31536000"}
    assert await bucket.send("PUT", transfer.url, transfer.headers | more, DATA) == 200
    for method in ("GET", "HEAD"):
        url = bucket.store.sign(SignRequest(method, KEY, 60, content_type=TEXT)).url
        response = await bucket.client.request(method, url)
        assert response.status_code == 200
        assert response.headers["content-encoding"] == "identity"
        assert response.headers["cache-control"] == "private, no-store"
        assert response.content == (DATA if method == "GET" else b"")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-amz-copy-source", f"BUCKET/{OTHER}"), ("x-amz-acl", "public-read"),
        ("x-amz-tagging", "a=b"), ("x-amz-meta-sha256", "0" * 64),
        ("x-amz-checksum-type", "COMPOSITE"), ("x-amz-website-redirect-location", "https://e"),
    ],
)  # fmt: skip
@pytest.mark.case("U06")
async def test_headers_that_would_do_something_else(
    bucket: Bucket, name: str, value: str
) -> None:
    """Such as reading another file into one's own upload, or making it public."""
    await stored(bucket, OTHER)
    multipart_id = await bucket.store.multipart_create(KEY, TEXT)
    part = SignRequest("PUT", KEY, 60, size=len(DATA), upload_part=(multipart_id, 1))
    for transfer in (bucket.put(), bucket.store.sign(part)):
        headers = transfer.headers | {name: value.replace("BUCKET", bucket.name)}
        assert await bucket.send("PUT", transfer.url, headers, DATA) in REFUSED
    assert await bucket.store.multipart_parts(KEY, multipart_id) == ()
    assert await bucket.keys() == [OTHER]


async def test_parts_are_bound_to_number_upload_and_length(bucket: Bucket) -> None:
    multipart_id = await bucket.store.multipart_create(KEY, TEXT, sha(DATA))
    other_id = await bucket.store.multipart_create(OTHER, TEXT)
    request = SignRequest("PUT", KEY, 60, size=len(DATA), upload_part=(multipart_id, 1))
    transfer = bucket.store.sign(request)
    upload = other_id.split(".", 2)[2]
    for url in (changed(transfer.url, partNumber="2"), changed(transfer.url, uploadId=upload),
                changed(transfer.url, partNumber=None), changed(transfer.url, uploadId=None)):
        assert await bucket.send("PUT", url, transfer.headers, DATA) in REFUSED
    short = with_header(transfer.headers, "Content-Length", "3")
    assert await bucket.send("PUT", transfer.url, short, b"abc") in REFUSED
    for each, key in ((multipart_id, KEY), (other_id, OTHER)):
        assert await bucket.store.multipart_parts(key, each) == ()
    with pytest.raises(WorkspaceError) as caught:
        bucket.store.sign(SignRequest("PUT", OTHER, 60, size=1, upload_part=("x", 1)))
    assert caught.value.reason == Reason.ERROR_REASON_INVALID_FIELD


async def test_a_part_sent_again_after_the_look_changes_nothing(bucket: Bucket) -> None:
    """Who holds the URL of a part replaces it between the list and the completion, by
    bytes of the same length; also when they were announced by nobody."""
    evil = DATA[:-1] + b"?"
    for number, announced in enumerate(("", sha(DATA))):
        key = f"{KEY}{number}"
        multipart_id = await bucket.store.multipart_create(key, TEXT, announced)
        request = SignRequest("PUT", key, 60, size=len(DATA), upload_part=(multipart_id, 1))
        transfer = bucket.store.sign(request)
        assert await bucket.send("PUT", transfer.url, transfer.headers, DATA) == 200
        parts = await bucket.store.multipart_parts(key, multipart_id)
        assert await bucket.send("PUT", transfer.url, transfer.headers, evil) == 200
        for given in (parts, await bucket.store.multipart_parts(key, multipart_id)):
            with pytest.raises(WorkspaceError):
                await bucket.store.multipart_complete(
                    key, multipart_id, given, size=len(DATA), sha256=sha(DATA)
                )
        assert await bucket.keys() == []
        await bucket.send("PUT", transfer.url, transfer.headers, DATA)
        assert await bucket.keys() == []


@pytest.mark.case("U10", "U33", "Y03")
async def test_secrets_are_not_in_urls_nor_in_errors(bucket: Bucket) -> None:
    transfer = bucket.put()
    assert "local0test0secret" not in transfer.url + repr(transfer)
    assert "local0test0secret" not in repr(vars(bucket.driver))
