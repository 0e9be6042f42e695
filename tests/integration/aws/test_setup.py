"""`wm setup aws` against moto: made, hardened, left alone, refused, gone on with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import NoCredentialsError

from services.aws.setup.bucket_state import read_bucket
from services.aws.setup.desired import PUBLIC_ACCESS_BLOCK, Baseline
from services.aws.setup.table import plan_table
from services.aws.setup.table_state import TableState, read_table
from services.model.errors import WorkspaceError
from services.records.dynamodb.schema import table_definition
from services.setup.plan import Step, Verb
from tests.integration.aws.rigs import Fault, Rig, answered, baseline
from tests.servers.aws import REGION, environment

pytestmark = pytest.mark.usefixtures("aws_environment")
KEY = f"arn:aws:kms:{REGION}:123456789012:key/11111111-2222-3333-4444-555555555555"
ACCOUNT = "123456789012"


@pytest.fixture(scope="module")
def shared() -> Iterator[Rig]:
    """Making clients takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment().items():
            patch.setenv(name, value)
        made = Rig()
        for service in ("s3", "dynamodb", "sts"):
            made.client(service)
        yield made
        asyncio.run(made.close())


@pytest.fixture
def rig(shared: Rig) -> Rig:
    shared.called.clear()
    shared.faults.clear()
    return shared


def named(steps: list[Step], verb: Verb) -> set[str]:
    return {f"{step.resource.split()[0]} {step.name}" for step in steps if step.verb is verb}


async def test_from_nothing_and_then_nothing_to_change(rig: Rig) -> None:
    wanted = baseline(allow_origins=("https://app.example.com",))
    done = await rig.set_up(wanted)
    assert done
    assert all(step.verb is Verb.CREATE for step in done)
    rig.called.clear()
    plan = await rig.plan(wanted)
    assert plan.changes == []
    assert await rig.set_up(wanted) == []
    assert rig.wrote == []
    table = await read_table(rig.api(), wanted.table)
    bucket = await read_bucket(rig.api(), wanted.bucket, region=REGION, account=ACCOUNT)
    assert table is not None
    assert bucket is not None
    assert (table.recovery, table.ttl, table.protected, table.on_demand) == (
        True, "expires_at", True, True,
    )  # fmt: skip
    assert bucket.block == PUBLIC_ACCESS_BLOCK
    assert bucket.versioning == "Enabled"


async def test_a_plan_makes_no_writing_call(rig: Rig) -> None:
    await rig.plan(baseline())
    assert "describe_table" in rig.called
    assert rig.wrote == []


async def test_a_plan_of_existing_resources_makes_no_writing_call(rig: Rig) -> None:
    wanted = baseline()
    soft(rig, wanted)
    assert (await rig.plan(wanted)).changes
    assert rig.wrote == []


async def test_the_control_a_writing_call_is_seen(rig: Rig) -> None:
    await rig.set_up(baseline())
    assert {"create_bucket", "create_table", "put_bucket_policy"} <= set(rig.wrote)


def soft(rig: Rig, wanted: Baseline) -> None:
    """A bucket and a table that somebody made by hand."""
    s3, dynamodb = rig.sdk("s3"), rig.sdk("dynamodb")
    s3.create_bucket(
        Bucket=wanted.bucket, CreateBucketConfiguration={"LocationConstraint": wanted.region}
    )
    s3.put_bucket_tagging(
        Bucket=wanted.bucket, Tagging={"TagSet": [{"Key": "Team", "Value": "docs"}]}
    )
    s3.put_bucket_policy(Bucket=wanted.bucket, Policy=json.dumps(theirs(wanted.bucket)))
    s3.put_bucket_lifecycle_configuration(
        Bucket=wanted.bucket,
        LifecycleConfiguration={
            "Rules": [
                {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"},
                 "Expiration": {"Days": 3}}
            ]
        },
    )  # fmt: skip
    definition = table_definition(wanted.table)
    for each in (definition, *definition["GlobalSecondaryIndexes"]):
        each["ProvisionedThroughput"] = {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1}
    dynamodb.create_table(**{**definition, "BillingMode": "PROVISIONED"})


def theirs(bucket: str) -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": {
            "Sid": "Auditors", "Effect": "Allow", "Action": "s3:ListBucket",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
            "Resource": f"arn:aws:s3:::{bucket}",
        },
    }  # fmt: skip


