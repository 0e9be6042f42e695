"""GetHomeUsage: what lies under the prefix of a home."""

from __future__ import annotations

from dataclasses import asdict

from workspace.storage.v1.storage_service_pb2 import (
    GetHomeUsageRequest,
    GetHomeUsageResponse,
    HomeUsage,
)

from services.kernel import Kernel
from services.rpc.context import current_call
from services.rpc.page_tokens import page_size
from storage_svc.usage import Counters, Ledger

__all__ = ["HomeUsages"]


class HomeUsages:
    """See the module."""

    def __init__(self, *, kernel: Kernel, ledger: Ledger) -> None:
        self._kernel = kernel
        self._ledger = ledger

    async def get(self, request: GetHomeUsageRequest) -> GetHomeUsageResponse:
        """The sum, and the projects of one page by id."""
        home_id = request.home_id
        answer = GetHomeUsageResponse(total=_shown("", await self._ledger.total(home_id)))
        if request.project_id:
            one = await self._ledger.project(home_id, request.project_id)
            answer.projects.extend([] if one is None else [_shown(request.project_id, one)])
            return answer
        call, tokens = current_call(), self._kernel.page_tokens
        asker = call.user_id or f"service:{call.service}"
        after = tokens.open(call.method, asker, request, request.page_token) or None
        found, position = await self._ledger.projects(
            home_id, limit=page_size(request), after=after
        )
        # Of a project that moved away a row of zeros stays.
        held = [(project_id, counters) for project_id, counters in found if counters != Counters()]
        answer.projects.extend(_shown(project_id, counters) for project_id, counters in held)
        if position is not None:
            answer.next_page_token = tokens.issue(call.method, asker, request, position)
        return answer


def _shown(project_id: str, counters: Counters) -> HomeUsage:
    return HomeUsage(project_id=project_id, **asdict(counters))
