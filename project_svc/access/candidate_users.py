"""Which users may hold something on a project, in order of user id.

Users with a grant of their own, and members of the accounts and teams through
which the project is reached, are merged by id. Membership lists only propose:
every candidate is decided by strong reads afterwards. Each source is read on
from the last user id, so that nothing is remembered between two pages.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workspace.identity.v1.account_pb2 import MemberStatus
from workspace.identity.v1.identity_service_pb2 import ListScopeMembersRequest
from workspace.identity.v1.membership_pb2 import ScopeRef
from workspace.project.v1.grant_pb2 import GrantStatus, GrantTargetType

from project_svc.access.facts import FactsReader, UserView
from services.model.permissions import GrantFacts, ProjectFacts
from services.rpc.consistency import AS_OF_NOW, MINIMIZE_LATENCY, Demand

if TYPE_CHECKING:  # the generated class exists for type checkers only
    from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceAsyncStub

__all__ = [
    "MOST_EXAMINED",
    "CandidateUsers",
    "Reach",
    "at_least_now",
    "batches",
    "reach_of",
    "user_views",
]

MOST_EXAMINED = 2_000
"""Candidates that one call decides about; then it answers with a next page."""
_USER = int(GrantTargetType.GRANT_TARGET_TYPE_USER)
_TEAM = int(GrantTargetType.GRANT_TARGET_TYPE_TEAM)
_ACCOUNT = int(GrantTargetType.GRANT_TARGET_TYPE_ACCOUNT)
_GRANT_ACTIVE = int(GrantStatus.GRANT_STATUS_ACTIVE)
_SCOPES_A_CALL = 500
_LONGEST_PAGE = 500
_BATCH = 50


@dataclass(frozen=True, slots=True)
class Reach:
    """Users, and accounts and teams whose active members, may hold something."""

    users: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()
    teams: frozenset[str] = frozenset()

    def __or__(self, other: Reach) -> Reach:
        return Reach(
            self.users | other.users, self.accounts | other.accounts, self.teams | other.teams
        )


def reach_of(project: ProjectFacts, grants: Iterable[GrantFacts]) -> Reach:
    """The reach of a project: targets of its grants, and the members of its
    account unless it is restricted."""
    targets: dict[int, set[str]] = {_USER: set(), _TEAM: set(), _ACCOUNT: set()}
    for grant in grants:
        if grant.status == _GRANT_ACTIVE and grant.target_type in targets:
            targets[grant.target_type].add(grant.target_id)
    if project.account_id and not project.restricted:
        targets[_ACCOUNT].add(project.account_id)
    return Reach(
        frozenset(targets[_USER]), frozenset(targets[_ACCOUNT]), frozenset(targets[_TEAM])
    )


def at_least_now(demand: Demand) -> Demand:
    """What is asked of facts where an answer out of a cache would not do: lists
    that must be complete, explanations that must be true now."""
    return AS_OF_NOW if demand == MINIMIZE_LATENCY else demand


class CandidateUsers:
    """Reads candidates from `identity`."""

    def __init__(self, identity: IdentityServiceAsyncStub) -> None:
        self._identity = identity

    async def merged(self, reach: Reach, *, after: str, limit: int) -> AsyncIterator[str]:
        """Distinct user ids above `after`, ascending by bytes. `limit` is how many
        are likely to be wanted."""
        runs = [_sorted(reach.users, after)]
        scopes = [ScopeRef(account_id=each) for each in sorted(reach.accounts)]
        scopes += [ScopeRef(team_id=each) for each in sorted(reach.teams)]
        runs += [
            self._members(scopes[at : at + _SCOPES_A_CALL], after, limit)
            for at in range(0, len(scopes), _SCOPES_A_CALL)
        ]
        last = ""
        async for user_id in _merged(runs):
            if user_id != last:
                last = user_id
                yield user_id

    async def _members(
        self, scopes: Sequence[ScopeRef], after: str, limit: int
    ) -> AsyncIterator[str]:
        request = ListScopeMembersRequest(
            scopes=scopes,
            status=MemberStatus.MEMBER_STATUS_ACTIVE,
            after_user_id=after,
            page_size=min(limit + 1, _LONGEST_PAGE),
        )
        while True:
            answer = await self._identity.ListScopeMembers(request)
            for user_id in answer.user_ids:
                yield user_id
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token


async def _sorted(users: Iterable[str], after: str) -> AsyncIterator[str]:
    for user_id in sorted(each for each in users if each > after):
        yield user_id


async def _merged(runs: Sequence[AsyncIterator[str]]) -> AsyncIterator[str]:
    heap: list[tuple[str, int]] = []
    for number, run in enumerate(runs):
        if (first := await anext(run, None)) is not None:
            heap.append((first, number))
    heapq.heapify(heap)
    while heap:
        user_id, number = heap[0]
        following = await anext(runs[number], None)
        if following is None:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, (following, number))
        yield user_id


async def batches(ids: AsyncIterator[str], limit: int) -> AsyncIterator[Sequence[str]]:
    """The ids in batches of about the page size: nothing far behind is decided."""
    size, batch = min(_BATCH, limit + 1), list[str]()
    async for each in ids:
        batch.append(each)
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


async def user_views(
    facts: FactsReader,
    user_ids: Sequence[str],
    accounts: Iterable[str],
    teams: Iterable[str],
    *,
    demand: Demand = AS_OF_NOW,
) -> Mapping[str, UserView]:
    """Facts of these users in these scopes as of now, by user id."""
    read = await asyncio.gather(*(facts.user(each, accounts, teams, demand) for each in user_ids))
    return dict(zip(user_ids, read, strict=True))
