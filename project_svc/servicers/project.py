"""The gRPC surface of projects."""

# ruff: noqa: N802 - the contract names the methods

from __future__ import annotations

from typing import Any

from workspace.project.v1 import project_service_pb2 as pb
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceServicer

from project_svc.access.visible import VisibleProjects
from project_svc.projects.assignment import Assignments
from project_svc.projects.billing_scopes import BillingScopes
from project_svc.projects.projects import Projects
from project_svc.projects.purge import ProjectPurge
from project_svc.projects.trash import Trash
from project_svc.projects.trash_list import TrashList

__all__ = ["ProjectServicer"]


class ProjectServicer(ProjectServiceServicer):
    """Answers ProjectService from the use cases."""

    def __init__(
        self,
        *,
        projects: Projects,
        assignments: Assignments,
        trash: Trash,
        trash_list: TrashList,
        visible: VisibleProjects,
        purge: ProjectPurge,
        billing_scopes: BillingScopes,
    ) -> None:
        self._projects = projects
        self._assignments = assignments
        self._trash = trash
        self._trash_list = trash_list
        self._visible = visible
        self._purge = purge
        self._billing_scopes = billing_scopes

    async def CreateProject(
        self, request: pb.CreateProjectRequest, _: Any
    ) -> pb.CreateProjectResponse:
        return await self._projects.create(request)

    async def GetProject(self, request: pb.GetProjectRequest, _: Any) -> pb.GetProjectResponse:
        return await self._projects.get(request)

    async def ListProjects(
        self, request: pb.ListProjectsRequest, _: Any
    ) -> pb.ListProjectsResponse:
        return await self._visible.list(request)

    async def UpdateProject(
        self, request: pb.UpdateProjectRequest, _: Any
    ) -> pb.UpdateProjectResponse:
        return await self._projects.update(request)

    async def AssignProject(
        self, request: pb.AssignProjectRequest, _: Any
    ) -> pb.AssignProjectResponse:
        return await self._assignments.assign(request)

    async def SetProjectStatus(
        self, request: pb.SetProjectStatusRequest, _: Any
    ) -> pb.SetProjectStatusResponse:
        return await self._projects.set_status(request)

    async def DeleteProject(
        self, request: pb.DeleteProjectRequest, _: Any
    ) -> pb.DeleteProjectResponse:
        return await self._trash.delete(request)

    async def ListTrash(self, request: pb.ListTrashRequest, _: Any) -> pb.ListTrashResponse:
        return await self._trash_list.list(request)

    async def RestoreProject(
        self, request: pb.RestoreProjectRequest, _: Any
    ) -> pb.RestoreProjectResponse:
        return await self._trash.restore(request)

    async def PurgeProject(
        self, request: pb.PurgeProjectRequest, _: Any
    ) -> pb.PurgeProjectResponse:
        return await self._purge.purge(request)

    async def SetLegalHold(
        self, request: pb.SetLegalHoldRequest, _: Any
    ) -> pb.SetLegalHoldResponse:
        return await self._trash.set_legal_hold(request)

    async def BatchGetBillingScopes(
        self, request: pb.BatchGetBillingScopesRequest, _: Any
    ) -> pb.BatchGetBillingScopesResponse:
        return await self._billing_scopes.get(request)
