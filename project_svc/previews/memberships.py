"""On which projects a person would gain and lose what by a change of memberships.

Candidates are the projects that the person may reach now or after the change,
in order of id; each is decided twice by the one evaluator.
"""

from __future__ import annotations

from collections.abc import Iterable

from workspace.project.v1.grant_pb2 import MembershipChangeEntry
from workspace.project.v1.grant_service_pb2 import (
    PreviewMembershipChangeRequest,
    PreviewMembershipChangeResponse,
)

from project_svc.access.answers import permission_values
from project_svc.access.candidate_users import MOST_EXAMINED, batches
from project_svc.access.candidates import Candidates
from project_svc.access.facts import ProjectView, UserView
from project_svc.access.gate import Access
from project_svc.access.visible import Memberships, VisibleProjects, all_sources
from project_svc.previews.changes import ChangeTrials
from project_svc.previews.membership_changes import MembershipChange
from services.model.errors import invalid_field
from services.model.permissions import MANAGE_ACCESS, VIEW, allows, evaluate
from services.rpc.context import current_call
from services.rpc.page_tokens import PageTokens, page_size

__all__ = ["MembershipPreview"]

_OF_MANY = {"set_account_status": "account", "archive_team": "team"}


class MembershipPreview:
    """The use case of PreviewMembershipChange."""

    def __init__(
        self,
        *,
        access: Access,
        trials: ChangeTrials,
        candidates: Candidates,
        visible: VisibleProjects,
        page_tokens: PageTokens,
    ) -> None:
        self._access = access
        self._trials = trials
        self._candidates = candidates
        self._visible = visible
        self._page_tokens = page_tokens

    async def preview(
        self, request: PreviewMembershipChangeRequest
    ) -> PreviewMembershipChangeResponse:
        """A page of projects in order of id. Raises what the change itself would
        raise, INVALID_FIELD for a change of a whole account or team."""
        call, kind = current_call(), request.change.WhichOneof("change") or ""
        if kind in _OF_MANY:
            raise invalid_field(
                f"change.{kind}",
                f"concerns everybody of the {_OF_MANY[kind]}; use PreviewAccessChange",
            )
        after = self._page_tokens.open(call.method, call.user_id, request, request.page_token)
        change = await self._trials.membership(request.change)
        answer = PreviewMembershipChangeResponse()
        if change is None:
            return answer
        last = await self._fill(answer, change, after, page_size(request))
        if last:
            answer.next_page_token = self._page_tokens.issue(
                call.method, call.user_id, request, last
            )
        return answer

    async def _fill(
        self,
        answer: PreviewMembershipChangeResponse,
        change: MembershipChange,
        after: str,
        limit: int,
    ) -> str:
        """Add projects above `after`; the last one looked at, '' at the end."""
        members, examined = await self._members(change), 0
        ids = self._candidates.merged(all_sources(change.user_id, members), after=after)
        async for batch in batches(ids, limit):
            views = await self._access.facts.projects(batch)
            user = await self._facts(change.user_id, views.values(), members)
            asker = await self._facts(current_call().user_id, views.values(), None)
            for project_id in batch:
                if len(answer.entries) >= limit or examined >= MOST_EXAMINED:
                    return after
                after, examined = project_id, examined + 1
                if project_id in views:
                    await self._add(answer, change, views[project_id], user, asker)
        return ""

    async def _members(self, change: MembershipChange) -> Memberships:
        """Scopes in which the person is active, and the one that changes."""
        now = await self._visible.memberships(change.user_id)
        return Memberships(
            now.accounts | ({change.account_id} - {""}), now.teams | ({change.team_id} - {""})
        )

    async def _facts(
        self, user_id: str, views: Iterable[ProjectView], members: Memberships | None
    ) -> UserView:
        """The user in all scopes of these projects; with `members`, in those of
        them and the homes, which is all that can bear on him."""
        accounts: set[str] = set()
        teams: set[str] = set()
        for view in views:
            accounts |= view.accounts & members.accounts if members else view.accounts
            teams |= view.teams & members.teams if members else view.teams
            accounts.add(view.project.home_id)
        return await self._access.facts.user(user_id, accounts, teams)

    async def _add(
        self,
        answer: PreviewMembershipChangeResponse,
        change: MembershipChange,
        view: ProjectView,
        user: UserView,
        asker: UserView,
    ) -> None:
        now, after = self._access.now(), await self._trials.of_membership(view, change)
        before = evaluate(after.before(change.user_id, user), now).permissions
        then = evaluate(after.after(change.user_id, user), now).permissions
        gained, lost = then - before, before - then
        if not (gained or lost):
            return
        answer.gaining_count += bool(gained)
        answer.losing_count += bool(lost)
        if self._sees(view, asker, own=change.user_id == current_call().user_id and VIEW in before):
            answer.entries.append(
                MembershipChangeEntry(
                    project_id=view.project_id,
                    user_id=change.user_id,
                    gained=permission_values(gained),
                    lost=permission_values(lost),
                )
            )
        else:
            answer.hidden_count += 1

    def _sees(self, view: ProjectView, asker: UserView, *, own: bool) -> bool:
        facts = view.facts(current_call().user_id, asker)
        return own or allows(facts, MANAGE_ACCESS, self._access.now())
