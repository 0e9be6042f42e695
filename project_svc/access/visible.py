"""Lists of projects that a user can reach: candidates, decided one by one.

The memberships of a list may lag, the decision does not: what was taken away
is never shown. A call looks at no more than 2,000 candidates; what is left is
reached through its `next_page_token`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workspace.identity.v1.account_pb2 import MemberStatus
from workspace.identity.v1.identity_service_pb2 import ListMembershipsRequest
from workspace.project.v1.permission_service_pb2 import (
    ListAccessibleProjectsRequest,
    ListAccessibleProjectsResponse,
)
from workspace.project.v1.project_pb2 import Project, ProjectStatus
from workspace.project.v1.project_service_pb2 import ListProjectsRequest, ListProjectsResponse

from project_svc.access.answers import effective_message, project_message
from project_svc.access.candidates import (
    Candidates,
    CandidateSource,
    granted_to,
    open_projects,
    projects_of,
)
from project_svc.access.facts import ProjectView, UserView
from project_svc.access.gate import Access
from project_svc.access.token_cut import allows_cut, evaluate_cut
from project_svc.policy import ASKING_SERVICES
from services.model.indexes import Index
from services.model.permissions import MANAGE_ACCESS, VIEW, Effective
from services.rpc.consistency import AS_OF_NOW, ConsistencyTokens, Demand
from services.rpc.context import current_call
from services.rpc.page_tokens import PageTokens, page_size

if TYPE_CHECKING:  # the generated class exists for type checkers only
    from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceAsyncStub

__all__ = ["Found", "Memberships", "VisibleProjects", "all_sources"]

_MOST_EXAMINED = 2_000
_BATCH = 250


@dataclass(frozen=True, slots=True)
class Memberships:
    """Scopes in which a user is an active member, as the list knows them."""

    accounts: frozenset[str]
    teams: frozenset[str]


@dataclass(frozen=True, slots=True)
class Found:
    """A project that passed, and what the user holds on it."""

    view: ProjectView
    effective: Effective


@dataclass(slots=True)
class _Page:
    found: list[Found] = field(default_factory=list)
    next: str = ""


class VisibleProjects:
    """Use cases of ListProjects and ListAccessibleProjects."""

    def __init__(
        self,
        *,
        access: Access,
        candidates: Candidates,
        identity: IdentityServiceAsyncStub,
        page_tokens: PageTokens,
        consistency: ConsistencyTokens,
    ) -> None:
        self._access = access
        self._candidates = candidates
        self._identity = identity
        self._page_tokens = page_tokens
        self._consistency = consistency

    async def list(self, request: ListProjectsRequest) -> ListProjectsResponse:
        """Projects the caller may view, in order of id."""
        call = current_call()
        members = await self.memberships(call.user_id)
        page = await self.page(
            call.user_id,
            members,
            _sources(call.user_id, members, request),
            after=self._page_tokens.open(call.method, call.user_id, request, request.page_token),
            limit=page_size(request),
            wanted=lambda project: _matches(project, request),
        )
        answer = ListProjectsResponse(
            projects=[project_message(f.view.record, f.effective.permissions) for f in page.found]
        )
        if page.next:
            answer.next_page_token = self._page_tokens.issue(
                call.method, call.user_id, request, page.next
            )
        return answer

    async def accessible(
        self, request: ListAccessibleProjectsRequest
    ) -> ListAccessibleProjectsResponse:
        """Projects a user holds a permission on. Of other users a person sees
        those on which he has `manage_access`; a service sees all."""
        call = current_call()
        demand = self._consistency.demand(request.consistency)
        user_id = request.user_id or call.user_id
        asker = f"{call.service}/{call.user_id}"
        members = await self.memberships(user_id)
        page = await self.page(
            user_id,
            members,
            all_sources(user_id, members),
            after=self._page_tokens.open(call.method, asker, request, request.page_token),
            limit=page_size(request),
            permission=request.permission or VIEW,
            asker=None
            if user_id == call.user_id or call.service in ASKING_SERVICES
            else call.user_id,
            sourced=request.include_sources,
            demand=demand,
        )
        answer = ListAccessibleProjectsResponse(
            projects=[
                effective_message(
                    f.view.project_id, user_id, f.effective, sources=request.include_sources
                )
                for f in page.found
            ]
        )
        if page.next:
            answer.next_page_token = self._page_tokens.issue(call.method, asker, request, page.next)
        return answer

    async def memberships(self, user_id: str) -> Memberships:
        """Active memberships; for proposing candidates only."""
        accounts: set[str] = set()
        teams: set[str] = set()
        token = ""
        while True:
            answer = await self._identity.ListMemberships(
                ListMembershipsRequest(
                    user_id=user_id,
                    status=MemberStatus.MEMBER_STATUS_ACTIVE,
                    page_size=500,
                    page_token=token,
                )
            )
            for row in answer.memberships:
                if row.WhichOneof("membership") == "team_member":
                    teams.add(row.team_member.team_id)
                else:
                    accounts.add(row.account_member.account_id)
            token = answer.next_page_token
            if not token:
                return Memberships(frozenset(accounts), frozenset(teams))

    async def page(
        self,
        user_id: str,
        members: Memberships,
        sources: Sequence[CandidateSource],
        *,
        after: str,
        limit: int,
        permission: int = VIEW,
        wanted: Callable[[Project], bool] = lambda _: True,
        asker: str | None = None,
        sourced: bool = False,
        demand: Demand = AS_OF_NOW,
    ) -> _Page:
        """Up to `limit` projects above the id `after`, with sources if `sourced`.
        `next` is the last id that was looked at, or '' at the end. `asker` must
        have `manage_access`."""
        page, examined = _Page(), 0
        user, other = UserView(), UserView()
        batches = self._batches(sources, after, limit)
        async for ids in batches:
            views = [v for v in await self._views(ids, demand) if wanted(v.record.message)]
            user = await self._known(user_id, user, members, views, demand)
            now = self._access.now()
            if asker is not None:
                other = other.joined(await self._facts_of(asker, views, demand))
            by_id = {view.project_id: view for view in views}
            for project_id in ids:
                view = by_id.get(project_id)
                if view is not None:
                    effective = evaluate_cut(view.facts(user_id, user), now, sources=sourced)
                    if permission in effective.permissions and (
                        asker is None or self._manages(asker, other, view)
                    ):
                        page.found.append(Found(view, effective))
                examined += 1
                page.next = project_id
                if len(page.found) >= limit or examined >= _MOST_EXAMINED:
                    return page
        page.next = ""
        return page

    async def _batches(
        self, sources: Sequence[CandidateSource], after: str, limit: int
    ) -> AsyncIterator[Sequence[str]]:
        """Ids in batches of about the page size: nothing far behind is read."""
        size = min(_BATCH, limit + 1)
        ids: list[str] = []
        async for project_id in self._candidates.merged(sources, after=after):
            ids.append(project_id)
            if len(ids) >= size:
                yield ids
                ids = []
        if ids:
            yield ids

    async def _views(self, ids: Sequence[str], demand: Demand) -> Sequence[ProjectView]:
        return tuple((await self._access.facts.projects(ids, demand)).values())

    async def _known(
        self,
        user_id: str,
        user: UserView,
        members: Memberships,
        views: Sequence[ProjectView],
        demand: Demand,
    ) -> UserView:
        """Facts that these projects need and that are not there yet: of their
        homes, and of scopes that the user is said to be in."""
        accounts: set[str] = set()
        teams: set[str] = set()
        for view in views:
            accounts |= (view.accounts & members.accounts) | {view.project.home_id}
            teams |= view.teams & members.teams
        accounts -= user.accounts.keys()
        teams -= user.teams.keys()
        if user.status and not accounts and not teams:
            return user
        return user.joined(await self._access.facts.user(user_id, accounts, teams, demand))

    async def _facts_of(
        self, user_id: str, views: Sequence[ProjectView], demand: Demand
    ) -> UserView:
        accounts = {account for view in views for account in view.accounts}
        teams = {team for view in views for team in view.teams}
        return await self._access.facts.user(user_id, accounts, teams, demand)

    def _manages(self, asker: str, user: UserView, view: ProjectView) -> bool:
        return allows_cut(view.facts(asker, user), MANAGE_ACCESS, self._access.now())


def all_sources(user_id: str, members: Memberships) -> list[CandidateSource]:
    """Every way in which a user with these memberships may reach a project."""
    sources = [granted_to(Index.USER, f"USER#{user_id}")]
    sources += [granted_to(Index.TEAM, f"TEAM#{team}") for team in sorted(members.teams)]
    for account in sorted(members.accounts):
        sources += [granted_to(Index.ACCOUNT, f"ACCOUNT#{account}"), open_projects(account)]
    return sources


def _sources(
    user_id: str, members: Memberships, request: ListProjectsRequest
) -> list[CandidateSource]:
    """The smallest sources that hold the whole answer."""
    if request.team_id in members.teams:
        return projects_of(Index.TEAM, f"TEAM#{request.team_id}")
    if request.workspace_id in members.accounts:
        return projects_of(Index.ACCOUNT, f"WORKSPACE#{request.workspace_id}")
    if request.account_id:
        members = Memberships(members.accounts & {request.account_id}, members.teams)
    return all_sources(user_id, members)


def _matches(project: Project, request: ListProjectsRequest) -> bool:
    status = request.status or ProjectStatus.PROJECT_STATUS_ACTIVE
    return (
        project.status == status
        and request.account_id in ("", project.account_id)
        and request.team_id in ("", project.team_id)
        and request.workspace_id in ("", project.workspace_id)
        and project.name.startswith(request.name_prefix)
    )
