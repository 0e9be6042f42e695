"""deploy/aws: what the templates say is what the setup makes and the code needs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.aws.permissions import OWN_ACCOUNT, SERVICES, grants_of
from services.aws.setup.desired import (
    PUBLIC_ACCESS_BLOCK,
    abort_rule,
    cors_rule,
    encryption,
    staged_rule,
    tls_only,
    versions_rule,
)
from services.aws.setup.table import creation
from services.aws.setup.tags import as_list
from services.config import load_settings
from services.model.families import FAMILIES
from services.model.indexes import Index
from services.model.selection import backend_selection
from services.settings import Settings
from services.setup.tags import default_tags
from tests.integration.aws.rigs import baseline
from tests.integration.aws.templates import FOLDER, Resolver, template

KEY = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"
ORIGINS = ("https://app.example.com",)


@pytest.mark.parametrize("name", ["baseline", "runtime"])
def test_cfn_lint_has_nothing_to_say(name: str) -> None:
    assert linted(FOLDER / f"{name}.yaml") == (0, "")


def test_the_control_cfn_lint_sees_a_wrong_property(tmp_path: Path) -> None:
    text = (FOLDER / "baseline.yaml").read_text(encoding="utf-8")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(text.replace("BlockPublicAcls: true", "BlockPublicAkls: true"))
    code, said = linted(wrong)
    assert code != 0
    assert "BlockPublicAkls" in said


def linted(path: Path) -> tuple[int, str]:
    """Exit code and findings of cfn-lint."""
    command = [str(Path(sys.executable).with_name("cfn-lint")), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    return done.returncode, done.stdout


def as_api_rule(rule: dict[str, Any]) -> dict[str, Any]:
    """A lifecycle rule of CloudFormation in the form of the S3 API."""
    found = {key: value for key, value in rule.items() if key not in ("Id", "Prefix")}
    found |= {"ID": rule["Id"], "Filter": {"Prefix": rule["Prefix"]}}
    if found.pop("ExpiredObjectDeleteMarker", False):
        found["Expiration"] = {"ExpiredObjectDeleteMarker": True}
    if days := found.pop("ExpirationInDays", 0):
        found["Expiration"] = {"Days": days}
    return found


def as_api_cors(rule: dict[str, Any]) -> dict[str, Any]:
    names = {"Id": "ID", "ExposedHeaders": "ExposeHeaders", "MaxAge": "MaxAgeSeconds"}
    return {names.get(key, key): value for key, value in rule.items()}


@pytest.mark.parametrize("key", ["", KEY])
@pytest.mark.parametrize("origins", [(), ORIGINS])
def test_the_bucket_of_the_template_is_that_of_the_setup(
    key: str, origins: tuple[str, ...]
) -> None:
    wanted = baseline(kms_key=key, allow_origins=origins)
    source = template("baseline")
    found = Resolver(
        source, BucketName=wanted.bucket, KmsKeyArn=key, AllowedOrigins=list(origins)
    ).properties("Bucket")
    rule = encryption(key)
    default = rule.pop("ApplyServerSideEncryptionByDefault")
    cors = {"CorsConfiguration": {"CorsRules": [cors_rule(origins)]}} if origins else {}
    if origins:
        rules = [as_api_cors(each) for each in found["CorsConfiguration"]["CorsRules"]]
        found["CorsConfiguration"] = {"CorsRules": rules}
    rules = [as_api_rule(each) for each in found["LifecycleConfiguration"]["Rules"]]
    found["LifecycleConfiguration"] = {"Rules": rules}
    assert found == {
        "BucketName": wanted.bucket,
        "PublicAccessBlockConfiguration": dict(PUBLIC_ACCESS_BLOCK),
        "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
        "BucketEncryption": {
            "ServerSideEncryptionConfiguration": [
                {"ServerSideEncryptionByDefault": default, **rule}
            ]
        },
        "VersioningConfiguration": {"Status": "Enabled"},
        "LifecycleConfiguration": {"Rules": [abort_rule(), staged_rule(), versions_rule(30)]},
        "Tags": as_list(default_tags("dev")),
        **cors,
    }


def test_the_bucket_policy_of_the_template_is_that_of_the_setup() -> None:
    found = Resolver(template("baseline"), BucketName="b").properties("BucketPolicy")
    assert found["PolicyDocument"]["Statement"] == [tls_only("b")]


@pytest.mark.parametrize("key", ["", KEY])
def test_the_table_of_the_template_is_that_of_the_setup(key: str) -> None:
    wanted = baseline(kms_key=key, tags=default_tags("dev"))
    resolver = Resolver(template("baseline"), TableName=wanted.table, KmsKeyArn=key)
    found = resolver.properties("Table")
    assert found.pop("PointInTimeRecoverySpecification") == {"PointInTimeRecoveryEnabled": True}
    assert found.pop("TimeToLiveSpecification") == {"Enabled": True, "AttributeName": "expires_at"}
    if key:
        found["SSESpecification"]["Enabled"] = found["SSESpecification"].pop("SSEEnabled")
    assert found == creation(wanted)


def test_the_table_has_every_index_that_a_family_is_in() -> None:
    properties = Resolver(template("baseline")).properties("Table")
    indexes = {each["IndexName"] for each in properties["GlobalSecondaryIndexes"]}
    used = {index for family in FAMILIES.values() for index in family.indexes}
    assert indexes == {f"GSI{index.value}" for index in used}
    assert indexes == {f"GSI{index.value}" for index in Index if index is not Index.BASE}


def test_the_template_names_resources_as_init_does() -> None:
    defaults = Resolver(template("baseline"))
    selection: Any = backend_selection(provider="aws")
    assert defaults.of({"Ref": "BucketName"}) == selection["storage"]["bucket"]
    assert defaults.of({"Ref": "TableName"}) == selection["database"]["table"]


def test_what_holds_data_stays_when_a_stack_goes() -> None:
    kept = {
        name
        for source in (template("baseline"), template("runtime"))
        for name, each in source["Resources"].items()
        if each.get("DeletionPolicy") == each.get("UpdateReplacePolicy") == "Retain"
    }
    assert kept == {"Bucket", "BucketPolicy", "Table", "UserPool", "KeysSecret", "Logs"}


def statements(source: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for each in source["Resources"].values():
        for policy in each.get("Properties", {}).get("Policies", []) or []:
            if isinstance(policy, dict) and "PolicyDocument" in policy:
                for statement in policy["PolicyDocument"]["Statement"]:
                    yield statement["Fn::If"][1] if "Fn::If" in statement else statement


def test_task_roles_are_the_table_of_permissions() -> None:
    source = template("runtime")
    for service in SERVICES:
        role = source["Resources"][f"{service.capitalize()}Role"]["Properties"]
        found = role["Policies"][0]["PolicyDocument"]["Statement"]
        plain = [each["Fn::If"][1] if "Fn::If" in each else each for each in found]
        wanted = [
            {
                "Sid": grant.name, "Effect": "Allow", "Action": list(grant.actions),
                "Resource": [{"Fn::Sub": each} for each in grant.resources],
                **({"Condition": OWN_ACCOUNT} if grant.own_account else {}),
            }
            for grant in grants_of(service)
        ]  # fmt: skip
        assert plain == wanted
        conditions = [each["Fn::If"][0] if "Fn::If" in each else "" for each in found]
        assert conditions == [grant.only_with for grant in grants_of(service)]


def test_no_policy_allows_everything() -> None:
    found = list(statements(template("runtime")))
    assert len(found) > 8
    for statement in found:
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            assert "*" not in action
        if statement["Resource"] == "*":
            assert statement["Action"] == "ecr:GetAuthorizationToken"


def container() -> dict[str, Any]:
    resolver = Resolver(
        template("runtime"), DomainName="workspace.example.com", MailDomain="example.com",
        UserPool="eu-central-1_AbCdEfGhI", UserPoolClient="1example23456789",
        KeysSecret="arn:aws:secretsmanager:eu-central-1:123456789012:secret:w/dev/keys-AbCdEf",
    )  # fmt: skip
    found: dict[str, Any] = resolver.properties("Task")["ContainerDefinitions"][0]
    return found


def test_the_settings_of_the_task_are_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    task = container()
    given = {each["Name"]: each["Value"] for each in task["Environment"]}
    given |= {each["Name"]: "info" for each in task["Secrets"]}
    assert {name.removeprefix("WM_").lower() for name in given} <= set(Settings.model_fields)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert (settings.records, settings.objects) == ("dynamodb", "s3")
    assert settings.oidc_issuers


def test_ports_of_the_task_are_those_of_the_balancer() -> None:
    task, resolver = container(), Resolver(template("runtime"))
    given = {each["Name"]: each["Value"] for each in task["Environment"]}
    assert [each["ContainerPort"] for each in task["PortMappings"]] == [
        int(given["WM_GRPC_PORT"]), int(given["WM_HTTP_PORT"])
    ]  # fmt: skip
    grpc, http = resolver.properties("GrpcTargets"), resolver.properties("HttpTargets")
    assert (grpc["Port"], grpc["ProtocolVersion"]) == (50051, "GRPC")
    assert grpc["HealthCheckPath"] == "/grpc.health.v1.Health/Check"
    assert (http["Port"], http["HealthCheckPath"]) == (8080, "/readyz")


def test_measurements_are_not_for_strangers() -> None:
    """The process shows them to whoever asks, at exactly this path; people ask the
    balancer, which answers before it looks at anything else."""
    source = template("runtime")
    rules = {
        name: each["Properties"] for name, each in source["Resources"].items()
        if each["Type"] == "AWS::ElasticLoadBalancingV2::ListenerRule"
    }  # fmt: skip
    first = min(rules.values(), key=lambda rule: int(rule["Priority"]))
    assert first["Conditions"] == [
        {"Field": "path-pattern", "PathPatternConfig": {"Values": ["/metrics"]}}
    ]
    assert [each["Type"] for each in first["Actions"]] == ["fixed-response"]
    assert first["Actions"][0]["FixedResponseConfig"] == {"StatusCode": "404"}
