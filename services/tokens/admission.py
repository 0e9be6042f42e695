"""Whether a verified person may come in: one strong point read per call."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from workspace.identity.v1.user_pb2 import User, UserStatus

from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES
from services.model.ids import identity_hash
from services.records.port import Key
from services.records.store import RecordStore
from services.rpc.context import Caller, current_call
from services.rpc.headers import unauthenticated

__all__ = ["FIRST_SIGN_IN", "UserAdmission", "is_revoked", "refusal"]

_SERVICE: Final = "/workspace.identity.v1.IdentityService/"
FIRST_SIGN_IN: Final = frozenset({_SERVICE + "NormalizeIdentity", _SERVICE + "GetSession"})
"""What a person may call who has no user record yet."""
_ACTIVE: Final = int(UserStatus.USER_STATUS_ACTIVE)
_USER: Final = FAMILIES["user"]
_LINK: Final = FAMILIES["identity_link"]


class UserAdmission:
    """Refuses disabled and erased users, and tokens from before the last
    revocation; the reads are strong, so that holds from the commit on.

    An identity that was linked to another user comes in as that user: its own
    is absent or retired, so only then the link is read at all.
    """

    def __init__(self, records: RecordStore) -> None:
        self._records = records

    async def admit(self, caller: Caller) -> Caller:
        """The caller as the user he is. Raises USER_DISABLED, UNAUTHENTICATED,
        and INVALID_STATE for someone who has not been normalised."""
        caller, user = await self.resolve(caller)
        if user is None:
            _check_first_sign_in(caller)
            return caller
        if user.status != _ACTIVE:
            raise refusal(user)
        # RevokeSessions says by itself which machine tokens it revokes.
        if caller.scope is None and is_revoked(user, caller.issued_at):
            raise unauthenticated()
        return caller

    async def resolve(self, caller: Caller) -> tuple[Caller, User | None]:
        """The caller as the user to whom his identity leads, and that user."""
        user = await self._user(caller.user_id)
        if caller.scope is None and (user is None or user.linked_to_user_id):
            caller = await self._linked(caller)
            user = await self._user(caller.user_id)
        return caller, user

    async def _user(self, user_id: str) -> User | None:
        pk = f"USER#{user_id}"
        record = await self._records.get(_USER, Key(pk, pk))
        return record.message if record else None

    async def _linked(self, caller: Caller) -> Caller:
        link_id = identity_hash(caller.issuer, caller.subject)
        record = await self._records.get(_LINK, Key(f"IDENTITY#{link_id}", "IDENTITY"))
        return replace(caller, user_id=record.message.user_id) if record else caller


def is_revoked(user: User, issued_at: int) -> bool:
    """Whether the user's sessions were revoked since the token was issued."""
    # `iat` is in whole seconds: one of the revocation's own second is refused.
    limit = user.tokens_not_before
    return issued_at < limit.seconds or (issued_at == limit.seconds and limit.nanos > 0)


def _check_first_sign_in(caller: Caller) -> None:
    if current_call().method not in FIRST_SIGN_IN:
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            "this identity has no user yet; call NormalizeIdentity first",
            metadata={"resource": f"users/{caller.user_id}", "state": "not_normalized"},
        )


def refusal(user: User) -> WorkspaceError:
    """USER_DISABLED, for a user who is disabled or erased."""
    erased = user.status == UserStatus.USER_STATUS_ERASED
    return WorkspaceError(
        Reason.ERROR_REASON_USER_DISABLED,
        "this user was erased, for good; sign in with another identity"
        if erased
        else "this user is disabled; ask a platform admin to enable it",
        metadata={"user_id": user.user_id},
    )
