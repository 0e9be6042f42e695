"""Membership facts for permission decisions: strong point reads, no index.

On the path of every permission check. Heads are read before rows, so that a
fact never claims a version newer than what it was read from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from workspace.identity.v1.account_pb2 import Account, AccountMember, MemberStatus
from workspace.identity.v1.identity_service_pb2 import (
    BatchGetMembershipsRequest,
    BatchGetMembershipsResponse,
    ListMembershipsRequest,
    ListMembershipsResponse,
    MembershipResult,
)
from workspace.identity.v1.membership_pb2 import (
    Membership,
    MembershipFact,
    PartitionVersion,
    ScopeRef,
)
from workspace.identity.v1.team_pb2 import Team, TeamMember

from identity_svc.directory import (
    ACCOUNT,
    ACCOUNT_MEMBER,
    PLATFORM_ADMIN,
    TEAM,
    TEAM_MEMBER,
    USER,
    account_pk,
    team_pk,
    timestamp,
    user_pk,
)
from identity_svc.listing import Pager
from services.kernel import Kernel
from services.model.errors import WorkspaceError
from services.model.families import Family
from services.model.indexes import Index
from services.model.roles import capabilities
from services.records.port import Key
from services.records.record import Page, Record
from services.rpc.errors import to_status

__all__ = ["Memberships"]

_PLATFORM: Final = "PLATFORM"
_REMOVED: Final = int(MemberStatus.MEMBER_STATUS_REMOVED)
_NO_ACCOUNT: Final = Account()
_NO_ACCOUNT_MEMBER: Final = AccountMember()
_NO_TEAM: Final = Team()
_NO_TEAM_MEMBER: Final = TeamMember()


class Memberships:
    """See the module."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._pager = Pager(kernel)

    async def batch_get(self, request: BatchGetMembershipsRequest) -> BatchGetMembershipsResponse:
        """One result per scope, in order. Raises BACKEND_UNAVAILABLE only when
        the user itself cannot be read."""
        user, scopes = request.user_id, request.scopes
        answer = BatchGetMembershipsResponse(read_started_at=timestamp(self._kernel.now()))
        try:
            facts = await self._facts(user, scopes)
        except WorkspaceError:
            if not scopes:
                raise
            facts = await self._facts(user, ())
            results = [await self._alone(user, scope) for scope in scopes]
        else:
            results = [_result(facts, scope) for scope in scopes]
        answer.user_status = facts.status  # type: ignore[assignment]
        answer.is_platform_admin = facts.is_platform_admin
        answer.user_partitions.extend(facts.versions([user_pk(user), _PLATFORM]))
        answer.results.extend(results)
        return answer

    async def list_memberships(self, request: ListMembershipsRequest) -> ListMembershipsResponse:
        """For lists only. The index finds candidates, point reads verify them."""

        async def query(limit: int, after: str | None) -> Page[Any]:
            return await self._member_rows(request.user_id, limit, after)

        async def keep(rows: Sequence[Record[Any]]) -> list[Membership]:
            return [_membership(row) for row in rows if _is_wanted(row, request.status)]

        found = await self._pager.page(request, query, keep)
        return ListMembershipsResponse(
            memberships=found.items, next_page_token=found.next_page_token
        )

    async def _member_rows(self, user: str, limit: int, after: str | None) -> Page[Any]:
        """Account members, then team members. The position says which ('a'/'t')."""
        kind, position = (after[0], after[1:] or None) if after else ("a", None)
        if kind == "a":
            page = await self._query(ACCOUNT_MEMBER, "MEMBER#ACCOUNT#", user, limit, position)
            return Page(page.records, f"a{page.next}" if page.next else "t")
        page = await self._query(TEAM_MEMBER, "MEMBER#TEAM#", user, limit, position)
        return Page(page.records, f"t{page.next}" if page.next else None)

    async def _query(
        self, family: Family, prefix: str, user: str, limit: int, after: str | None
    ) -> Page[Any]:
        page = await self._records.query(
            family, Index.USER, user_pk(user), prefix=prefix, limit=limit, after=after
        )
        if not page.records:
            return page
        rows = await self._records.batch_get(family, [record.key for record in page.records])
        return Page([row for row in rows if row is not None], page.next)

    async def _alone(self, user: str, scope: ScopeRef) -> MembershipResult:
        """One scope by itself, so that it can fail alone."""
        try:
            return _result(await self._facts(user, [scope]), scope)
        except WorkspaceError as error:
            return MembershipResult(scope=scope, error=Status.FromString(_status(error)))

    async def _facts(self, user: str, scopes: Sequence[ScopeRef]) -> _Facts:
        """Everything about the user in these scopes: two reads, three with teams."""
        teams = list(dict.fromkeys(scope.team_id for scope in scopes if scope.team_id))
        accounts = {scope.account_id: None for scope in scopes if scope.account_id}
        if teams:  # the account of a team never changes, so it may be read first
            for team in await self._records.batch_get(TEAM, [_own_key(team_pk(t)) for t in teams]):
                if team is not None and team.message.account_id:
                    accounts[team.message.account_id] = None
        facts = _Facts(user, list(accounts), teams)
        partitions = [user_pk(user), _PLATFORM, *map(account_pk, accounts), *map(team_pk, teams)]
        facts.heads = {head.pk: head.pseq for head in await self._records.heads(partitions)}
        keys = facts.keys()
        rows = await self._records.batch_get_mixed(keys)
        facts.rows = {
            key: row.message for (_, key), row in zip(keys, rows, strict=True) if row is not None
        }
        # A team that was made meanwhile has an account that was not read.
        return facts if facts.whole else await self._facts(user, scopes)


