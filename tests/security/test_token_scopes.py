"""Machine tokens with a scope, at every RPC that people may call.

Generated from the descriptors and the matrix' requests: what lies beyond a scope
is as if it were not there, and a token that may only view changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf import text_format
from google.protobuf.message import Message
from grpc import StatusCode as Code
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1 import team_service_pb2 as tms
from workspace.identity.v1.account_service_pb2_grpc import AccountServiceStub
from workspace.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from workspace.identity.v1.team_service_pb2_grpc import TeamServiceStub
from workspace.project.v1 import grant_pb2 as gr
from workspace.project.v1 import grant_service_pb2 as gs
from workspace.project.v1 import project_service_pb2 as ps
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.storage.v1 import storage_service_pb2 as ss
from workspace.storage.v1.storage_service_pb2_grpc import StorageServiceStub

from services.model.token_scopes import RPCS
from services.rpc.errors import error_info, peer_status
from services.rpc.local import LocalChannel
from tests.contract.served import CONTRACT, Rpc
from tests.harness import BearerChannel, Workspace
from tests.security.cast import MISSING, Cast, mail, neutral
from tests.security.requests_table import ROWS

pytestmark = pytest.mark.asyncio(loop_scope="module")
OWNER = "owner"
# Needs no credentials at all, and so cannot be kept from anybody.
PUBLIC = "/workspace.identity.v1.IdentityService/IssueLocalToken"
PATHS = sorted(RPCS.keys() & ROWS.keys() - {PUBLIC})
PROJECT_LEVEL = [path for path in PATHS if "/workspace.identity." not in path]
_VOLATILE = re.compile(r'[a-z]*_?token: "[^"]*"')
_OF_A_PROJECT = (
    "project_id", "trashed_project_id", "grant_id", "document_id", "empty_document_id",
    "trashed_document_id", "upload_id", "webhook_id", "storage_key", "announced_key",
)
_OF_AN_ACCOUNT = ("account_id", "team_id", "invitation_id", *_OF_A_PROJECT)


class Scenes(Cast):
    """The cast, things inside of scopes, and tokens of their owner."""

    async def enter(self) -> None:
        await super().enter()
        self.inside = await self.make(OWNER)
        self.tokens = {
            "project": await self.token(project_ids=[self.inside.project_id]),
            "account": await self.token(account_ids=[self.inside.account_id]),
            "crossed": await self.token(
                project_ids=[self.own.project_id], account_ids=[self.inside.account_id]
            ),
            "view": await self.token(permissions=[Permission.PERMISSION_VIEW]),
        }

    async def token(self, who: str = OWNER, **scope: Any) -> str:
        identity: Any = self.ws.stub(IdentityServiceStub, as_=mail(who))
        request = ids.CreateMachineTokenRequest(name="robot", **scope)
        return str((await identity.CreateMachineToken(request)).secret)

    def robot(self, name: str) -> grpc.aio.Channel:
        return self.bearing(self.tokens[name])

    def bearing(self, token: str) -> grpc.aio.Channel:
        return BearerChannel(LocalChannel(self.ws.process.local, service=""), token)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scenes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scenes]:
    async with Workspace.open(tmp_path_factory.mktemp("scopes")) as ws:
        opened = Scenes(ws)
        await opened.enter()
        yield opened


async def told(rpc: Rpc, channel: grpc.aio.Channel, request: Message) -> tuple[Code, str]:
    """The code, and everything that the answer says."""
    try:
        response = await rpc(channel, request)
    except grpc.aio.AioRpcError as error:
        status = peer_status(error)
        info = error_info(status) if status is not None else None
        assert status is not None
        assert info is not None
        return error.code(), f"{info.reason} {sorted(info.metadata.items())} {status.message}"
    text = text_format.MessageToString(response, as_one_line=True)
    return Code.OK, _VOLATILE.sub("", text)


@pytest.mark.parametrize(
    ("scope", "path"),
    [("project", path) for path in PROJECT_LEVEL]
    + [(scope, path) for scope in ("account", "crossed") for path in PATHS],
)
async def test_beyond_the_scope_is_as_if_not_there(scenes: Scenes, scope: str, path: str) -> None:
    rpc, row, me = CONTRACT[path], ROWS[path], scenes.id(OWNER)
    beyond = scenes.own
    code, said = await told(rpc, scenes.robot(scope), row.ask(beyond.seen_by(me)))
    names = _OF_A_PROJECT if scope == "project" else _OF_AN_ACCOUNT
    if code is Code.OK and not any(getattr(beyond, name) in said for name in names):
        assert not rpc.mutates, said
        return
    missing, text = await told(rpc, scenes.robot(scope), row.ask(MISSING.seen_by(me)))
    absent = replace(MISSING, user_id=me)
    assert (code, neutral(said, beyond)) == (missing, neutral(text, absent))


@pytest.mark.parametrize("path", [path for path in PATHS if CONTRACT[path].mutates])
async def test_a_token_that_may_view_changes_nothing(scenes: Scenes, path: str) -> None:
    rpc, row = CONTRACT[path], ROWS[path]
    request = row.ask(scenes.own.seen_by(scenes.id(OWNER)))
    code, said = await told(rpc, scenes.robot("view"), request)
    in_items = said.startswith("results { error { code: 7 ") and said.count("results") == 1
    assert code is Code.PERMISSION_DENIED or in_items, said


@pytest.mark.parametrize(
    "path",
    [path for path in PATHS if "platform" in ROWS[path].may and "stranger" not in ROWS[path].may],
)
async def test_a_token_of_a_platform_admin_is_that_of_a_person(scenes: Scenes, path: str) -> None:
    """Even a token without a scope has nothing of the platform's rights."""
    if "platform" not in scenes.tokens:
        scenes.tokens["platform"] = await scenes.token("platform")
    request = ROWS[path].ask(scenes.own.seen_by(scenes.id("platform")))
    code, said = await told(CONTRACT[path], scenes.robot("platform"), request)
    assert code is Code.PERMISSION_DENIED, said


