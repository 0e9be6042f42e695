"""Nothing is written to a bucket that everybody may read."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from services.aws.clients import AwsClients
from services.model.errors import Reason, WorkspaceError
from services.objects.s3.exposure import require_private, unknown_exposure
from tests.servers import aws
from tests.servers.marks import needs_s3

BLOCKED = dict.fromkeys(
    ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
)
OPEN = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject"}],
}


class Bucket:
    """A bucket of a test server, and the clients to look at it."""

    def __init__(self, server: Any) -> None:
        self.name = f"exposed-{uuid.uuid4().hex[:16]}"
        aws.make_bucket(server, self.name)
        self.clients: AwsClients = aws.clients_of(server)
        self.client = self.clients.client("s3", path_style=True)

    async def require(self) -> None:
        await require_private(self.clients, self.name, path_style=True)

    async def unknown(self) -> str:
        return await unknown_exposure(self.clients, self.name, path_style=True)

    def open_by_policy(self) -> None:
        statement = {**OPEN["Statement"][0], "Resource": f"arn:aws:s3:::{self.name}/*"}  # type: ignore[dict-item]
        policy = json.dumps({**OPEN, "Statement": [statement]})
        self.client.put_bucket_policy(Bucket=self.name, Policy=policy)


@pytest.fixture
async def bucket(aws_environment: None) -> AsyncIterator[Bucket]:
    made = Bucket(aws.moto())
    yield made
    await made.clients.close()


async def test_a_bucket_of_ones_own_is_private(bucket: Bucket) -> None:
    await bucket.require()
    assert await bucket.unknown() == ""
    bucket.client.put_public_access_block(
        Bucket=bucket.name, PublicAccessBlockConfiguration=BLOCKED
    )
    await bucket.require()


@pytest.mark.parametrize("acl", ["public-read", "public-read-write", "authenticated-read"])
async def test_one_that_is_open_by_its_list_is_refused(bucket: Bucket, acl: str) -> None:
    bucket.client.put_bucket_acl(Bucket=bucket.name, ACL=acl)
    with pytest.raises(WorkspaceError, match="control list") as caught:
        await bucket.require()
    assert caught.value.reason == Reason.ERROR_REASON_INVALID_STATE
    assert caught.value.metadata["exposure"] == "public"
    bucket.client.put_public_access_block(
        Bucket=bucket.name, PublicAccessBlockConfiguration=BLOCKED
    )
    await bucket.require()


async def test_one_that_is_open_by_its_policy_is_refused(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """moto does not judge policies: this one answer is AWS's."""
    bucket.open_by_policy()
    status = {"PolicyStatus": {"IsPublic": True}}
    monkeypatch.setattr(bucket.client, "get_bucket_policy_status", lambda **_: status)
    with pytest.raises(WorkspaceError, match="policy"):
        await bucket.require()
    half = {**BLOCKED, "RestrictPublicBuckets": False}
    bucket.client.put_public_access_block(Bucket=bucket.name, PublicAccessBlockConfiguration=half)
    with pytest.raises(WorkspaceError, match="policy"):
        await bucket.require()
    bucket.client.put_public_access_block(
        Bucket=bucket.name, PublicAccessBlockConfiguration=BLOCKED
    )
    await bucket.require()


@pytest.mark.parametrize(
    ("operation", "action"),
    [
        ("get_public_access_block", "s3:GetBucketPublicAccessBlock"),
        ("get_bucket_acl", "s3:GetBucketAcl"),
        ("get_bucket_policy_status", "s3:GetBucketPolicyStatus"),
    ],
)
async def test_what_may_not_be_asked_is_not_known(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, operation: str, action: str
) -> None:
    def denied(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied"}}, operation)

    monkeypatch.setattr(bucket.client, operation, denied)
    await bucket.require()
    assert await bucket.unknown() == action


@needs_s3
async def test_compatible_servers_are_asked_as_far_as_they_know(aws_environment: None) -> None:
    bucket = Bucket(aws.versitygw())
    await bucket.require()
    assert await bucket.unknown() == ""
    bucket.open_by_policy()
    with pytest.raises(WorkspaceError, match="policy"):
        await bucket.require()
    await bucket.clients.close()
