"""The facts behind permission decisions, gathered by strong reads.

A project's row and grants lie in one partition whose HEAD changes with every
commit: what was parsed under a HEAD token is exact as long as that token is
current. Where the caches may not answer, a warm decision costs one point read
here and one call to identity.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workspace.identity.v1.identity_service_pb2 import BatchGetMembershipsRequest
from workspace.project.v1.grant_pb2 import Grant, GrantStatus
from workspace.project.v1.project_pb2 import Project

from project_svc.access.fact_cache import Cached, FactCache, Filling
from project_svc.access.membership_answers import require_about
from project_svc.access.membership_cache import MembershipCache, Request
from project_svc.access.user_view import UserView, scope_ref, user_view
from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES
from services.model.indexes import Index
from services.model.permissions import Facts, GrantFacts, ProjectFacts, scopes_of
from services.model.times import from_timestamp
from services.records.port import Key
from services.records.record import Head, Record
from services.records.store import RecordStore
from services.rpc.consistency import AS_OF_NOW, Demand

if TYPE_CHECKING:  # the generated class exists for type checkers only
    from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceAsyncStub

__all__ = [
    "FactsReader",
    "ProjectView",
    "ProjectViews",
    "UserView",
    "ViewFilling",
    "grant_facts",
    "project_key",
    "project_pk",
    "project_views",
]

_PROJECT, _GRANT = FAMILIES["project"], FAMILIES["project_grant"]
_GRANT_ACTIVE = int(GrantStatus.GRANT_STATUS_ACTIVE)
_CACHED_PROJECTS = 10_000
_UNDISTURBED_READS = 5
_SCOPES_A_CALL = 500


def project_pk(project_id: str) -> str:
    """Partition of a project and its grants."""
    return f"PROJECT#{project_id}"


def project_views(
    *, now: Callable[[], float], exact: bool, serve: bool = True, drop_overtaken: bool = True
) -> ProjectViews:
    """The cache of project views by id; arguments as of FactCache."""
    return FactCache(
        most=_CACHED_PROJECTS, now=now, exact=exact, serve=serve, drop_overtaken=drop_overtaken
    )


def project_key(project_id: str) -> Key:
    """Key of the project's own row."""
    return Key(project_pk(project_id), project_pk(project_id))


@dataclass(frozen=True, slots=True)
class ProjectView:
    """A project and its grants as they were at `head`.

    `live` are the grants that are not revoked, expired ones included;
    `accounts` and `teams` the scopes a decision needs. `grant_revision`
    changes whenever grants or assignment change.
    """

    head: Head
    record: Record[Project]
    grants: Sequence[Record[Grant]]
    project: ProjectFacts
    live: tuple[GrantFacts, ...]
    accounts: frozenset[str]
    teams: frozenset[str]
    grant_revision: str

    @property
    def project_id(self) -> str:
        return self.project.project_id

    def facts(self, user_id: str, user: UserView) -> Facts:
        """What the evaluator takes, for one user."""
        return Facts(user_id, user.status, self.project, self.live, user.accounts, user.teams)


ProjectViews = FactCache[str, ProjectView]
ViewFilling = Filling[str, ProjectView]


