"""URLs are signed for the address at which clients reach a bucket; the driver has its own."""

from __future__ import annotations

import time

import pytest

from services.aws.clients import AwsClients
from services.aws.place import AwsPlace
from services.objects.port import SignRequest
from services.objects.s3 import S3Driver
from tests.servers.aws import REGION
from tests.servers.buckets import credentials


def signed(
    public: str, *, path_style: bool, endpoint: str = "http://store.internal:9000"
) -> str:  # fmt: skip
    with credentials():
        place = AwsPlace(
            REGION, endpoints={"s3": endpoint} if endpoint else {},
            public_endpoints={"s3": public} if public else {},
        )  # fmt: skip
        driver = S3Driver(
            AwsClients(place), "files", path_style=path_style, now=time.time, read_only=False,
            patience=0, part_bytes=5 << 20,
        )  # fmt: skip
        return driver.sign(SignRequest("GET", "a/b c", 60)).url.partition("?")[0]


@pytest.mark.parametrize(
    ("public", "path_style", "url"),
    [
        ("https://files.example.com", True, "https://files.example.com/files/a/b%20c"),
        ("https://example.com", False, "https://files.example.com/a/b%20c"),
        ("https://example.com:8443/", False, "https://files.example.com:8443/a/b%20c"),
        ("https://example.com:443", True, "https://example.com/files/a/b%20c"),
        ("http://127.0.0.1:8080", False, "http://127.0.0.1:8080/files/a/b%20c"),
        ("", True, "http://store.internal:9000/files/a/b%20c"),
    ],
)
def test_urls_begin_with_the_public_endpoint(public: str, path_style: bool, url: str) -> None:
    assert signed(public, path_style=path_style) == url


def test_before_the_service_itself_it_may_stand_too() -> None:
    public = "https://example.com"
    assert signed(public, path_style=True, endpoint="") == "https://example.com/files/a/b%20c"
    direct = f"https://files.s3.{REGION}.amazonaws.com/a/b%20c"
    assert signed("", path_style=False, endpoint="") == direct
