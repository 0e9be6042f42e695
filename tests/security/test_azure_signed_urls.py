"""Signed URLs of Azure Blob Storage against Azurite, which checks them: what was signed is
allowed, whatever differs from it is refused, and leaves nothing.

What Azurite does not check: the life of a delegation key beyond seven days, the role of who
asked for it, `sip` and `srh` (neither is used), and that the source of a copy inside one
account comes with a SAS of its own, as Azure wants it. That all of a URL is under its
signature is also shown by the string to sign, in tests/unit/objects/azure_blob.
"""

from __future__ import annotations

import base64
import hashlib
import random
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import httpx
import pytest

from services.model.errors import Reason, WorkspaceError
from services.objects.azure_blob import AzureBlobDriver
from services.objects.azure_blob.delegation_key import HeldKey
from services.objects.azure_blob.staging import block_id, staged_name
from services.objects.port import SignedTransfer, SignRequest, StoreUnavailable
from services.objects.store import ObjectStore
from tests.servers import azure, containers
from tests.servers.marks import needs_azurite

pytestmark = needs_azurite

KEY = "workspaces/w_1/projects/p_1/documents/d_1/raw/a report+1%.txt"
OTHER = "workspaces/w_1/projects/p_1/documents/d_2/raw/report.txt"
TEXT = "text/plain"
DATA = b"the bytes of the report\n" * 100
REFUSED = frozenset({400, 401, 403, 404, 405, 409, 412, 500, 501})
"""500: Azurite at what it cannot decode, and at what it does not implement."""


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Container:
    """A container, and a client that has nothing but URLs."""

    driver: AzureBlobDriver
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

    def put(self, key: str = KEY, **options: object) -> SignedTransfer:
        fields: dict[str, object] = {
            "size": len(DATA), "content_type": TEXT, "sha256": sha(DATA), **options
        }  # fmt: skip
        return self.store.sign(SignRequest("PUT", key, 600, **fields))  # type: ignore[arg-type]

    def get(self, key: str = KEY, **options: object) -> SignedTransfer:
        return self.store.sign(SignRequest("GET", key, 60, **options))  # type: ignore[arg-type]


@pytest.fixture
async def container(azure_environment: None) -> AsyncIterator[Container]:
    made = Container(None, None, None, containers.new_container())  # type: ignore[arg-type]
    made.driver = await AzureBlobDriver.open(
        containers.local_clients(), azure.ACCOUNT, made.name, now=made.now
    )
    made.store = ObjectStore(made.driver)
    async with httpx.AsyncClient(trust_env=False, verify=azure.trusted()) as made.client:
        yield made
    await made.driver.close()


async def stored(container: Container, key: str = KEY, data: bytes = DATA) -> None:
    async def stream() -> AsyncIterator[bytes]:
        yield data

    await container.store.write(key, stream(), size=len(data), sha256=None, content_type=TEXT)


