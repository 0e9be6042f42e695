"""Our signatures are those of botocore, for anything that can be signed."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qsl, urlsplit

import boto3
import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from services.objects.keys import key_error
from services.objects.s3.addressing import address_of
from services.objects.s3.digests import base64_of
from services.objects.s3.signing import Identity, Signer

REGIONS = ["us-east-1", "eu-central-1", "eu-west-1", "ap-southeast-2", "sa-east-1", "cn-north-1"]
ENDPOINTS = [None, "http://127.0.0.1:9000", "https://store.example.com:8443", "http://gw.local"]
ODD = ["a+b c%20d", "ä/ö ü.txt", "日本/語.png", "😀", "a%", "x=`^&$@!,;'()[]{}~", "%2F/%", "a b/+"]

segments = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Co", "Cn")), min_size=1, max_size=20
)
keys = st.one_of(
    st.sampled_from(ODD),
    st.lists(segments, min_size=1, max_size=4).map("/".join).filter(lambda key: not key_error(key)),
)
secrets = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/+", min_size=16,
                  max_size=40)
identities = st.builds(
    Identity,
    st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", min_size=16, max_size=20),
    secrets,
    st.one_of(st.just(""), st.text("ABCabc019/+=", min_size=40, max_size=400)),
)
moments = st.integers(1_000_000_000, 4_000_000_000)


@cache
def client(region: str, endpoint: str | None, path_style: bool) -> Any:
    style = "path" if path_style else "virtual"
    # The SDK's default for us-east-1 is a host without a region.
    options = {"addressing_style": style, "us_east_1_regional_endpoint": "regional"}
    config = Config(signature_version="s3v4", s3=options)
    return boto3.Session("x" * 16, "y" * 16, region_name=region).client(
        "s3", endpoint_url=endpoint, config=config
    )


@contextmanager
def moment(at: int) -> Iterator[None]:
    """botocore's clock."""
    now = datetime.datetime.fromtimestamp(at, datetime.UTC).replace(tzinfo=None)
    with patch.object(botocore.auth, "get_current_datetime", lambda *_, **__: now):
        yield


def known(identity: Identity) -> Credentials:
    return Credentials(identity.access_key, identity.secret_key, identity.token or None)


def theirs(
    identity: Identity, operation: str, parameters: dict[str, Any], at: int, seconds: int,
    region: str, endpoint: str | None, path_style: bool,
) -> str:
    made = client(region, endpoint, path_style)
    signer = made._request_signer
    given_credentials = known(identity)
    with moment(at), patch.object(signer, "_credentials", given_credentials):
        return str(made.generate_presigned_url(operation, parameters, seconds))


def same(ours: str, other: str) -> None:
    first, second = urlsplit(ours), urlsplit(other)
    assert (first.scheme, first.netloc, first.path) == (second.scheme, second.netloc, second.path)
    assert sorted(parse_qsl(first.query, True)) == sorted(parse_qsl(second.query, True))


def ours(
    identity: Identity, method: str, key: str, at: int, seconds: int, region: str,
    endpoint: str | None, path_style: bool, headers: dict[str, str],
    query: list[tuple[str, str]],
) -> str:
    address = address_of("some-bucket", region, endpoint=endpoint, path_style=path_style)
    path = address.path(key)
    text = Signer(region).query(
        identity, method, address.host, path, query=query, headers=headers, at=at, expires=seconds
    )
    return f"{address.url}{path}?{text}"


@settings(max_examples=800)
@given(
    identities, keys, moments, st.integers(1, 604_800), st.sampled_from(REGIONS),
    st.sampled_from(ENDPOINTS), st.booleans(), st.integers(0, 5 * 1024**3),
    st.one_of(st.none(), st.sampled_from(["text/plain", "image/svg+xml", "a/b;  c=\"d  e\""])),
    st.one_of(st.none(), st.binary(max_size=4)), st.booleans(),
)
def test_put(
    identity: Identity, key: str, at: int, seconds: int, region: str, endpoint: str | None,
    path_style: bool, size: int, kind: str | None, data: bytes | None, create_only: bool,
) -> None:
    headers = {"Content-Length": str(size)}
    parameters: dict[str, Any] = {"Bucket": "some-bucket", "Key": key, "ContentLength": size}
    if kind is not None:
        headers["Content-Type"] = parameters["ContentType"] = kind
    if data is not None:
        digest = base64_of(hashlib.sha256(data).hexdigest())
        headers["x-amz-checksum-sha256"] = parameters["ChecksumSHA256"] = digest
    if create_only:
        headers["If-None-Match"] = parameters["IfNoneMatch"] = "*"
    where = (region, endpoint, path_style)
    other = theirs(identity, "put_object", parameters, at, seconds, *where)
    same(ours(identity, "PUT", key, at, seconds, *where, headers, []), other)


