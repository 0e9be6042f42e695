"""What a call to Blob Storage that did not succeed means for the port.

Codes: Microsoft Learn, "Blob Storage error codes".
"""

from __future__ import annotations

import logging
from xml.etree.ElementTree import ParseError

from azure.core.exceptions import AzureError, HttpResponseError

from services.azure.failures import Failure, Kind, failure_of
from services.objects.port import ObjectMissing, StoreFull, StoreUnavailable, WrongBytes
from services.objects.settling import Refusal

__all__ = ["FAILURES", "Refused", "Replaced", "port_error", "refused_of"]

FAILURES = (
    AzureError, OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, ParseError
)  # fmt: skip
"""What the SDK raises; the last ones for answers that are none of the service."""
_LOG = logging.getLogger("workspace.objects.azure_blob")
_UNVERIFIED = "CannotVerifyCopySource"
"""Of any answer about a source; its status is that of the answer."""
_ABSENT = frozenset({"BlobNotFound", "404"})
_TAKEN = frozenset(
    {
        "BlobAlreadyExists", "UnauthorizedBlobOverwrite", "ConditionNotMet",
        "TargetConditionNotMet", "412",
    }
)  # fmt: skip
_WRONG = frozenset({"Md5Mismatch", "Crc64Mismatch", "InvalidBlockList", "InvalidBlobOrBlock"})


class Replaced(WrongBytes):
    """A blob was written anew while it was read or copied: another look may help."""


class Refused(Refusal):
    """A call that did not succeed. `status` is 0 where no answer came."""

    def __init__(self, failure: Failure, status: int) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.status = status

    @property
    def code(self) -> str:
        return self.failure.code

    @property
    def absent(self) -> bool:
        """No such blob; the container is there."""
        return self.status == 404 and self.code in _ABSENT

    @property
    def taken(self) -> bool:
        """A condition on what is there did not hold: create-only, or the tag of a read."""
        return self.code in _TAKEN

    @property
    def of_another_kind(self) -> bool:
        """A page blob, or one to append to, is where blocks should go: not one of ours."""
        return self.code == "InvalidBlobType"

    @property
    def source_taken(self) -> bool:
        """The source of a copy is no longer what it was."""
        return self.status == 412 and self.code in ("SourceConditionNotMet", _UNVERIFIED)

    @property
    def wrong(self) -> bool:
        """Blocks or checksums are not those that were named."""
        return self.code in _WRONG


def refused_of(error: Exception) -> Refused:
    """The failure behind an exception of the SDK. Its text is not passed on."""
    status = int(error.status_code or 0) if isinstance(error, HttpResponseError) else 0
    good = isinstance(error, AzureError) and not isinstance(error, ValueError)
    if not good or 0 < status < 300:  # no connection, or an answer that is none
        return Refused(Failure(Kind.UNAVAILABLE, type(error).__name__, "blob", ambiguous=True), 0)
    return Refused(failure_of(error, "blob"), status)


def port_error(refused: Refused) -> Exception:
    """What callers of the port are told."""
    if refused.absent:
        return ObjectMissing(str(refused.failure))
    if refused.wrong:
        return WrongBytes(str(refused.failure))
    if refused.failure.kind is Kind.FULL:
        return StoreFull(str(refused.failure))
    if not refused.failure.passing:  # callers are told that the store does not answer
        _LOG.warning("Blob Storage: %s", refused.failure)
    return StoreUnavailable(str(refused.failure))
