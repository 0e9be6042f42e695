"""InvitationService."""

# ruff: noqa: N802 - the contract names the methods

from __future__ import annotations

from typing import Any

from workspace.identity.v1 import invitation_service_pb2 as pb
from workspace.identity.v1.invitation_service_pb2_grpc import InvitationServiceServicer

from identity_svc.invitations.acceptance import InvitationAcceptance
from identity_svc.invitations.invitations import Invitations
from identity_svc.invitations.lists import InvitationLists

__all__ = ["InvitationServicer"]


class InvitationServicer(InvitationServiceServicer):
    """Answers InvitationService from the use cases."""

    def __init__(
        self,
        *,
        invitations: Invitations,
        lists: InvitationLists,
        acceptance: InvitationAcceptance,
    ) -> None:
        self._invitations = invitations
        self._lists = lists
        self._acceptance = acceptance

    async def CreateInvitation(
        self, request: pb.CreateInvitationRequest, _: Any
    ) -> pb.CreateInvitationResponse:
        return await self._invitations.create(request)

    async def ListInvitations(
        self, request: pb.ListInvitationsRequest, _: Any
    ) -> pb.ListInvitationsResponse:
        return await self._lists.list(request)

    async def GetInvitation(
        self, request: pb.GetInvitationRequest, _: Any
    ) -> pb.GetInvitationResponse:
        return await self._lists.get(request)

    async def AcceptInvitation(
        self, request: pb.AcceptInvitationRequest, _: Any
    ) -> pb.AcceptInvitationResponse:
        return await self._acceptance.accept(request)

    async def DeclineInvitation(
        self, request: pb.DeclineInvitationRequest, _: Any
    ) -> pb.DeclineInvitationResponse:
        return await self._acceptance.decline(request)

    async def RevokeInvitation(
        self, request: pb.RevokeInvitationRequest, _: Any
    ) -> pb.RevokeInvitationResponse:
        return await self._invitations.revoke(request)

    async def ResendInvitation(
        self, request: pb.ResendInvitationRequest, _: Any
    ) -> pb.ResendInvitationResponse:
        return await self._invitations.resend(request)
