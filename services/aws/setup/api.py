"""Calls of the setup: repeated while that helps, refused with what to do."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from services.aws.clients import AwsClients
from services.aws.failures import Failure, Kind, failure_of, refusal
from services.model.errors import WorkspaceError
from services.setup.patience import Patience, refused

__all__ = ["SetupApi"]

# S3 and DynamoDB say these while an earlier change of the resource is under way.
_UNDER_WAY = frozenset(
    {
        "OperationAborted", "ResourceInUseException", "ContinuousBackupsUnavailableException",
        "LimitExceededException",
    }
)


class SetupApi:
    """Reads and writes of one setup. `writes` counts the writing calls that were sent."""

    def __init__(self, clients: AwsClients, *, patience: Patience | None = None) -> None:
        self._clients = clients
        self._patience = patience or Patience("wm setup aws")
        self.until = self._patience.until
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
        def again(error: Exception) -> bool:
            failure = failure_of(error, service, operation)
            return failure.code not in absent and (failure.passing or failure.code in under_way)

        try:
            return await self._patience.repeated(
                lambda: self._clients.call(service, operation, **parameters), again=again
            )
        except WorkspaceError:
            raise
        except Exception as error:
            failure = failure_of(error, service, operation)
            if failure.code in absent:
                return None
            raise _refusal(failure, what) from None


def _refusal(failure: Failure, what: str) -> WorkspaceError:
    if failure.kind is Kind.INVALID:
        return refused(f"{what}: {failure.action} failed ({failure.code}): {failure.kind.value}")
    return refusal(failure, what)
