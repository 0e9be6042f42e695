"""DeleteAccount, and the purge at the end of its time of grace.

Due work looks at the account when `purge_at` has come, and again every day while
something holds it: (1) its projects go to the trash, which purges them; (2) its
teams are archived; (3) memberships end, some at once; (4) the account's row says
so (`purged_at`), in the commit of the last of them. Every step finds what an
earlier run has done.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from workspace.identity.v1.account_pb2 import Account, AccountMember, AccountStatus
from workspace.identity.v1.account_service_pb2 import DeleteAccountRequest, DeleteAccountResponse
from workspace.identity.v1.team_pb2 import Team
from workspace.project.v1.grant_service_pb2 import SurveyAccountProjectsRequest

from identity_svc.accounts.rules import OWNER, PERSONAL, REMOVED, is_active
from identity_svc.directory import (
    ACCOUNT,
    ACCOUNT_MEMBER,
    TEAM,
    Directory,
    account_pk,
    invalid_state,
    team_pk,
    timestamp,
)
from identity_svc.listing import every
from identity_svc.settling import settle
from identity_svc.teams.rules import ARCHIVED
from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError, permission_denied
from services.model.indexes import Index
from services.model.times import from_timestamp
from services.records.deciding import deciding
from services.records.mutation import require_etag
from services.records.record import Activity, Page, Record, Write
from services.rpc.context import current_call

if TYPE_CHECKING:  # the generated class exists for type checkers only
    from workspace.project.v1.grant_service_pb2_grpc import GrantServiceAsyncStub

__all__ = ["ACCOUNT_PURGE", "Deletion"]

ACCOUNT_PURGE: Final = "account.purge"
"""Kind of due work; the subject is the account id."""

_ARCHIVED = AccountStatus.ACCOUNT_STATUS_ARCHIVED
_AGAIN_SECONDS = 24 * 3600.0
_AT_ONCE = 80
_MOST = 100_000


class Deletion:
    """See the module."""

    def __init__(
        self, kernel: Kernel, directory: Directory, grants: GrantServiceAsyncStub
    ) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._directory = directory
        self._grants = grants

    async def delete(self, request: DeleteAccountRequest) -> DeleteAccountResponse:
        account_id, pk = request.account_id, account_pk(request.account_id)
        await self._authorise(account_id)
        mutation = self._kernel.mutations.begin(request)

        async def attempt() -> DeleteAccountResponse:
            head = await self._records.head(pk)
            base = await self._authorise(account_id)
            require_etag(base, request.etag, f"accounts/{account_id}")
            _require_deletable(base.message)
            held = await self._held(base.message)
            if held:
                raise _held(held)
            keep = timedelta(days=self._kernel.settings.trash_days).total_seconds()
            at = self._kernel.now() + keep
            await self._kernel.due.schedule(ACCOUNT_PURGE, account_id, at)
            account = base.edit()
            account.purge_at.CopyFrom(timestamp(at))
            account.updated_at.CopyFrom(timestamp(self._kernel.now()))
            account.updated_by = current_call().user_id
            return await mutation.commit(
                pk,
                [Write(ACCOUNT, account, base)],
                activity=_activity("account.deleted", account_id),
                answer=lambda records: DeleteAccountResponse(account=records[0].shown()),
                if_head=head,
            )

        return await settle(mutation, pk, DeleteAccountResponse, attempt)

    async def run(self, account_id: str) -> float | None:
        """Due work: the purge. Answers when to look again (unix seconds)."""
        base, now = await self._directory.account(account_id), self._kernel.now()
        if base is None or not base.message.HasField("purge_at"):
            return None  # taken back
        account = base.message
        if account.HasField("purged_at"):
            return None
        at = from_timestamp(account.purge_at).timestamp()
        if now < at:
            return at
        if account.status != _ARCHIVED or await self._held(account):
            return now + _AGAIN_SECONDS
        if await self._survey(account_id, trash=True):
            return now + _AGAIN_SECONDS  # a hold was set meanwhile; nothing has ended yet
        await self._archive_teams(account_id)
        while await self._end_memberships(account_id):
            pass
        return None

    async def _authorise(self, account_id: str) -> Record[Account]:
        place = await self._directory.account_place(account_id, current_call().user_id)
        member = place.member
        if place.account is None or member is None or not is_active(member):
            raise permission_denied("owner", f"accounts/{account_id}")
        if member.message.role != OWNER:
            raise permission_denied("owner", f"accounts/{account_id}")
        return place.account

    async def _held(self, account: Account) -> str:
        """What is under legal hold; '' for nothing."""
        if account.legal_hold:
            return f"accounts/{account.account_id}"
        project_id = await self._survey(account.account_id, trash=False)
        return f"projects/{project_id}" if project_id else ""

    async def _survey(self, account_id: str, *, trash: bool) -> str:
        """The first held project; '' for none."""
        held, after, more = "", "", True
        while more and not held:
            answer = await self._grants.SurveyAccountProjects(
                SurveyAccountProjectsRequest(
                    account_id=account_id, after_project_id=after, trash=trash
                )
            )
            held, after = answer.held_project_id, answer.next_after_project_id
            more = bool(after)
        return held

    async def _archive_teams(self, account_id: str) -> None:
        async def query(limit: int, after: str | None) -> Page[Any]:
            return await self._records.query(
                TEAM, Index.ACCOUNT, account_pk(account_id), prefix="TEAM#",
                limit=limit, after=after,
            )

        for row in await every(query, at_most=_MOST):
            await self._archive(row.message.team_id)

    async def _archive(self, team_id: str) -> None:
        async def attempt() -> None:
            head = await self._records.head(team_pk(team_id))
            base = await self._directory.team(team_id)
            if base is None or base.message.status == ARCHIVED:
                return
            team: Team = base.edit()
            team.status = ARCHIVED
            now = timestamp(self._kernel.now())
            for at in (team.archived_at, team.updated_at):
                at.CopyFrom(now)
            activity = Activity("team.archived", f"teams/{team_id}", account_id=team.account_id)
            await self._records.commit(
                team_pk(team_id), [Write(TEAM, team, base)], activity=activity, if_head=head
            )

        await deciding(attempt)

    async def _end_memberships(self, account_id: str) -> bool:
        """End up to 80 memberships; with the last, say that the account is purged.
        Whether more is to do."""
        pk = account_pk(account_id)

        async def attempt() -> bool:
            head = await self._records.head(pk)
            base = await self._directory.account(account_id)
            if base is None or not base.message.HasField("purge_at"):
                return False
            members = [row for row in await self._members(pk) if row.message.status != REMOVED]
            writes: list[Write[Any]] = [self._ended(row) for row in members[:_AT_ONCE]]
            more = len(members) > _AT_ONCE
            if not more:
                writes.append(self._purged(base))
            activity = _activity("account.purged", account_id)
            await self._records.commit(pk, writes, activity=activity, if_head=head)
            return more

        return await deciding(attempt)

    async def _members(self, pk: str) -> list[Record[AccountMember]]:
        async def query(limit: int, after: str | None) -> Page[Any]:
            return await self._records.query(
                ACCOUNT_MEMBER, Index.BASE, pk, prefix="MEMBER#", limit=limit, after=after
            )

        return await every(query, at_most=_MOST)

    def _ended(self, base: Record[AccountMember]) -> Write[AccountMember]:
        member, now = base.edit(), timestamp(self._kernel.now())
        member.status = REMOVED
        for at in (member.status_changed_at, member.updated_at):
            at.CopyFrom(now)
        member.status_changed_by = member.updated_by = ""
        return Write(ACCOUNT_MEMBER, member, base)

    def _purged(self, base: Record[Account]) -> Write[Account]:
        account, now = base.edit(), timestamp(self._kernel.now())
        for at in (account.purged_at, account.updated_at):
            at.CopyFrom(now)
        account.updated_by = account.description = account.successor_user_id = ""
        return Write(ACCOUNT, account, base)


def _require_deletable(account: Account) -> None:
    resource = f"accounts/{account.account_id}"
    if account.type == PERSONAL:
        raise invalid_state(resource, "personal", "a personal workspace stays; see EraseUser")
    if account.status != _ARCHIVED:
        raise invalid_state(resource, "not archived", "archive it first")
    if account.HasField("purge_at"):
        raise invalid_state(resource, "deleted", "nothing is to do")
    exported = from_timestamp(account.exported_at) if account.HasField("exported_at") else None
    if exported is None or exported < from_timestamp(account.status_changed_at):
        raise invalid_state(
            resource, "not exported", "read ExportAccountData to its last page first"
        )


def _held(resource: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_HELD,
        f"{resource} is under a legal hold; lift it first",
        metadata={"resource": resource},
    )


def _activity(kind: str, account_id: str) -> Activity:
    return Activity(kind, f"accounts/{account_id}", account_id=account_id)
