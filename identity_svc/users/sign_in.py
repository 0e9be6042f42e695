"""NormalizeIdentity: from a verified token to the application user.

First sign-in is a saga over three partitions. Every id derives from issuer and
subject, so a repeat, at any moment and on any replica, finishes it:
(1) the identity link, the claim; (2) the user without a workspace; (3) the
personal account with its one member; (4) the user's `personal_workspace_id`,
the mark of the end. Each step creates what is absent and passes what is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workspace.identity.v1.account_pb2 import Account
from workspace.identity.v1.identity_service_pb2 import (
    NormalizeIdentityRequest,
    NormalizeIdentityResponse,
)
from workspace.identity.v1.user_pb2 import IdentityLink, User, UserStatus

from identity_svc.accounts.accounts import new_account
from identity_svc.accounts.rules import PERSONAL
from identity_svc.directory import (
    ACCOUNT,
    ACCOUNT_MEMBER,
    USER,
    Directory,
    account_pk,
    timestamp,
    user_pk,
)
from identity_svc.settling import settle
from identity_svc.users.copies import MemberCopies
from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES
from services.model.ids import identity_hash
from services.records.mutation import Mutation
from services.records.port import Key
from services.records.record import Activity, Record, Write
from services.rpc.context import Caller, current_call
from services.rpc.headers import unauthenticated
from services.tokens.admission import refusal

__all__ = ["SignIn", "personal_account_id", "record_claims"]

_LINK = FAMILIES["identity_link"]
_MAX_CLAIMS = 256
_MAX_CLAIM_CHARS = 256
_CLAIM_BYTES = 10 * 1024


def personal_account_id(user: str) -> str:
    """The personal account of a user: derived, so that a repeat finds it."""
    return "a_" + user.removeprefix("u_")


class SignIn:
    """See the module."""

    def __init__(self, kernel: Kernel, directory: Directory, copies: MemberCopies) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._directory = directory
        self._copies = copies

    async def normalize(self, request: NormalizeIdentityRequest) -> NormalizeIdentityResponse:
        caller = current_call().caller
        if caller is None:
            raise unauthenticated()
        mutation = self._kernel.mutations.begin(request)

        async def attempt() -> NormalizeIdentityResponse:
            await self._claim(caller)
            user = await self._user(caller)
            await self._personal_account(user.message)
            return await self._finish(mutation, caller)

        pk = user_pk(caller.user_id)
        answer = await settle(mutation, pk, NormalizeIdentityResponse, attempt)
        await self._copies.follow(answer.user.user_id)
        return answer

    async def _claim(self, caller: Caller) -> None:
        link_id = identity_hash(caller.issuer, caller.subject)
        key = Key(f"IDENTITY#{link_id}", "IDENTITY")
        if await self._records.get(_LINK, key) is not None:
            return
        link = IdentityLink(
            link_id=link_id,
            user_id=caller.user_id,
            provider=caller.provider,
            issuer=caller.issuer,
            subject=caller.subject,
            email=caller.email,
            primary=True,
            created_at=timestamp(self._kernel.now()),
            created_by=caller.user_id,
        )
        activity = Activity("identity.linked", f"identityLinks/{link_id}")
        await self._create(key.pk, [Write(_LINK, link)], activity)

    async def _user(self, caller: Caller) -> Record[User]:
        found = await self._directory.user(caller.user_id)
        if found is None:
            activity = Activity("user.created", f"users/{caller.user_id}")
            await self._create(
                user_pk(caller.user_id), [Write(USER, self._new_user(caller))], activity
            )
            found = await self._directory.user(caller.user_id)
        assert found is not None
        return found

    def _new_user(self, caller: Caller) -> User:
        now = timestamp(self._kernel.now())
        user = User(
            user_id=caller.user_id,
            issuer=caller.issuer,
            subject=caller.subject,
            name=_name_of(caller),
            status=UserStatus.USER_STATUS_ACTIVE,
            created_at=now,
            created_by=caller.user_id,
            updated_at=now,
            updated_by=caller.user_id,
        )
        record_claims(user, caller)
        return user

    async def _personal_account(self, user: User) -> None:
        account_id = personal_account_id(user.user_id)
        if await self._directory.account(account_id) is None:
            account = Account(account_id=account_id, name=user.name, type=PERSONAL)
            owner = new_account(account, user, actor=user.user_id, now=self._kernel.now())
            activity = Activity(
                "account.created", f"accounts/{account_id}", account_id=account_id
            )
            writes: list[Write[Any]] = [Write(ACCOUNT, account), Write(ACCOUNT_MEMBER, owner)]
            await self._create(account_pk(account_id), writes, activity)

    async def _create(self, pk: str, writes: Sequence[Write[Any]], activity: Activity) -> None:
        """Create what a parallel call may have created since we looked."""
        try:
            await self._records.commit(pk, writes, activity=activity)
        except WorkspaceError as error:
            if error.reason != Reason.ERROR_REASON_ALREADY_EXISTS:
                raise

    async def _finish(self, mutation: Mutation, caller: Caller) -> NormalizeIdentityResponse:
        pk = user_pk(caller.user_id)
        head = await self._records.head(pk)
        base = await self._directory.user(caller.user_id)
        account = await self._directory.account(personal_account_id(caller.user_id))
        assert base is not None
        assert account is not None
        if base.message.status != UserStatus.USER_STATUS_ACTIVE:
            raise refusal(base.message)  # since admission: an erased user stays erased
        user = base.edit()
        created = not user.personal_workspace_id
        user.personal_workspace_id = account.message.account_id
        user.last_seen_at.CopyFrom(timestamp(self._kernel.now()))
        record_claims(user, caller)
        kind = "user.signed_up" if created else "user.signed_in"
        return await mutation.commit(
            pk,
            [Write(USER, user, base)],
            activity=Activity(kind, f"users/{user.user_id}"),
            answer=lambda records: NormalizeIdentityResponse(
                user=records[0].shown(), personal_workspace=account.shown(), created=created
            ),
            if_head=head,
        )


def record_claims(user: User, caller: Caller) -> None:
    """What the issuer says now. Claims are recorded; they grant nothing. The
    address is that of the first identity: a linked one has its own in its link."""
    if (caller.issuer, caller.subject) == (user.issuer, user.subject) or not user.issuer:
        user.email = caller.email
        user.email_verified = caller.email_verified
    groups = sorted(set(caller.groups) - {""})
    claims = _bounded(groups)
    user.deployment_claims[:] = claims
    user.deployment_claims_incomplete = caller.groups_incomplete or len(claims) < len(groups)


def _bounded(groups: list[str]) -> list[str]:
    """The first of them, so many that an answer fits into its request row (16 KiB)."""
    kept, room = list[str](), _CLAIM_BYTES
    for group in groups:
        room -= len(group.encode())
        if room >= 0 and len(group) <= _MAX_CLAIM_CHARS and len(kept) < _MAX_CLAIMS:
            kept.append(group)
    return kept


def _name_of(caller: Caller) -> str:
    return (caller.name or caller.email.partition("@")[0] or caller.user_id)[:200]
