"""What an answer of S3 that is no success means.

Codes are those of the S3 API reference, "Error responses". A success may carry an error
in its body: CopyObject, UploadPartCopy and CompleteMultipartUpload answer 200 before
they are done.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from xml.etree import ElementTree

from botocore.exceptions import ClientError

from services.aws.failures import Failure, Kind, failure_of
from services.objects.port import ObjectMissing, StoreFull, StoreUnavailable, WrongBytes
from services.objects.settling import Refusal

__all__ = ["Refused", "document", "failed", "port_error", "text_of", "unanswered"]

_LOG = logging.getLogger("workspace.objects.s3")
_FULL = frozenset({
    "InsufficientStorage", "QuotaExceeded", "StorageFull", "XMinioStorageFull",
    "InsufficientCapacity", "507",
})  # fmt: skip
_WRONG = frozenset({
    "BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "IncompleteBody",
    "InvalidPart", "InvalidPartOrder", "EntityTooSmall", "EntityTooLarge",
})  # fmt: skip
_TAKEN = frozenset({"ExistingObjectIsDirectory", "ObjectParentIsFile"})
_AGAIN = frozenset({
    "RequestTimeout", "InternalError", "ServiceUnavailable", "OperationAborted",
    "ConditionalRequestConflict", "409",
})  # fmt: skip
_ABSENT = frozenset({"NoSuchKey", "NoSuchUpload", "NoSuchVersion", "NotFound", "404"})


class Refused(Refusal):
    """A call that did not succeed. `status` is 0 where no answer came."""

    def __init__(self, failure: Failure, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.status = status
        self.headers = headers

    @property
    def code(self) -> str:
        return self.failure.code

    @property
    def absent(self) -> bool:
        """No such object or upload; the bucket is there."""
        return self.code in _ABSENT

    @property
    def taken(self) -> bool:
        """The key holds something (412), or cannot hold anything beside what is there."""
        return self.status == 412 or self.code in _TAKEN

    @property
    def passing(self) -> bool:
        """Whether the same call may succeed later."""
        return self.failure.passing or self.code in _AGAIN


def failed(
    operation: str, status: int, headers: Mapping[str, str], body: bytes
) -> Refused:
    """The failure that an answer tells of. Its text is not passed on."""
    code = text_of(document(body), "Code") or str(status)
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    failure = failure_of(ClientError(answer, operation), "s3", operation)
    if code in _FULL:
        failure = Failure(Kind.FULL, code, failure.action)
    elif code in _AGAIN or (status < 300 and code == str(status)):
        failure = Failure(Kind.UNAVAILABLE, code, failure.action, ambiguous=True)
    return Refused(failure, status, headers)


def unanswered(operation: str, error: Exception) -> Refused:
    """The failure of a call that brought no answer."""
    return Refused(failure_of(error, "s3", operation), 0, {})


def port_error(refused: Refused) -> Exception:
    """What callers of the port are told."""
    if refused.absent:
        return ObjectMissing(str(refused.failure))
    if refused.code in _WRONG:
        return WrongBytes(str(refused.failure))
    if refused.failure.kind is Kind.FULL:
        return StoreFull(str(refused.failure))
    if not refused.passing:  # callers are told that the store does not answer, and no more
        _LOG.warning("S3: %s", refused.failure)
    return StoreUnavailable(str(refused.failure))


def document(body: bytes) -> ElementTree.Element | None:
    """The XML of an answer without its namespace; None where it is none."""
    try:
        root = ElementTree.fromstring(body)  # noqa: S314 - expat bounds entities (>= 2.4.1)
    except ElementTree.ParseError:
        return None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def text_of(element: ElementTree.Element | None, name: str) -> str:
    """The text of a child, '' where there is none."""
    return "" if element is None else (element.findtext(name) or "")