async def test_no_token_revokes_the_transfers_of_a_deployment(scenes: Scenes) -> None:
    storage: Any = StorageServiceStub(scenes.bearing(await scenes.token("platform")))
    await denied(storage.RevokeTransfers(ss.RevokeTransfersRequest()))


async def test_no_project_is_moved_into_a_home_beyond_the_scope(scenes: Scenes) -> None:
    """The home of a team counts as well as one that is named."""
    projects: Any = ProjectServiceStub(scenes.robot("account"))
    inside, beyond = scenes.inside, scenes.own
    for target in ({"team_id": beyond.team_id}, {"account_id": beyond.account_id}):
        request = ps.AssignProjectRequest(project_id=inside.project_id, **target)
        await denied(projects.AssignProject(request))
        home = {"account_id": inside.account_id} | target
        await denied(projects.CreateProject(ps.CreateProjectRequest(name="Dam", **home)))
    inward = ps.AssignProjectRequest(project_id=inside.project_id, team_id=inside.team_id)
    assert (await projects.AssignProject(inward)).project.team_id == inside.team_id


async def test_one_leaves_nothing_beyond_the_scope(scenes: Scenes) -> None:
    """To leave takes no right, so there is none that could be cut."""
    beyond, me = scenes.own, scenes.id("editor")
    given = await GrantServiceStub(scenes.channel(OWNER)).CreateGrant(
        gs.CreateGrantRequest(
            project_id=beyond.project_id, target_type=gr.GRANT_TARGET_TYPE_USER,
            target_id=me, permissions=[Permission.PERMISSION_VIEW],
        )
    )
    grant_id = given.grant.grant_id
    own = gs.RevokeGrantRequest(project_id=beyond.project_id, grant_id=grant_id)
    for scope in (
        {"account_ids": [scenes.inside.account_id]},
        {"project_ids": [scenes.inside.project_id]},
        {"permissions": [Permission.PERMISSION_VIEW]},
    ):
        robot = scenes.bearing(await scenes.token("editor", **scope))
        await denied(GrantServiceStub(robot).RevokeGrant(own))
        membership = acs.RemoveAccountMemberRequest(account_id=beyond.account_id, user_id=me)
        await denied(AccountServiceStub(robot).RemoveAccountMember(membership))
        place = tms.RemoveTeamMemberRequest(team_id=beyond.team_id, user_id=me)
        await denied(TeamServiceStub(robot).RemoveTeamMember(place))
    robot = scenes.bearing(await scenes.token("editor", project_ids=[beyond.project_id]))
    revoked = await GrantServiceStub(robot).RevokeGrant(own)
    assert revoked.grant.status == gr.GRANT_STATUS_REVOKED


async def denied(call: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is Code.PERMISSION_DENIED, caught.value.details()