class _Facts:
    """Everything read about one user and some accounts and teams: `rows` by their
    keys, and `heads`, sequence numbers by partition."""

    def __init__(self, user: str, accounts: Sequence[str], teams: Sequence[str]) -> None:
        self._user = user
        self._accounts = accounts
        self._teams = teams
        self.heads: Mapping[str, int] = {}
        self.rows: Mapping[Key, Any] = {}

    def keys(self) -> list[tuple[Family, Key]]:
        """What has to be read."""
        found = [
            (USER, _own_key(user_pk(self._user))),
            (PLATFORM_ADMIN, Key(_PLATFORM, f"ADMIN#{self._user}")),
        ]
        for pk in map(account_pk, self._accounts):
            found += [(ACCOUNT, _own_key(pk)), (ACCOUNT_MEMBER, self._member_key(pk))]
        for pk in map(team_pk, self._teams):
            found += [(TEAM, _own_key(pk)), (TEAM_MEMBER, self._member_key(pk))]
        return found

    @property
    def status(self) -> int:
        """Of the user; 0: there is none."""
        user = self.rows.get(_own_key(user_pk(self._user)))
        return int(user.status) if user is not None else 0

    @property
    def is_platform_admin(self) -> bool:
        return Key(_PLATFORM, f"ADMIN#{self._user}") in self.rows

    @property
    def whole(self) -> bool:
        """Whether the account of each team was read, too."""
        teams = [self._row(team_pk(each), _NO_TEAM) for each in self._teams]
        wanted = {account_pk(team.account_id) for team in teams if team.account_id}
        return wanted <= self.heads.keys()

    def versions(self, partitions: Sequence[str]) -> list[PartitionVersion]:
        """What a fact of these partitions rests on."""
        return [PartitionVersion(partition=pk, sequence=self.heads[pk]) for pk in partitions]

    def _member_key(self, pk: str) -> Key:
        return Key(pk, f"MEMBER#{self._user}")

    def _row(self, pk: str, default: Message) -> Any:
        return self.rows.get(_own_key(pk), default)

    def _member(self, pk: str, default: Message) -> Any:
        return self.rows.get(self._member_key(pk), default)

    def fact(self, scope: ScopeRef) -> MembershipFact:
        if scope.team_id:
            return self._team_fact(scope)
        pk = account_pk(scope.account_id)
        account, member = self._row(pk, _NO_ACCOUNT), self._member(pk, _NO_ACCOUNT_MEMBER)
        fact = MembershipFact(
            scope=scope, user_id=self._user, user_status=self.status,  # type: ignore[arg-type]
            member_status=member.status,
        )
        self._add_account(fact, scope.account_id)
        if account.type == "personal":
            fact.workspace_id = account.account_id
        return fact

    def _team_fact(self, scope: ScopeRef) -> MembershipFact:
        pk = team_pk(scope.team_id)
        team, member = self._row(pk, _NO_TEAM), self._member(pk, _NO_TEAM_MEMBER)
        fact = MembershipFact(
            scope=scope,
            user_id=self._user,
            user_status=self.status,  # type: ignore[arg-type]
            member_status=member.status,
            team_status=team.status,
            scope_type=team.scope_type,
            team_role=member.role,
            guest=member.guest,
            root_admin=bool(team.root_admin_user_id) and team.root_admin_user_id == self._user,
            workspace_id=team.workspace_id,
        )
        fact.partitions.extend(self.versions([pk]))
        if team.account_id:
            self._add_account(fact, team.account_id)
        return fact

    def _add_account(self, fact: MembershipFact, account_id: str) -> None:
        pk = account_pk(account_id)
        account, member = self._row(pk, _NO_ACCOUNT), self._member(pk, _NO_ACCOUNT_MEMBER)
        fact.account_id = account_id
        fact.account_status = account.status
        fact.account_member_status = member.status
        fact.account_role = member.role
        fact.data_classification = account.data_classification
        fact.legal_hold = account.legal_hold
        fact.quota_bytes = account.quota_bytes
        fact.quota_documents = account.quota_documents
        held = capabilities(member.role, member.permissions)
        fact.capabilities.extend(sorted(held))  # type: ignore[arg-type]
        fact.partitions.extend(self.versions([pk]))


def _own_key(pk: str) -> Key:
    """Of the record that a partition is named after."""
    return Key(pk, pk)


def _result(facts: _Facts, scope: ScopeRef) -> MembershipResult:
    return MembershipResult(scope=scope, fact=facts.fact(scope))


def _status(error: WorkspaceError) -> bytes:
    return to_status(error, "").SerializeToString()


def _is_wanted(row: Record[Any], status: int) -> bool:
    found: int = row.message.status
    return found == status if status else found != _REMOVED


def _membership(row: Record[Any]) -> Membership:
    if row.family is ACCOUNT_MEMBER:
        return Membership(account_member=row.shown())
    return Membership(team_member=row.shown())
