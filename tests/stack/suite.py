"""The integration suite of a deployment, through its published ports.

A test module gives a fixture `deployment` and imports the cases:

    from tests.stack.suite import *  # noqa: F403
"""

from __future__ import annotations

import asyncio
import os
import uuid

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from workspace.common.v1.consistency_pb2 import Consistency
from workspace.common.v1.permission_pb2 import Permission, PermissionPreset
from workspace.identity.v1.account_service_pb2 import CreateAccountRequest
from workspace.identity.v1.identity_service_pb2 import ListMembershipsRequest
from workspace.identity.v1.team_service_pb2 import CreateTeamRequest
from workspace.project.v1.grant_pb2 import GrantTargetType
from workspace.project.v1.grant_service_pb2 import CreateGrantRequest, RevokeGrantRequest
from workspace.project.v1.history_service_pb2 import WatchEventsRequest
from workspace.project.v1.permission_service_pb2 import CheckPermissionRequest
from workspace.project.v1.project_service_pb2 import (
    AssignProjectRequest,
    CreateProjectRequest,
    GetProjectRequest,
)
from workspace.sync.v1.connection_pb2 import Connection, Trust
from workspace.sync.v1.connection_service_pb2 import CreateConnectionRequest
from workspace.sync.v1.run_pb2 import RunStatus
from workspace.sync.v1.sync_service_pb2 import CompareSurfacesRequest, PushRequest

from services.rpc.errors import error_info, peer_status
from tests.stack.deployment import Deployment
from tests.stack.people import Person, request_id

FULLY = Consistency(fully_consistent=True)


def address(name: str) -> str:
    """One that no other test uses."""
    return f"{name}-{uuid.uuid4().hex[:8]}@example.com"


async def project_of(person: Person, **fields: str) -> str:
    request = CreateProjectRequest(
        name=f"Plans {uuid.uuid4().hex[:8]}", request_id=request_id(), **fields
    )
    made = await person.projects.CreateProject(request)
    return str(made.project.project_id)


async def may(person: Person, project_id: str, permission: Permission.ValueType) -> bool:
    answer = await person.permissions.CheckPermission(
        CheckPermissionRequest(project_id=project_id, permission=permission, consistency=FULLY)
    )
    return bool(answer.allowed)


