"""Whether everybody may read or write a bucket.

Nothing is written to such a bucket: a workspace's files would be published. It is neither
served from nor opened for a run of sync; reading alone (a plan, a comparison, a backup)
stays possible. There is no setting that allows it: who means to publish files has better
ways.
Source: S3 "Blocking public access", "The meaning of public".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from services.aws.clients import AwsClients
from services.aws.failures import Failure, Kind, failure_of
from services.model.errors import Reason, WorkspaceError

__all__ = ["require_private", "unknown_exposure"]

_EVERYBODY: Final = (
    "http://acs.amazonaws.com/groups/global/AllUsers",
    "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
)
_NOTHING_SET: Final = ("NoSuchPublicAccessBlockConfiguration", "NoSuchBucketPolicy")
_NOT_THERE: Final = ("NotImplemented", "MethodNotAllowed", "InvalidRequest", "XNotImplemented")


async def require_private(clients: AwsClients, bucket: str, *, path_style: bool) -> str:
    """Raises INVALID_STATE when the bucket is public. What these credentials may not ask
    is not known, and no reason to refuse: then the answer is as of `unknown_exposure`."""
    why, action = await _exposure(clients, bucket, path_style=path_style)
    if why:
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            f"the bucket {bucket} is public ({why}), and files of a workspace are private: "
            "close it by switching on S3 Block Public Access, then run `wm setup aws`",
            metadata={"exposure": "public"},
        )
    return action


async def unknown_exposure(clients: AwsClients, bucket: str, *, path_style: bool) -> str:
    """The IAM action without which it cannot be told; '' when it is known."""
    _, action = await _exposure(clients, bucket, path_style=path_style)
    return action


async def _exposure(clients: AwsClients, bucket: str, *, path_style: bool) -> tuple[str, str]:
    """(why it is public, the action that is denied)."""
    bucket_of = partial(_ask, clients, bucket, path_style)
    block, denied = await bucket_of("get_public_access_block", _block)
    if not block.get("RestrictPublicBuckets"):
        public, more = await bucket_of("get_bucket_policy_status", _policy)
        if public:
            return "by its policy", ""
        denied = denied or more
    if not block.get("IgnorePublicAcls"):
        public, more = await bucket_of("get_bucket_acl", _acl)
        if public:
            return "by its access control list", ""
        denied = denied or more
    return "", denied


async def _ask(
    clients: AwsClients, bucket: str, path_style: bool, operation: str,
    read: Callable[[Any], dict[str, Any]],
) -> tuple[dict[str, Any], str]:  # fmt: skip
    """What the answer means ({}: nothing of the kind), and the action if it is denied."""

    def asked() -> Any:  # in a thread: making a client takes long
        client = clients.client("s3", path_style=path_style)
        return getattr(client, operation)(Bucket=bucket)

    try:
        answer = await clients.run(asked)
    except (ClientError, BotoCoreError) as error:
        failure = failure_of(error, "s3", operation)
        return {}, "" if _is_absent(failure) else failure.action
    return read(answer), ""


def _is_absent(failure: Failure) -> bool:
    """Not set, or a compatible server without the very thing."""
    named = failure.code in (*_NOTHING_SET, *_NOT_THERE)
    return named or failure.kind in (Kind.MISSING, Kind.INVALID)


def _block(answer: Any) -> dict[str, Any]:
    return dict(answer.get("PublicAccessBlockConfiguration", {}))


def _policy(answer: Any) -> dict[str, Any]:
    return {"public": True} if answer.get("PolicyStatus", {}).get("IsPublic") else {}


def _acl(answer: Any) -> dict[str, Any]:
    grantees = [each.get("Grantee", {}).get("URI", "") for each in answer.get("Grants", [])]
    return {"public": True} if any(each in _EVERYBODY for each in grantees) else {}
