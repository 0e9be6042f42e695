"""Accepting and declining.

Acceptance is a saga over the partitions of the invitation and its target:
(0) a due row, so that nothing that was begun is forgotten; (1) the claim,
PENDING -> CLAIMED under the head of the invitation, the single-use point; (2) the
effect: a member row that names the invitation, or a grant whose id derives from
it; (3) the finish, ACCEPTED. Each step passes what is there already, so the
user's repeat and the sweeper complete it, at any moment and both at once. If the
ground is lost between (1) and (2), the invitation ends as REVOKED.

Every invitation that cannot be used has one answer. Without a good token the
same decoy is decided about, whether or not the id exists; with one, every check
is made, whichever fails.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from workspace.identity.v1.invitation_pb2 import Invitation, InvitationStatus
from workspace.identity.v1.invitation_service_pb2 import (
    AcceptInvitationRequest,
    AcceptInvitationResponse,
    DeclineInvitationRequest,
    DeclineInvitationResponse,
)

from identity_svc.directory import Directory, timestamp
from identity_svc.invitations.offers import Offers
from identity_svc.invitations.people import InvitationPeople
from identity_svc.invitations.rules import (
    DECOY,
    INVITATION,
    PENDING,
    activity,
    hide,
    invitation_key,
    invitation_pk,
    is_expired,
    reason_of,
    refusal,
    shown,
    void,
)
from identity_svc.invitations.tokens import InvitationTokens, id_in
from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError
from services.rate_limits import RateLimiter
from services.records.deciding import deciding
from services.records.mutation import Mutation
from services.records.record import Record, Write
from services.rpc.context import Call, current_call, set_current_call

__all__ = ["CLAIM_DUE", "InvitationAcceptance"]

CLAIM_DUE = "invitation.claim"
"""Kind of the due work that completes what was interrupted."""

_CLAIMED = InvitationStatus.INVITATION_STATUS_CLAIMED
_ACCEPTED = InvitationStatus.INVITATION_STATUS_ACCEPTED
_DECLINED = InvitationStatus.INVITATION_STATUS_DECLINED
_REVOKED = InvitationStatus.INVITATION_STATUS_REVOKED
_SWEEP_AFTER_SECONDS = 30.0
_SWEEP_SECONDS = 60.0
_NO_ID = DECOY.invitation_id


@dataclass(frozen=True, slots=True)
class _Way:
    """How the caller names an invitation: by token, or by its id alone."""

    token: str
    invitation_id: str


class InvitationAcceptance:
    """See the module. `offers` by target type; `tries` counts bad tokens."""

    def __init__(
        self,
        kernel: Kernel,
        directory: Directory,
        tokens: InvitationTokens,
        people: InvitationPeople,
        offers: Mapping[int, Offers],
        tries: RateLimiter,
    ) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._directory = directory
        self._tokens = tokens
        self._people = people
        self._offers = offers
        self._tries = tries

    async def accept(self, request: AcceptInvitationRequest) -> AcceptInvitationResponse:
        """Raises INVITATION_VOID, and LIMIT_EXCEEDED after ten bad tries."""
        way = _Way(request.token, request.invitation_id or id_in(request.token) or _NO_ID)
        pk = invitation_pk(way.invitation_id)
        mutation = self._kernel.mutations.begin(request, decorate=hide)
        await self._require_good(way)
        if done := await mutation.replay(pk, AcceptInvitationResponse):
            return done
        claimed = await self._claim(way)
        return await self._complete(claimed, mutation)

    async def decline(self, request: DeclineInvitationRequest) -> DeclineInvitationResponse:
        """PENDING -> DECLINED. Raises like `accept`."""
        way = _Way(request.token, request.invitation_id or id_in(request.token) or _NO_ID)
        pk, caller = invitation_pk(way.invitation_id), current_call().user_id
        mutation = self._kernel.mutations.begin(request, decorate=hide)
        await self._require_good(way)
        if done := await mutation.replay(pk, DeclineInvitationResponse):
            return done

        async def attempt() -> DeclineInvitationResponse:
            head = await self._records.head(pk)
            base, good = await self._look(way)
            now = self._kernel.now()
            if base is None or not good or not await self._is_for(base.message, caller):
                raise void()
            if base.message.status != PENDING or is_expired(base.message, now):
                raise void()
            declined = self._resolved(base, _DECLINED, by=caller)
            return await mutation.commit(
                pk,
                [Write(INVITATION, declined, base)],
                activity=activity("invitation.declined", declined),
                answer=lambda rows: DeclineInvitationResponse(invitation=shown(rows[0], now)),
                if_head=head,
            )

        try:
            return await deciding(attempt)
        except WorkspaceError:  # a parallel call with the same id may have done it
            if done := await mutation.replay(pk, DeclineInvitationResponse):
                return done
            raise

    async def sweep(self, invitation_id: str) -> None:
        """Due work: complete an acceptance that was interrupted. Needs no call."""
        await asyncio.create_task(self._sweep(invitation_id))  # a context of its own

    async def _sweep(self, invitation_id: str) -> None:
        set_current_call(
            Call(
                request_id=str(uuid.uuid4()),
                method=CLAIM_DUE,
                deadline=time.monotonic() + _SWEEP_SECONDS,
                service="identity_svc",
            )
        )
        found = await self._records.get(INVITATION, invitation_key(invitation_id))
        if found is None or found.message.status != _CLAIMED:
            return
        try:
            await self._complete(found, None)
        except WorkspaceError as error:
            if error.reason != Reason.ERROR_REASON_INVITATION_VOID:
                raise

    async def _require_good(self, way: _Way) -> None:
        """Whether the token is the present one, or the caller an addressee. What is
        not counts as a try; good ones are refused too when there were too many."""
        caller = current_call().user_id
        self._tries.require(caller)
        _, good = await self._look(way)
        if not good:
            self._tries.count(caller)
            await self._grounds(DECOY, caller)
            raise void()

    async def _look(self, way: _Way) -> tuple[Record[Invitation] | None, bool]:
        found: Record[Invitation] | None = await self._records.get(
            INVITATION, invitation_key(way.invitation_id)
        )
        message = found.message if found else None
        if way.token:
            return found, self._tokens.matches(way.token, message)
        good = await self._people.is_addressee(message or DECOY, current_call().user_id)
        return found, good and found is not None

    async def _is_for(self, invitation: Invitation, user_id: str) -> bool:
        """Whoever holds the link, or an addressee. The reads are the same."""
        addressed = await self._people.is_addressee(invitation, user_id)
        return invitation.anyone_with_link or addressed

    async def _claim(self, way: _Way) -> Record[Invitation]:
        """(0) and (1). The caller's own claim is passed, finished or not."""
        pk, caller = invitation_pk(way.invitation_id), current_call().user_id

        async def attempt() -> Record[Invitation]:
            head = await self._records.head(pk)
            base, good = await self._look(way)  # again: the generation may have changed
            if base is None or not good:
                raise void()
            stands = await self._grounds(base.message, caller)
            if base.message.status in (_CLAIMED, _ACCEPTED):
                if base.message.claimed_by != caller:
                    raise void()
                return base
            if not stands:
                raise void()
            await self._kernel.due.schedule(
                CLAIM_DUE, way.invitation_id, self._kernel.now() + _SWEEP_AFTER_SECONDS
            )
            claimed, now = base.edit(), timestamp(self._kernel.now())
            claimed.status = _CLAIMED
            claimed.claimed_by = claimed.updated_by = caller
            claimed.claimed_at.CopyFrom(now)
            claimed.updated_at.CopyFrom(now)
            done = await self._records.commit(
                pk,
                [Write(INVITATION, claimed, base)],
                activity=activity("invitation.claimed", claimed),
                if_head=head,
            )
            return done.records[0]  # type: ignore[return-value]

        return await deciding(attempt)

    async def _grounds(self, invitation: Invitation, user_id: str) -> bool:
        """Every check of an acceptance, all of them made. Raises what says nothing
        about the invitation: a peer that does not answer, the user's own limits."""
        addressed = await self._is_for(invitation, user_id)
        inviter = await self._directory.active_user(invitation.invited_by)
        refused = await self._stands(invitation, user_id)
        pending = invitation.status == PENDING
        in_time = not is_expired(invitation, self._kernel.now())
        rest = addressed and inviter is not None and pending and in_time
        if rest and refused is not None and _is_own_limit(refused):
            raise refused
        return rest and refused is None

    async def _stands(self, invitation: Invitation, user_id: str) -> Exception | None:
        try:
            await self._offers[invitation.target_type].stand(invitation, user_id)
        except Exception as error:
            if not refusal(error):
                raise
            return error
        return None

    async def _complete(
        self, claimed: Record[Invitation], mutation: Mutation | None
    ) -> AcceptInvitationResponse:
        """(2) and (3)."""
        invitation = claimed.message
        grant_id = invitation.grant_id
        if invitation.status != _ACCEPTED:
            try:
                grant_id = await self._offers[invitation.target_type].admit(invitation)
            except Exception as error:
                if not refusal(error):
                    raise
                await self._give_up(invitation)
                raise void() from error
        return await deciding(lambda: self._finish(invitation, grant_id, mutation))

    async def _finish(
        self, invitation: Invitation, grant_id: str, mutation: Mutation | None
    ) -> AcceptInvitationResponse:
        pk, now = invitation_pk(invitation.invitation_id), self._kernel.now()
        head = await self._records.head(pk)
        base = await self._records.get(INVITATION, invitation_key(invitation.invitation_id))
        assert base is not None
        if base.message.status == _ACCEPTED:
            token = self._kernel.consistency.issue(pk, head.pseq, int(now * 1000))
            return AcceptInvitationResponse(
                invitation=shown(base, now), consistency_token=token
            )
        accepted = self._resolved(base, _ACCEPTED, by=invitation.claimed_by)
        accepted.grant_id = grant_id
        writes = [Write(INVITATION, accepted, base)]
        event = activity("invitation.accepted", accepted)
        if mutation is None:
            await self._records.commit(pk, writes, activity=event, if_head=head)
            return AcceptInvitationResponse()
        return await mutation.commit(
            pk, writes, activity=event, if_head=head,
            answer=lambda rows: AcceptInvitationResponse(invitation=shown(rows[0], now)),
        )

    async def _give_up(self, invitation: Invitation) -> None:
        """The claim has no effect: the inviter's right or the target went away in
        between. Nobody can use the invitation after this."""
        pk = invitation_pk(invitation.invitation_id)

        async def attempt() -> None:
            head = await self._records.head(pk)
            base = await self._records.get(INVITATION, invitation_key(invitation.invitation_id))
            if base is None or base.message.status != _CLAIMED:
                return
            ended = self._resolved(base, _REVOKED, by="")
            await self._records.commit(
                pk,
                [Write(INVITATION, ended, base)],
                activity=activity("invitation.voided", ended),
                if_head=head,
            )

        await deciding(attempt)

    def _resolved(
        self, base: Record[Invitation], status: InvitationStatus.ValueType, *, by: str
    ) -> Invitation:
        changed, now = base.edit(), timestamp(self._kernel.now())
        changed.status = status
        changed.resolved_by = changed.updated_by = by
        changed.resolved_at.CopyFrom(now)
        changed.updated_at.CopyFrom(now)
        return changed


def _is_own_limit(error: Exception) -> bool:
    """Whether it is the user who has no room, which is told to nobody else."""
    return (
        isinstance(error, WorkspaceError) and reason_of(error) == Reason.ERROR_REASON_LIMIT_EXCEEDED
    )


