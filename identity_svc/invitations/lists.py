"""Reading invitations: one, those to a target, those addressed to somebody."""

from __future__ import annotations

from collections.abc import Sequence

from workspace.identity.v1.invitation_pb2 import Invitation
from workspace.identity.v1.invitation_service_pb2 import (
    GetInvitationRequest,
    GetInvitationResponse,
    ListInvitationsRequest,
    ListInvitationsResponse,
)

from identity_svc.directory import USER_ACTIVE, Directory
from identity_svc.invitations.people import InvitationPeople
from identity_svc.invitations.rules import (
    ACCOUNT_TARGET,
    DECOY,
    INVITATION,
    PROJECT_TARGET,
    TEAM_TARGET,
    invitation_key,
    shown,
)
from identity_svc.listing import Pager
from services.kernel import Kernel
from services.model.errors import permission_denied
from services.model.ids import email_hash
from services.model.indexes import Index
from services.records.record import Page, Record
from services.rpc.context import current_call

__all__ = ["InvitationLists"]

_TO_TARGET = {
    "account_id": (ACCOUNT_TARGET, Index.ACCOUNT, "ACCOUNT#", "accounts/"),
    "team_id": (TEAM_TARGET, Index.TEAM, "TEAM#", "teams/"),
    "project_id": (PROJECT_TARGET, Index.PROJECT, "PROJECT#", "projects/"),
}
_Place = tuple[Index, str, str]


class InvitationLists:
    """See the module. Lists are newest first."""

    def __init__(self, kernel: Kernel, directory: Directory, people: InvitationPeople) -> None:
        self._kernel = kernel
        self._records = kernel.records
        self._directory = directory
        self._people = people
        self._pager = Pager(kernel)

    async def get(self, request: GetInvitationRequest) -> GetInvitationResponse:
        caller = current_call().user_id
        found: Record[Invitation] | None = await self._records.get(
            INVITATION, invitation_key(request.invitation_id)
        )
        readable = await self._may_read(found.message if found else DECOY, caller)
        if found is None or not readable:
            raise permission_denied("view", f"invitations/{request.invitation_id}")
        return GetInvitationResponse(invitation=shown(found, self._kernel.now()))

    async def list(self, request: ListInvitationsRequest) -> ListInvitationsResponse:
        place = await self._place(request)
        if place is None:
            return ListInvitationsResponse()
        index, partition, prefix = place

        async def query(limit: int, after: str | None) -> Page[Invitation]:
            return await self._records.query(
                INVITATION, index, partition, prefix=prefix, limit=limit, after=after,
                descending=True,
            )

        async def keep(rows: Sequence[Record[Invitation]]) -> list[Invitation]:
            now = self._kernel.now()
            all_shown = [shown(row, now) for row in rows]
            return [i for i in all_shown if not request.status or i.status == request.status]

        found = await self._pager.page(request, query, keep)
        return ListInvitationsResponse(
            invitations=found.items, next_page_token=found.next_page_token
        )

    async def _may_read(self, invitation: Invitation, caller: str) -> bool:
        return (
            self._people.made(invitation, caller)
            or await self._people.is_addressee(invitation, caller)
            or await self._people.is_manager(invitation, caller)
        )

    async def _place(self, request: ListInvitationsRequest) -> _Place | None:
        """Where to read, once that is allowed; None for a caller without an address."""
        caller, which = current_call().user_id, str(request.WhichOneof("filter"))
        if which == "mine":
            user = await self._directory.user(caller)
            if user is None or not user.message.email_verified or not user.message.email:
                return None
            if user.message.status != USER_ACTIVE:
                return None
            return Index.USER, f"EMAIL#{email_hash(user.message.email)}", "INVITATION#"
        scope = getattr(request, which)
        if which == "grantee_team_id":
            if not await self._people.answers_for_team(scope, caller):
                raise permission_denied("manage_team", f"teams/{scope}")
            return Index.TEAM, f"TEAM#{scope}", "OFFERED#"
        if which == "grantee_account_id":
            if not await self._people.answers_for_account(scope, caller):
                raise permission_denied("share_project", f"accounts/{scope}")
            return Index.ACCOUNT, f"ACCOUNT#{scope}", "OFFERED#"
        kind, index, prefix, noun = _TO_TARGET[which]
        target = Invitation(target_type=kind, target_id=scope)
        if not await self._people.is_manager(target, caller):
            raise permission_denied("manage", noun + scope)
        return index, prefix + scope, "INVITATION#"
