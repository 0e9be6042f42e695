"""Strong reads of identity records, and the proto helpers every use case needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp
from workspace.identity.v1.account_pb2 import Account, AccountMember
from workspace.identity.v1.account_service_pb2 import AddAccountMemberRequest
from workspace.identity.v1.team_pb2 import Team, TeamMember
from workspace.identity.v1.team_service_pb2 import AddTeamMemberRequest
from workspace.identity.v1.user_pb2 import PlatformAdmin, User, UserStatus

from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES
from services.model.ids import canonical_email, email_hash, user_id
from services.model.indexes import Index
from services.model.times import from_micros, to_timestamp
from services.rate_limits import RateLimiter
from services.records.port import Key
from services.records.record import Record
from services.records.store import RecordStore
from services.rpc.context import current_call, scope_of

__all__ = [
    "ACCOUNT",
    "ACCOUNT_MEMBER",
    "PLATFORM_ADMIN",
    "TEAM",
    "TEAM_MEMBER",
    "USER",
    "AccountPlace",
    "Directory",
    "account_pk",
    "cut_off",
    "in_scope",
    "invalid_state",
    "not_found",
    "team_pk",
    "timestamp",
    "user_pk",
]

USER = FAMILIES["user"]
ACCOUNT = FAMILIES["account"]
ACCOUNT_MEMBER = FAMILIES["account_member"]
TEAM = FAMILIES["team"]
TEAM_MEMBER = FAMILIES["team_member"]
PLATFORM_ADMIN = FAMILIES["platform_admin"]
USER_ACTIVE = int(UserStatus.USER_STATUS_ACTIVE)
_PAGE = 100
_NAMESAKES = 2_000
"""Rows of one address that are looked at, at most."""


def user_pk(user: str) -> str:
    return f"USER#{user}"


def account_pk(account: str) -> str:
    return f"ACCOUNT#{account}"


def team_pk(team: str) -> str:
    return f"TEAM#{team}"


def timestamp(now: float) -> Timestamp:
    """Unix seconds as a timestamp of whole microseconds."""
    return to_timestamp(from_micros(int(now * 1_000_000)))


def cut_off(user: User, now: float) -> Timestamp:
    """A `tokens_not_before` that refuses every token issued until now.

    After an earlier revocation a fresh token is dated at the next whole second
    (local_tokens), so a second revocation must reach beyond that.
    """
    earlier = user.tokens_not_before
    dated = earlier.seconds + (earlier.nanos > 0)
    return timestamp(max(now, dated + 0.001 if dated else 0.0))


def not_found(resource: str) -> WorkspaceError:
    """For callers who may read the parent."""
    return WorkspaceError(
        Reason.ERROR_REASON_NOT_FOUND,
        f"{resource} does not exist; check the id",
        metadata={"resource": resource},
    )


def invalid_state(resource: str, state: str, remedy: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_INVALID_STATE,
        f"{resource} is {state}: {remedy}",
        metadata={"resource": resource, "state": state},
    )


def in_scope(user: str, account: str) -> bool:
    """Whether the caller's machine token, if `user` came with one, reaches the
    account or personal workspace ('': a standalone team)."""
    scope = scope_of(user)
    return scope is None or scope.reaches_account(account)


@dataclass(frozen=True, slots=True)
class AccountPlace:
    """An account and one user's place in it; either may be missing."""

    account: Record[Account] | None
    member: Record[AccountMember] | None