def changed(url: str, **fields: str | None) -> str:
    """The URL with query parameters replaced, added, or (None) left out."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name, value in fields.items():
        if value is None:
            query.pop(name)
        else:
            query[name] = value
    return urlunsplit(parts._replace(query=urlencode(query, quote_via=quote)))


@pytest.mark.case("U15")
async def test_what_was_signed_is_allowed_once(container: Container) -> None:
    transfer = container.put()
    assert transfer.headers["x-ms-blob-type"] == "BlockBlob"
    assert await container.send("PUT", transfer.url, transfer.headers, DATA) == 201
    info = await container.store.head(KEY)
    assert (info.size, info.sha256, info.content_type) == (len(DATA), "", TEXT)
    other = DATA[:-1] + b"?"
    assert await container.send("PUT", transfer.url, transfer.headers, other) in REFUSED
    get = container.get(disposition='attachment; filename="r.txt"', content_type="text/csv")
    response = await container.client.get(get.url)
    assert (response.status_code, response.content) == (200, DATA)
    assert response.headers["content-disposition"] == 'attachment; filename="r.txt"'
    assert response.headers["content-type"] == "text/csv"
    assert (await container.client.get(get.url, headers={"Range": "bytes=4-8"})).content == b"bytes"


async def test_an_upload_without_its_headers(container: Container) -> None:
    transfer = container.put()
    headers = {name: value for name, value in transfer.headers.items() if "blob-type" not in name}
    assert await container.send("PUT", transfer.url, headers, DATA) in REFUSED
    assert await container.keys() == []


async def test_create_only_needs_no_header(container: Container) -> None:
    """The permission is to create: who leaves `If-None-Match` out overwrites nothing."""
    await stored(container)
    headers = {"x-ms-blob-type": "BlockBlob"}
    url = container.put().url
    assert await container.send("PUT", url, headers, b"x") == 403
    for more in ("&comp=metadata", "&comp=properties", "&comp=tier", "&comp=blocklist",
                 "&comp=lease", "&comp=undelete", "&comp=tags"):  # fmt: skip
        extra = {"x-ms-lease-action": "acquire", "x-ms-lease-duration": "15",
                 "x-ms-access-tier": "Archive"}  # fmt: skip
        assert await container.send("PUT", url + more, headers | extra, b"<x/>") in REFUSED, more
    assert (await container.store.head(KEY)).sha256 == sha(DATA)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "PATCH"])
@pytest.mark.case("U02", "U03")
async def test_another_method(container: Container, method: str) -> None:
    await stored(container, OTHER)
    upload = container.store.sign(SignRequest("PUT", OTHER, 60, size=1))
    reads = method in ("GET", "HEAD")
    for transfer in (upload, *(() if reads else (container.get(OTHER),))):
        body = None if reads else b"x"
        headers = {} if reads else transfer.headers
        status = await container.send(method, transfer.url, headers, body)
        assert status in REFUSED, status
    assert (await container.store.head(OTHER)).sha256 == sha(DATA)


async def test_a_url_to_read_changes_nothing(container: Container) -> None:
    await stored(container)
    url = container.get().url
    headers = {"x-ms-blob-type": "BlockBlob", "x-ms-meta-a": "b"}
    for more in ("", "&comp=metadata", "&comp=block&blockid=QQ%3D%3D", "&comp=snapshot"):
        assert await container.send("PUT", url + more, headers, b"x") in REFUSED
    assert (await container.store.head(KEY)).sha256 == sha(DATA)


@pytest.mark.parametrize("method", ["PUT", "GET"])
@pytest.mark.case("U05")
async def test_another_blob_or_container(container: Container, method: str) -> None:
    await stored(container, OTHER)
    second = containers.new_container()
    transfer = container.put() if method == "PUT" else container.get()
    body = DATA if method == "PUT" else None
    path = urlsplit(transfer.url).path
    root = f"/{azure.ACCOUNT}/{container.name}"
    for wrong in (
        path.replace("d_1", "d_2"), path + "x", path.replace("%20", "+"), path + "/",
        path.replace("report", "repor%74x"), path.replace(container.name, second),
        f"{root}/{OTHER}", f"{root}/x/../{OTHER}", root, f"/{azure.ACCOUNT}",
        path.replace("%25", "%2525"), path.replace("/raw/", "//raw/"),
        f"{root}/.wm/seal-key", path.replace(azure.ACCOUNT, "devstoreaccount2"),
    ):  # fmt: skip
        url = urlunsplit(urlsplit(transfer.url)._replace(path=wrong))
        assert await container.send(method, url, transfer.headers, body) in REFUSED, wrong
    query = urlsplit(transfer.url).query
    lists = f"https://{urlsplit(transfer.url).netloc}{root}?restype=container&comp=list&{query}"
    assert await container.send("GET", lists, {}, None) in REFUSED
    assert await container.keys() == [OTHER]


@pytest.mark.parametrize("signed", ["PUT", "GET"])
@pytest.mark.case("U05")
async def test_every_bit_of_the_signature(container: Container, signed: str) -> None:
    """All 256 bits, one at a time; then other lengths and spellings."""
    if signed == "GET":
        await stored(container)
    transfer = container.put() if signed == "PUT" else container.get()
    good = base64.b64decode(dict(parse_qsl(urlsplit(transfer.url).query))["sig"])
    number = int.from_bytes(good)
    wrong = [(number ^ (1 << bit)).to_bytes(32) for bit in range(256)]
    wrong += [good[:-1], good + b"0", b"", b"0" * 32, good[1:] + good[:1]]
    body = DATA if signed == "PUT" else None
    for each in wrong:
        url = changed(transfer.url, sig=base64.b64encode(each).decode())
        assert await container.send(signed, url, transfer.headers, body) in REFUSED
    assert await container.keys() == ([] if signed == "PUT" else [KEY])


@pytest.mark.case("U05")
async def test_random_flips_anywhere_in_the_url(container: Container) -> None:
    await stored(container)
    url = container.get(content_type=TEXT).url
    start, chooser = url.index("?") + 1, random.Random(7)
    meaning = sorted(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    for _ in range(150):
        at = chooser.randrange(start, len(url))
        flipped = url[:at] + chr(ord(url[at]) ^ (1 << chooser.randrange(6))) + url[at + 1 :]
        safe = flipped.isascii() and flipped.isprintable() and " " not in flipped
        if not safe or "#" in flipped:
            continue
        if sorted(parse_qsl(urlsplit(flipped).query, keep_blank_values=True)) == meaning:
            continue
        assert await container.send("GET", flipped, {}, None) in REFUSED, flipped


FIELDS = [
    {"se": "2036-01-01T00:00:00Z"}, {"se": "2036-01-01"}, {"se": None}, {"se": "x"},
    {"st": "2020-01-01T00:00:00Z"}, {"st": None},
    {"sp": "rcw"}, {"sp": "w"}, {"sp": "rd"}, {"sp": ""}, {"sp": None},
    {"sr": "c"}, {"sr": "d"}, {"sr": None}, {"spr": None}, {"spr": "https,http"},
    {"sv": "2018-11-09"}, {"sv": "2020-02-10"}, {"sv": "2026-06-06"}, {"sv": None},
    {"skoid": "00000000-8888-4777-8666-555555555555"}, {"skoid": None},
    {"sktid": "00000000-2222-4333-8444-555555555555"}, {"sktid": None},
    {"skt": "2020-01-01T00:00:00Z"}, {"skt": None},
    {"ske": "2036-01-01T00:00:00Z"}, {"ske": None},
    {"sks": "q"}, {"sks": None}, {"skv": "2020-02-10"}, {"skv": None},
    {"rsct": "text/html"}, {"rsct": None}, {"rscd": "inline"}, {"rscc": "public"},
    {"rscc": None}, {"rsce": "gzip"}, {"rscl": "en"},
    {"si": "policy"}, {"sip": "127.0.0.1"}, {"ses": "scope"}, {"sig": None}, {"sig": ""},
]  # fmt: skip


@pytest.mark.parametrize("fields", FIELDS, ids=str)
@pytest.mark.case("U05", "U06")
async def test_every_parameter(container: Container, fields: dict[str, str | None]) -> None:
    await stored(container)
    url = container.get(content_type=TEXT).url
    assert await container.send("GET", changed(url), {}, None) == 200
    assert await container.send("GET", changed(url, **fields), {}, None) in REFUSED


async def test_no_query_no_rights(container: Container) -> None:
    await stored(container)
    url = container.get().url.split("?")[0]
    for method in ("GET", "HEAD", "DELETE"):
        assert await container.send(method, url, {}, None) in REFUSED
    headers = {"x-ms-blob-type": "BlockBlob"}
    assert await container.send("PUT", url + "x", headers, b"x") in REFUSED
    assert await container.keys() == [KEY]


@pytest.mark.case("U27", "U28")
async def test_plain_http_is_nothing(container: Container) -> None:
    await stored(container)
    assert "spr=https&" in container.get().url
    plain = container.get().url.replace("https://", "http://")
    try:
        status = await container.send("GET", plain, {}, None)
    except httpx.HTTPError:
        return
    assert status in REFUSED


@pytest.mark.case("U12")
async def test_before_and_after_their_time(container: Container) -> None:
    await stored(container, OTHER)
    container.offset = -900.0
    get, put = container.get(OTHER), container.put()
    assert get.expires_at <= time.time()
    container.offset = 3_700.0
    early = container.get(OTHER)
    container.offset = 0.0
    for url in (get.url, early.url):
        assert await container.send("GET", url, {}, None) in REFUSED
    assert await container.send("PUT", put.url, put.headers, DATA) in REFUSED
    assert await container.keys() == [OTHER]


@pytest.mark.case("U26", "U27")
async def test_a_key_that_has_ended(container: Container) -> None:
    """A SAS that outlives its key, which we never make, is worth nothing when it is over."""
    await stored(container)
    held = container.driver._keys.current()
    now = time.time()
    ended = await container.driver._fetch_key(now - 7200, now - 3600)
    query, _ = container.driver._signer.query(
        HeldKey(ended, now - 7200, held.end, held.due), KEY, "r", 600, now
    )
    url = container.get().url.split("?")[0]
    assert await container.send("GET", f"{url}?{query}", {}, None) in REFUSED
    with pytest.raises(StoreUnavailable, match="ends too soon"):
        container.driver._signer.query(
            HeldKey(ended, now - 7200, now - 3600, now), KEY, "r", 600, now
        )


async def test_what_an_uploader_sends_along_reaches_no_download(container: Container) -> None:
    """Told that the bytes are gzip, a browser would show others than those verified."""
    transfer = container.put()
    more = {"x-ms-blob-content-encoding": "gzip", "x-ms-blob-content-type": "text/html",
            "x-ms-blob-cache-control": "public, max-age=31536000"}  # fmt: skip
    assert await container.send("PUT", transfer.url, transfer.headers | more, DATA) == 201
    for method in ("GET", "HEAD"):
        url = container.store.sign(SignRequest(method, KEY, 60, content_type=TEXT)).url
        response = await container.client.request(method, url)
        assert response.headers["content-encoding"] == "identity"
        assert response.headers["cache-control"] == "private, no-store"
        assert response.headers["content-type"] == TEXT
        assert response.content == (DATA if method == "GET" else b"")
    got = b"".join([chunk async for chunk in container.store.open_read(KEY)])
    assert got == DATA


async def test_metadata_sent_along_is_no_checksum(container: Container) -> None:
    """Nor is a seal of ours, once its blob is gone and the name is free again."""
    await stored(container)
    seal = (await container.client.get(container.get().url)).headers["x-ms-meta-wmseal"]
    await container.store.delete(KEY)
    evil = DATA[:-1] + b"?"
    created = container.driver._seals._now
    container.driver._seals._now = lambda: created() - 600  # as if it had been a while ago
    await stored(container, KEY)
    seal = (await container.client.get(container.get().url)).headers["x-ms-meta-wmseal"]
    assert (await container.store.head(KEY)).sha256 == ""
    await container.store.delete(KEY)
    forged = seal[:-4] + ("0000" if not seal.endswith("0000") else "1111")
    for name, value in (("wmseal", seal), ("wmseal", forged), ("sha256", sha(DATA))):
        transfer = container.put()
        headers = transfer.headers | {f"x-ms-meta-{name}": value}
        assert await container.send("PUT", transfer.url, headers, evil) == 201
        assert (await container.store.head(KEY)).sha256 == ""
        await container.store.delete(KEY)
    await stored(container, OTHER)
    seal = (await container.client.get(container.get(OTHER).url)).headers["x-ms-meta-wmseal"]
    transfer = container.put()
    headers = transfer.headers | {"x-ms-meta-wmseal": seal}
    assert await container.send("PUT", transfer.url, headers, DATA) == 201
    assert (await container.store.head(KEY)).sha256 == ""


@pytest.mark.parametrize("kind", ["AppendBlob", "PageBlob"])
async def test_blobs_of_other_kinds(container: Container, kind: str) -> None:
    """The permission to create is one to create any; such a blob is nobody's file."""
    transfer = container.put()
    headers = {"x-ms-blob-type": kind, "Content-Length": "0", "x-ms-blob-content-length": "512"}
    status = await container.send("PUT", transfer.url, headers, b"")
    assert status in REFUSED | {201}
    for key in await container.keys():
        info = await container.store.head(key)
        assert (info.sha256, info.size == len(DATA)) == ("", False)
        await container.store.delete(key)
    assert await container.keys() == []


