"""Calls of one table: repeated where that may help, and over at their deadline."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from botocore import exceptions as sdk
from botocore.parsers import ResponseParserError

from services.aws.clients import AwsClients, ClientsClosed
from services.aws.failures import Failure, Kind, failure_of, refusal
from services.model.errors import WorkspaceError
from services.records.port import DriverUnavailable, StorageFull
from services.records.retrying import Deadline, pauses

__all__ = ["Busy", "CallFailed", "Deadline", "TableCalls", "pauses", "port_error", "setup_error"]

_ERRORS = (sdk.BotoCoreError, sdk.ClientError, ResponseParserError, TimeoutError, OSError)
_CANCELLED = "TransactionCanceledException"
_LOG = logging.getLogger("workspace.records.dynamodb")


class CallFailed(Exception):
    """One attempt failed: how, and the SDK's exception as the cause."""

    def __init__(self, failure: Failure, error: BaseException) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.error = error


class Busy(Exception):
    """Another transaction writes one of the items, or takes its place at the moment."""


class TableCalls:
    """The calls of one table."""

    def __init__(self, clients: AwsClients, table: str) -> None:
        self.table = table
        self._clients = clients

    async def once(self, operation: str, deadline: Deadline, **parameters: Any) -> dict[str, Any]:
        """One attempt. Raises CallFailed. What is given up at the deadline may still
        reach the server later."""
        try:
            async with asyncio.timeout(deadline.left):
                answer = await self._clients.call("dynamodb", operation, **parameters)
            _check_sender(answer)
        except _ERRORS as error:
            raise CallFailed(failure_of(error, "dynamodb", operation), error) from error
        return answer

    async def read(self, operation: str, deadline: Deadline, **parameters: Any) -> dict[str, Any]:
        """A call that may be repeated, of this table. Raises the port's errors."""
        return await self._repeated(operation, deadline, {"TableName": self.table, **parameters})

    async def read_items(self, deadline: Deadline, asked: Mapping[str, Any]) -> dict[str, Any]:
        """BatchGetItem, which names tables in its items."""
        return await self._repeated("batch_get_item", deadline, {"RequestItems": asked})

    async def transact_get(
        self, deadline: Deadline, asked: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """TransactGetItems. Raises Busy when another transaction is at an item."""
        parameters = {"TransactItems": asked}
        try:
            return await self._repeated("transact_get_items", deadline, parameters)
        except WorkspaceError as error:
            cause = error.__cause__
            if isinstance(cause, CallFailed) and cause.failure.code == _CANCELLED:
                raise Busy from error
            raise

    async def _repeated(
        self, operation: str, deadline: Deadline, parameters: Mapping[str, Any]
    ) -> dict[str, Any]:
        for pause in pauses():
            try:
                return await self.once(operation, deadline, **parameters)
            except CallFailed as failed:
                ended = isinstance(failed.error, ClientsClosed) or pause >= deadline.left
                if ended or not failed.failure.passing:
                    raise port_error(failed, self.table) from failed
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")


def _check_sender(answer: Mapping[str, Any]) -> None:
    """The SDK takes any text with status 200, such as a proxy's page, for an answer
    without members: no item, or a commit that happened. The service's have an id."""
    if not answer.get("ResponseMetadata", {}).get("RequestId"):
        raise ResponseParserError("an answer that is not of the service")


def port_error(failed: CallFailed, table: str, *, ambiguous: bool = False) -> Exception:
    """The port's error for a call that failed for good."""
    failure = failed.failure
    if failure.kind is Kind.FULL:
        return StorageFull("the DynamoDB table takes no more: raise the quota of the account")
    if failure.kind in (Kind.INVALID, Kind.CONDITION):
        return refusal(failure, f"DynamoDB table {table}")  # a bug, or a table that changed
    if not failure.passing:
        _LOG.warning("DynamoDB table %s: %s", table, failure)
    remedy = "" if failure.passing else str(failure)
    text = f"DynamoDB table {table}: {failure}"
    return DriverUnavailable(text, ambiguous=ambiguous, remedy=remedy)


def setup_error(failed: CallFailed, table: str) -> WorkspaceError:
    """The error for people, for a call that failed for good while something is opened
    or set up: it says what helps."""
    return refusal(failed.failure, f"DynamoDB table {table}")