async def test_what_exists_is_hardened_and_what_is_in_it_stays(rig: Rig) -> None:
    wanted = baseline()
    soft(rig, wanted)
    done = await rig.set_up(wanted)
    changed = named(done, Verb.CHANGE)
    assert {"table billing", "table deletion protection"} <= changed
    assert "bucket bucket" not in named(done, Verb.CREATE)
    s3 = rig.sdk("s3")
    policy = json.loads(s3.get_bucket_policy(Bucket=wanted.bucket)["Policy"])
    assert [each["Sid"] for each in policy["Statement"]] == ["Auditors", "WorkspaceTlsOnly"]
    rules = s3.get_bucket_lifecycle_configuration(Bucket=wanted.bucket)["Rules"]
    assert [rule["ID"] for rule in rules] == [
        "logs", "workspace-abort-incomplete-multipart", "workspace-expire-staged",
        "workspace-expire-old-versions",
    ]  # fmt: skip
    tags = s3.get_bucket_tagging(Bucket=wanted.bucket)["TagSet"]
    assert {tag["Key"] for tag in tags} == {"Team", "Application", "Environment"}
    assert (await rig.plan(wanted)).changes == []


async def test_old_versions_of_a_bucket_are_not_removed_unasked(rig: Rig) -> None:
    wanted = baseline()
    soft(rig, wanted)
    rig.sdk("s3").put_bucket_versioning(
        Bucket=wanted.bucket, VersioningConfiguration={"Status": "Suspended"}
    )
    done = await rig.set_up(wanted)
    assert "bucket old versions" not in named(done, Verb.CREATE)
    plan = await rig.plan(wanted)
    assert named(list(plan.steps), Verb.LEAVE) == {"bucket old versions"}
    asked = Baseline(
        wanted.region, wanted.bucket, wanted.table, wanted.tags, keep_versions_days=90
    )  # fmt: skip
    assert [step.name for step in await rig.set_up(asked)] == ["old versions"]
    rules = rig.sdk("s3").get_bucket_lifecycle_configuration(Bucket=wanted.bucket)["Rules"]
    assert rules[-1]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 90}
    assert (await rig.plan(wanted)).changes == []


@pytest.mark.parametrize("what", ["blocks", "versioning", "policy", "recovery", "tags", "cors"])
async def test_drift_of_each_property_is_seen_and_mended(rig: Rig, what: str) -> None:
    wanted = baseline(allow_origins=("https://app.example.com",))
    await rig.set_up(wanted)
    s3, dynamodb = rig.sdk("s3"), rig.sdk("dynamodb")
    block = {**PUBLIC_ACCESS_BLOCK, "BlockPublicPolicy": False}
    drift = {
        "blocks": lambda: s3.put_public_access_block(
            Bucket=wanted.bucket, PublicAccessBlockConfiguration=block
        ),
        "versioning": lambda: s3.put_bucket_versioning(
            Bucket=wanted.bucket, VersioningConfiguration={"Status": "Suspended"}
        ),
        "policy": lambda: s3.delete_bucket_policy(Bucket=wanted.bucket),
        "recovery": lambda: dynamodb.update_continuous_backups(
            TableName=wanted.table,
            PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": False},
        ),
        "tags": lambda: s3.put_bucket_tagging(Bucket=wanted.bucket, Tagging={"TagSet": []}),
        "cors": lambda: s3.delete_bucket_cors(Bucket=wanted.bucket),
    }
    drift[what]()
    assert len((await rig.plan(wanted)).changes) == 1
    await rig.set_up(wanted)
    assert (await rig.plan(wanted)).changes == []


async def test_a_key_of_ones_own_is_set_and_kept(rig: Rig) -> None:
    wanted = baseline(kms_key=KEY)
    await rig.set_up(wanted)
    assert (await rig.plan(wanted)).changes == []
    without = Baseline(wanted.region, wanted.bucket, wanted.table, wanted.tags)
    assert (await rig.plan(without)).changes == [], "a stronger encryption is not taken away"


async def test_the_oldest_region_has_no_location_constraint() -> None:
    rig = Rig(region="us-east-1")
    try:
        wanted = baseline(region="us-east-1")
        await rig.set_up(wanted)
        assert (await rig.plan(wanted)).changes == []
    finally:
        await rig.close()


REFUSED = ["website", "policy", "acl", "region", "schema", "ttl"]


@pytest.mark.parametrize("why", REFUSED)
async def test_what_is_not_ours_is_refused_with_the_reason(rig: Rig, why: str) -> None:
    wanted = baseline()
    said = _spoil(rig, wanted, why)
    with pytest.raises(WorkspaceError, match=said):
        await rig.set_up(wanted)
    assert rig.wrote == []


