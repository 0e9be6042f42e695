"""The baseline as data: what `wm setup aws` makes and deploy/aws/baseline.yaml says.

Values have the form of the services' APIs (S3, DynamoDB).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

__all__ = [
    "ABORT_DAYS",
    "ABORT_RULE",
    "CORS_EXPOSED",
    "CORS_HEADERS",
    "CORS_METHODS",
    "CORS_RULE",
    "OWNERSHIP",
    "POLICY_SID",
    "PUBLIC_ACCESS_BLOCK",
    "STAGED_DAYS",
    "STAGED_PREFIX",
    "STAGED_RULE",
    "VERSIONS_DAYS",
    "VERSIONS_RULE",
    "Baseline",
    "abort_rule",
    "cors_rule",
    "encryption",
    "partition_of",
    "staged_rule",
    "tls_only",
    "versions_rule",
]

PUBLIC_ACCESS_BLOCK: Final[Mapping[str, bool]] = MappingProxyType(
    {
        "BlockPublicAcls": True,
        "IgnorePublicAcls": True,
        "BlockPublicPolicy": True,
        "RestrictPublicBuckets": True,
    }
)
OWNERSHIP: Final = "BucketOwnerEnforced"
POLICY_SID: Final = "WorkspaceTlsOnly"
ABORT_RULE: Final = "workspace-abort-incomplete-multipart"
ABORT_DAYS: Final = 7
STAGED_RULE: Final = "workspace-expire-staged"
STAGED_PREFIX: Final = ".multipart/"
STAGED_DAYS: Final = 8
"""Uploads in parts are joined there and copied to their key (services/objects/s3/staging.py);
what a process that died left behind is bytes that no record names, nor erasure finds. An
object counts from the beginning of its upload, which may stay pending for 7 days."""
VERSIONS_RULE: Final = "workspace-expire-old-versions"
VERSIONS_DAYS: Final = 30
"""Days a deleted or replaced object can be brought back; then it is gone, as erasure wants."""
CORS_RULE: Final = "workspace-signed-urls"
CORS_METHODS: Final = ("GET", "HEAD", "PUT")
CORS_HEADERS: Final = (
    "content-type", "if-none-match", "range", "x-amz-checksum-sha256", "x-amz-meta-sha256",
)  # fmt: skip
"""What browsers must be allowed to send: the headers that upload URLs sign."""
CORS_EXPOSED: Final = (
    "ETag", "x-amz-checksum-sha256", "Content-Range", "Accept-Ranges", "Content-Disposition",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Baseline:
    """What is asked for. `kms_key` is the ARN of a key, '' for the services' own;
    `allow_origins` are web origins that may use signed URLs; `keep_versions_days` is
    for a bucket that has old versions already: None leaves them alone."""

    region: str
    bucket: str
    table: str
    tags: Mapping[str, str] = field(default_factory=dict)
    kms_key: str = ""
    allow_origins: tuple[str, ...] = ()
    keep_versions_days: int | None = None

    @property
    def versions_days(self) -> int:
        return self.keep_versions_days or VERSIONS_DAYS


def encryption(kms_key: str) -> dict[str, Any]:
    """The default encryption rule of the bucket."""
    if not kms_key:
        return {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    by_key = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": kms_key}
    return {"ApplyServerSideEncryptionByDefault": by_key, "BucketKeyEnabled": True}


def tls_only(bucket: str, *, partition: str = "aws") -> dict[str, Any]:
    """The statement that refuses every request without TLS."""
    arn = f"arn:{partition}:s3:::{bucket}"
    return {
        "Sid": POLICY_SID,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, f"{arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def abort_rule() -> dict[str, Any]:
    """Parts of uploads that nobody completed go after a week."""
    return {
        "ID": ABORT_RULE,
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": ABORT_DAYS},
    }


def staged_rule() -> dict[str, Any]:
    """Joined parts that nobody copied to their key go, too."""
    return {
        "ID": STAGED_RULE,
        "Status": "Enabled",
        "Filter": {"Prefix": STAGED_PREFIX},
        "Expiration": {"Days": STAGED_DAYS},
    }


def versions_rule(days: int) -> dict[str, Any]:
    """Old versions, and the markers of deletions that are alone, go after `days`."""
    return {
        "ID": VERSIONS_RULE,
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "NoncurrentVersionExpiration": {"NoncurrentDays": days},
        "Expiration": {"ExpiredObjectDeleteMarker": True},
    }


def cors_rule(origins: tuple[str, ...]) -> dict[str, Any]:
    """Pages of these origins may use signed URLs."""
    return {
        "ID": CORS_RULE,
        "AllowedOrigins": list(origins),
        "AllowedMethods": list(CORS_METHODS),
        "AllowedHeaders": list(CORS_HEADERS),
        "ExposeHeaders": list(CORS_EXPOSED),
        "MaxAgeSeconds": 3600,
    }


def partition_of(region: str) -> str:
    """The partition in ARNs of a region (AWS General Reference, "Partitions")."""
    for prefix, partition in (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov")):
        if region.startswith(prefix):
            return partition
    return "aws"