class FactsReader:
    """Reads projects from `records` and memberships from `identity`. The caches
    that are given answer what a demand allows; without them every fact is read.
    """

    def __init__(
        self,
        *,
        records: RecordStore,
        identity: IdentityServiceAsyncStub,
        memberships: MembershipCache | None = None,
        views: ProjectViews | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._records = records
        self._identity = identity
        self._now = now
        if memberships is None:
            memberships = MembershipCache(now=now, exact=False, serve=False)
        if views is None:
            views = project_views(now=now, exact=False, serve=False)
        self._memberships, self._views = memberships, views

    async def project(self, project_id: str, demand: Demand = AS_OF_NOW) -> ProjectView | None:
        """The project and its grants, of one moment; None if there is none."""
        view = self._views.get(project_id, demand)
        if view is not None:
            return view
        with self._views.filling() as filling:
            began = self._now()
            head = await self._records.head(project_pk(project_id))
            return await self._at(project_id, head, filling, began)

    async def projects(
        self, project_ids: Iterable[str], demand: Demand = AS_OF_NOW
    ) -> dict[str, ProjectView]:
        """Those of the projects that exist, by id."""
        found: dict[str, ProjectView] = {}
        wanted: list[str] = []
        for project_id in dict.fromkeys(project_ids):
            view = self._views.get(project_id, demand)
            if view is None:
                wanted.append(project_id)
            else:
                found[project_id] = view
        if wanted:
            found |= await self._projects(wanted)
        return found

    async def user(
        self,
        user_id: str,
        accounts: Iterable[str] = (),
        teams: Iterable[str] = (),
        demand: Demand = AS_OF_NOW,
    ) -> UserView:
        """The user's status and facts in these scopes. A scope that cannot be
        read is UNAVAILABLE: a decision is never a guess."""
        request = (user_id, _ids(accounts), _ids(teams))
        view = self._memberships.view(request, demand)
        return view if view is not None else await self._user(request, demand)

    async def facts(
        self, view: ProjectView, user_id: str, demand: Demand = AS_OF_NOW
    ) -> tuple[Facts, UserView]:
        """Everything about one user and one project."""
        user = await self.user(user_id, view.accounts, view.teams, demand)
        return view.facts(user_id, user), user

    async def _user(self, request: Request, demand: Demand) -> UserView:
        """Read those facts that may not be taken from the cache."""
        user_id, accounts, teams = request
        scopes = [f"ACCOUNT#{each}" for each in sorted(accounts)]
        scopes += [f"TEAM#{each}" for each in sorted(teams)]
        status, known = self._memberships.known(user_id, scopes, demand)
        found = dict(known)
        missing = [scope for scope in scopes if scope not in found]
        for at in range(0, len(missing) or 1, _SCOPES_A_CALL):
            asked = missing[at : at + _SCOPES_A_CALL]
            with self._memberships.facts.filling() as filling:
                answer = await self._identity.BatchGetMemberships(
                    BatchGetMembershipsRequest(user_id=user_id, scopes=map(scope_ref, asked))
                )
                require_about(answer, user_id, asked)
                found |= self._memberships.keep(filling, user_id, answer)
            status = int(answer.user_status)
        return user_view(status or 0, found.items())

    async def _projects(self, project_ids: Sequence[str]) -> dict[str, ProjectView]:
        with self._views.filling() as filling:
            began = self._now()
            heads = await self._records.heads([project_pk(each) for each in project_ids])
            read = await asyncio.gather(
                *(
                    self._at(project_id, head, filling, began)
                    for project_id, head in zip(project_ids, heads, strict=True)
                )
            )
        return {view.project_id: view for view in read if view is not None}

    async def _at(
        self, project_id: str, head: Head, filling: ViewFilling, began: float
    ) -> ProjectView | None:
        """The view under a head that was read after `began`."""
        pk = project_pk(project_id)
        for _ in range(_UNDISTURBED_READS):
            if not head.token:
                return None
            view = self._views.known(project_id)
            if view is None or view.head.token != head.token:
                view = await self._read(project_id, head)
                after = await self._records.head(pk)
                if after.token != head.token:
                    head = after
                    continue
            if view is not None:
                filling.keep(project_id, Cached(view, {pk: head.pseq}, began))
            return view
        raise WorkspaceError(
            Reason.ERROR_REASON_CONFLICTING_WRITE,
            f"projects/{project_id} is changing faster than it can be read; repeat the call",
            retry_after=0.1,
        )

    async def _read(self, project_id: str, head: Head) -> ProjectView | None:
        record = await self._records.get(_PROJECT, project_key(project_id))
        if record is None:
            return None
        grants = [grant async for grant in self._grants(project_id)]
        return _project_view(head, record, grants)

    async def _grants(self, project_id: str) -> AsyncIterator[Record[Grant]]:
        after: str | None = None
        while True:
            page = await self._records.query(
                _GRANT, Index.BASE, project_pk(project_id), prefix="GRANT#", limit=500, after=after
            )
            for record in page.records:
                yield record
            if page.next is None:
                return
            after = page.next


def _project_view(
    head: Head, record: Record[Project], grants: Sequence[Record[Grant]]
) -> ProjectView:
    row = record.message
    project = ProjectFacts(
        project_id=row.project_id,
        account_id=row.account_id,
        workspace_id=row.workspace_id,
        restricted=row.restricted,
        status=int(row.status),
    )
    live = tuple(grant_facts(g.message) for g in grants if g.message.status == _GRANT_ACTIVE)
    accounts, teams = scopes_of(project, live)
    return ProjectView(head, record, grants, project, live, accounts, teams, _revision(row, grants))


def _revision(row: Project, grants: Sequence[Record[Grant]]) -> str:
    """SHA-256 over home, assignment, `restricted`, state and every grant version."""
    basis: list[Any] = [row.account_id, row.workspace_id, row.team_id, row.restricted, row.status]
    basis += sorted([grant.message.grant_id, grant.stamp.digest] for grant in grants)
    return hashlib.sha256(json.dumps(basis).encode()).hexdigest()[:32]


def grant_facts(row: Grant) -> GrantFacts:
    """A grant as the evaluator takes it."""
    return GrantFacts(
        grant_id=row.grant_id,
        target_type=int(row.target_type),
        target_id=row.target_id,
        permissions=frozenset(map(int, row.permissions)),
        status=int(row.status),
        expires_at=from_timestamp(row.expires_at) if row.HasField("expires_at") else None,
        source=int(row.source),
    )


def _ids(given: Iterable[str]) -> frozenset[str]:
    """Without the empty id. A set that has none is kept: it knows its hash."""
    ids = frozenset(given)
    return ids - {""} if "" in ids else ids
