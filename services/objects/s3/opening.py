"""Whether a bucket can be used, and if not, what helps."""

from __future__ import annotations

from services.aws.failures import Failure, Kind, refusal
from services.model.errors import Reason, WorkspaceError
from services.objects.s3.errors import Refused
from services.objects.s3.wire import Call, Wire

__all__ = ["check_bucket"]

_HEAD = Call("HeadBucket", "HEAD")
_LIST = Call("ListObjectsV2", "GET", "", (("list-type", "2"), ("max-keys", "1")))


async def check_bucket(wire: Wire, bucket: str, region: str, *, patience: float) -> None:
    """Raises WorkspaceError: no such bucket, another region, a denied action, no or
    expired credentials, no answer within `patience` seconds and one attempt."""
    what = f"bucket {bucket}"
    try:
        answer = await wire.call(_HEAD, patience=patience)
    except Refused as refused:
        raise await _refusal(wire, refused, what, region) from refused
    found = answer.headers.get("x-amz-bucket-region", region)
    if found != region:
        raise _elsewhere(what, found)


async def _refusal(wire: Wire, refused: Refused, what: str, region: str) -> WorkspaceError:
    found = refused.headers.get("x-amz-bucket-region", region)
    if found and found != region:
        return _elsewhere(what, found)
    if refused.code == "404":
        return refusal(Failure(Kind.MISSING, "NoSuchBucket", refused.failure.action), what)
    if refused.status in (400, 403):
        refused = await _told(wire, refused)  # a HEAD says no more than the number
    return refusal(refused.failure, what)


async def _told(wire: Wire, refused: Refused) -> Refused:
    try:
        await wire.call(_LIST, patience=0)
    except Refused as told:
        return told if told.status else refused
    return refused


def _elsewhere(what: str, region: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
        f"{what}: it is in region {region}: set WM_AWS_REGION to that one",
        metadata={"backend": "aws", "field": "WM_AWS_REGION"},
    )
