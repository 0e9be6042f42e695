"""The policies have every action that the code calls, and no other."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from botocore import xform_name
from botocore.session import Session

from services.aws.failures import iam_action
from services.aws.permissions import GRANTS, SERVICES, SETUP, SURFACE, grants_of, policy_document

ROOT = Path(__file__).parents[3]
DRIVERS = {
    "dynamodb": ["services/records/dynamodb"],
    "s3": ["services/objects/s3"],
    "events": ["services/events/event_bridge"],
    "sesv2": ["services/mail/ses.py"],
    "secretsmanager": ["services/secrets/aws_secrets_manager.py"],
    "ssm": ["services/secrets/aws_parameter_store.py"],
}
OF_SETUP = {"services/records/dynamodb/provision.py"}
"""Makes tables; run by setup and tests."""
BY_PEOPLE = {"secretsmanager:CreateSecret", "ssm:PutParameter"}
"""`wm keys push` where no template made the secret: see the grant SetupKeys."""
NO_OPERATIONS = {
    "dynamodb:DescribeTable",  # by provision.py, when a driver is opened
    "ses:SendRawEmail",  # SendEmail with raw content
    "kms:Decrypt", "kms:GenerateDataKey",  # made by S3 and DynamoDB on our behalf
}  # fmt: skip


@cache
def operations(service: str) -> dict[str, str]:
    """Both spellings of every operation of a service -> its name."""
    names = Session().get_service_model(service).operation_names
    return {each: name for name in names for each in (name, xform_name(name))}


def texts(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def used(service: str, places: list[str]) -> set[str]:
    """Actions of the operations that the sources name, called by whatever helper."""
    known, found = operations(service), set()
    for place in places:
        path = ROOT / place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            if file.relative_to(ROOT).as_posix() in OF_SETUP:
                continue
            found |= {iam_action(service, known[text]) for text in texts(file) if text in known}
    return found


@pytest.mark.parametrize("service", DRIVERS)
def test_every_action_of_a_driver_is_in_the_policies(service: str) -> None:
    allowed = {action for grant in GRANTS for action in grant.actions}
    found = used(service, DRIVERS[service])
    assert found, "the drivers name their operations"
    assert found - allowed - BY_PEOPLE == set()


def test_no_action_is_allowed_that_nothing_calls() -> None:
    called = {action for service, places in DRIVERS.items() for action in used(service, places)}
    allowed = {action for grant in GRANTS for action in grant.actions}
    assert allowed - called - NO_OPERATIONS == set()


def test_every_action_of_the_setup_is_in_its_policy() -> None:
    allowed = {action for grant in SETUP for action in grant.actions}
    found = {
        action for service in ("s3", "dynamodb") for action in used(service, ["services/aws/setup"])
    }
    own = {action for action in allowed if action.startswith(("s3:", "dynamodb:"))}
    assert found == own


def test_every_action_of_a_connection_is_in_its_policy() -> None:
    allowed = {action for grant in SURFACE for action in grant.actions}
    places = ["sync_svc/surfaces", "sync_svc/connections", "services/objects/s3"]
    found = {action for service in ("s3", "dynamodb") for action in used(service, places)}
    assert found
    assert found <= allowed


def test_every_grant_belongs_to_a_service() -> None:
    assert {name for names in SERVICES.values() for name in names} == {g.name for g in GRANTS}


def test_names_of_actions_are_whole() -> None:
    for grant in (*GRANTS, *SETUP):
        assert all(re.fullmatch(r"[a-z0-9]+:[A-Z][A-Za-z]+", action) for action in grant.actions)
        assert list(grant.actions) == sorted(set(grant.actions))


def test_a_policy_names_only_what_there_is() -> None:
    values = {
        "AWS::Partition": "aws", "AWS::Region": "eu-central-1", "AWS::AccountId": "1",
        "TableName": "t", "BucketName": "b",
    }  # fmt: skip
    policy = policy_document(grants_of("workspace"), values)
    named = [each["Sid"] for each in policy["Statement"]]
    assert named == ["Records", "Bucket", "Exposure", "Objects"]
    assert "${" not in json.dumps(policy).replace("${aws:PrincipalAccount}", "")
    assert policy["Statement"][3]["Resource"] == ["arn:aws:s3:::b/*"]


def test_the_guide_has_the_table_of_permissions() -> None:
    guide = (ROOT / "docs/guides/aws.md").read_text(encoding="utf-8")
    for grant in GRANTS:
        assert f"| {grant.name} | {grant.why} | {', '.join(grant.actions)} |" in guide


def test_files_go_to_buckets_of_the_own_account_alone() -> None:
    """Names of buckets are worldwide: somebody else may have ours, with a policy that
    takes whatever comes. ARNs of the other services name the account."""
    for grant in (*GRANTS, *SURFACE):
        worldwide = any(each.startswith("arn:${AWS::Partition}:s3:::") for each in grant.resources)
        if worldwide:
            assert grant.statement({"AWS::Partition": "aws", "BucketName": "b"})["Condition"] == {
                "StringEquals": {"aws:ResourceAccount": "${aws:PrincipalAccount}"}
            }
        else:
            assert not grant.own_account
