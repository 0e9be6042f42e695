"""Who holds a permission on a project: the whole list, a page at a time.

Candidates come in order of user id (candidate_users); each is decided by the
same evaluator over the same strong facts as CheckPermission. A page ends at
`page_size` users or after 2,000 candidates; its token is the last candidate, so
that a list that changes meanwhile shows nobody twice and skips nobody who stayed.
"""

from __future__ import annotations

from workspace.project.v1.permission_service_pb2 import (
    ListProjectUsersRequest,
    ListProjectUsersResponse,
)

from project_svc.access.answers import effective_message
from project_svc.access.candidate_users import (
    MOST_EXAMINED,
    CandidateUsers,
    at_least_now,
    batches,
    reach_of,
    user_views,
)
from project_svc.access.facts import ProjectView
from project_svc.access.gate import Access
from project_svc.policy import ASKING_SERVICES
from services.model.permissions import MANAGE_ACCESS, VIEW, allows, evaluate
from services.rpc.consistency import ConsistencyTokens, Demand
from services.rpc.context import current_call
from services.rpc.page_tokens import PageTokens, page_size

__all__ = ["ProjectUsers"]


class ProjectUsers:
    """The use case of ListProjectUsers."""

    def __init__(
        self,
        *,
        access: Access,
        candidates: CandidateUsers,
        page_tokens: PageTokens,
        consistency: ConsistencyTokens,
    ) -> None:
        self._access = access
        self._candidates = candidates
        self._page_tokens = page_tokens
        self._consistency = consistency

    async def list(self, request: ListProjectUsersRequest) -> ListProjectUsersResponse:
        """Users in order of id. Raises PERMISSION_DENIED without `manage_access`."""
        demand = at_least_now(self._consistency.demand(request.consistency))
        call = current_call()
        view = await self._view(request.project_id, demand)
        asker = f"{call.service}/{call.user_id}"
        after = self._page_tokens.open(call.method, asker, request, request.page_token)
        answer = ListProjectUsersResponse()
        if view is None:
            return answer
        last = await self._fill(answer, view, request, demand, after)
        if last:
            answer.next_page_token = self._page_tokens.issue(call.method, asker, request, last)
        return answer

    async def _view(self, project_id: str, demand: Demand) -> ProjectView | None:
        if current_call().service in ASKING_SERVICES:
            return await self._access.facts.project(project_id, demand)
        return (await self._access.require(project_id, MANAGE_ACCESS, demand=demand)).view

    async def _fill(
        self,
        answer: ListProjectUsersResponse,
        view: ProjectView,
        request: ListProjectUsersRequest,
        demand: Demand,
        after: str,
    ) -> str:
        """Add users above `after`; the last candidate looked at, '' at the end."""
        limit, permission, examined = page_size(request), request.permission or VIEW, 0
        reach, now = reach_of(view.project, view.live), self._access.now()
        ids = self._candidates.merged(reach, after=after, limit=limit)
        async for batch in batches(ids, limit):
            users = await user_views(
                self._access.facts, batch, view.accounts, view.teams, demand=demand
            )
            for user_id in batch:
                if len(answer.users) >= limit or examined >= MOST_EXAMINED:
                    return after
                after, examined = user_id, examined + 1
                facts = view.facts(user_id, users[user_id])
                if allows(facts, permission, now):
                    answer.users.append(
                        effective_message(
                            view.project_id,
                            user_id,
                            evaluate(facts, now),
                            sources=request.include_sources,
                        )
                    )
        return ""
