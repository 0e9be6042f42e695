"""The gRPC surface of permission questions."""

# ruff: noqa: N802 - the contract names the methods

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from workspace.project.v1 import permission_service_pb2 as pb
from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceServicer

from project_svc.access.explain import Explanations
from project_svc.access.permissions import Permissions
from project_svc.access.project_users import ProjectUsers
from project_svc.access.visible import VisibleProjects
from project_svc.access.watch_permissions import PermissionWatch

__all__ = ["PermissionServicer"]


class PermissionServicer(PermissionServiceServicer):
    """Answers PermissionService from the use cases."""

    def __init__(
        self,
        *,
        permissions: Permissions,
        watch: PermissionWatch,
        visible: VisibleProjects,
        users: ProjectUsers,
        explanations: Explanations,
    ) -> None:
        self._permissions = permissions
        self._watch = watch
        self._visible = visible
        self._users = users
        self._explanations = explanations

    def WatchPermissions(
        self, request: pb.WatchPermissionsRequest, _: Any
    ) -> AsyncIterator[pb.WatchPermissionsResponse]:
        return self._watch.watch(request)

    async def CheckPermission(
        self, request: pb.CheckPermissionRequest, _: Any
    ) -> pb.CheckPermissionResponse:
        return await self._permissions.check(request)

    async def BatchCheckPermissions(
        self, request: pb.BatchCheckPermissionsRequest, _: Any
    ) -> pb.BatchCheckPermissionsResponse:
        return await self._permissions.batch(request)

    async def GetEffectivePermissions(
        self, request: pb.GetEffectivePermissionsRequest, _: Any
    ) -> pb.GetEffectivePermissionsResponse:
        return await self._permissions.effective(request)

    async def ListAccessibleProjects(
        self, request: pb.ListAccessibleProjectsRequest, _: Any
    ) -> pb.ListAccessibleProjectsResponse:
        return await self._visible.accessible(request)

    async def ListProjectUsers(
        self, request: pb.ListProjectUsersRequest, _: Any
    ) -> pb.ListProjectUsersResponse:
        return await self._users.list(request)

    async def ExplainPermission(
        self, request: pb.ExplainPermissionRequest, _: Any
    ) -> pb.ExplainPermissionResponse:
        return await self._explanations.explain(request)
