"""The gRPC surface of grants."""

# ruff: noqa: N802 - the contract names the methods

from __future__ import annotations

from typing import Any

from workspace.project.v1 import grant_service_pb2 as pb
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceServicer

from project_svc.grants.access_requests import AccessRequests
from project_svc.grants.grants import Grants
from project_svc.grants.invited_grants import InvitedGrants
from project_svc.grants.member_grants import MemberGrants
from project_svc.grants.orphaned_projects import OrphanedProjects
from project_svc.previews.memberships import MembershipPreview
from project_svc.previews.preview import AccessPreview

__all__ = ["GrantServicer"]


class GrantServicer(GrantServiceServicer):
    """Answers GrantService from the use cases."""

    def __init__(
        self,
        grants: Grants,
        of_members: MemberGrants,
        orphaned: OrphanedProjects,
        invited: InvitedGrants,
        requests: AccessRequests,
        preview: AccessPreview,
        membership_preview: MembershipPreview,
    ) -> None:
        self._grants = grants
        self._invited = invited
        self._requests = requests
        self._of_members = of_members
        self._orphaned = orphaned
        self._preview = preview
        self._membership_preview = membership_preview

    async def CreateGrant(self, request: pb.CreateGrantRequest, _: Any) -> pb.CreateGrantResponse:
        return await self._grants.create(request)

    async def UpdateGrant(self, request: pb.UpdateGrantRequest, _: Any) -> pb.UpdateGrantResponse:
        return await self._grants.update(request)

    async def RevokeGrant(self, request: pb.RevokeGrantRequest, _: Any) -> pb.RevokeGrantResponse:
        return await self._grants.revoke(request)

    async def RevokeMemberGrants(
        self, request: pb.RevokeMemberGrantsRequest, _: Any
    ) -> pb.RevokeMemberGrantsResponse:
        return await self._of_members.revoke(request)

    async def ClaimProject(
        self, request: pb.ClaimProjectRequest, _: Any
    ) -> pb.ClaimProjectResponse:
        return await self._orphaned.claim(request)

    async def FindOrphanedProjects(
        self, request: pb.FindOrphanedProjectsRequest, _: Any
    ) -> pb.FindOrphanedProjectsResponse:
        return await self._orphaned.find(request)

    async def SurveyAccountProjects(
        self, request: pb.SurveyAccountProjectsRequest, _: Any
    ) -> pb.SurveyAccountProjectsResponse:
        return await self._orphaned.survey(request)

    async def ListGrants(self, request: pb.ListGrantsRequest, _: Any) -> pb.ListGrantsResponse:
        return await self._grants.list(request)

    async def CreateInvitedGrant(
        self, request: pb.CreateInvitedGrantRequest, _: Any
    ) -> pb.CreateInvitedGrantResponse:
        return await self._invited.create(request)

    async def RequestAccess(
        self, request: pb.RequestAccessRequest, _: Any
    ) -> pb.RequestAccessResponse:
        return await self._requests.ask(request)

    async def ListAccessRequests(
        self, request: pb.ListAccessRequestsRequest, _: Any
    ) -> pb.ListAccessRequestsResponse:
        return await self._requests.list(request)

    async def DecideAccessRequest(
        self, request: pb.DecideAccessRequestRequest, _: Any
    ) -> pb.DecideAccessRequestResponse:
        return await self._requests.decide(request)

    async def PreviewAccessChange(
        self, request: pb.PreviewAccessChangeRequest, _: Any
    ) -> pb.PreviewAccessChangeResponse:
        return await self._preview.preview(request)

    async def PreviewMembershipChange(
        self, request: pb.PreviewMembershipChangeRequest, _: Any
    ) -> pb.PreviewMembershipChangeResponse:
        return await self._membership_preview.preview(request)
