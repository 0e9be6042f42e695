"""Answers that get lost between the driver and the service, at a place of the test's choice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from azure.core.exceptions import ServiceResponseError

from services.records.cosmos import CosmosDriver

__all__ = ["LostAnswers"]

Batch = Callable[[str, Sequence[Any]], Awaitable[list[dict[str, Any]]]]


class LostAnswers:
    """The first answer to a batch is lost. `arrives`: the batch is carried out at once;
    else it is kept, and `deliver` carries it out later. `meanwhile` happens then."""

    def __init__(
        self,
        driver: CosmosDriver,
        *,
        arrives: bool,
        meanwhile: Callable[[], Awaitable[Any]] | None = None,
        late: bool = False,
    ) -> None:
        self._calls: Any = driver._calls
        self._real: Batch = self._calls.batch
        self._arrives = arrives
        self._meanwhile = meanwhile
        self._late = late
        self.sent = 0
        self._kept: tuple[str, list[Any]] | None = None
        self._calls.batch = self._batch

    async def _batch(self, pk: str, operations: Sequence[Any]) -> list[dict[str, Any]]:
        self.sent += 1
        if self.sent > 1:
            await self._deliver()
            return await self._real(pk, operations)
        if self._arrives:
            await self._real(pk, operations)
        elif self._late:
            self._kept = pk, [tuple(each) for each in operations]
        if self._meanwhile is not None:
            await self._meanwhile()
        raise ServiceResponseError("the connection broke")

    async def _deliver(self) -> None:
        if self._kept is not None:
            kept, self._kept = self._kept, None
            await self._real(*kept)