def _spoil(rig: Rig, wanted: Baseline, why: str) -> str:
    """Make something that must be left alone; what the refusal says."""
    s3, dynamodb = rig.sdk("s3"), rig.sdk("dynamodb")
    if why in ("schema", "ttl"):
        definition = table_definition(wanted.table)
        if why == "schema":
            del definition["GlobalSecondaryIndexes"][3]
            definition["AttributeDefinitions"] = definition["AttributeDefinitions"][:-2]
        dynamodb.create_table(**definition)
        if why == "ttl":
            dynamodb.update_time_to_live(
                TableName=wanted.table,
                TimeToLiveSpecification={"Enabled": True, "AttributeName": "ends"},
            )
        return "GSI4 is missing" if why == "schema" else "expires its rows by 'ends'"
    place = "eu-west-3" if why == "region" else wanted.region
    (Rig(region=place).sdk("s3") if why == "region" else s3).create_bucket(
        Bucket=wanted.bucket, CreateBucketConfiguration={"LocationConstraint": place}
    )
    if why == "website":
        s3.put_bucket_website(
            Bucket=wanted.bucket, WebsiteConfiguration={"IndexDocument": {"Suffix": "i.html"}}
        )
    if why == "policy":
        statement = {**theirs(wanted.bucket)["Statement"], "Principal": {"AWS": ["*"]}}
        s3.put_bucket_policy(
            Bucket=wanted.bucket, Policy=json.dumps({"Statement": [statement]})
        )
    if why == "acl":
        s3.put_bucket_acl(Bucket=wanted.bucket, ACL="public-read")
    return {
        "website": "serves a web site", "policy": "opens it to the public",
        "acl": "opens it to the public", "region": "is in eu-west-3",
    }[why]  # fmt: skip


def test_a_global_table_is_said_and_left_to_people() -> None:
    wanted = baseline()
    arn = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{wanted.table}"
    description = table_definition(wanted.table) | {
        "TableArn": arn, "Replicas": [{"RegionName": "us-west-2"}]
    }  # fmt: skip
    assert named(plan_table(wanted, TableState(description)), Verb.LEAVE) == {"table regions"}
    del description["Replicas"]
    assert named(plan_table(wanted, TableState(description)), Verb.LEAVE) == set()


FAULTS: list[tuple[str, Fault, str]] = [
    ("get_caller_identity", NoCredentialsError, "AWS_PROFILE"),
    ("get_caller_identity", answered("ExpiredToken"), "aws sso login"),
    ("head_bucket", answered("403", 403), "another name"),
    ("get_bucket_policy", answered("AccessDenied", 403), "s3:GetBucketPolicy "),
    ("describe_table", answered("AccessDeniedException"), "dynamodb:DescribeTable "),
    ("create_bucket", answered("BucketAlreadyExists", 409), "belongs to another AWS account"),
    ("create_bucket", answered("BucketAlreadyOwnedByYou", 409), "again"),
    ("create_table", answered("AccessDeniedException"), "dynamodb:CreateTable "),
    (
        "put_bucket_encryption", answered("AccessDenied", 403), "s3:PutEncryptionConfiguration "
    ),
    ("update_continuous_backups", answered("InvalidParameter"), "UpdateContinuousBackups "),
]


@pytest.mark.parametrize(
    ("operation", "fault", "said"), FAULTS, ids=[f"{o}-{s.strip()}" for o, _, s in FAULTS]
)
async def test_each_failure_says_what_helps_and_the_next_run_goes_on(
    rig: Rig, operation: str, fault: Fault, said: str
) -> None:
    wanted = baseline()
    if operation == "get_bucket_policy":
        soft(rig, wanted)
    rig.faults[operation] = [fault]
    with pytest.raises(WorkspaceError) as failed:
        await rig.set_up(wanted)
    assert said in failed.value.message
    await rig.set_up(wanted)
    assert (await rig.plan(wanted)).changes == []


@pytest.mark.parametrize("code", ["SlowDown", "OperationAborted"])
async def test_what_passes_is_repeated(rig: Rig, code: str) -> None:
    rig.faults["put_bucket_versioning"] = [answered(code, 503), answered(code, 409)]
    wanted = baseline()
    await rig.set_up(wanted)
    assert rig.called.count("put_bucket_versioning") == 3


async def test_an_endpoint_that_is_down_is_an_error_and_no_wait(rig: Rig) -> None:
    from tests.servers.ports import free_port

    down = Rig(url=f"http://127.0.0.1:{free_port()}")
    try:
        with pytest.raises(WorkspaceError, match="repeat later"):
            await down.plan(baseline())
    finally:
        await down.close()


async def test_a_table_that_is_being_made_is_waited_for(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, seen = baseline(), 0
    creating = answered("ResourceNotFoundException")
    real = rig.call

    async def slow(service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        nonlocal seen
        if operation == "describe_table" and "create_table" in rig.called and seen < 2:
            seen += 1
            raise creating()
        return await real(service, operation, **parameters)

    monkeypatch.setattr(rig, "call", slow)
    await rig.set_up(wanted)
    assert seen == 2
