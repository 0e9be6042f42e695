"""The facts behind permission decisions, gathered by strong reads.

A project's row and grants lie in one partition whose HEAD changes with every
commit: what was parsed under a HEAD token is exact as long as that token is
current, so a warm decision costs one point read here and one call to identity.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workspace.identity.v1.identity_service_pb2 import (
    BatchGetMembershipsRequest,
    MembershipResult,
)
from workspace.identity.v1.membership_pb2 import MembershipFact, ScopeRef
from workspace.project.v1.grant_pb2 import Grant, GrantStatus
from workspace.project.v1.project_pb2 import Project

from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES
from services.model.indexes import Index
from services.model.permissions import (
    AccountFacts,
    Facts,
    GrantFacts,
    ProjectFacts,
    TeamFacts,
    scopes_of,
)
from services.model.times import from_timestamp
from services.records.port import Key
from services.records.record import Head, Record
from services.records.store import RecordStore

if TYPE_CHECKING:  # the generated class exists for type checkers only
    from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceAsyncStub

__all__ = ["FactsReader", "ProjectView", "UserView", "project_key", "project_pk"]

_PROJECT, _GRANT = FAMILIES["project"], FAMILIES["project_grant"]
_GRANT_ACTIVE = int(GrantStatus.GRANT_STATUS_ACTIVE)
_CACHED_PROJECTS = 10_000
_UNDISTURBED_READS = 5
_SCOPES_A_CALL = 500


def project_pk(project_id: str) -> str:
    """Partition of a project and its grants."""
    return f"PROJECT#{project_id}"


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


@dataclass(frozen=True, slots=True)
class UserView:
    """A user's status and memberships in the scopes that were asked for.
    `raw` has the facts by scope id, as identity gave them."""

    status: int = 0
    accounts: Mapping[str, AccountFacts] = field(default_factory=dict)
    teams: Mapping[str, TeamFacts] = field(default_factory=dict)
    raw: Mapping[str, MembershipFact] = field(default_factory=dict)

    def joined(self, other: UserView) -> UserView:
        """Both sets of scopes; `other` is the newer one."""
        return UserView(
            other.status,
            {**self.accounts, **other.accounts},
            {**self.teams, **other.teams},
            {**self.raw, **other.raw},
        )


class FactsReader:
    """Reads projects from `records` and memberships from `identity`."""

    def __init__(self, *, records: RecordStore, identity: IdentityServiceAsyncStub) -> None:
        self._records = records
        self._identity = identity
        self._views: OrderedDict[str, ProjectView] = OrderedDict()

    async def project(self, project_id: str) -> ProjectView | None:
        """The project and its grants, of one moment; None if there is none."""
        return await self._at(project_id, await self._records.head(project_pk(project_id)))

    async def _at(self, project_id: str, head: Head) -> ProjectView | None:
        pk = project_pk(project_id)
        for _ in range(_UNDISTURBED_READS):
            if not head.token:
                return None
            cached = self._cached(project_id, head)
            if cached is not None:
                return cached
            view = await self._read(project_id, head)
            after = await self._records.head(pk)
            if after.token == head.token:
                return self._keep(project_id, view)
            head = after
        raise WorkspaceError(
            Reason.ERROR_REASON_CONFLICTING_WRITE,
            f"projects/{project_id} is changing faster than it can be read; repeat the call",
            retry_after=0.1,
        )

    async def projects(self, project_ids: Iterable[str]) -> dict[str, ProjectView]:
        """Those of the projects that exist, by id."""
        wanted = list(dict.fromkeys(project_ids))
        found: dict[str, ProjectView] = {}
        missing: list[tuple[str, Head]] = []
        current = await self._records.heads([project_pk(p) for p in wanted])
        for project_id, head in zip(wanted, current, strict=True):
            view = self._cached(project_id, head)
            if view is not None:
                found[project_id] = view
            elif head.token:
                missing.append((project_id, head))
        read = await asyncio.gather(*(self._at(*pair) for pair in missing))
        return found | {view.project_id: view for view in read if view is not None}

    async def user(
        self, user_id: str, accounts: Iterable[str] = (), teams: Iterable[str] = ()
    ) -> UserView:
        """The user's status and facts in these scopes. A scope that cannot be
        read is UNAVAILABLE: a decision is never a guess."""
        scopes = [ScopeRef(account_id=a) for a in sorted(set(accounts) - {""})]
        scopes += [ScopeRef(team_id=t) for t in sorted(set(teams) - {""})]
        view = UserView()
        for at in range(0, len(scopes) or 1, _SCOPES_A_CALL):
            answer = await self._identity.BatchGetMemberships(
                BatchGetMembershipsRequest(user_id=user_id, scopes=scopes[at : at + _SCOPES_A_CALL])
            )
            view = view.joined(_user_view(int(answer.user_status), answer.results))
        return view

    async def facts(self, view: ProjectView, user_id: str) -> tuple[Facts, UserView]:
        """Everything about one user and one project."""
        user = await self.user(user_id, view.accounts, view.teams)
        return view.facts(user_id, user), user

    def _cached(self, project_id: str, head: Head) -> ProjectView | None:
        view = self._views.get(project_id)
        if view is None or view.head.token != head.token:
            return None
        self._views.move_to_end(project_id)
        return view

    def _keep(self, project_id: str, view: ProjectView | None) -> ProjectView | None:
        if view is None:
            return None
        self._views[project_id] = view
        self._views.move_to_end(project_id)
        if len(self._views) > _CACHED_PROJECTS:
            self._views.popitem(last=False)
        return view

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
    live = tuple(_grant_facts(g.message) for g in grants if g.message.status == _GRANT_ACTIVE)
    accounts, teams = scopes_of(project, live)
    return ProjectView(head, record, grants, project, live, accounts, teams, _revision(row, grants))


def _revision(row: Project, grants: Sequence[Record[Grant]]) -> str:
    """SHA-256 over home, assignment, `restricted`, state and every grant version."""
    basis: list[Any] = [row.account_id, row.workspace_id, row.team_id, row.restricted, row.status]
    basis += sorted([grant.message.grant_id, grant.stamp.digest] for grant in grants)
    return hashlib.sha256(json.dumps(basis).encode()).hexdigest()[:32]


def _grant_facts(row: Grant) -> GrantFacts:
    return GrantFacts(
        grant_id=row.grant_id,
        target_type=int(row.target_type),
        target_id=row.target_id,
        permissions=frozenset(map(int, row.permissions)),
        status=int(row.status),
        expires_at=from_timestamp(row.expires_at) if row.HasField("expires_at") else None,
        source=int(row.source),
    )


def _user_view(status: int, results: Iterable[MembershipResult]) -> UserView:
    accounts: dict[str, AccountFacts] = {}
    teams: dict[str, TeamFacts] = {}
    raw: dict[str, MembershipFact] = {}
    for result in results:
        if result.WhichOneof("outcome") != "fact":
            raise WorkspaceError(
                Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
                "a membership cannot be read now; repeat the call",
                metadata={"backend": "identity"},
                retry_after=1.0,
            )
        fact = result.fact
        if result.scope.WhichOneof("scope") == "team_id":
            raw[result.scope.team_id] = fact
            teams[result.scope.team_id] = _team_facts(fact)
        else:
            raw[result.scope.account_id] = fact
            accounts[result.scope.account_id] = AccountFacts(
                int(fact.account_status), int(fact.account_member_status), int(fact.account_role)
            )
    return UserView(status, accounts, teams, raw)


def _team_facts(fact: MembershipFact) -> TeamFacts:
    return TeamFacts(
        status=int(fact.team_status),
        scope_type=int(fact.scope_type),
        member_status=int(fact.member_status),
        guest=fact.guest,
        account_id=fact.account_id,
        account_status=int(fact.account_status),
        account_member_status=int(fact.account_member_status),
    )