async def test_snapshots_of_an_uploader_hinder_no_deletion(container: Container) -> None:
    await stored(container)
    url = container.put().url + "&comp=snapshot"
    await container.send("PUT", url, {}, b"")
    await container.store.delete(KEY)
    assert await container.keys() == []


async def begun(container: Container, key: str = KEY, sha256: str = "") -> tuple[str, str]:
    """(multipart id, URL of part 1)"""
    multipart_id = await container.store.multipart_create(key, TEXT, sha256)
    request = SignRequest("PUT", key, 60, size=len(DATA), upload_part=(multipart_id, 1))
    return multipart_id, container.store.sign(request).url


async def completed(container: Container, multipart_id: str, data: bytes = DATA) -> None:
    parts = await container.store.multipart_parts(KEY, multipart_id)
    await container.store.multipart_complete(
        KEY, multipart_id, parts, size=len(data), sha256=sha(data)
    )


async def test_parts_of_one_upload_are_none_of_another(container: Container) -> None:
    """Two uploads of one name; and one of another name."""
    first, url = await begun(container)
    second, _ = await begun(container)
    assert await container.send("PUT", url, {}, DATA) == 201
    assert [part.size for part in await container.store.multipart_parts(KEY, first)] == [len(DATA)]
    assert await container.store.multipart_parts(KEY, second) == ()
    moved = url.replace(first, second)
    assert await container.send("PUT", moved, {}, DATA) in REFUSED
    with pytest.raises(WorkspaceError) as caught:
        container.store.sign(SignRequest("PUT", OTHER, 60, size=1, upload_part=("x", 1)))
    assert caught.value.reason == Reason.ERROR_REASON_INVALID_FIELD
    await completed(container, first)
    assert (await container.store.head(KEY)).sha256 == sha(DATA)


