"""Whether a verified person may come in: one strong point read per call."""

from __future__ import annotations

from typing import Final

from workspace.identity.v1.user_pb2 import User, UserStatus

from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES
from services.records.port import Key
from services.records.store import RecordStore
from services.rpc.authentication import unauthenticated
from services.rpc.context import Caller, current_call

__all__ = ["FIRST_SIGN_IN", "UserAdmission"]

_SERVICE: Final = "/workspace.identity.v1.IdentityService/"
FIRST_SIGN_IN: Final = frozenset({_SERVICE + "NormalizeIdentity", _SERVICE + "GetSession"})
"""What a person may call who has no user record yet."""
_ACTIVE: Final = int(UserStatus.USER_STATUS_ACTIVE)
_USER: Final = FAMILIES["user"]


class UserAdmission:
    """Refuses disabled and erased users, and tokens from before the last
    revocation; the read is strong, so that holds from the commit on."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records

    async def admit(self, caller: Caller) -> None:
        """Return to admit. Raises USER_DISABLED, UNAUTHENTICATED, and
        INVALID_STATE for someone who has not been normalised."""
        pk = f"USER#{caller.user_id}"
        record = await self._records.get(_USER, Key(pk, pk))
        if record is None:
            _check_first_sign_in(caller)
            return
        user: User = record.message
        if user.status != _ACTIVE:
            raise _disabled(caller.user_id)
        if _is_revoked(user, caller.issued_at):
            raise unauthenticated()


def _is_revoked(user: User, issued_at: int) -> bool:
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


def _disabled(user_id: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_USER_DISABLED,
        "this user is disabled; ask a platform admin to enable it",
        metadata={"user_id": user_id},
    )
