"""Calls of the setup: repeated while that helps, refused with what to do."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from services.aws.clients import AwsClients
from services.aws.failures import Failure, Kind, failure_of, refusal
from services.model.errors import Reason, WorkspaceError

__all__ = ["SetupApi", "refused"]

_SECONDS = 60.0
_FIRST_SECONDS = 12.0
"""How long the first answer is waited for: who mistyped an endpoint, or is offline, sees
nothing meanwhile."""
_LONGEST_PAUSE = 4.0
# S3 and DynamoDB say these while an earlier change of the resource is under way.
_UNDER_WAY = frozenset(
    {
        "OperationAborted", "ResourceInUseException", "ContinuousBackupsUnavailableException",
        "LimitExceededException",
    }
)


class SetupApi:
    """Reads and writes of one setup. `writes` counts the writing calls that were sent."""

    def __init__(
        self,
        clients: AwsClients,
        *,
        seconds: float = _SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clients = clients
        self._seconds = seconds
        self._sleep = sleep
        self._now = now
        self._answered = False
        self.writes = 0

    async def read(
        self,
        service: str,
        operation: str,
        what: str,
        *,
        absent: Collection[str] = (),
        **parameters: Any,
    ) -> dict[str, Any] | None:
        """The answer; None for one of the error codes `absent`."""
        return await self._call(service, operation, what, absent, parameters)

    async def write(
        self, service: str, operation: str, what: str, **parameters: Any
    ) -> dict[str, Any]:
        """The answer of a writing call."""
        self.writes += 1
        answer = await self._call(service, operation, what, (), parameters, under_way=_UNDER_WAY)
        return answer or {}

    async def until(
        self, reached: Callable[[], Awaitable[bool]], what: str, seconds: float
    ) -> None:
        """Wait until `reached`. Raises BACKEND_UNAVAILABLE after `seconds`."""
        end, pause = self._now() + seconds, 0.05
        while not await reached():
            if self._now() > end:
                raise refused(
                    f"{what} is not ready after {seconds:.0f} s; it may still become so: run "
                    "`wm setup aws` again to go on",
                    reason=Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
                )
            await self._sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _call(
        self,
        service: str,
        operation: str,
        what: str,
        absent: Collection[str],
        parameters: dict[str, Any],
        *,
        under_way: Collection[str] = (),
    ) -> dict[str, Any] | None:
        begun, pause = self._now(), 0.2
        while True:
            try:
                answer = await self._clients.call(service, operation, **parameters)
            except WorkspaceError:
                raise
            except Exception as error:
                failure = failure_of(error, service, operation)
                if failure.code in absent:
                    return None
                patience = self._seconds if self._answered else _FIRST_SECONDS
                end = begun + min(patience, self._seconds)
                again = failure.passing or failure.code in under_way
                if not again or self._now() + pause > end:
                    raise _refusal(failure, what) from None
            else:
                self._answered = True
                return answer
            await self._sleep(random.uniform(0, pause))  # noqa: S311 - jitter
            pause = min(pause * 2, _LONGEST_PAUSE)


def refused(
    message: str, *, reason: Reason.ValueType = Reason.ERROR_REASON_INVALID_STATE, field: str = ""
) -> WorkspaceError:
    """The setup does not go on, and says why."""
    return WorkspaceError(reason, message, metadata={"field": field} if field else {})


def _refusal(failure: Failure, what: str) -> WorkspaceError:
    if failure.kind is Kind.INVALID:
        return refused(f"{what}: {failure.action} failed ({failure.code}): {failure.kind.value}")
    return refusal(failure, what)
