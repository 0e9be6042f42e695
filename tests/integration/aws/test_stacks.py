"""The templates as stacks, on moto as far as it goes, against `wm setup aws`."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from services.aws.setup.bucket_state import read_bucket
from services.aws.setup.desired import Baseline
from services.aws.setup.table_state import read_table
from services.setup.tags import default_tags
from tests.integration.aws.rigs import Rig, baseline
from tests.integration.aws.templates import FOLDER, Resolver, template
from tests.integration.aws.test_templates import as_api_cors, as_api_rule
from tests.servers.aws import REGION, environment

ORIGINS = ("https://app.example.com",)
ACCOUNT = "123456789012"


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment().items():
            patch.setenv(name, value)
        made = Rig()
        yield made
        asyncio.run(made.close())


def make_stack(rig: Rig, name: str, **parameters: str) -> set[str]:
    """Create a stack; the types of its resources, where moto tells them."""
    stacks = rig.sdk("cloudformation")
    stack = f"wm-{secrets.token_hex(4)}"
    stacks.create_stack(
        StackName=stack,
        TemplateBody=(FOLDER / f"{name}.yaml").read_text(encoding="utf-8"),
        Parameters=[
            {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
        ],
        Capabilities=["CAPABILITY_IAM"],
    )
    (described,) = stacks.describe_stacks(StackName=stack)["Stacks"]
    assert described["StackStatus"] == "CREATE_COMPLETE"
    resources = stacks.describe_stack_resources(StackName=stack)["StackResources"]
    return {each["ResourceType"] for each in resources if "ResourceType" in each}


def wanted_by_template() -> Baseline:
    return baseline(tags=default_tags("test"))


async def test_the_baseline_is_a_stack_that_the_setup_finds(rig: Rig) -> None:
    """moto makes of it what it knows; the rest is in the next test."""
    wanted = wanted_by_template()
    made = make_stack(
        rig, "baseline", Environment="test", BucketName=wanted.bucket, TableName=wanted.table
    )
    assert made == {"AWS::S3::Bucket", "AWS::DynamoDB::Table"}
    plan = await rig.plan(wanted)
    unknown_to_moto = {
        "public access", "object ownership", "versioning", "unfinished uploads", "old versions",
        "staged uploads",
        "policy", "point-in-time recovery", "expiry",
    }  # fmt: skip
    assert {step.name for step in plan.changes} <= unknown_to_moto
    await rig.set_up(wanted)
    assert (await rig.plan(wanted)).changes == []


def make_as_the_template_says(rig: Rig, wanted: Baseline) -> None:
    """What CloudFormation does with the properties, by the APIs they are named for."""
    source = template("baseline")
    resolver = Resolver(
        source, Environment="test", BucketName=wanted.bucket, TableName=wanted.table,
        AllowedOrigins=list(wanted.allow_origins), Bucket=wanted.bucket,
    )  # fmt: skip
    _make_bucket(rig.sdk("s3"), resolver.properties("Bucket"), region=wanted.region)
    policy = resolver.properties("BucketPolicy")
    rig.sdk("s3").put_bucket_policy(
        Bucket=policy["Bucket"], Policy=json.dumps(policy["PolicyDocument"])
    )
    _make_table(rig.sdk("dynamodb"), resolver.properties("Table"))


def _make_bucket(s3: Any, found: dict[str, Any], *, region: str) -> None:
    name = {"Bucket": found.pop("BucketName")}
    s3.create_bucket(**name, CreateBucketConfiguration={"LocationConstraint": region})
    s3.put_public_access_block(
        **name, PublicAccessBlockConfiguration=found.pop("PublicAccessBlockConfiguration")
    )
    s3.put_bucket_ownership_controls(**name, OwnershipControls=found.pop("OwnershipControls"))
    (rule,) = found.pop("BucketEncryption")["ServerSideEncryptionConfiguration"]
    rule["ApplyServerSideEncryptionByDefault"] = rule.pop("ServerSideEncryptionByDefault")
    s3.put_bucket_encryption(**name, ServerSideEncryptionConfiguration={"Rules": [rule]})
    s3.put_bucket_versioning(
        **name, VersioningConfiguration=found.pop("VersioningConfiguration")
    )
    rules = [as_api_rule(each) for each in found.pop("LifecycleConfiguration")["Rules"]]
    s3.put_bucket_lifecycle_configuration(**name, LifecycleConfiguration={"Rules": rules})
    cors = [as_api_cors(each) for each in found.pop("CorsConfiguration")["CorsRules"]]
    s3.put_bucket_cors(**name, CORSConfiguration={"CORSRules": cors})
    s3.put_bucket_tagging(**name, Tagging={"TagSet": found.pop("Tags")})
    assert found == {}, "a property of the template that this does not make"


def _make_table(dynamodb: Any, found: dict[str, Any]) -> None:
    name = {"TableName": found["TableName"]}
    recovery = found.pop("PointInTimeRecoverySpecification")
    ttl = found.pop("TimeToLiveSpecification")
    dynamodb.create_table(**found)
    dynamodb.update_continuous_backups(**name, PointInTimeRecoverySpecification=recovery)
    dynamodb.update_time_to_live(**name, TimeToLiveSpecification=ttl)


async def test_what_the_template_says_needs_no_setup_and_is_the_same(rig: Rig) -> None:
    theirs = baseline(tags=default_tags("test"), allow_origins=ORIGINS)
    make_as_the_template_says(rig, theirs)
    assert (await rig.plan(theirs)).changes == []
    ours = baseline(tags=default_tags("test"), allow_origins=ORIGINS)
    await rig.set_up(ours)
    assert await _read(rig, ours) == await _read(rig, theirs)


async def _read(rig: Rig, wanted: Baseline) -> Any:
    """All that is read of both, without names, times and order."""
    bucket = await read_bucket(rig.api(), wanted.bucket, region=REGION, account=ACCOUNT)
    table = await read_table(rig.api(), wanted.table)
    assert bucket is not None
    assert table is not None
    text = json.dumps(_sorted([_plain(bucket), _plain(table)]))
    return json.loads(text.replace(wanted.bucket, "BUCKET").replace(wanted.table, "TABLE"))


_OF_EACH = ("TableId", "CreationDateTime", "TableArn", "IndexArn", "transition_size")


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        value = {name: getattr(value, name) for name in value.__dataclass_fields__}
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items() if key not in _OF_EACH}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value if isinstance(value, (str, int, float, bool)) else str(value)


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return sorted((_sorted(each) for each in value), key=repr)
    return value


def test_the_runtime_is_a_stack(rig: Rig) -> None:
    ec2, acm = rig.sdk("ec2"), rig.sdk("acm")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(
            VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"{REGION}{zone}"
        )["Subnet"]["SubnetId"]
        for number, zone in enumerate("abab")
    ]  # fmt: skip
    certificate = acm.request_certificate(DomainName="workspace.example.com")["CertificateArn"]
    label = f"t{secrets.token_hex(3)}"
    made = make_stack(
        rig, "runtime", Environment=label, Image="example/workspace:1",
        DomainName="workspace.example.com", CertificateArn=certificate, MailDomain="example.com",
        VpcId=vpc, PublicSubnets=",".join(subnets[:2]), PrivateSubnets=",".join(subnets[2:]),
    )  # fmt: skip
    types = {each["Type"] for each in template("runtime")["Resources"].values()}
    assert types - made == {
        # moto's CloudFormation does not make these, or does not tell.
        "AWS::ApplicationAutoScaling::ScalableTarget",
        "AWS::ApplicationAutoScaling::ScalingPolicy",
        "AWS::Cognito::UserPool", "AWS::Cognito::UserPoolClient",
        "AWS::SES::ConfigurationSet", "AWS::SES::EmailIdentity",
        "AWS::SecretsManager::Secret",
    }  # fmt: skip
