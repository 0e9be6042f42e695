"""Strong reads of identity records, and the proto helpers every use case needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp
from workspace.identity.v1.account_pb2 import Account, AccountMember
from workspace.identity.v1.team_pb2 import Team, TeamMember
from workspace.identity.v1.user_pb2 import PlatformAdmin, User, UserStatus

from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES
from services.model.ids import canonical_email, user_id
from services.model.times import from_micros, to_timestamp
from services.records.port import Key
from services.records.record import Record
from services.records.store import RecordStore

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


@dataclass(frozen=True, slots=True)
class AccountPlace:
    """An account and one user's place in it; either may be missing."""

    account: Record[Account] | None
    member: Record[AccountMember] | None


class Directory:
    """Point reads; `local_issuer` is the issuer whose subjects are addresses."""

    def __init__(self, records: RecordStore, *, local_issuer: str) -> None:
        self.records = records
        self._local_issuer = local_issuer

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

    async def active_user_with(self, email: str) -> Record[User] | None:
        """The active user with this verified address. At the local provider the
        address is the subject, so that at most one user has it."""
        found = await self.active_user(user_id(self._local_issuer, canonical_email(email)))
        return found if found and found.message.email_verified else None

    async def is_platform_admin(self, user: str) -> bool:
        record: Record[PlatformAdmin] | None = await self.records.get(
            PLATFORM_ADMIN, Key("PLATFORM", f"ADMIN#{user}")
        )
        return record is not None

    async def account(self, account: str) -> Record[Account] | None:
        return await self.records.get(ACCOUNT, Key(account_pk(account), account_pk(account)))

    async def account_member(self, account: str, user: str) -> Record[AccountMember] | None:
        return await self.records.get(ACCOUNT_MEMBER, Key(account_pk(account), f"MEMBER#{user}"))

    async def account_place(self, account: str, user: str) -> AccountPlace:
        return AccountPlace(await self.account(account), await self.account_member(account, user))

    async def team(self, team: str) -> Record[Team] | None:
        return await self.records.get(TEAM, Key(team_pk(team), team_pk(team)))

    async def team_member(self, team: str, user: str) -> Record[TeamMember] | None:
        return await self.records.get(TEAM_MEMBER, Key(team_pk(team), f"MEMBER#{user}"))
