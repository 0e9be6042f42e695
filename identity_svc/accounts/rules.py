"""Who may do what in an account (model.md, Roles and permissions)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from workspace.identity.v1.account_pb2 import (
    Account,
    AccountCapability,
    AccountMember,
    AccountRole,
    AccountStatus,
    MemberStatus,
)

from identity_svc.directory import (
    ACCOUNT_MEMBER,
    AccountPlace,
    Directory,
    account_pk,
    invalid_state,
    user_pk,
)
from identity_svc.listing import every
from identity_svc.users.copies import MAX_MEMBERSHIPS
from services.model.errors import Reason, WorkspaceError, permission_denied
from services.model.families import Family
from services.model.indexes import Index
from services.model.names import validate_name
from services.model.roles import capabilities, may_assign_role
from services.model.templates import enum_word
from services.records.record import Page, Record
from services.records.store import RecordStore

__all__ = [
    "ACTIVE",
    "PERSONAL",
    "account_name",
    "exceeds",
    "held",
    "is_active",
    "owners_left",
    "require_capability",
    "require_held",
    "require_open",
    "require_room",
]

PERSONAL: Final = "personal"
ACTIVE: Final = AccountStatus.ACCOUNT_STATUS_ACTIVE
OWNER: Final = AccountRole.ACCOUNT_ROLE_OWNER
MEMBER_ACTIVE: Final = MemberStatus.MEMBER_STATUS_ACTIVE
REMOVED: Final = MemberStatus.MEMBER_STATUS_REMOVED


def account_name(name: str) -> str:
    """NFC, no invisible characters. Raises INVALID_FIELD."""
    return validate_name("name", name)


def is_active(member: Record[Any] | None) -> bool:
    """Whether a membership (account or team) is in force."""
    return member is not None and member.message.status == MEMBER_ACTIVE


def held(member: Record[AccountMember] | None) -> frozenset[int]:
    """Capabilities of a membership in force, whatever the account's state: who
    is refused for the state learns the state, not a lack of rights."""
    if member is None or not is_active(member):
        return frozenset()
    return capabilities(member.message.role, member.message.permissions)


def require_capability(
    place: AccountPlace, capability: int, resource: str
) -> tuple[Record[Account], Record[AccountMember]]:
    """The place of a caller who has the capability. Raises PERMISSION_DENIED,
    for an absent account too."""
    if place.account is None or place.member is None or capability not in held(place.member):
        raise permission_denied(_capability_word(capability), resource)
    return place.account, place.member


def require_open(account: Record[Account]) -> None:
    """Raises INVALID_STATE unless the account is active."""
    if account.message.status != ACTIVE:
        field = Account.DESCRIPTOR.fields_by_name["status"]
        raise invalid_state(
            f"accounts/{account.message.account_id}",
            enum_word(field, account.message.status),
            "make it active first",
        )


def exceeds(permission: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_EXCEEDS_OWN_RIGHTS,
        f"'{permission}' is more than you hold; ask an owner of the account",
        metadata={"permission": permission},
    )


def require_held(actor: AccountMember, role: int, permissions: Iterable[int]) -> None:
    """Nobody gives or takes what he does not hold. Raises EXCEEDS_OWN_RIGHTS."""
    if not may_assign_role(actor.role, role):
        field = AccountMember.DESCRIPTOR.fields_by_name["role"]
        raise exceeds(enum_word(field, role))
    own = capabilities(actor.role, actor.permissions)
    for permission in permissions:
        if permission not in own:
            raise exceeds(_capability_word(permission))


async def owners_left(
    directory: Directory, account_id: str, *, without: str
) -> list[Record[AccountMember]]:
    """Active owners other than `without` whose users are enabled, oldest first.

    Read it under `if_head`: of two owners who leave at once, one finds none.
    """

    async def query(limit: int, after: str | None) -> Page[Any]:
        return await directory.records.query(
            ACCOUNT_MEMBER, Index.BASE, account_pk(account_id),
            prefix="MEMBER#", limit=limit, after=after,
        )

    rows = await every(query, at_most=100_000)
    owners = [
        row
        for row in rows
        if row.message.role == OWNER and is_active(row) and row.message.user_id != without
    ]
    enabled = [row for row in owners if await directory.active_user(row.message.user_id)]
    return sorted(enabled, key=_age)


async def require_room(records: RecordStore, user: str, family: Family, *, by: str) -> None:
    """At most 1,000 memberships of a kind that the user made, and as many that
    others made: nobody can use up the room that a person has for own accounts
    and teams. `by` is who makes the next one. Raises LIMIT_EXCEEDED.
    """
    kind = "ACCOUNT" if family is ACCOUNT_MEMBER else "TEAM"

    async def query(limit: int, after: str | None) -> Page[Any]:
        return await records.query(
            family, Index.USER, user_pk(user), prefix=f"MEMBER#{kind}#", limit=limit, after=after
        )

    rows = await every(query, at_most=20 * MAX_MEMBERSHIPS)
    held = [row.message for row in rows if row.message.status != REMOVED]
    alike = sum((member.created_by == user) == (by == user) for member in held)
    if alike >= MAX_MEMBERSHIPS:
        raise WorkspaceError(
            Reason.ERROR_REASON_LIMIT_EXCEEDED,
            f"users/{user} has {MAX_MEMBERSHIPS} memberships; remove one first",
            metadata={"limit": "memberships", "maximum": str(MAX_MEMBERSHIPS)},
        )


def _age(row: Record[AccountMember]) -> tuple[int, int, str]:
    made = row.message.created_at
    return made.seconds, made.nanos, row.message.user_id


def _capability_word(capability: int) -> str:
    name = AccountCapability.Name(capability)  # type: ignore[arg-type]
    return name.removeprefix("ACCOUNT_CAPABILITY_").lower()