async def refusal(call: object) -> tuple[grpc.StatusCode, str]:
    """Code and reason of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    status = peer_status(caught.value)
    return caught.value.code(), error_info(status).reason if status else ""


async def test_an_account_a_team_a_project_and_a_grant(deployment: Deployment) -> None:
    ann, bob = [await Person.enter(deployment, address(name)) for name in ("ann", "bob")]
    made = await ann.accounts.CreateAccount(
        CreateAccountRequest(
            name=f"Works {uuid.uuid4().hex[:8]}", type="client_org", request_id=request_id()
        )
    )
    account_id = made.account.account_id
    team = await ann.teams.CreateTeam(
        CreateTeamRequest(account_id=account_id, name="Structures", request_id=request_id())
    )
    project_id = await project_of(ann, account_id=account_id)
    assigned = await ann.projects.AssignProject(
        AssignProjectRequest(
            project_id=project_id, team_id=team.team.team_id, request_id=request_id()
        )
    )
    assert assigned.project.team_id == team.team.team_id
    assert not await may(bob, project_id, Permission.PERMISSION_VIEW)
    grant = await ann.grants.CreateGrant(
        CreateGrantRequest(
            project_id=project_id, target_type=GrantTargetType.GRANT_TARGET_TYPE_USER,
            target_id=bob.user_id, preset=PermissionPreset.PERMISSION_PRESET_VIEWER,
            request_id=request_id(),
        )
    )  # fmt: skip
    assert await may(bob, project_id, Permission.PERMISSION_VIEW)
    assert not await may(bob, project_id, Permission.PERMISSION_WRITE)
    await ann.grants.RevokeGrant(
        RevokeGrantRequest(
            project_id=project_id, grant_id=grant.grant.grant_id, request_id=request_id()
        )
    )
    assert not await may(bob, project_id, Permission.PERMISSION_VIEW)


async def test_files_go_through_signed_urls(deployment: Deployment) -> None:
    ann = await Person.enter(deployment, address("ann"))
    project_id = await project_of(ann)
    for size in (0, 1, 300_000):
        data = os.urandom(size)
        document_id = await ann.upload(project_id, f"file {size}.bin", data)
        assert await ann.download(document_id) == data


async def test_json_over_http_is_the_same_workspace(deployment: Deployment) -> None:
    ann = await Person.enter(deployment, address("ann"))
    project_id = await project_of(ann)
    async with deployment.client(ann.token) as client:
        answer = await client.get(f"/api/projects/{project_id}")
        assert answer.json()["project"]["project_id"] == project_id
        missing = await client.get("/api/projects/p_none")
        assert missing.status_code == 403
        assert missing.headers["x-request-id"]
        assert (await client.get("/readyz")).json() == {"status": "ready"}
        assert "/api/projects" in (await client.get("/openapi.json")).json()["paths"]
    async with deployment.client() as stranger:
        assert (await stranger.get(f"/api/projects/{project_id}")).status_code == 401


async def test_a_stranger_gets_nothing_over_grpc(deployment: Deployment) -> None:
    ann, eve = [await Person.enter(deployment, address(name)) for name in ("ann", "eve")]
    asked = GetProjectRequest(project_id=await project_of(ann))
    forbidden = await refusal(eve.projects.GetProject(asked))
    absent = await refusal(eve.projects.GetProject(GetProjectRequest(project_id="p_none")))
    assert forbidden == absent
    assert forbidden[0] is grpc.StatusCode.PERMISSION_DENIED
    nobody = Person(deployment, "")
    assert (await refusal(nobody.projects.GetProject(asked)))[0] is grpc.StatusCode.UNAUTHENTICATED


async def test_methods_of_services_are_not_published(deployment: Deployment) -> None:
    ann = await Person.enter(deployment, address("ann"))
    code, _ = await refusal(ann.identity.ListMemberships(ListMembershipsRequest(user_id="u_1")))
    assert code is grpc.StatusCode.UNIMPLEMENTED


async def test_a_client_cannot_say_that_it_is_a_service(deployment: Deployment) -> None:
    """Neither by metadata, nor by what the gateway's certificate proves."""
    ann, eve = [await Person.enter(deployment, address(name)) for name in ("ann", "eve")]
    asked = CheckPermissionRequest(
        project_id=await project_of(ann), permission=Permission.PERMISSION_VIEW,
        user_id=ann.user_id,
    )  # fmt: skip
    claim = (("x-workspace-service", "identity_svc"),)
    answer = refusal(eve.permissions.CheckPermission(asked, metadata=claim))
    assert (await answer)[0] is grpc.StatusCode.PERMISSION_DENIED
    answer = refusal(eve.permissions.CheckPermission(asked))
    assert (await answer)[0] is grpc.StatusCode.PERMISSION_DENIED


async def test_events_are_watched_across_processes(deployment: Deployment) -> None:
    ann = await Person.enter(deployment, address("ann"))
    project_id = await project_of(ann)
    call = ann.history.WatchEvents(WatchEventsRequest(project_ids=[project_id]), timeout=60)
    await call.read()
    await ann.upload(project_id, "plan.txt", b"a plan")
    seen: set[str] = set()
    async with asyncio.timeout(30):
        while not {"document.created", "document.file_attached"} <= seen:
            seen.add((await call.read()).event.type)
    call.cancel()


async def test_a_whole_workspace_is_pushed(deployment: Deployment) -> None:
    admin = address("admin")
    ann = await Person.enter(deployment, admin)
    await deployment.make_admin(admin)
    await ann.upload(await project_of(ann), "plan.txt", b"a plan")
    name = f"copy-{uuid.uuid4().hex[:8]}"
    await ann.connections.CreateConnection(
        CreateConnectionRequest(
            connection=Connection(
                connection_id=name, provider="postgres", trust=Trust.TRUST_FULL,
                settings=deployment.connection_settings(),
            ),
            request_id=request_id(),
        ),
        timeout=30,
    )  # fmt: skip
    push = ann.sync.Push(PushRequest(connection_id=name, request_id=request_id()), timeout=120)
    last = [message async for message in push][-1].progress.run
    assert last.status == RunStatus.RUN_STATUS_SUCCEEDED, last
    compared = await ann.sync.CompareSurfaces(
        CompareSurfacesRequest(connection_id=name), timeout=30
    )
    assert compared.equal


async def test_health_is_asked_at_the_published_port(deployment: Deployment) -> None:
    stub = health_pb2_grpc.HealthStub(deployment.channel())
    answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
