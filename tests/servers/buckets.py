"""Buckets for tests: on servers of this process, or on AWS itself (`WM_LIVE_AWS=1`)."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest.mock import patch

from services.aws.clients import AwsClients
from services.aws.place import AwsPlace
from tests.servers.aws import REGION, environment
from tests.servers.process import Server

__all__ = ["LIVE", "bucket_name", "credentials", "live_bucket", "local_clients", "new_bucket"]

LIVE = os.environ.get("WM_LIVE_AWS") == "1"
"""Whether tests may make (and delete) buckets of a real account."""


def bucket_name() -> str:
    """A name that nobody has."""
    return f"wm-test-{uuid.uuid4().hex[:20]}"


@contextmanager
def credentials() -> Iterator[None]:
    """The environment in which the SDK signs for the servers of tests, and no other."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with patch.dict(os.environ, {**kept, **environment()}, clear=True):
        yield


def local_clients(server: Server, *, region: str = REGION) -> AwsClients:
    """Clients of S3 on a server."""
    url = server.url.removesuffix("moto-api/").rstrip("/")
    return AwsClients(AwsPlace(region, endpoints={"s3": url}))


@cache
def _client(url: str) -> Any:
    with credentials():
        return AwsClients(AwsPlace(REGION, endpoints={"s3": url})).client("s3", path_style=True)


def new_bucket(server: Server) -> str:
    """An empty bucket of a server; it goes with the server."""
    name = bucket_name()
    url = server.url.removesuffix("moto-api/").rstrip("/")
    _client(url).create_bucket(
        Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    return name


@contextmanager
def live_bucket(region: str) -> Iterator[str]:
    """A bucket of the account of the environment, emptied and deleted afterwards."""
    client, name = AwsClients(AwsPlace(region)).client("s3"), bucket_name()
    place = {} if region == "us-east-1" else {"LocationConstraint": region}
    options = {"CreateBucketConfiguration": place} if place else {}
    client.create_bucket(Bucket=name, **options)
    try:
        yield name
    finally:
        _empty(client, name)
        client.delete_bucket(Bucket=name)


def _empty(client: Any, name: str) -> None:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
        for each in page.get("Contents", []):
            client.delete_object(Bucket=name, Key=each["Key"])
    for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=name):
        for each in page.get("Uploads", []):
            client.abort_multipart_upload(Bucket=name, Key=each["Key"], UploadId=each["UploadId"])
