"""What of a request reaches the object store behind the gateway: nothing that the signature
of its URL does not cover."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from services.http.refusals import RefusedError
from services.http.signed_requests import SignedRequest, is_signed, signed_request

SIGNED = (
    b"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=k%2F20260101%2Fr%2Fs3%2Faws4_request"
    b"&X-Amz-Date=20260101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=%s&X-Amz-Signature=ab12"
)
PLAIN = SIGNED.replace(b"%s", b"host")
UPLOAD = SIGNED.replace(b"%s", b"content-length%3Bhost%3Bx-amz-checksum-sha256")
KEY = b"/files/a/b%20c%2B%25.txt"
HOST = (b"host", b"files.example.com")
LENGTH = (b"content-length", b"3")
CHECKSUM = b"x-amz-checksum-sha256"


def asked(
    method: str = "GET", path: bytes = KEY, query: bytes = PLAIN,
    headers: tuple[tuple[bytes, bytes], ...] = (HOST,),
) -> SignedRequest:  # fmt: skip
    return signed_request(method, path=path, query=query, headers=headers, bucket="files")


def refused(**given: object) -> HTTPStatus:
    with pytest.raises(RefusedError) as caught:
        asked(**given)  # type: ignore[arg-type]
    status: HTTPStatus = caught.value.response(close=True).status_code  # type: ignore[assignment]
    assert "ab12" not in str(caught.value)
    return status


@pytest.mark.case("K03", "K04")
def test_path_and_query_go_on_byte_for_byte() -> None:
    query = PLAIN + b"&response-content-type=text%2Fplain&X-Amz-Security-Token=t%2B%3D"
    found = asked(query=query)
    assert found.target == KEY + b"?" + query
    assert (found.method, found.size, found.headers) == ("GET", 0, [HOST])
    assert "ab12" not in repr(found)


def test_only_headers_that_the_store_is_meant_to_read_go_on() -> None:
    passed = (
        HOST, (b"range", b"bytes=0-1"), (b"if-none-match", b'"x"'), (b"if-range", b'"x"'),
    )  # fmt: skip
    others = (
        (b"authorization", b"Bearer t"), (b"cookie", b"a=b"), (b"x-forwarded-host", b"evil"),
        (b"expect", b"100-continue"), (b"accept-encoding", b"gzip"), (b"te", b"trailers"),
        (b"content-disposition", b"inline"), (b"proxy-authorization", b"Basic x"),
    )  # fmt: skip
    assert asked(headers=(*passed, *others)).headers == list(passed)


def test_an_upload_takes_its_signed_headers_along() -> None:
    headers = (HOST, LENGTH, (b"x-amz-checksum-sha256", b"c="), (b"content-md5", b"m"))
    found = asked("PUT", query=UPLOAD, headers=headers)
    assert (found.size, found.headers) == (3, list(headers))


def test_parts_go_to_what_the_driver_stages() -> None:
    query = UPLOAD + b"&partNumber=1&uploadId=u"
    path = b"/files/.multipart/0123/4567"
    assert asked("PUT", path, query, (HOST, LENGTH)).target == path + b"?" + query
    assert refused(method="PUT", path=path, query=UPLOAD, headers=(HOST, LENGTH)) == 403
    assert refused(path=path) == 403


@pytest.mark.case("K02", "K03", "K04")
@pytest.mark.parametrize(
    "path",
    [
        b"/files/", b"/files", b"/other/a", b"/files/../other/a", b"/files/%2e%2e/other/a",
        b"/files/%2E%2E/a", b"/files/a/../b", b"/files/./a", b"/files//a", b"/files/a//b",
        b"/files/a/", b"//files/a", b"/files/a%2Fb", b"/files/a%2fb", b"/files/%61", b"/files/a%zz",
        b"/files/a%", b"/files/a%00b", b"/files/a\\b", b"/files/a%5Cb", b"/files/a b",
        b"/files/a+b",
        b"/files/%ff", b"/files/.hidden", b"/%66iles/a", b"/FILES/a", b"/files/a;x",
        b"/files/a%3fb",
    ],
)  # fmt: skip
@pytest.mark.case("U07")
def test_other_places_and_spellings_are_refused(path: bytes) -> None:
    assert refused(path=path) == 403


@pytest.mark.parametrize(
    "more",
    [
        b"&list-type=2", b"&versionId=1", b"&acl", b"&acl=", b"&uploads=", b"&tagging=",
        b"&x-id=Get",
        b"&partNumber=1", b"&uploadId=u", b"&response-expires=x", b"&X-Amz-Signature=cd",
        b"&response-content-type=a&response-content-type=b", b"&RESPONSE-CONTENT-TYPE=a",
        b"&response%2Dcontent-type=a", b"&response-content-type=a+b", b"&response-content-type=a;b",
        b"&response-content-type=%2f", b"&", b"&=", b"&X-Amz-Copy-Source=%2Fb%2Fk", b"&\xff=1",
    ],
)  # fmt: skip
@pytest.mark.case("U06")
def test_parameters_that_our_signer_does_not_make_are_refused(more: bytes) -> None:
    assert refused(query=PLAIN + more) == 403


@pytest.mark.parametrize("name", [b"Algorithm", b"Credential", b"Date", b"Expires", b"Signed"])
def test_a_signature_needs_all_that_it_is_made_of(name: bytes) -> None:
    parts = [part for part in PLAIN.split(b"&") if not part.startswith(b"X-Amz-" + name)]
    assert refused(query=b"&".join(parts)) == 403


@pytest.mark.parametrize("more", [b"&response-content-type=a", b"&partNumber=1", b"&uploadId=u"])
def test_an_upload_is_whole_or_a_part(more: bytes) -> None:
    assert refused(method="PUT", query=UPLOAD + more, headers=(HOST, LENGTH)) == 403


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("PUT", (HOST,), 411),
        ("PUT", (HOST, LENGTH, LENGTH), 400),
        ("PUT", (HOST, LENGTH, (b"transfer-encoding", b"chunked")), 400),
        ("PUT", (HOST, (b"transfer-encoding", b"chunked")), 400),
        ("PUT", (HOST, (b"content-length", b"+3")), 400),
        ("PUT", (HOST, (b"content-length", b"3, 3")), 400),
        ("PUT", (HOST, LENGTH, (b"content-encoding", b"gzip")), 415),
        ("PUT", (HOST, LENGTH, (b"x-amz-copy-source", b"/files/other")), 400),
        ("PUT", (HOST, LENGTH, (b"x-amz-meta-a", b"b")), 400),
        ("PUT", (HOST, LENGTH, (CHECKSUM, b"a"), (CHECKSUM, b"b")), 400),
        ("PUT", (LENGTH,), 400),
        ("PUT", (HOST, HOST, LENGTH), 400),
        ("GET", (HOST, LENGTH), 400),
        ("GET", (HOST, (b"transfer-encoding", b"chunked")), 400),
        ("GET", (HOST, (b"range", b"bytes=0-1"), (b"range", b"bytes=2-3")), 400),
    ],
)  # fmt: skip
def test_headers_that_two_parsers_may_read_in_two_ways_are_refused(
    method: str, headers: tuple[tuple[bytes, bytes], ...], status: int
) -> None:
    query = UPLOAD if method == "PUT" else PLAIN
    assert refused(method=method, query=query, headers=headers) == status


@pytest.mark.case("U06")
def test_what_connection_names_ends_here() -> None:
    headers = (HOST, (b"range", b"bytes=0-1"), (b"connection", b"Range, host , close"))
    assert asked(headers=headers).headers == [HOST]


def test_a_query_without_a_signature_is_for_somebody_else() -> None:
    assert is_signed(PLAIN)
    assert not is_signed(b"")
    assert not is_signed(b"list-type=2")