class Directory:
    """Point reads, and users by address. `local_issuer` is the issuer whose subjects
    are addresses; `lookups` counts the addresses that a caller asked for in vain."""

    def __init__(
        self, records: RecordStore, *, local_issuer: str, lookups: RateLimiter
    ) -> None:
        self.records = records
        self._local_issuer = local_issuer
        self._lookups = lookups

    async def user(self, user: str) -> Record[User] | None:
        return await self.records.get(USER, Key(user_pk(user), user_pk(user)))

    async def users(self, users: Sequence[str]) -> list[Record[User] | None]:
        """Up to 500, in the order asked."""
        keys = [Key(user_pk(user), user_pk(user)) for user in users]
        return await self.records.batch_get(USER, keys) if keys else []

    async def active_user(self, user: str) -> Record[User] | None:
        """The user, unless unknown, disabled or erased."""
        record = await self.user(user)
        return record if record and record.message.status == USER_ACTIVE else None

    async def addressee(
        self, request: AddAccountMemberRequest | AddTeamMemberRequest
    ) -> Record[User]:
        """Whom a request to add a member means. Raises NOT_FOUND, which never
        echoes an address."""
        if request.WhichOneof("who") == "email":
            found = await self.active_user_with(request.email)
        else:
            found = await self.active_user(request.user_id)
        if found is None:
            raise not_found("users/" + (request.user_id or "?"))
        return found

    async def active_user_with(self, email: str) -> Record[User] | None:
        """`only_user_with`, asked by the caller. Raises LIMIT_EXCEEDED for a caller who
        asked for too many addresses that nobody has."""
        call = current_call()
        asker = call.user_id or f"service:{call.service}"
        self._lookups.require(asker)
        found = await self.only_user_with(email)
        if found is None:
            self._lookups.count(asker)
        return found

    async def only_user_with(self, email: str) -> Record[User] | None:
        """The one active user with this verified address, of whatever provider, also
        by a linked identity. An address that several have is nobody's: what is given
        must not reach another than the one who was meant."""
        users = await self._users_with(email, enough=2)
        return users[0] if len(users) == 1 else None

    async def has_address(self, user: str, email: str) -> bool:
        """Whether an issuer says that the address is this active user's. His own record
        is read first: who has just signed in may not be in the index yet."""
        own = await self.active_user(user)
        if own is not None and user in _verified([own], canonical_email(email)):
            return True
        users = await self._users_with(email, enough=_NAMESAKES)
        return any(row.message.user_id == user for row in users)

    async def _users_with(self, email: str, *, enough: int) -> list[Record[User]]:
        """Active users with the verified address: all, or `enough` of them. Users who
        are not (disabled, retired, not verified) hide nobody: the next page is read."""
        wanted = canonical_email(email)
        # The local provider's user by its key: found even where an index lags.
        local = user_id(self._local_issuer, wanted)
        own = await self.user(local)
        found: dict[str, Record[User]] = {}
        after: str | None = None
        for _ in range(0, _NAMESAKES, _PAGE):
            page = await self.records.query(
                USER, Index.USER, f"EMAIL#{email_hash(wanted)}", prefix="USER#",
                limit=_PAGE, after=after,
            )
            ids = _verified([*page.records, *filter(None, [own])], wanted)
            # An unknown address costs the reads of a known one.
            for row in await self.users(sorted(ids) or [local]):
                if row and row.message.status == USER_ACTIVE and row.message.user_id in ids:
                    found[row.message.user_id] = row
            own, after = None, page.next
            if after is None or len(found) >= enough:
                break
        return list(found.values())

    async def is_platform_admin(self, user: str) -> bool:
        """Never by a machine token."""
        if scope_of(user) is not None:
            return False
        record: Record[PlatformAdmin] | None = await self.records.get(
            PLATFORM_ADMIN, Key("PLATFORM", f"ADMIN#{user}")
        )
        return record is not None

    async def account(self, account: str) -> Record[Account] | None:
        return await self.records.get(ACCOUNT, Key(account_pk(account), account_pk(account)))

    async def account_member(self, account: str, user: str) -> Record[AccountMember] | None:
        return await self.records.get(ACCOUNT_MEMBER, Key(account_pk(account), f"MEMBER#{user}"))

    async def account_place(self, account: str, user: str) -> AccountPlace:
        """For the scope of the caller's machine token the account may be absent."""
        if not in_scope(user, account):
            return AccountPlace(None, None)
        return AccountPlace(await self.account(account), await self.account_member(account, user))

    async def team(self, team: str) -> Record[Team] | None:
        return await self.records.get(TEAM, Key(team_pk(team), team_pk(team)))

    async def team_member(self, team: str, user: str) -> Record[TeamMember] | None:
        return await self.records.get(TEAM_MEMBER, Key(team_pk(team), f"MEMBER#{user}"))


def _verified(rows: Sequence[Record[User]], wanted: str) -> set[str]:
    """The users to whom the rows with this verified address lead."""
    return {
        row.message.linked_to_user_id or row.message.user_id
        for row in rows
        if row.message.email_verified and canonical_email(row.message.email) == wanted
    }