async def test_a_part_sent_again_after_the_look_changes_nothing(container: Container) -> None:
    evil = DATA[:-1] + b"?"
    for announced in ("", sha(DATA)):
        multipart_id, url = await begun(container, sha256=announced)
        assert await container.send("PUT", url, {}, DATA) == 201
        parts = await container.store.multipart_parts(KEY, multipart_id)
        assert await container.send("PUT", url, {}, evil) == 201
        with pytest.raises(WorkspaceError) as caught:
            await container.store.multipart_complete(
                KEY, multipart_id, parts, size=len(DATA), sha256=sha(DATA)
            )
        assert caught.value.reason == Reason.ERROR_REASON_CHECKSUM_MISMATCH
        await container.send("PUT", url, {}, DATA)
        assert await container.keys() == []


async def test_what_else_the_url_of_a_part_allows_is_worth_nothing(container: Container) -> None:
    """Writing is one permission: its holder may join, replace and lease the staged blob.
    That is their upload and nobody else's; it counts when the bytes are those announced."""
    await stored(container, OTHER)
    evil = DATA[:-1] + b"?"
    for act in ("block", "whole", "join", "lease"):
        multipart_id, url = await begun(container)
        assert await container.send("PUT", url, {}, DATA) == 201
        sas = url.split("&", 2)[2]
        base = url.split("?")[0]
        await _misuse(container, act, f"{base}?{sas}", evil)
        try:
            await completed(container, multipart_id)
        except WorkspaceError:
            assert await container.keys() == [OTHER], act
        else:
            got = b"".join([chunk async for chunk in container.store.open_read(KEY)])
            assert got == DATA
            await container.store.delete(KEY)
        await container.store.multipart_abort(KEY, multipart_id)
    listed = await container.client.get(f"{base}?comp=blocklist&{sas}")
    assert listed.status_code in REFUSED
    assert (await container.store.head(OTHER)).sha256 == sha(DATA)


