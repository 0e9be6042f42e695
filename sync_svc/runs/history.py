"""GetRun and ListRuns, and how long ended runs are kept."""

from __future__ import annotations

from collections.abc import Sequence

from workspace.sync.v1.run_pb2 import Progress, Run
from workspace.sync.v1.sync_service_pb2 import (
    GetRunRequest,
    GetRunResponse,
    ListRunsRequest,
    ListRunsResponse,
)

from services.kernel import Kernel
from services.model.errors import permission_denied
from services.model.indexes import Index
from services.records.port import ConditionFailed, Match, Put
from services.records.record import Page, Record
from services.rpc.context import current_call
from services.rpc.page_tokens import page_size
from sync_svc.runs.manager import RunManager
from sync_svc.runs.ports import Connections
from sync_svc.runs.rows import RUN
from sync_svc.runs.starting import PERMISSION, Starting
from sync_svc.runs.states import has_ended

__all__ = ["History"]

_PREFIX = "RUN#"
_SCANNED = 2000
_PAGE = 500
_GONE_SECONDS = 3600


class History:
    """See the module."""

    def __init__(
        self, *, kernel: Kernel, manager: RunManager, starting: Starting,
        connections: Connections,
    ) -> None:
        self._kernel = kernel
        self._manager = manager
        self._starting = starting
        self._connections = connections

    async def get(self, request: GetRunRequest) -> GetRunResponse:
        """One run. Raises PERMISSION_DENIED for one that is absent, too."""
        record = await self._starting.allowed(request.run_id)
        return GetRunResponse(run=(await self._manager.shown(record)).run)

    async def list(self, request: ListRunsRequest) -> ListRunsResponse:
        """Runs, newest first. A page that looked at 2,000 runs ends there, with a
        token. Raises PERMISSION_DENIED, INVALID_PAGE_TOKEN."""
        call, limit = current_call(), page_size(request)
        token = request.page_token
        after = self._kernel.page_tokens.open(call.method, call.user_id, request, token) or None
        seen = await self._visible(request)
        answer, looked_at = ListRunsResponse(), 0
        while True:
            page = await self._page(request.connection_id, limit - len(answer.runs), after)
            shown = [await self._manager.shown(each) for each in page.records]
            answer.runs.extend(each.run for each in shown if _is_asked(each, request, seen))
            after, looked_at = page.next, looked_at + len(page.records)
            if after is None or len(answer.runs) >= limit or looked_at >= _SCANNED:
                break
        if after is not None:
            answer.next_page_token = self._kernel.page_tokens.issue(
                call.method, call.user_id, request, after
            )
        return answer

    async def latest(self, connection_id: str, most: int = 50) -> Sequence[Run]:
        """The newest runs of a connection, as shown."""
        page = await self._page(connection_id, most, None)
        return [(await self._manager.shown(each)).run for each in page.records]

    async def trim(self, connection_id: str) -> int:
        """Forget ended runs of a connection that are more than the setting keeps;
        how many. Their activity events stay."""
        keep, seen, dropped = self._kernel.settings.sync_history_runs, 0, 0
        after: str | None = None
        while True:
            page = await self._page(connection_id, _PAGE, after)
            for record in page.records:
                seen += 1
                if seen > keep and has_ended(record.message):
                    dropped += await self._drop(record)
            after = page.next
            if after is None:
                return dropped

    async def _visible(self, request: ListRunsRequest) -> frozenset[str] | None:
        """Connections whose runs the caller may see; None: all, removed ones, too."""
        named = request.connection_id
        if await self._connections.sees_all():
            removed = named and await self._connections.read(named) is None
            if removed and not (await self._page(named, 1, None)).records:
                raise permission_denied(PERMISSION, f"connections/{named}")
            return None
        if named:
            await self._connections.allowed(named)
            return frozenset({named})
        return frozenset(each.connection_id for each in await self._connections.visible())

    async def _page(self, connection_id: str, limit: int, after: str | None) -> Page[Run]:
        index, partition = Index.USER, "RUNS"
        if connection_id:
            index, partition = Index.PROJECT, f"CONNECTION#{connection_id}"
        return await self._kernel.records.query(
            RUN, index, partition, prefix=_PREFIX, limit=limit, after=after, descending=True
        )

    async def _drop(self, record: Record[Run]) -> int:
        item = record.item
        gone = Put(
            item.key, Match(item.token), item.family, item.body, item.stamp, deleted=True,
            expires_at=int(self._kernel.now()) + _GONE_SECONDS,
        )
        try:
            await self._kernel.records.put_row(gone)
        except ConditionFailed:
            return 0
        return 1


def _is_asked(
    progress: Progress, request: ListRunsRequest, seen: frozenset[str] | None
) -> bool:
    run = progress.run
    if seen is not None and run.connection_id not in seen:
        return False
    if request.status and run.status != request.status:
        return False
    return not request.direction or run.direction == request.direction
