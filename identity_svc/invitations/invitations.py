"""Making invitations, sending them again, taking them back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from workspace.identity.v1.invitation_pb2 import Invitation, InvitationStatus
from workspace.identity.v1.invitation_service_pb2 import (
    CreateInvitationRequest,
    CreateInvitationResponse,
    ResendInvitationRequest,
    ResendInvitationResponse,
    RevokeInvitationRequest,
    RevokeInvitationResponse,
)

from identity_svc.directory import Directory, invalid_state, timestamp
from identity_svc.invitations.offers import Offers
from identity_svc.invitations.people import InvitationPeople
from identity_svc.invitations.rules import (
    ACCOUNT_TARGET,
    INVITATION,
    PENDING,
    PROJECT_TARGET,
    TEAM_TARGET,
    activity,
    check_note,
    check_terms,
    hide,
    invitation_key,
    invitation_pk,
    is_expired,
    reason_of,
    resource,
    shown,
)
from identity_svc.invitations.tokens import InvitationTokens
from identity_svc.listing import every
from identity_svc.settling import settle
from services.kernel import Kernel
from services.model.errors import Reason, WorkspaceError, permission_denied
from services.model.ids import email_hash
from services.model.indexes import Index
from services.model.templates import enum_word
from services.model.times import to_timestamp
from services.records.mutation import require_etag
from services.records.record import Page, Record, Write
from services.rpc.context import current_call

__all__ = ["Invitations"]

_REVOKED = InvitationStatus.INVITATION_STATUS_REVOKED
_LIFETIME = timedelta(days=7)
_WAITING = 2_000
"""Invitations to one addressee in which a duplicate is looked for."""


class Invitations:
    """See the module. `offers` by target type."""

    def __init__(
        self,
        kernel: Kernel,
        directory: Directory,
        tokens: InvitationTokens,
        people: InvitationPeople,
        offers: Mapping[int, Offers],
    ) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._directory = directory
        self._tokens = tokens
        self._people = people
        self._offers = offers

    async def create(self, request: CreateInvitationRequest) -> CreateInvitationResponse:
        """A pending invitation with its token; a replay derives the token again."""
        mutation = self._kernel.mutations.begin(request, decorate=hide)
        draft = self._draft(request, mutation.new_id("i"))
        pk, now = invitation_pk(draft.invitation_id), self._kernel.now()
        try:
            await self._offer(draft)
            if done := await mutation.replay(pk, CreateInvitationResponse):
                return self._with_token(done)
            await self._require_no_other(draft)
        except Exception as error:
            if reason_of(error) in (0, Reason.ERROR_REASON_PERMISSION_DENIED):
                raise
            earlier = await mutation.replay(pk, CreateInvitationResponse)
            if earlier is None:
                raise
            return self._with_token(earlier)
        draft.token_hash = self._tokens.hash_of(draft)
        answer = await mutation.commit(
            pk,
            [Write(INVITATION, draft)],
            activity=activity("invitation.created", draft),
            answer=lambda rows: CreateInvitationResponse(invitation=shown(rows[0], now)),
        )
        return self._with_token(answer)

    async def resend(self, request: ResendInvitationRequest) -> ResendInvitationResponse:
        """A new generation: the token before it is void from this commit on."""
        caller, pk = current_call().user_id, invitation_pk(request.invitation_id)
        await self._managed(request.invitation_id)
        mutation = self._kernel.mutations.begin(request, decorate=hide)

        async def attempt() -> ResendInvitationResponse:
            head = await self._records.head(pk)
            base = await self._managed(request.invitation_id)
            require_etag(base, request.etag, resource(base.message))
            if base.message.status != PENDING:
                raise _wrong_state(base.message, "make a new one")
            again, now = base.edit(), self._kernel.now()
            if request.HasField("terms"):
                again.terms.CopyFrom(request.terms)
            again.invited_by, again.generation = caller, again.generation + 1
            self._issue(again, request.lifetime if request.HasField("lifetime") else None)
            await self._offer(again)
            again.token_hash = self._tokens.hash_of(again)
            return await mutation.commit(
                pk,
                [Write(INVITATION, again, base)],
                activity=activity("invitation.resent", again),
                answer=lambda rows: ResendInvitationResponse(invitation=shown(rows[0], now)),
                if_head=head,
            )

        answer = await settle(mutation, pk, ResendInvitationResponse, attempt)
        answer.token = self._tokens.token_of(answer.invitation)
        return answer

    async def revoke(self, request: RevokeInvitationRequest) -> RevokeInvitationResponse:
        """PENDING -> REVOKED, in one commit with the claim's condition: of a
        revocation and an acceptance at the same moment one finds the other done."""
        caller, pk = current_call().user_id, invitation_pk(request.invitation_id)
        await self._revocable(request.invitation_id)
        mutation = self._kernel.mutations.begin(request, decorate=hide)

        async def attempt() -> RevokeInvitationResponse:
            head = await self._records.head(pk)
            base = await self._revocable(request.invitation_id)
            now = self._kernel.now()
            require_etag(base, request.etag, resource(base.message))
            if base.message.status == _REVOKED:
                token = self._kernel.consistency.issue(pk, head.pseq, int(now * 1000))
                return RevokeInvitationResponse(
                    invitation=shown(base, now), consistency_token=token
                )
            if base.message.status != PENDING:
                raise _wrong_state(base.message, "take back what it gave instead")
            revoked = base.edit()
            revoked.status = _REVOKED
            revoked.resolved_by = revoked.updated_by = caller
            revoked.resolved_at.CopyFrom(timestamp(now))
            revoked.updated_at.CopyFrom(timestamp(now))
            return await mutation.commit(
                pk,
                [Write(INVITATION, revoked, base)],
                activity=activity("invitation.revoked", revoked),
                answer=lambda rows: RevokeInvitationResponse(invitation=shown(rows[0], now)),
                if_head=head,
            )

        return await settle(mutation, pk, RevokeInvitationResponse, attempt)

    def _with_token(self, answer: CreateInvitationResponse) -> CreateInvitationResponse:
        answer.token = self._tokens.token_of(answer.invitation)
        return answer

    def _draft(self, request: CreateInvitationRequest, invitation_id: str) -> Invitation:
        check_note(request.note)
        kinds = {
            "account_id": ACCOUNT_TARGET, "team_id": TEAM_TARGET, "project_id": PROJECT_TARGET,
        }
        which, caller = request.WhichOneof("target"), current_call().user_id
        draft = Invitation(
            invitation_id=invitation_id,
            target_type=kinds[str(which)],
            target_id=getattr(request, str(which)),
            email=request.email.strip(),
            anyone_with_link=request.anyone_with_link,
            grantee_team_id=request.grantee_team_id,
            grantee_account_id=request.grantee_account_id,
            terms=request.terms,
            note=request.note,
            status=PENDING,
            generation=1,
            invited_by=caller,
            created_by=caller,
            created_at=timestamp(self._kernel.now()),
        )
        self._issue(draft, request.lifetime if request.HasField("lifetime") else None)
        return draft

    def _issue(self, invitation: Invitation, lifetime: Duration | None) -> None:
        """Date the present generation."""
        now = datetime.fromtimestamp(self._kernel.now(), UTC)
        ends = now + (lifetime.ToTimedelta() if lifetime else _LIFETIME)
        invitation.issued_at.CopyFrom(to_timestamp(now))
        invitation.expires_at.CopyFrom(to_timestamp(ends))
        invitation.updated_at.CopyFrom(to_timestamp(now))
        invitation.updated_by = current_call().user_id

    async def _offer(self, draft: Invitation) -> None:
        """The right and the terms, decided for the caller, as of now."""
        to_users = not (draft.grantee_team_id or draft.grantee_account_id)
        now = datetime.fromtimestamp(self._kernel.now(), UTC)
        check_terms(draft.target_type, draft.terms, to_users=to_users, now=now)
        # A known and an unknown address cost the same reads.
        known = await self._directory.only_user_with(draft.email) if draft.email else None
        # Where the target was does not bind an offer that is made now.
        draft.ClearField("account_id")
        draft.ClearField("workspace_id")
        user_id = known.message.user_id if known else ""
        if user_id == draft.invited_by:
            user_id = ""  # an offer to oneself is void, like any that cannot be accepted
        await self._offers[draft.target_type].offer(draft, user_id=user_id)

    async def _require_no_other(self, draft: Invitation) -> None:
        """Raises ALREADY_EXISTS when another one waits for the same addressee."""
        if draft.anyone_with_link:
            return
        index, partition, prefix = _place_of_addressee(draft)

        async def query(limit: int, after: str | None) -> Page[Invitation]:
            return await self._records.query(
                INVITATION, index, partition, prefix=prefix, limit=limit, after=after,
                descending=True,
            )

        now = self._kernel.now()
        for row in await every(query, at_most=_WAITING):
            other: Invitation = row.message
            same = (other.target_type, other.target_id) == (draft.target_type, draft.target_id)
            if same and other.status == PENDING and not is_expired(other, now):
                raise WorkspaceError(
                    Reason.ERROR_REASON_ALREADY_EXISTS,
                    f"{resource(other)} waits for the same addressee; send it again or revoke it",
                    metadata={"resource": resource(other)},
                )

    async def _managed(self, invitation_id: str) -> Record[Invitation]:
        found: Record[Invitation] | None = await self._records.get(
            INVITATION, invitation_key(invitation_id)
        )
        caller = current_call().user_id
        if found is None or not await self._people.is_manager(found.message, caller):
            raise permission_denied("manage", f"invitations/{invitation_id}")
        return found

    async def _revocable(self, invitation_id: str) -> Record[Invitation]:
        found: Record[Invitation] | None = await self._records.get(
            INVITATION, invitation_key(invitation_id)
        )
        if found is not None and self._people.made(found.message, current_call().user_id):
            return found
        return await self._managed(invitation_id)


def _place_of_addressee(draft: Invitation) -> tuple[Index, str, str]:
    if draft.grantee_team_id:
        return Index.TEAM, f"TEAM#{draft.grantee_team_id}", "OFFERED#"
    if draft.grantee_account_id:
        return Index.ACCOUNT, f"ACCOUNT#{draft.grantee_account_id}", "OFFERED#"
    return Index.USER, f"EMAIL#{email_hash(draft.email)}", "INVITATION#"


def _wrong_state(invitation: Invitation, remedy: str) -> WorkspaceError:
    field = Invitation.DESCRIPTOR.fields_by_name["status"]
    return invalid_state(resource(invitation), enum_word(field, invitation.status), remedy)