@settings(max_examples=500)
@given(
    identities, keys, moments, st.integers(1, 604_800), st.sampled_from(REGIONS),
    st.sampled_from(ENDPOINTS), st.booleans(),
    st.one_of(st.none(), st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1)),
    st.one_of(st.none(), st.just("text/html; charset=utf-8")), st.booleans(),
)
def test_get_and_head(
    identity: Identity, key: str, at: int, seconds: int, region: str, endpoint: str | None,
    path_style: bool, disposition: str | None, kind: str | None, head: bool,
) -> None:
    parameters: dict[str, Any] = {"Bucket": "some-bucket", "Key": key}
    query = []
    if disposition is not None:
        parameters["ResponseContentDisposition"] = disposition
        query.append(("response-content-disposition", disposition))
    if kind is not None:
        parameters["ResponseContentType"] = kind
        query.append(("response-content-type", kind))
    where = (region, endpoint, path_style)
    operation, method = ("head_object", "HEAD") if head else ("get_object", "GET")
    other = theirs(identity, operation, parameters, at, seconds, *where)
    same(ours(identity, method, key, at, seconds, *where, {}, query), other)


@settings(max_examples=400)
@given(
    identities, keys, moments, st.sampled_from(REGIONS), st.integers(1, 10_000),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1),
    st.integers(0, 5 * 1024**3),
)
def test_parts(
    identity: Identity, key: str, at: int, region: str, number: int, upload_id: str, size: int
) -> None:
    parameters = {
        "Bucket": "some-bucket", "Key": key, "UploadId": upload_id, "PartNumber": number,
        "ContentLength": size,
    }  # fmt: skip
    query = [("partNumber", str(number)), ("uploadId", upload_id)]
    other = theirs(identity, "upload_part", parameters, at, 60, region, None, False)
    headers = {"Content-Length": str(size)}
    same(ours(identity, "PUT", key, at, 60, region, None, False, headers, query), other)


@settings(max_examples=400)
@given(
    identities, keys, moments, st.sampled_from(REGIONS), st.sampled_from(["GET", "PUT", "POST"]),
    st.binary(max_size=10), st.dictionaries(st.sampled_from(["prefix", "uploads", "a b"]), keys),
)
def test_requests(
    identity: Identity, key: str, at: int, region: str, method: str, body: bytes,
    query: dict[str, str],
) -> None:
    address = address_of("some-bucket", region, endpoint=None, path_style=False)
    path, digest = address.path(key), hashlib.sha256(body).hexdigest()
    headers = {"x-amz-meta-sha256": digest, "content-type": "a/b"}
    sent, text = Signer(region).headers(
        identity, method, address.host, path, query=query.items(), headers=headers, at=at,
        payload=digest,
    )
    request = AWSRequest(method, f"{address.url}{path}?{text}", {**headers}, body)
    given_credentials = known(identity)
    with moment(at):
        botocore.auth.S3SigV4Auth(given_credentials, "s3", region).add_auth(request)
    assert sent["authorization"] == request.headers["Authorization"]
    assert sent["x-amz-date"] == request.headers["X-Amz-Date"]


@pytest.mark.parametrize(
    ("bucket", "region", "endpoint", "path_style", "wanted"),
    [
        ("b-1", "eu-central-1", None, False, "https://b-1.s3.eu-central-1.amazonaws.com/k"),
        ("b-1", "us-east-1", None, False, "https://b-1.s3.us-east-1.amazonaws.com/k"),
        ("b-1", "cn-north-1", None, False, "https://b-1.s3.cn-north-1.amazonaws.com.cn/k"),
        ("b.1", "eu-west-1", None, False, "https://s3.eu-west-1.amazonaws.com/b.1/k"),
        ("b-1", "eu-west-1", None, True, "https://s3.eu-west-1.amazonaws.com/b-1/k"),
        ("b-1", "x", "http://store:80", False, "http://b-1.store/k"),
        ("b-1", "x", "http://[::1]:9000", False, "http://[::1]:9000/b-1/k"),
        ("b-1", "x", "https://10.0.0.1:443", False, "https://10.0.0.1/b-1/k"),
    ],
)
def test_addresses(
    bucket: str, region: str, endpoint: str | None, path_style: bool, wanted: str
) -> None:
    address = address_of(bucket, region, endpoint=endpoint, path_style=path_style)
    assert address.url + address.path("k") == wanted


def test_the_key_of_a_day_is_derived_again_for_others() -> None:
    signer = Signer("eu-central-1")

    def url(identity: Identity, at: int) -> str:
        options: dict[str, Any] = {"query": [], "headers": {}, "at": at, "expires": 60}
        return signer.query(identity, "GET", "h", "/k", **options)

    one, two = Identity("A" * 16, "s1"), Identity("A" * 16, "s2")
    made = [url(one, 0), url(two, 0), url(one, 86_400), url(one, 0)]
    assert made[0] == made[3]
    assert len(set(made)) == 3
