"""Membership facts for permission decisions: strong point reads, no index.

On the path of every permission check. Heads are read before rows, so that a
fact never claims a version newer than what it was read from.
"""

from __future__ import annotations

from collections.abc import Sequence
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
        user = request.user_id
        answer = BatchGetMembershipsResponse(read_started_at=timestamp(self._kernel.now()))
        own = [user_pk(user), _PLATFORM]
        heads = await self._heads(own)
        found = await self._records.get(USER, Key(own[0], own[0]))
        admin = await self._records.get(PLATFORM_ADMIN, Key(_PLATFORM, f"ADMIN#{user}"))
        answer.user_status = found.message.status if found else 0  # type: ignore[assignment]
        answer.is_platform_admin = admin is not None
        answer.user_partitions.extend(_versions(own, heads))
        if request.scopes:
            await self._add_results(answer, user, request.scopes)
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

    async def _add_results(
        self, answer: BatchGetMembershipsResponse, user: str, scopes: Sequence[ScopeRef]
    ) -> None:
        try:
            results = await self._results(user, answer.user_status, scopes)
        except WorkspaceError:
            results = [await self._alone(user, answer.user_status, scope) for scope in scopes]
        answer.results.extend(results)

    async def _alone(self, user: str, status: int, scope: ScopeRef) -> MembershipResult:
        """One scope by itself, so that it can fail alone."""
        try:
            return (await self._results(user, status, [scope]))[0]
        except WorkspaceError as error:
            return MembershipResult(scope=scope, error=Status.FromString(_status(error)))

    async def _results(
        self, user: str, status: int, scopes: Sequence[ScopeRef]
    ) -> list[MembershipResult]:
        teams = [scope.team_id for scope in scopes if scope.team_id]
        accounts = {scope.account_id: None for scope in scopes if scope.account_id}
        if teams:  # the account of a team never changes, so it may be read first
            for team in await self._rows(TEAM, teams, "TEAM#{0}", "TEAM#{0}"):
                if team is not None and team.message.account_id:
                    accounts[team.message.account_id] = None
        facts = await _Facts.read(self, user, status, list(accounts), teams)
        return [MembershipResult(scope=scope, fact=facts.fact(scope)) for scope in scopes]

    async def _heads(self, partitions: Sequence[str]) -> dict[str, int]:
        """Sequence numbers of partitions."""
        return {head.pk: head.pseq for head in await self._records.heads(partitions)}

    async def _rows(
        self, family: Family, ids: Sequence[str], pk: str, sk: str
    ) -> list[Record[Any] | None]:
        keys = [Key(pk.format(each), sk.format(each)) for each in ids]
        return await self._records.batch_get(family, keys) if keys else []


class _Facts:
    """Everything read about one user and some accounts and teams."""

    def __init__(self, user: str, status: int, heads: dict[str, int]) -> None:
        self._user = user
        self._status = status
        self._heads = heads
        self._accounts: dict[str, tuple[Account, AccountMember]] = {}
        self._teams: dict[str, tuple[Team, TeamMember]] = {}

    @classmethod
    async def read(
        cls, reader: Memberships, user: str, status: int, accounts: list[str], teams: list[str]
    ) -> _Facts:
        partitions = [f"ACCOUNT#{each}" for each in accounts] + [f"TEAM#{each}" for each in teams]
        facts = cls(user, status, await reader._heads(partitions))
        member = f"MEMBER#{user}"
        rows = await reader._rows(ACCOUNT, accounts, "ACCOUNT#{0}", "ACCOUNT#{0}")
        members = await reader._rows(ACCOUNT_MEMBER, accounts, "ACCOUNT#{0}", member)
        for each, row, own in zip(accounts, rows, members, strict=True):
            facts._accounts[each] = (_or(row, _NO_ACCOUNT), _or(own, _NO_ACCOUNT_MEMBER))
        rows = await reader._rows(TEAM, teams, "TEAM#{0}", "TEAM#{0}")
        members = await reader._rows(TEAM_MEMBER, teams, "TEAM#{0}", member)
        for each, row, own in zip(teams, rows, members, strict=True):
            facts._teams[each] = (_or(row, _NO_TEAM), _or(own, _NO_TEAM_MEMBER))
        return facts

    def fact(self, scope: ScopeRef) -> MembershipFact:
        if scope.team_id:
            return self._team_fact(scope)
        account, member = self._accounts[scope.account_id]
        fact = MembershipFact(
            scope=scope, user_id=self._user, user_status=self._status,  # type: ignore[arg-type]
            member_status=member.status,
        )
        self._add_account(fact, scope.account_id)
        if account.type == "personal":
            fact.workspace_id = account.account_id
        return fact

    def _team_fact(self, scope: ScopeRef) -> MembershipFact:
        team, member = self._teams[scope.team_id]
        fact = MembershipFact(
            scope=scope,
            user_id=self._user,
            user_status=self._status,  # type: ignore[arg-type]
            member_status=member.status,
            team_status=team.status,
            scope_type=team.scope_type,
            team_role=member.role,
            guest=member.guest,
            root_admin=bool(team.root_admin_user_id) and team.root_admin_user_id == self._user,
            workspace_id=team.workspace_id,
        )
        fact.partitions.extend(_versions([f"TEAM#{scope.team_id}"], self._heads))
        if team.account_id:
            self._add_account(fact, team.account_id)
        return fact

    def _add_account(self, fact: MembershipFact, account_id: str) -> None:
        account, member = self._accounts[account_id]
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
        fact.partitions.extend(_versions([f"ACCOUNT#{account_id}"], self._heads))


def _or(row: Record[Any] | None, default: Message) -> Any:
    return default if row is None else row.message


def _versions(partitions: Sequence[str], heads: dict[str, int]) -> list[PartitionVersion]:
    return [PartitionVersion(partition=pk, sequence=heads[pk]) for pk in partitions]


def _status(error: WorkspaceError) -> bytes:
    return to_status(error, "").SerializeToString()


def _is_wanted(row: Record[Any], status: int) -> bool:
    found: int = row.message.status
    return found == status if status else found != _REMOVED


def _membership(row: Record[Any]) -> Membership:
    if row.family is ACCOUNT_MEMBER:
        return Membership(account_member=row.shown())
    return Membership(team_member=row.shown())
