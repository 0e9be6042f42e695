"""Signed URLs against a real server: U01-U34 of the threat list, own data plane.

Every request is made by a client without credentials; raw sockets where an
HTTP library would not send the request.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import re
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from services.objects.disposition import content_disposition
from services.objects.keyring import Purpose
from services.objects.port import SignRequest
from tests.conformance.objects.rigs import DataPlaneRig, filesystem_rig

KEY = "workspaces/w_1/projects/p_1/documents/d_1/raw/report.txt"
OTHER = "workspaces/w_1/projects/p_1/documents/d_2/raw/report.txt"
TEXT = "text/plain"
DATA = b"the bytes of the report\n" * 100
CLOSING = " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[DataPlaneRig]:
    async with filesystem_rig(tmp_path) as opened:
        yield opened


async def stream(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def store(rig: DataPlaneRig, key: str = KEY, data: bytes = DATA, kind: str = TEXT) -> None:
    await rig.store.write(key, stream(data), size=len(data), sha256=None, content_type=kind)


def upload_url(rig: DataPlaneRig, data: bytes = DATA, **options: object) -> str:
    fields: dict[str, object] = {
        "size": len(data),
        "content_type": TEXT,
        "sha256": hashlib.sha256(data).hexdigest(),
        "principal": "u_1",
        "revision_scope": "PROJECT#p_1",
        "revision": 4,
    }
    fields.update(options)
    return rig.store.sign(SignRequest("PUT", KEY, 600, **fields)).url  # type: ignore[arg-type]


def download_url(rig: DataPlaneRig, key: str = KEY, **options: object) -> str:
    request = SignRequest("GET", key, 600, principal="u_1", **options)  # type: ignore[arg-type]
    return rig.store.sign(request).url


async def send(rig: DataPlaneRig, url: str, data: bytes = DATA, **headers: str) -> httpx.Response:
    fields = {"Content-Type": TEXT, **{k.replace("_", "-"): v for k, v in headers.items()}}
    return await rig.client.put(url, content=data, headers=fields)


def reason(response: httpx.Response) -> str:
    body = response.json()
    assert set(body) == {"code", "message", "details"}
    assert body["details"][0]["domain"] == "workspace"
    assert response.headers["cache-control"] == "private, no-store"
    return str(body["details"][0]["reason"]).removeprefix("ERROR_REASON_")


async def stored(rig: DataPlaneRig) -> list[str]:
    hidden = [p.name for p in rig.root.rglob(".tmp-*")]
    assert hidden == []
    return [info.key for info in (await rig.store.list("")).objects]


@pytest.mark.case("U02", "U03")
async def test_u02_u03_methods_and_purposes_do_not_cross(rig: DataPlaneRig) -> None:
    await store(rig)
    head = rig.store.sign(SignRequest("HEAD", KEY, 60)).url
    for url, allowed in (
        (download_url(rig), {"GET", "HEAD"}),
        (head, {"HEAD"}),
        (upload_url(rig), {"PUT"}),
    ):
        for method in ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE"):
            response = await rig.client.request(
                method, url, content=DATA if method == "PUT" else b""
            )
            wanted = {"GET": 200, "HEAD": 200, "PUT": 412}[method] if method in allowed else 403
            if method == "PUT" and method in allowed:
                wanted = 403  # no Content-Type was sent
            assert response.status_code == wanted, (url.split("?")[0], method)
    assert await stored(rig) == [KEY]


def edit_token(change: Callable[[str], str]) -> Callable[[str], str]:
    def apply(url: str) -> str:
        base, token = url.split("?token=")
        return f"{base}?token={change(token)}"

    return apply


SPELLINGS: dict[str, Callable[[str], str]] = {
    "query stripped": lambda url: url.split("?")[0],
    "empty query": lambda url: url.split("?")[0] + "?",
    "empty token": lambda url: url.split("?")[0] + "?token=",
    "extra parameter behind": lambda url: url + "&versionId=1",
    "extra parameter before": lambda url: url.replace("?", "?response-content-type=text/html&"),
    "duplicate parameter": lambda url: url + "&token=" + url.split("token=")[1],
    "trailing ampersand": lambda url: url + "&",
    "semicolon": lambda url: url + ";a=b",
    "renamed parameter": lambda url: url.replace("token=", "Token="),
    "escaped parameter name": lambda url: url.replace("token=", "to%6ben="),
    "escaped dot": lambda url: url.replace("token=v1.", "token=v1%2E"),
    "plus at the end": lambda url: url + "+",
    "space at the end": lambda url: url + "%20",
    "another key": lambda url: url.replace("d_1", "d_2"),
    "parent key": lambda url: url.replace("/raw/report.txt", "/raw"),
    "case of the key": lambda url: url.replace("report.txt", "Report.txt"),
    "escaped letter in the key": lambda url: url.replace("report", "%72eport"),
    "escaped slash": lambda url: url.replace("/raw/", "/raw%2f"),
    "escaped slash, upper": lambda url: url.replace("/raw/", "/raw%2F"),
    "double slash": lambda url: url.replace("/raw/", "/raw//"),
    "trailing slash": lambda url: url.replace("report.txt", "report.txt/"),
    "key suffix": lambda url: url.replace("report.txt", "report.txt;v=2"),
    "escaped dots": lambda url: url.replace("/raw/", "/raw/%2e%2e/raw/"),
    "twice escaped dots": lambda url: url.replace("/raw/", "/raw/%252e%252e/raw/"),
    "overlong dots": lambda url: url.replace("/raw/", "/raw/%c0%ae/"),
    "mac truncated": edit_token(lambda token: token[:-1]),
    "mac absent": edit_token(lambda token: token.rsplit(".", 1)[0]),
    "mac empty": edit_token(lambda token: token.rsplit(".", 1)[0] + "."),
    "mac too long": edit_token(lambda token: token + "A"),
    "mac padded": edit_token(lambda token: token + "="),
    "mac not base64": edit_token(lambda token: token[:-3] + "!!!"),
    "kid of the other purpose": edit_token(lambda token: token.replace("v1.", "v1.0")),
    "version": edit_token(lambda token: "v2" + token[2:]),
    "reordered": edit_token(lambda token: ".".join(reversed(token.split(".")))),
    "non-ascii": edit_token(lambda token: token + "%C3%A9"),
    "very long": edit_token(lambda token: token + "A" * 20_000),
}


@pytest.mark.case("K02", "K03", "K04")
@pytest.mark.parametrize("name", sorted(SPELLINGS))
@pytest.mark.case("U05", "U06", "U07", "U08")
async def test_u05_u08_only_the_signed_spelling_is_accepted(rig: DataPlaneRig, name: str) -> None:
    await store(rig)
    await store(rig, OTHER)
    url = download_url(rig)
    changed = SPELLINGS[name](url)
    assert changed != url
    raw = await raw_request(rig, f"GET {target(changed)}{CLOSING}")
    assert status(raw) in (400, 403, 431)
    assert DATA not in raw
    assert (await rig.client.get(url)).content == DATA


@pytest.mark.case("U05")
async def test_u05_single_bit_flips_of_the_url(rig: DataPlaneRig) -> None:
    """A sample over the wire; the unit suite flips every bit of the token."""
    await store(rig)
    line = target(download_url(rig))
    chooser = random.Random(7)
    for _ in range(150):
        index, bit = chooser.randrange(len("/data/objects/"), len(line)), chooser.randrange(8)
        changed = line[:index] + chr(ord(line[index]) ^ 1 << bit) + line[index + 1 :]
        request = f"GET {changed}{CLOSING}"
        raw = await raw_request(rig, request)
        assert DATA not in raw, (index, bit)
        assert not raw or status(raw) in (400, 403, 404, 405, 505), (index, bit)


@pytest.mark.case("U12", "U13")
async def test_u12_u13_time(rig: DataPlaneRig) -> None:
    await store(rig)
    url = download_url(rig)
    for offset, wanted in ((-59, 200), (-63, 403), (0, 200), (655, 200), (661, 403), (10**9, 403)):
        rig.clock.offset = offset
        assert (await rig.client.get(url)).status_code == wanted, offset


@pytest.mark.case("U14")
async def test_u14_downloads_repeat(rig: DataPlaneRig) -> None:
    await store(rig)
    url = download_url(rig)
    assert [(await rig.client.get(url)).content for _ in range(3)] == [DATA] * 3


@pytest.mark.case("U15")
async def test_u15_an_upload_url_works_once(rig: DataPlaneRig) -> None:
    url = upload_url(rig)
    first = await send(rig, url)
    assert (first.status_code, first.headers["etag"]) == (200, f'"{SHA}"')
    again = await send(rig, url)
    assert (again.status_code, reason(again)) == (412, "CHECKSUM_MISMATCH")
    other = await send(rig, upload_url(rig, b"other bytes"), b"other bytes")
    assert other.status_code == 412
    assert (await rig.client.get(download_url(rig))).content == DATA


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.case("U16")
async def test_u16_of_parallel_uploads_one_wins(rig: DataPlaneRig, same: bool) -> None:
    bodies = [(b"a" if same else b"%d" % n) * 400_000 for n in range(4)]
    url = upload_url(rig, bodies[0], sha256="")
    responses = await asyncio.gather(*(send(rig, url, body) for body in bodies))
    assert sorted(response.status_code for response in responses) == [200, 412, 412, 412]
    content = (await rig.client.get(download_url(rig))).content
    [winner] = [n for n, response in enumerate(responses) if response.status_code == 200]
    assert content == bodies[winner]


@pytest.mark.parametrize(("change", "wanted"), [(1, 413), (-1, 400), (10**6, 413)])
@pytest.mark.case("U17")
async def test_u17_other_lengths(rig: DataPlaneRig, change: int, wanted: int) -> None:
    body = (DATA * (2 + change // len(DATA)))[: len(DATA) + change]
    response = await send(rig, upload_url(rig), body)
    assert (response.status_code, reason(response)) == (wanted, "INVALID_FIELD")
    assert response.headers["connection"] == "close"
    assert await stored(rig) == []


@pytest.mark.case("U17")
async def test_u17_a_body_without_length(rig: DataPlaneRig) -> None:
    response = await rig.client.put(
        upload_url(rig), content=stream(DATA), headers={"Content-Type": TEXT}
    )
    assert (response.status_code, reason(response)) == (400, "INVALID_FIELD")
    raw = await raw_request(
        rig, f"PUT {target(upload_url(rig))} HTTP/1.1\r\nHost: x\r\nContent-Type: {TEXT}\r\n\r\n"
    )
    assert status(raw) == 411
    assert await stored(rig) == []


@pytest.mark.case("U17")
async def test_u17_a_body_that_ends_early(rig: DataPlaneRig) -> None:
    await raw_request(rig, put_head(rig) + DATA[:100].decode(), end_early=True)
    assert await eventually(lambda: not list(rig.root.rglob(".tmp-*")))
    assert await stored(rig) == []


@pytest.mark.case("U17")
async def test_u17_bytes_behind_the_body_are_not_part_of_it(rig: DataPlaneRig) -> None:
    raw = await raw_request(rig, put_head(rig) + DATA.decode() + "more bytes")
    assert status(raw) in (200, 400)  # the parser may meet the rest before the answer
    assert await eventually(lambda: not list(rig.root.rglob(".tmp-*")))
    if await stored(rig):
        assert (await rig.client.get(download_url(rig))).content == DATA
    else:
        assert status(raw) == 400


@pytest.mark.parametrize("kind", ["text/html", "text/plain; charset=utf-8", "TEXT/PLAIN", ""])
@pytest.mark.case("U18")
async def test_u18_other_content_type(rig: DataPlaneRig, kind: str) -> None:
    response = await send(rig, upload_url(rig), Content_Type=kind)
    assert (response.status_code, reason(response)) == (403, "PERMISSION_DENIED")
    assert await stored(rig) == []


@pytest.mark.case("U18")
async def test_u18_no_content_type_and_two_of_them(rig: DataPlaneRig) -> None:
    absent = await rig.client.put(upload_url(rig), content=DATA)
    assert absent.status_code == 403
    pairs = [("Content-Type", TEXT), ("Content-Type", "text/html")]
    twice = await rig.client.put(upload_url(rig), content=DATA, headers=pairs)
    assert twice.status_code == 403
    assert await stored(rig) == []


@pytest.mark.case("U19")
async def test_u19_wrong_checksum(rig: DataPlaneRig) -> None:
    response = await send(rig, upload_url(rig), DATA[::-1])
    assert (response.status_code, reason(response)) == (400, "CHECKSUM_MISMATCH")
    assert await stored(rig) == []
    assert (await send(rig, upload_url(rig))).status_code == 200


@pytest.mark.case("A02")
async def test_content_encoding_is_refused(rig: DataPlaneRig) -> None:
    response = await send(rig, upload_url(rig), Content_Encoding="gzip")
    assert response.status_code == 415
    assert await stored(rig) == []


@pytest.mark.case("U23")
async def test_u23_revocation_is_asked_each_time_and_before_publication(
    rig: DataPlaneRig,
) -> None:
    await store(rig, OTHER)
    url = download_url(rig, OTHER, revision_scope="PROJECT#p_1", revision=9)
    assert (await rig.client.get(url)).status_code == 200
    assert (await rig.client.head(url)).status_code == 200
    asked = list(rig.revocations.asked)
    assert len(asked) >= 2  # more where a transfer takes its time
    assert set(asked) == {("u_1", "PROJECT#p_1", 9)}
    assert (await send(rig, upload_url(rig))).status_code == 200
    before_and_after = rig.revocations.asked[len(asked) :]
    assert len(before_and_after) >= 2
    assert set(before_and_after) == {("u_1", "PROJECT#p_1", 4)}
    rig.revocations.principals.add("u_1")
    refused = await rig.client.get(url)
    assert (refused.status_code, reason(refused)) == (403, "PERMISSION_DENIED")


@pytest.mark.case("U23", "R12")
async def test_u23_revoked_while_the_body_is_sent(rig: DataPlaneRig) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield DATA[:50]
        while not rig.revocations.asked:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        rig.revocations.principals.add("u_1")
        yield DATA[50:]

    headers = {"Content-Type": TEXT, "Content-Length": str(len(DATA))}
    response = await rig.client.put(upload_url(rig), content=body(), headers=headers)
    assert response.status_code == 403
    assert await stored(rig) == []


@pytest.mark.case("S06")
@pytest.mark.case("U23")
async def test_u23_an_unanswered_question_refuses(rig: DataPlaneRig) -> None:
    await store(rig, OTHER)
    rig.revocations.broken = True
    response = await rig.client.get(download_url(rig, OTHER))
    assert (response.status_code, reason(response)) == (503, "BACKEND_UNAVAILABLE")
    assert (await send(rig, upload_url(rig))).status_code == 503


@pytest.mark.case("U24")
async def test_u24_a_deleted_object_is_gone(rig: DataPlaneRig) -> None:
    await store(rig)
    url = download_url(rig)
    await rig.store.delete(KEY)
    response = await rig.client.get(url)
    assert (response.status_code, reason(response)) == (404, "NOT_FOUND")


@pytest.mark.case("U25")
async def test_u25_rotating_without_the_former_key_ends_every_url(rig: DataPlaneRig) -> None:
    await store(rig)
    down, up = download_url(rig), upload_url(rig)
    rig.keyring.rotate(Purpose.DOWNLOAD)
    assert (await rig.client.get(down)).status_code == 200
    rig.keyring.rotate(Purpose.DOWNLOAD, keep_previous=False)
    assert (await rig.client.get(down)).status_code == 403
    assert (await send(rig, up)).status_code == 412
    rig.keyring.rotate(Purpose.UPLOAD, keep_previous=False)
    assert (await send(rig, up)).status_code == 403


@pytest.mark.case("U28")
async def test_u28_host_headers_change_nothing(rig: DataPlaneRig) -> None:
    await store(rig)
    headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
    assert (await rig.client.get(download_url(rig), headers=headers)).content == DATA


@pytest.mark.parametrize(
    ("header", "code", "wanted", "content_range"),
    [
        ("bytes=0-9", 206, DATA[:10], f"bytes 0-9/{len(DATA)}"),
        ("bytes=2390-", 206, DATA[2390:], f"bytes 2390-2399/{len(DATA)}"),
        ("bytes=-5", 206, DATA[-5:], f"bytes 2395-2399/{len(DATA)}"),
        ("bytes=100-99999", 206, DATA[100:], f"bytes 100-2399/{len(DATA)}"),
        ("bytes=2400-", 416, None, f"bytes */{len(DATA)}"),
        ("bytes=0-1,5-9", 200, DATA, None),
        ("bytes=" + ",".join(["0-"] * 10_000), 200, DATA, None),
        ("bytes=5-1", 200, DATA, None),
        ("lines=1-2", 200, DATA, None),
    ],
    ids=lambda value: str(value)[:20],
)
@pytest.mark.case("U29")
async def test_u29_ranges(
    rig: DataPlaneRig, header: str, code: int, wanted: bytes | None, content_range: str | None
) -> None:
    await store(rig)
    response = await rig.client.get(download_url(rig), headers={"Range": header})
    assert (response.status_code, response.headers.get("content-range")) == (code, content_range)
    if wanted is None:
        assert reason(response) == "INVALID_FIELD"
    else:
        assert response.content == wanted


@pytest.mark.case("U30")
async def test_u30_conditional_requests_and_head(rig: DataPlaneRig) -> None:
    await store(rig)
    url, tag = download_url(rig), f'"{SHA}"'
    head = await rig.client.head(url)
    assert (head.status_code, head.headers["etag"], head.content) == (200, tag, b"")
    assert head.headers["content-length"] == str(len(DATA))
    for given in (tag, f'"x", {tag}', f"W/{tag}", "*"):
        response = await rig.client.get(url, headers={"If-None-Match": given})
        assert (response.status_code, response.content) == (304, b"")
    assert (await rig.client.get(url, headers={"If-None-Match": '"x"'})).status_code == 200
    for condition, code in ((tag, 206), ('"x"', 200)):
        headers = {"Range": "bytes=0-1", "If-Range": condition}
        assert (await rig.client.get(url, headers=headers)).status_code == code


@pytest.mark.case("F02")
@pytest.mark.case("U31")
async def test_u31_f02_headers_of_a_download(rig: DataPlaneRig) -> None:
    await store(rig, kind="text/html")
    response = await rig.client.get(download_url(rig))
    wanted = {
        "content-type": "application/octet-stream",
        "content-disposition": "attachment",
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox; default-src 'none'",
        "cache-control": "private, no-store",
        "referrer-policy": "no-referrer",
        "accept-ranges": "bytes",
        "etag": f'"{SHA}"',
    }
    assert wanted.items() <= dict(response.headers).items()


@pytest.mark.case("F01", "F03")
@pytest.mark.parametrize(
    ("kind", "inline", "shown_type", "shown_inline"),
    [
        ("text/plain", True, "text/plain", True),
        ("image/png", True, "image/png", True),
        ("application/pdf", True, "application/pdf", False),
        ("image/svg+xml", True, "application/octet-stream", False),
        ("text/html", False, "application/octet-stream", False),
        ("text/csv; charset=utf-8", False, "text/csv; charset=utf-8", False),
    ],
)
async def test_f01_f03_types_and_names(
    rig: DataPlaneRig, kind: str, inline: bool, shown_type: str, shown_inline: bool
) -> None:
    await store(rig, kind=kind)
    disposition = content_disposition('Über "x".html', inline=inline)
    response = await rig.client.get(download_url(rig, disposition=disposition))
    shown = response.headers["content-disposition"]
    assert response.headers["content-type"] == shown_type
    assert shown.split(";")[0] == ("inline" if shown_inline else "attachment")
    assert shown.endswith("filename=\"Uber _x_.html\"; filename*=UTF-8''%C3%9Cber%20%22x%22.html")


@pytest.mark.case("U10", "U31")
async def test_u10_u31_nothing_of_a_url_is_logged(
    rig: DataPlaneRig, caplog: pytest.LogCaptureFixture
) -> None:
    await store(rig)
    down, up = download_url(rig), upload_url(rig)
    with caplog.at_level(logging.DEBUG, logger="services"):
        await rig.client.get(down)
        await rig.client.get(down + "&x=1")
        await rig.client.get(down[:-2])
        await send(rig, up, b"x")
        await send(rig, up)
        rig.revocations.broken = True
        await rig.client.get(down)
    assert "transfer refused" in caplog.text
    for url in (down, up):
        token = url.split("token=")[1]
        for secret in (token, *token.split(".")[1:], KEY, "report.txt"):
            assert secret not in caplog.text


@pytest.mark.case("U34")
async def test_u34_other_credentials_neither_help_nor_hurt(rig: DataPlaneRig) -> None:
    await store(rig)
    headers = {"Authorization": "Bearer x", "Cookie": "session=x"}
    url = download_url(rig)
    assert (await rig.client.get(url, headers=headers)).status_code == 200
    assert (await rig.client.get(url.split("?")[0], headers=headers)).status_code == 403


async def test_a_download_bound_to_other_bytes_is_refused(rig: DataPlaneRig) -> None:
    await store(rig)
    response = await rig.client.get(download_url(rig, sha256="0" * 64))
    assert (response.status_code, reason(response)) == (500, "OBJECT_CORRUPT")
    assert (await rig.client.get(download_url(rig, sha256=SHA))).content == DATA


@pytest.mark.parametrize("length", [1000, 3_000_000])
async def test_rotten_bytes_never_arrive_as_a_whole_download(
    rig: DataPlaneRig, length: int
) -> None:
    await store(rig, data=b"x" * length)
    with (rig.root / KEY).open("r+b") as file:
        file.write(b"!")
    raw = await raw_request(rig, f"GET {target(download_url(rig))}{CLOSING}")
    body = raw.partition(b"\r\n\r\n")[2]
    if length == 1000:
        assert status(raw) == 500
    else:
        assert status(raw) == 200
        assert len(body) < length


@pytest.mark.case("U17", "U18", "U19")
async def test_parts_are_bound_like_objects(rig: DataPlaneRig) -> None:
    multipart_id = await rig.store.multipart_create(KEY, TEXT)
    url = upload_url(rig, upload_part=(multipart_id, 2))
    assert (await send(rig, url, DATA + b"x")).status_code == 413
    assert (await send(rig, url, DATA[::-1])).status_code == 400
    assert (await send(rig, url, Content_Type="text/html")).status_code == 403
    assert await rig.store.multipart_parts(KEY, multipart_id) == ()
    for _ in range(2):  # a part may be sent again: resuming is what parts are for
        response = await send(rig, url)
        assert (response.status_code, response.headers["etag"]) == (200, f'"{SHA}"')
    assert [part.number for part in await rig.store.multipart_parts(KEY, multipart_id)] == [2]
    assert await stored(rig) == []


@pytest.mark.case("U05", "U32")
async def test_no_token_reaches_what_is_not_an_object(rig: DataPlaneRig) -> None:
    multipart_id = await rig.store.multipart_create(KEY, TEXT)
    for path in (
        f".multipart/{multipart_id}/upload.json",
        "../keys/signing-keys.json",
        "%2e%2e/keys/signing-keys.json",
        quote("../keys/signing-keys.json", safe=""),
    ):
        token = download_url(rig).split("token=")[1]
        line = f"GET /data/objects/{path}?token={token}"
        assert status(await raw_request(rig, line + CLOSING)) == 403


async def test_too_many_transfers_are_refused_at_once(tmp_path: Path) -> None:
    async with filesystem_rig(tmp_path, max_inflight=1) as rig:
        await store(rig, OTHER)
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield DATA[:1]
            begun.set()
            await go_on.wait()
            yield DATA[1:]

        headers = {"Content-Type": TEXT, "Content-Length": str(len(DATA))}
        put = asyncio.create_task(rig.client.put(upload_url(rig), content=body(), headers=headers))
        await begun.wait()
        assert await eventually(lambda: bool(rig.revocations.asked))
        response = await rig.client.get(download_url(rig, OTHER))
        assert (response.status_code, reason(response)) == (429, "LIMIT_EXCEEDED")
        assert response.headers["retry-after"] == "1"
        go_on.set()
        assert (await put).status_code == 200
        assert (await rig.client.get(download_url(rig, OTHER))).status_code == 200


@pytest.mark.case("A04")
async def test_a_body_that_never_ends_is_cut(tmp_path: Path) -> None:
    async with filesystem_rig(tmp_path, grace_seconds=0.05) as rig:
        raw = await raw_request(rig, put_head(rig) + DATA[:10].decode())
        assert status(raw) == 408
        assert b"connection: close" in raw.lower()
        assert await stored(rig) == []


@pytest.mark.case("A04", "A06")
async def test_a_client_that_never_reads_is_cut(tmp_path: Path) -> None:
    async with filesystem_rig(tmp_path, grace_seconds=-1220.0) as rig:
        await store(rig, data=b"x" * 20_000_000)
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.port, limit=1024)
        writer.write(f"GET {target(download_url(rig))}{CLOSING}".encode())
        await writer.drain()
        await asyncio.sleep(1.0)  # nothing is read meanwhile; the server has 0.7 s
        assert len(await reader.read()) < 20_000_000
        writer.close()


MALFORMED = {
    "length and chunked": "Content-Length: 2400\r\nTransfer-Encoding: chunked\r\n",
    "two lengths": "Content-Length: 2400\r\nContent-Length: 5\r\n",
    "two equal lengths": "Content-Length: 2400\r\nContent-Length: 2400\r\n",
    "list of lengths": "Content-Length: 2400, 2400\r\n",
    "signed length": "Content-Length: +2400\r\n",
    "negative length": "Content-Length: -1\r\n",
    "huge length": "Content-Length: " + "9" * 30 + "\r\n",
    "hex length": "Content-Length: 0x960\r\n",
    "space before colon": "Content-Length : 2400\r\n",
    "folded header": "Content-Length: 2400\r\nX-A: b\r\n c\r\nTransfer-Encoding: chunked\r\n",
    "obscured chunked": "Transfer-Encoding: xchunked\r\nContent-Length: 2400\r\n",
    "huge header": "X-A: " + "a" * 1_000_000 + "\r\nContent-Length: 99999999\r\n",
}


@pytest.mark.parametrize("name", sorted(MALFORMED))
@pytest.mark.case("U17")
@pytest.mark.case("A21")
async def test_a21_malformed_requests_are_refused_and_the_connection_closed(
    rig: DataPlaneRig, name: str
) -> None:
    request = (
        f"PUT {target(upload_url(rig))} HTTP/1.1\r\nHost: x\r\nContent-Type: {TEXT}\r\n"
        f"{MALFORMED[name]}\r\n"
    )
    smuggled = f"GET {target(download_url(rig))}{CLOSING}"
    raw = await raw_request(rig, request + smuggled)
    assert not raw or status(raw) in (400, 411, 413, 431)
    assert raw.count(b"HTTP/1.1 ") <= 1
    assert await stored(rig) == []


@pytest.mark.case("A21")
async def test_a21_no_100_continue_for_a_refused_upload(rig: DataPlaneRig) -> None:
    head = put_head(rig)
    expecting = head.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n")
    refused = expecting.replace("token=v1.", "token=v1.0")
    assert status(await raw_request(rig, refused)) == 403
    raw = await raw_request(rig, expecting + DATA.decode())
    assert [int(code) for code in re.findall(rb"HTTP/1\.1 (\d+)", raw)] == [100, 200]


def put_head(rig: DataPlaneRig) -> str:
    return (
        f"PUT {target(upload_url(rig))} HTTP/1.1\r\nHost: x\r\nContent-Type: {TEXT}\r\n"
        f"Connection: close\r\nContent-Length: {len(DATA)}\r\n\r\n"
    )


def target(url: str) -> str:
    return "/" + url.split("://")[1].partition("/")[2]


def status(raw: bytes) -> int:
    return int(raw.split(b" ", 2)[1])


async def raw_request(rig: DataPlaneRig, text: str, *, end_early: bool = False) -> bytes:
    """Everything the server answers until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
    received = bytearray()
    try:
        async with asyncio.timeout(20):
            with suppress(ConnectionError):  # refused before all of it was sent
                writer.write(text.encode("latin-1"))
                await writer.drain()
                if end_early:
                    writer.write_eof()
            with suppress(ConnectionError):
                while data := await reader.read(1 << 20):
                    received += data
    finally:
        writer.close()
    return bytes(received)


async def eventually(check: Callable[[], bool]) -> bool:
    for _ in range(500):
        if check():
            return True
        await asyncio.sleep(0.01)
    return False
