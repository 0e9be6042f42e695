"""What holds for every invitation, whatever it leads to."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import Any, Final

import grpc.aio
from workspace.common.v1.error_reason_pb2 import ErrorReason
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1.account_pb2 import AccountRole
from workspace.identity.v1.invitation_pb2 import (
    Invitation,
    InvitationStatus,
    InvitationTargetType,
    InvitationTerms,
)

from identity_svc.directory import timestamp
from services.model.errors import Reason, WorkspaceError, invalid_field
from services.model.families import FAMILIES
from services.model.times import from_timestamp
from services.records.port import Key
from services.records.record import Activity, Record
from services.rpc.errors import error_info, peer_status

__all__ = [
    "ACCOUNT_TARGET",
    "DECOY",
    "INVITATION",
    "PENDING",
    "PROJECT_TARGET",
    "TEAM_TARGET",
    "activity",
    "check_note",
    "check_terms",
    "hide",
    "invitation_key",
    "invitation_pk",
    "is_expired",
    "reason_of",
    "refusal",
    "resource",
    "shown",
    "void",
]

INVITATION = FAMILIES["invitation"]
ACCOUNT_TARGET: Final = InvitationTargetType.INVITATION_TARGET_TYPE_ACCOUNT
TEAM_TARGET: Final = InvitationTargetType.INVITATION_TARGET_TYPE_TEAM
PROJECT_TARGET: Final = InvitationTargetType.INVITATION_TARGET_TYPE_PROJECT
PENDING: Final = InvitationStatus.INVITATION_STATUS_PENDING
DECOY: Final = Invitation(
    invitation_id="?",
    target_type=ACCOUNT_TARGET,
    target_id="?",
    invited_by="?",
    status=PENDING,
    terms=InvitationTerms(account_role=AccountRole.ACCOUNT_ROLE_VIEWER),
)
"""What is decided about where there is no invitation: it takes the same time."""
_EXPIRED: Final = InvitationStatus.INVITATION_STATUS_EXPIRED
_REFUSALS: Final = frozenset[int](
    [
        Reason.ERROR_REASON_PERMISSION_DENIED,
        Reason.ERROR_REASON_EXCEEDS_OWN_RIGHTS,
        Reason.ERROR_REASON_INVALID_STATE,
        Reason.ERROR_REASON_INVALID_FIELD,
        Reason.ERROR_REASON_NOT_FOUND,
        Reason.ERROR_REASON_ALREADY_EXISTS,
        Reason.ERROR_REASON_LIMIT_EXCEEDED,
        Reason.ERROR_REASON_INVITATION_VOID,
    ]
)


def invitation_pk(invitation_id: str) -> str:
    return f"INVITATION#{invitation_id}"


def invitation_key(invitation_id: str) -> Key:
    return Key(invitation_pk(invitation_id), "INVITATION")


def resource(invitation: Invitation) -> str:
    return f"invitations/{invitation.invitation_id}"


def void() -> WorkspaceError:
    """The one answer for every invitation that cannot be used, for whatever cause."""
    return WorkspaceError(
        Reason.ERROR_REASON_INVITATION_VOID,
        "the invitation is unknown, expired, used or not for you; ask for a new one. A link "
        "works on the node that sent it; elsewhere accept by the invitation's id, as the "
        "person whom it names",
    )


def is_expired(invitation: Invitation, now: float) -> bool:
    """By server time: the token stops working at `expires_at` itself."""
    return from_timestamp(timestamp(now)) >= from_timestamp(invitation.expires_at)


def shown(record: Record[Invitation], now: float) -> Invitation:
    """For an answer: with etag, EXPIRED computed, without the hash of the token."""
    invitation = record.shown()
    if invitation.status == PENDING and is_expired(invitation, now):
        invitation.status = _EXPIRED
    invitation.ClearField("token_hash")
    return invitation


async def hide(answer: Any) -> None:
    """Takes out of a replayed answer what is kept but never answered."""
    answer.invitation.ClearField("token_hash")


def activity(kind: str, invitation: Invitation) -> Activity:
    """The event, for audit and for the mail: with the record, without the token."""
    project = invitation.target_type == PROJECT_TARGET
    return Activity(
        kind,
        resource(invitation),
        account_id=invitation.account_id,
        project_id=invitation.target_id if project else "",
    )


def check_note(note: str) -> None:
    """Words of several lines, and nothing that steers a terminal or a mail."""
    if any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in note):
        raise invalid_field("note", "must not hold control characters but line feed and tab")


def check_terms(kind: int, terms: InvitationTerms, *, to_users: bool, now: datetime) -> None:
    """The terms fit the type of the target (the schema of CreateInvitation says the
    same about a new one). Raises INVALID_FIELD."""
    is_account, is_team, is_project = (
        kind == each for each in (ACCOUNT_TARGET, TEAM_TARGET, PROJECT_TARGET)
    )
    has_end = terms.HasField("grant_expires_at")
    owner = Permission.PERMISSION_OWNER in terms.permissions
    problems = (
        ("account_role", is_account != bool(terms.account_role), "goes with an account, only"),
        ("account_permissions", terms.account_permissions and not is_account, "is for accounts"),
        ("team_role", is_team != bool(terms.team_role), "goes with a team, only"),
        ("guest", terms.guest and not is_team, "is for teams"),
        ("permissions", is_project != bool(terms.permissions), "go with a project, only"),
        ("grant_expires_at", has_end and not is_project, "is for projects"),
        ("permissions", owner and not to_users, "owner is for users only; leave it out"),
        ("grant_expires_at", owner and has_end, "owner never expires; leave it unset"),
    )
    for field, wrong, remedy in problems:
        if wrong:
            raise invalid_field(f"terms.{field}", remedy)
    if has_end and from_timestamp(terms.grant_expires_at) <= now:
        raise invalid_field("terms.grant_expires_at", "is in the past; choose a later time")


def reason_of(error: BaseException) -> int:
    """The reason of a failure, our own or a peer's; 0 for one that has none."""
    if isinstance(error, WorkspaceError):
        return error.reason
    status = peer_status(error) if isinstance(error, grpc.aio.AioRpcError) else None
    info = error_info(status) if status is not None else None
    return ErrorReason.Value(info.reason) if info else 0


def refusal(error: BaseException) -> bool:
    """Whether a rule said no: a repeat would meet the same. What cannot be decided
    now (a peer or store that does not answer) is no refusal."""
    return reason_of(error) in _REFUSALS
