"""What a failed call to Cosmos DB means ("HTTP status codes for Azure Cosmos DB", and the
sub-statuses in "Troubleshoot" pages), and the port's error for it."""

from __future__ import annotations

import logging
from dataclasses import replace

from azure.core import exceptions as sdk
from azure.cosmos.exceptions import CosmosBatchOperationError, CosmosHttpResponseError

from services.azure.failures import Failure, Kind, failure_of, refusal
from services.model.errors import WorkspaceError
from services.records.port import DriverUnavailable, StorageFull

__all__ = ["CallFailed", "NotOfTheService", "cosmos_failure", "port_error", "setup_error"]

_SERVICE = "cosmos"
_WRITES_ELSEWHERE, _ACCOUNT_MOVES, _PARTITION_FULL = (403, 3), (403, 1008), (403, 1014)
_SESSION_BEHIND = (404, 1002)
_SKEWED = "not valid at the current time"
_LOG = logging.getLogger("workspace.records.cosmos")


class NotOfTheService(Exception):
    """An answer that a proxy may have given, or that lacks what every answer has."""


class CallFailed(Exception):
    """One attempt failed: how, and the SDK's exception as `error`."""

    def __init__(self, failure: Failure, error: BaseException) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.error = error

    @property
    def status(self) -> int:
        """Of HTTP; 0 without an answer."""
        return int(getattr(self.error, "status_code", None) or 0)

    @property
    def sub_status(self) -> int:
        return int(getattr(self.error, "sub_status", None) or 0)


def cosmos_failure(error: BaseException) -> CallFailed:
    """How a call failed. What is not of the service's own making is ambiguous, unless
    nothing can have been sent."""
    return CallFailed(_failure(error), error)


def port_error(failed: CallFailed, container: str, *, ambiguous: bool = False) -> Exception:
    """The port's error for a call that failed for good."""
    failure = failed.failure
    if failure.kind is Kind.FULL:
        return StorageFull("the Cosmos DB partition has 20 GB, which is all that it takes")
    if failure.kind in (Kind.INVALID, Kind.CONDITION):
        return refusal(failure, f"Cosmos DB container {container}")  # a bug, or it changed
    if not failure.passing:
        _LOG.warning("Cosmos DB container %s: %s", container, failure)
    remedy = "" if failure.passing else str(failure)
    text = f"Cosmos DB container {container}: {failure}"
    return DriverUnavailable(text, ambiguous=ambiguous, remedy=remedy)


def setup_error(failed: CallFailed, what: str) -> WorkspaceError:
    """The error for people, while something is opened: it says what helps."""
    return refusal(failed.failure, what)


def _failure(error: BaseException) -> Failure:
    if isinstance(error, CosmosBatchOperationError | CosmosHttpResponseError):
        return _answered(error)
    if isinstance(error, sdk.DecodeError | NotOfTheService | KeyError | TypeError | ValueError):
        return Failure(Kind.UNAVAILABLE, "malformed", _SERVICE, ambiguous=True)
    return failure_of(error, _SERVICE)


def _answered(error: CosmosBatchOperationError | CosmosHttpResponseError) -> Failure:
    status, sub_status = int(error.status_code or 0), _sub_status(error)
    found = replace(failure_of(error, _SERVICE), code=str(status))
    at = (status, sub_status)
    if at in (_WRITES_ELSEWHERE, _ACCOUNT_MOVES):
        return replace(found, kind=Kind.UNAVAILABLE, ambiguous=False)
    if at == _PARTITION_FULL:
        return replace(found, kind=Kind.FULL)
    if at == _SESSION_BEHIND:
        return replace(found, kind=Kind.UNAVAILABLE)
    if status == 403 and _SKEWED in str(error):
        return replace(found, kind=Kind.SKEWED)
    return found


def _sub_status(error: CosmosBatchOperationError | CosmosHttpResponseError) -> int:
    """Of a batch, that of the operation that failed: the answer as a whole has none."""
    sub_status = int(error.sub_status or 0)
    if sub_status or not isinstance(error, CosmosBatchOperationError):
        return sub_status
    failed = [
        each for each in error.operation_responses or ()
        if int(each.get("statusCode", 0)) == error.status_code
    ]  # fmt: skip
    return int(failed[0].get("subStatusCode") or 0) if failed else 0
