"""Who would gain and lose what on a project by a change that is not made.

Everybody who may hold something before or after it is decided twice by the one
evaluator. Entries tell of those whom the caller may see, counts of all.
"""

from __future__ import annotations

from workspace.identity.v1.account_pb2 import MemberStatus
from workspace.project.v1.grant_pb2 import AccessChangeEntry
from workspace.project.v1.grant_service_pb2 import (
    PreviewAccessChangeRequest,
    PreviewAccessChangeResponse,
)

from project_svc.access.answers import permission_values
from project_svc.access.candidate_users import (
    MOST_EXAMINED,
    CandidateUsers,
    Reach,
    batches,
    reach_of,
    user_views,
)
from project_svc.access.facts import UserView
from project_svc.access.gate import Access
from project_svc.previews.changes import AfterChange, ChangeTrials
from services.model.permissions import MANAGE_ACCESS, evaluate
from services.rpc.context import current_call
from services.rpc.page_tokens import PageTokens, page_size

__all__ = ["AccessPreview"]

_MEMBER_ACTIVE = int(MemberStatus.MEMBER_STATUS_ACTIVE)


class AccessPreview:
    """The use case of PreviewAccessChange."""

    def __init__(
        self,
        *,
        access: Access,
        trials: ChangeTrials,
        candidates: CandidateUsers,
        page_tokens: PageTokens,
    ) -> None:
        self._access = access
        self._trials = trials
        self._candidates = candidates
        self._page_tokens = page_tokens

    async def preview(self, request: PreviewAccessChangeRequest) -> PreviewAccessChangeResponse:
        """A page of users in order of id. Raises PERMISSION_DENIED without
        `manage_access`, and whatever the change itself would raise."""
        call = current_call()
        found = await self._access.require(request.project_id, MANAGE_ACCESS)
        after = self._page_tokens.open(call.method, call.user_id, request, request.page_token)
        change = await self._trials.of_request(found.view, request)
        answer = PreviewAccessChangeResponse()
        last = await self._fill(answer, change, after, page_size(request))
        if last:
            answer.next_page_token = self._page_tokens.issue(
                call.method, call.user_id, request, last
            )
        return answer

    async def _fill(
        self, answer: PreviewAccessChangeResponse, change: AfterChange, after: str, limit: int
    ) -> str:
        """Add users above `after`; the last candidate looked at, '' at the end."""
        examined, facts = 0, self._access.facts
        accounts, teams = change.scopes
        asker = await facts.user(current_call().user_id, accounts, teams)
        ids = self._candidates.merged(_reach(change), after=after, limit=limit)
        async for batch in batches(ids, limit):
            users = await user_views(facts, batch, accounts, teams)
            for user_id in batch:
                if len(answer.entries) >= limit or examined >= MOST_EXAMINED:
                    return after
                after, examined = user_id, examined + 1
                self._add(answer, change, user_id, users[user_id], asker)
        return ""

    def _add(
        self,
        answer: PreviewAccessChangeResponse,
        change: AfterChange,
        user_id: str,
        user: UserView,
        asker: UserView,
    ) -> None:
        now = self._access.now()
        before = evaluate(change.before(user_id, user), now).permissions
        then = evaluate(change.after(user_id, user), now).permissions
        gained, lost = then - before, before - then
        if not (gained or lost):
            return
        answer.gaining_count += bool(gained)
        answer.losing_count += bool(lost)
        if before or user_id in change.named or _acquainted(asker, user):
            answer.entries.append(
                AccessChangeEntry(
                    user_id=user_id,
                    gained=permission_values(gained),
                    lost=permission_values(lost),
                )
            )
        else:
            answer.hidden_count += 1


def _reach(change: AfterChange) -> Reach:
    """Whom the change may concern: one person, or all before and after it."""
    membership = change.membership
    if membership is not None and membership.user_id:
        return Reach(users=frozenset({membership.user_id}))
    return reach_of(change.view.project, change.view.live) | reach_of(
        change.project, change.grants
    )


def _acquainted(asker: UserView, user: UserView) -> bool:
    """Whether both are active members of one account or team, so that the asker
    may list its members; he himself is."""
    return any(
        asker_of.member_status == _MEMBER_ACTIVE and of.member_status == _MEMBER_ACTIVE
        for one, other in ((asker.accounts, user.accounts), (asker.teams, user.teams))
        for scope, of in other.items()
        if (asker_of := one.get(scope)) is not None
    )