async def _misuse(container: Container, act: str, url: str, evil: bytes) -> None:
    other = quote(base64.b64encode(block_id(2).encode()), safe="")
    if act == "block":
        await container.send("PUT", f"{url}&comp=block&blockid={other}", {}, evil)
    elif act == "whole":
        await container.send("PUT", url, {"x-ms-blob-type": "BlockBlob"}, evil)
    elif act == "join":
        one = base64.b64encode(block_id(1).encode()).decode()
        body = f"<BlockList><Latest>{one}</Latest></BlockList>".encode()
        await container.send("PUT", f"{url}&comp=blocklist", {}, body)
    else:
        await container.send("PUT", url, {"x-ms-blob-type": "BlockBlob"}, DATA)
        lease = {"x-ms-lease-action": "acquire", "x-ms-lease-duration": "-1"}
        assert await container.send("PUT", f"{url}&comp=lease", lease, b"") == 201


async def test_staged_names_are_no_keys(container: Container) -> None:
    multipart_id, _ = await begun(container)
    for key in (staged_name(KEY, multipart_id), ".wm/seal-key"):
        with pytest.raises(WorkspaceError) as caught:
            container.get(key)
        assert caught.value.reason == Reason.ERROR_REASON_INVALID_FIELD


@pytest.mark.case("U10", "U33")
async def test_secrets_are_not_in_urls_nor_in_errors(container: Container) -> None:
    held = container.driver._keys.current()
    transfer = container.put()
    shown = transfer.url + repr(transfer) + repr(held) + repr(vars(container.driver))
    assert str(held.key.value) not in shown
    assert container.driver._seals._key.hex() not in shown
