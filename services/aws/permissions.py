"""What the workspace may do on AWS: the source of the policies in deploy/aws, of
`wm setup aws --policy`, and of the table in docs/guides/aws.md.

Resources are ARNs with the names of CloudFormation (`Fn::Sub`). Each action is one that
the code calls: a test reads the drivers and compares.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

__all__ = [
    "GRANTS", "OWN_ACCOUNT", "SERVICES", "SETUP", "SURFACE", "Grant", "grants_of",
    "policy_document",
]  # fmt: skip

_TABLE: Final = "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/${TableName}"
_BUCKET: Final = "arn:${AWS::Partition}:s3:::${BucketName}"
_PARAMETERS: Final = (
    "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter/workspace-management"
    "/${Environment}"
)
_SES: Final = "arn:${AWS::Partition}:ses:${AWS::Region}:${AWS::AccountId}"


OWN_ACCOUNT: Final[dict[str, Any]] = {
    "StringEquals": {"aws:ResourceAccount": "${aws:PrincipalAccount}"}
}
"""Whoever makes a bucket of our name first, in another account, gets no file of ours (IAM
User Guide, "Policy variables")."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Actions on resources. `name` becomes the statement's Sid; `only_with` names the
    template's condition without which there is no such resource. `own_account`: names of
    the resources are worldwide, and only those of the role's account are meant."""

    name: str
    why: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    only_with: str = ""
    own_account: bool = False

    def statement(self, values: Mapping[str, str]) -> dict[str, Any]:
        """As IAM JSON, with `values` for the names in the resources."""
        made: dict[str, Any] = {
            "Sid": self.name,
            "Effect": "Allow",
            "Action": list(self.actions),
            "Resource": [_filled(each, values) for each in self.resources],
        }
        return made | ({"Condition": OWN_ACCOUNT} if self.own_account else {})


GRANTS: Final[Sequence[Grant]] = (
    Grant(
        "Records", "items, transactions, index queries and the change feed",
        (
            "dynamodb:BatchGetItem", "dynamodb:DescribeTable", "dynamodb:GetItem",
            "dynamodb:PutItem", "dynamodb:Query", "dynamodb:Scan",
        ),
        (_TABLE, f"{_TABLE}/index/*"),
    ),
    Grant(
        "Bucket", "is it there, and what is in it", ("s3:ListBucket",), (_BUCKET,),
        own_account=True,
    ),
    Grant(
        "Exposure", "is it private; one that is not is refused",
        ("s3:GetBucketAcl", "s3:GetBucketPolicyStatus", "s3:GetBucketPublicAccessBlock"),
        (_BUCKET,), own_account=True,
    ),
    Grant(
        "Objects", "reading, writing and signing URLs of files",
        (
            "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject",
            "s3:ListMultipartUploadParts", "s3:PutObject",
        ),
        (f"{_BUCKET}/*",), own_account=True,
    ),
    Grant(
        "Keys", "the key files that all tasks share; written once, when there are none",
        ("secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"),
        ("${KeysSecret}",),
    ),
    Grant(
        "Settings", "values of settings that are `ssm:` references",
        ("ssm:GetParameter",), (f"{_PARAMETERS}/*",),
    ),
    Grant(
        "Events", "publishing activity events",
        ("events:DescribeEventBus", "events:PutEvents"), ("${EventBus.Arn}",),
    ),
    Grant(
        "Mail", "sending mail",
        ("ses:SendEmail", "ses:SendRawEmail"),
        (
            f"{_SES}:identity/${{MailDomain}}",
            f"{_SES}:configuration-set/${{MailConfiguration}}",
        ),
    ),
    Grant(
        "EncryptionKey", "your own KMS key, where there is one",
        ("kms:Decrypt", "kms:GenerateDataKey"), ("${KmsKeyArn}",), only_with="HasKey",
    ),
)  # fmt: skip
"""What running processes need, by part."""

SERVICES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        # One process serves all services (`wm serve`), so there is one role. A service
        # with a process of its own gets a row, and a role, of its own.
        "workspace": (
            "Records", "Bucket", "Exposure", "Objects", "Keys", "Settings", "Events", "Mail",
            "EncryptionKey",
        ),
    }
)  # fmt: skip
"""Service of deploy/aws/runtime.yaml -> the grants of its task role."""

SETUP: Final[Sequence[Grant]] = (
    Grant(
        "SetupBucket", "making and hardening the bucket",
        (
            "s3:CreateBucket", "s3:GetBucketAcl", "s3:GetBucketCORS", "s3:GetBucketLocation",
            "s3:GetBucketOwnershipControls", "s3:GetBucketPolicy", "s3:GetBucketPolicyStatus",
            "s3:GetBucketPublicAccessBlock", "s3:GetBucketTagging", "s3:GetBucketVersioning",
            "s3:GetBucketWebsite", "s3:GetEncryptionConfiguration",
            "s3:GetLifecycleConfiguration", "s3:ListBucket", "s3:PutBucketCORS",
            "s3:PutBucketOwnershipControls", "s3:PutBucketPolicy",
            "s3:PutBucketPublicAccessBlock", "s3:PutBucketTagging", "s3:PutBucketVersioning",
            "s3:PutEncryptionConfiguration", "s3:PutLifecycleConfiguration",
        ),
        (_BUCKET,),
    ),
    Grant(
        "SetupTable", "making and hardening the table",
        (
            "dynamodb:CreateTable", "dynamodb:DescribeContinuousBackups",
            "dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive",
            "dynamodb:ListTagsOfResource", "dynamodb:TagResource",
            "dynamodb:UpdateContinuousBackups", "dynamodb:UpdateTable",
            "dynamodb:UpdateTimeToLive",
        ),
        (_TABLE,),
    ),
    Grant(
        "SetupEncryption", "a table and a bucket under your own KMS key",
        ("kms:CreateGrant", "kms:DescribeKey"), ("${KmsKeyArn}",), only_with="HasKey",
    ),
    Grant(
        "SetupKeys", "`wm keys push`, where no template made the secret",
        ("secretsmanager:CreateSecret", "secretsmanager:PutSecretValue", "ssm:PutParameter"),
        (
            "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:"
            "workspace-management/${Environment}/*",
            f"{_PARAMETERS}/*",
        ),
    ),
)  # fmt: skip
"""What whoever runs `wm setup aws` needs. (`sts:GetCallerIdentity` needs no permission.)"""

SURFACE: Final[Sequence[Grant]] = (
    *(grant for grant in GRANTS if grant.name in ("Records", "Bucket", "Exposure", "Objects")),
)  # fmt: skip
"""What the credentials of a connection need, on the table and bucket of the other side."""

_NAME = re.compile(r"\$\{([A-Za-z:.]+)\}")


def grants_of(service: str) -> list[Grant]:
    """The grants of a service's task role, in the order of the table. Raises KeyError."""
    names = SERVICES[service]
    return [grant for grant in GRANTS if grant.name in names]


def policy_document(grants: Sequence[Grant], values: Mapping[str, str]) -> dict[str, Any]:
    """An IAM policy. `values` are those of the names in the ARNs (`AWS::Region`,
    `TableName`, ...); a grant one of whose names has no value is left out."""
    statements = [grant.statement(values) for grant in grants if _is_complete(grant, values)]
    return {"Version": "2012-10-17", "Statement": statements}


def _is_complete(grant: Grant, values: Mapping[str, str]) -> bool:
    names = {name for text in grant.resources for name in _NAME.findall(text)}
    return all(values.get(name) for name in names)


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _NAME.sub(lambda found: values[found[1]], text)
