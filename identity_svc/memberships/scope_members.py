"""Who is in one of several accounts and teams, in order of user id.

Members of a scope lie in its own partition in order of user id, so their rows
are read strongly and merged; each run is read on from the last user id, and a
page costs what it answers.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Sequence

from workspace.identity.v1.identity_service_pb2 import (
    ListScopeMembersRequest,
    ListScopeMembersResponse,
)
from workspace.identity.v1.membership_pb2 import ScopeRef

from identity_svc.accounts.rules import REMOVED
from identity_svc.directory import ACCOUNT_MEMBER, TEAM_MEMBER, account_pk, team_pk
from identity_svc.listing import Pager
from services.kernel import Kernel
from services.model.indexes import Index
from services.rpc.page_tokens import page_size

__all__ = ["ScopeMembers"]

_MEMBER = "MEMBER#"
# Below every character of an id: the first place behind a user id.
_AFTER_ID = "!"
_FIRST_READ = 64
_LONGEST_READ = 500
_MOST_EXAMINED = 2_000
_Row = tuple[str, int]


class ScopeMembers:
    """The use case of ListScopeMembers."""

    def __init__(self, kernel: Kernel) -> None:
        self._records = kernel.records
        self._pager = Pager(kernel)

    async def list(self, request: ListScopeMembersRequest) -> ListScopeMembersResponse:
        """Distinct users above `after_user_id` with a membership of the status."""
        limit, last, examined = page_size(request), "", 0
        after = self._pager.position(request) or request.after_user_id
        answer = ListScopeMembersResponse()
        async for user_id, status in self._merged(request.scopes, after):
            full = len(answer.user_ids) >= limit or examined >= _MOST_EXAMINED
            if full and user_id != last:
                answer.next_page_token = self._pager.token(request, last)
                return answer
            examined += 1
            if _is_wanted(status, request) and user_id not in answer.user_ids[-1:]:
                answer.user_ids.append(user_id)
            last = user_id
        return answer

    async def _merged(self, scopes: Sequence[ScopeRef], after: str) -> AsyncIterator[_Row]:
        """(user id, status) of every row, ascending; a user once for each scope."""
        runs = [self._rows(scope, after) for scope in scopes]
        heap: list[tuple[_Row, int]] = []
        for number, run in enumerate(runs):
            if (first := await anext(run, None)) is not None:
                heap.append((first, number))
        heapq.heapify(heap)
        while heap:
            row, number = heap[0]
            following = await anext(runs[number], None)
            if following is None:
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, (following, number))
            yield row

    async def _rows(self, scope: ScopeRef, after: str) -> AsyncIterator[_Row]:
        team = scope.WhichOneof("scope") == "team_id"
        pk = team_pk(scope.team_id) if team else account_pk(scope.account_id)
        limit, position = _FIRST_READ, None
        while True:
            page = await self._records.query(
                TEAM_MEMBER if team else ACCOUNT_MEMBER,
                Index.BASE,
                pk,
                prefix=_MEMBER,
                lower=_MEMBER + after + _AFTER_ID if after else "",
                limit=limit,
                after=position,
            )
            for record in page.records:
                yield record.message.user_id, int(record.message.status)
            if page.next is None:
                return
            limit, position = _LONGEST_READ, page.next


def _is_wanted(status: int, request: ListScopeMembersRequest) -> bool:
    return status == request.status if request.status else status != REMOVED
