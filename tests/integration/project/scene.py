"""A project with every way to reach it, in a real workspace with real identity.

ann owns the account and the project in it; bob edits and dan views the account;
cat is a guest of the account's team; eve is no member and has a grant of her
own; fay was never anywhere near.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workspace.common.v1.permission_pb2 import Permission
from workspace.project.v1 import grant_service_pb2 as gs
from workspace.project.v1 import permission_service_pb2 as pms
from workspace.project.v1 import project_service_pb2 as ps
from workspace.project.v1.grant_pb2 import Grant, GrantTargetType
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.permission_service_pb2_grpc import PermissionServiceStub
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub

from services.model.families import FAMILIES
from tests.harness import Workspace
from tests.integration.identity.people import (
    ANN,
    BOB,
    CAT,
    DAN,
    EDITOR,
    MEMBER,
    VIEWER,
    People,
)

EVE, FAY = "eve@example.com", "fay@example.com"
EVERYBODY = (ANN, BOB, CAT, DAN, EVE, FAY)
LADDER = range(1, 7)
VIEW, COMMENT, REVIEW, WRITE, MANAGE, OWNER = (
    Permission.PERMISSION_VIEW,
    Permission.PERMISSION_COMMENT,
    Permission.PERMISSION_REVIEW,
    Permission.PERMISSION_WRITE,
    Permission.PERMISSION_MANAGE_ACCESS,
    Permission.PERMISSION_OWNER,
)
USER, TEAM, ACCOUNT = (
    GrantTargetType.GRANT_TARGET_TYPE_USER,
    GrantTargetType.GRANT_TARGET_TYPE_TEAM,
    GrantTargetType.GRANT_TARGET_TYPE_ACCOUNT,
)


class Scene(People):
    """See the module; `make` builds it."""

    account_id = team_id = project_id = ""

    def __init__(self, ws: Workspace) -> None:
        super().__init__(ws)
        self.ids: dict[str, str] = {}

    async def make(self, *, restricted: bool = False) -> Scene:
        for email, user_id in zip(EVERYBODY, await self.sign_in(*EVERYBODY), strict=True):
            self.ids[email] = user_id
        self.account_id = await self.account(ANN, bob=EDITOR, dan=VIEWER)
        self.team_id = await self.team(ANN, account_id=self.account_id)
        await self.add_to_team(ANN, self.team_id, BOB, MEMBER)
        await self.add_to_team(ANN, self.team_id, CAT, MEMBER, guest=True)
        self.project_id = await self.project(ANN, self.account_id, restricted=restricted)
        await self.grant(ANN, TEAM, self.team_id, COMMENT)
        await self.grant(ANN, USER, self.ids[EVE], REVIEW)
        return self

    def projects(self, email: str) -> Any:
        return self.ws.stub(ProjectServiceStub, as_=email)

    def grants(self, email: str) -> Any:
        return self.ws.stub(GrantServiceStub, as_=email)

    def permissions(self, email: str) -> Any:
        return self.ws.stub(PermissionServiceStub, as_=email)

    def asking(self, service: str = "storage_svc") -> Any:
        """PermissionService as a service."""
        return self.ws.service_stub(PermissionServiceStub, service=service)

    async def project(self, by: str, account_id: str = "", **more: Any) -> str:
        made = await self.projects(by).CreateProject(
            ps.CreateProjectRequest(name="Plan", account_id=account_id, **more)
        )
        return str(made.project.project_id)

    async def grant(
        self, by: str, kind: int, target: str, *rights: int, project: str = "", **more: Any
    ) -> Grant:
        request: Any = gs.CreateGrantRequest(
            project_id=project or self.project_id,
            target_type=kind,  # type: ignore[arg-type]
            target_id=target,
            permissions=rights,  # type: ignore[arg-type]
            **more,
        )
        made: Grant = (await self.grants(by).CreateGrant(request)).grant
        return made

    async def check(self, email: str, permission: int, project: str = "") -> bool:
        """CheckPermission about somebody, asked by a service."""
        request: Any = pms.CheckPermissionRequest(
            project_id=project or self.project_id,
            permission=permission,  # type: ignore[arg-type]
            user_id=self.ids[email],
        )
        return bool((await self.asking().CheckPermission(request)).allowed)

    async def table(self, project: str = "") -> dict[str, set[int]]:
        """What CheckPermission says of everybody, by user id."""
        return {
            self.ids[email]: {p for p in LADDER if await self.check(email, p, project)}
            for email in EVERYBODY
        }


async def every_page(call: Callable[..., Any], request: Any, rows: str, *, size: int) -> list[Any]:
    """All rows, a page of `size` at a time."""
    found: list[Any] = []
    request.page_size, request.page_token = size, ""
    for _ in range(1_000):
        answer = await call(request)
        page = list(getattr(answer, rows))
        assert len(page) <= size
        found += page
        if not answer.next_page_token:
            return found
        request.page_token = answer.next_page_token
    raise AssertionError("the list does not end")


async def written_since(ws: Workspace, cursor: str) -> list[Any]:
    """Keys of the records, events and requests that commits wrote after `cursor`.
    Kernel rows of background work (leases, positions) are nobody's change."""
    items = (await ws.records.changes(cursor, 500)).items
    return [item.key for item in items if item.family in (*FAMILIES, "head", "request")]
