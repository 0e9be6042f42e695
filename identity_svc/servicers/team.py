"""TeamService."""

# ruff: noqa: N802 - the contract names the methods

from __future__ import annotations

from typing import Any

from workspace.identity.v1.team_service_pb2 import (
    AddTeamMemberRequest,
    AddTeamMemberResponse,
    ArchiveTeamRequest,
    ArchiveTeamResponse,
    CreateTeamRequest,
    CreateTeamResponse,
    GetTeamRequest,
    GetTeamResponse,
    ImportLegacyTeamRequest,
    ImportLegacyTeamResponse,
    ListTeamMembersRequest,
    ListTeamMembersResponse,
    ListTeamsRequest,
    ListTeamsResponse,
    RemoveTeamMemberRequest,
    RemoveTeamMemberResponse,
    TransferRootAdminRequest,
    TransferRootAdminResponse,
    UpdateTeamMemberRequest,
    UpdateTeamMemberResponse,
    UpdateTeamRequest,
    UpdateTeamResponse,
)
from workspace.identity.v1.team_service_pb2_grpc import TeamServiceServicer

from identity_svc.teams.legacy import LegacyTeams
from identity_svc.teams.members import TeamMembers
from identity_svc.teams.teams import Teams

__all__ = ["TeamServicer"]


class TeamServicer(TeamServiceServicer):
    """Only methods that are built are here; no others are registered."""

    def __init__(
        self,
        *,
        teams: Teams,
        members: TeamMembers,
        legacy: LegacyTeams,
    ) -> None:
        self._teams = teams
        self._members = members
        self._legacy = legacy

    async def CreateTeam(
        self, request: CreateTeamRequest, _: Any
    ) -> CreateTeamResponse:
        return await self._teams.create(request)

    async def ImportLegacyTeam(
        self, request: ImportLegacyTeamRequest, _: Any
    ) -> ImportLegacyTeamResponse:
        return await self._legacy.import_team(request)

    async def GetTeam(
        self, request: GetTeamRequest, _: Any
    ) -> GetTeamResponse:
        return await self._teams.get(request)

    async def ListTeams(
        self, request: ListTeamsRequest, _: Any
    ) -> ListTeamsResponse:
        return await self._teams.list_visible(request)

    async def UpdateTeam(
        self, request: UpdateTeamRequest, _: Any
    ) -> UpdateTeamResponse:
        return await self._teams.update(request)

    async def ArchiveTeam(
        self, request: ArchiveTeamRequest, _: Any
    ) -> ArchiveTeamResponse:
        return await self._teams.archive(request)

    async def AddTeamMember(
        self, request: AddTeamMemberRequest, _: Any
    ) -> AddTeamMemberResponse:
        return await self._members.add(request)

    async def UpdateTeamMember(
        self, request: UpdateTeamMemberRequest, _: Any
    ) -> UpdateTeamMemberResponse:
        return await self._members.update(request)

    async def RemoveTeamMember(
        self, request: RemoveTeamMemberRequest, _: Any
    ) -> RemoveTeamMemberResponse:
        return await self._members.remove(request)

    async def ListTeamMembers(
        self, request: ListTeamMembersRequest, _: Any
    ) -> ListTeamMembersResponse:
        return await self._members.list_members(request)

    async def TransferRootAdmin(
        self, request: TransferRootAdminRequest, _: Any
    ) -> TransferRootAdminResponse:
        return await self._members.transfer_root(request)
