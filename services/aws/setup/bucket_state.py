"""What is there of the bucket, read without writing anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.aws.setup.api import SetupApi
from services.aws.setup.policy import Policy, is_public, parsed
from services.aws.setup.tags import as_mapping
from services.setup.patience import refused

__all__ = ["BucketState", "read_bucket"]

_GROUPS = ("AllUsers", "AuthenticatedUsers")
# GetBucketLocation: the names from before regions had constraints of their own.
_OLD_REGIONS = {None: "us-east-1", "": "us-east-1", "EU": "eu-west-1"}


@dataclass(frozen=True, slots=True)
class BucketState:
    """Properties in the form of the S3 API; None or empty where nothing is set."""

    region: str
    block: Mapping[str, bool] = field(default_factory=dict)
    ownership: str = ""
    encryption: Mapping[str, Any] = field(default_factory=dict)
    versioning: str = ""
    mfa_delete: str = ""
    policy: Policy = field(default_factory=dict)
    cors: Sequence[Mapping[str, Any]] = ()
    lifecycle: Sequence[Mapping[str, Any]] = ()
    transition_size: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


async def read_bucket(
    api: SetupApi, bucket: str, *, region: str, account: str
) -> BucketState | None:
    """The bucket, None when there is none.

    Raises INVALID_STATE for one that is not ours to harden: of another account or
    region, a web site, open to the public."""
    if not await _exists(api, bucket, account):
        return None
    state = await _read(api, bucket)
    if state.region != region:
        raise refused(
            f"bucket {bucket} is in {state.region}, not in {region}: give --region "
            f"{state.region}, or another name with --prefix or AWS_S3_BUCKET",
            field="region",
        )
    await _check_private(api, bucket, state)
    return state


async def _exists(api: SetupApi, bucket: str, account: str) -> bool:
    """A bucket of somebody else answers 403, as one that we may not list does."""
    answer = await api.read(
        "s3", "head_bucket", f"bucket {bucket} (of another AWS account, or closed to you; if it "
        "is not yours, choose another name with --prefix or AWS_S3_BUCKET)",
        absent=("404", "NoSuchBucket", "NotFound"), Bucket=bucket, ExpectedBucketOwner=account,
    )  # fmt: skip
    return answer is not None


async def _read(api: SetupApi, bucket: str) -> BucketState:
    what = f"bucket {bucket}"

    async def get(operation: str, *absent: str) -> dict[str, Any]:
        return await api.read("s3", operation, what, absent=absent, Bucket=bucket) or {}

    location = await get("get_bucket_location")
    constraint = location.get("LocationConstraint")
    block = await get("get_public_access_block", "NoSuchPublicAccessBlockConfiguration")
    ownership = await get("get_bucket_ownership_controls", "OwnershipControlsNotFoundError")
    encryption = await get(
        "get_bucket_encryption", "ServerSideEncryptionConfigurationNotFoundError"
    )
    versioning = await get("get_bucket_versioning")
    policy = await get("get_bucket_policy", "NoSuchBucketPolicy")
    cors = await get("get_bucket_cors", "NoSuchCORSConfiguration")
    lifecycle = await get("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration")
    tags = await get("get_bucket_tagging", "NoSuchTagSet")
    owners = ownership.get("OwnershipControls", {}).get("Rules", [])
    rules = encryption.get("ServerSideEncryptionConfiguration", {}).get("Rules", [])
    return BucketState(
        region=_OLD_REGIONS.get(constraint, str(constraint)),
        block=block.get("PublicAccessBlockConfiguration", {}),
        ownership=str(owners[0]["ObjectOwnership"]) if owners else "",
        encryption=rules[0] if rules else {},
        versioning=str(versioning.get("Status", "")),
        mfa_delete=str(versioning.get("MFADelete", "")),
        policy=parsed(policy.get("Policy")),
        cors=cors.get("CORSRules", []),
        lifecycle=lifecycle.get("Rules", []),
        transition_size=str(lifecycle.get("TransitionDefaultMinimumObjectSize", "")),
        tags=as_mapping(tags.get("TagSet", [])),
    )


async def _check_private(api: SetupApi, bucket: str, state: BucketState) -> None:
    """Raises INVALID_STATE for a bucket that is meant to be read by others."""
    what = f"bucket {bucket}"
    another = (
        "nothing was changed: files of a workspace are private, name another bucket with "
        "--prefix or AWS_S3_BUCKET"
    )
    site = await api.read(
        "s3", "get_bucket_website", what, absent=("NoSuchWebsiteConfiguration",), Bucket=bucket
    )
    if site is not None:
        raise refused(f"{what} serves a web site; {another}", field="bucket")
    status = await api.read(
        "s3", "get_bucket_policy_status", what, absent=("NoSuchBucketPolicy",), Bucket=bucket
    )
    said = bool(status and status.get("PolicyStatus", {}).get("IsPublic"))
    if said or is_public(state.policy):
        raise refused(f"{what} has a policy that opens it to the public; {another}", field="bucket")
    grants = await api.read("s3", "get_bucket_acl", what, Bucket=bucket) or {}
    _check_grants(what, grants, another, enforced=state.ownership == "BucketOwnerEnforced")


def _check_grants(what: str, acl: Mapping[str, Any], another: str, *, enforced: bool) -> None:
    if enforced:  # access control lists mean nothing then
        return
    owner = acl.get("Owner", {}).get("ID")
    grantees = [grant.get("Grantee", {}) for grant in acl.get("Grants", [])]
    if any(str(each.get("URI", "")).endswith(_GROUPS) for each in grantees):
        raise refused(f"the access control list of {what} opens it to the public; {another}")
    if any(each.get("ID") not in (None, owner) or each.get("URI") for each in grantees):
        raise refused(
            f"the access control list of {what} gives rights to others, which would end: give "
            "them by a bucket policy, clear the list (`aws s3api put-bucket-acl --acl private`), "
            "and run `wm setup aws` again"
        )
