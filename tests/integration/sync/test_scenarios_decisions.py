"""Acceptance scenarios 6 to 9: rights, parents that go, and what people decide."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from workspace.common.v1.permission_pb2 import Permission
from workspace.project.v1.document_service_pb2 import CopyDocumentRequest, GetDocumentRequest
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.grant_pb2 import Grant, GrantStatus, GrantTargetType
from workspace.project.v1.grant_service_pb2 import (
    CreateGrantRequest,
    ListGrantsRequest,
    RevokeGrantRequest,
    UpdateGrantRequest,
)
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.project_pb2 import ProjectStatus
from workspace.project.v1.project_service_pb2 import (
    DeleteProjectRequest,
    GetProjectRequest,
    RestoreProjectRequest,
)
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.sync.v1.conflict_pb2 import ConflictKind, ProjectResolution, Resolution
from workspace.sync.v1.sync_service_pb2 import ResolveProjectConflictsRequest

from tests.integration.storage.people import refused
from tests.integration.sync.backups import Backups
from tests.integration.sync.nodes import (
    BOB,
    Desk,
    Node,
    open_desk,
    request_id,
    require_equal,
    run_each,
)

PARENT_DELETED = ConflictKind.CONFLICT_KIND_PARENT_DELETED
POLICY = ConflictKind.CONFLICT_KIND_POLICY
REVOKED = GrantStatus.GRANT_STATUS_REVOKED


@pytest.fixture
async def desk(tmp_path: Path, backups: Backups) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path, backups=backups) as made:
        yield made


async def _bobs_grant(node: Node, project_id: str) -> Grant:
    bob = await node.ws.sign_in(BOB)
    answer = await node.stub(GrantServiceStub).ListGrants(
        ListGrantsRequest(project_id=project_id, status=REVOKED)
    )
    (found,) = [each for each in answer.grants if each.target_id == bob]
    grant: Grant = found
    return grant


async def test_scenario_6_a_grant_revoked_here_and_edited_there(desk: Desk) -> None:
    """6. A grant is revoked on A while B edits it: revoked everywhere, and a conflict of
    kind policy."""
    await desk.share("one")
    for node in (desk.a, desk.b):
        await node.ws.sign_in(BOB)
    made = await desk.a.stub(GrantServiceStub).CreateGrant(
        CreateGrantRequest(
            project_id=desk.project_id, target_id=await desk.a.ws.sign_in(BOB),
            target_type=GrantTargetType.GRANT_TARGET_TYPE_USER,
            permissions=[Permission.PERMISSION_VIEW], request_id=request_id(),
        )
    )
    await run_each([desk.a, desk.b])
    read = GetDocumentRequest(document_id=desk.ids["one"])
    assert (await desk.b.stub(DocumentServiceStub, BOB).GetDocument(read)).document.name
    await desk.b.stub(GrantServiceStub).UpdateGrant(
        UpdateGrantRequest(
            grant=Grant(
                project_id=desk.project_id, grant_id=made.grant.grant_id,
                permissions=[Permission.PERMISSION_WRITE],
            ),
            update_mask=FieldMask(paths=["permissions"]), request_id=request_id(),
        )
    )
    await desk.a.stub(GrantServiceStub).RevokeGrant(
        RevokeGrantRequest(
            project_id=desk.project_id, grant_id=made.grant.grant_id, request_id=request_id()
        )
    )
    await run_each([desk.a, desk.b, desk.a])
    await require_equal(desk.a, desk.b)
    for node in (desk.a, desk.b):
        assert (await _bobs_grant(node, desk.project_id)).status == REVOKED
        bob = node.stub(DocumentServiceStub, BOB)
        assert (await refused(bob.GetDocument(read))).code.name == "PERMISSION_DENIED"
        (conflict,) = await node.conflicts()
        assert conflict.kind == POLICY
        assert conflict.key.sk == f"GRANT#{made.grant.grant_id}"


async def test_scenario_7_a_project_goes_while_a_document_is_added(desk: Desk) -> None:
    """7. A project is deleted on A and B adds documents to it offline: they survive, as
    `parent_deleted` conflicts; restoring the project and moving the document both work
    (documents leave a project as a copy, and the conflict is decided with `delete`)."""
    await desk.share("one")
    stays = desk.project_id
    restored, left = await desk.a.project("Restored"), await desk.a.project("Left")
    await run_each([desk.a, desk.b])
    for name, project in (("restored", restored), ("moved", left)):
        desk.ids[name] = await desk.b.document(project, f"{name}.txt", name.encode())
        await desk.a.stub(ProjectServiceStub).DeleteProject(
            DeleteProjectRequest(project_id=project, request_id=request_id())
        )
    await run_each([desk.a, desk.b, desk.a], force=True)
    await require_equal(desk.a, desk.b)
    for node in (desk.a, desk.b):
        for project in (restored, left):
            shown = await _project(node, project)
            assert shown.status == ProjectStatus.PROJECT_STATUS_TRASHED
        assert await desk.kinds(node) == {"restored": PARENT_DELETED, "moved": PARENT_DELETED}
    await desk.a.stub(ProjectServiceStub).RestoreProject(
        RestoreProjectRequest(project_id=restored, request_id=request_id())
    )
    await _move(desk, desk.b, "moved", stays)
    await run_each([desk.a, desk.b, desk.a], force=True)
    await require_equal(desk.a, desk.b)
    for node in (desk.a, desk.b):
        assert await node.conflicts() == []
        assert await node.bytes_of(desk.ids["restored"]) == b"restored"
        assert await node.bytes_of(desk.ids["moved"]) == b"moved"
        assert (await node.read(desk.ids["moved"])).project_id == stays


async def _move(desk: Desk, node: Node, name: str, project_id: str) -> None:
    """Take a document along to another project, and end the conflict about it."""
    (conflict,) = [e for e in await node.conflicts() if e.document_id == desk.ids[name]]
    made = await node.documents.CopyDocument(
        CopyDocumentRequest(
            document_id=desk.ids[name], project_id=project_id, request_id=request_id()
        )
    )
    await node.due()
    await node.resolve(conflict.conflict_id, Resolution(delete=Resolution.Delete()))
    desk.ids[name] = made.document.document_id


async def _project(node: Node, project_id: str) -> Any:
    answer = await node.stub(ProjectServiceStub).GetProject(
        GetProjectRequest(project_id=project_id)
    )
    return answer.project


async def test_scenario_8_a_third_version_comes_while_a_project_is_resolved(desk: Desk) -> None:
    """8. Resolve at project level while B pushes a third version: only the versions that
    were listed are superseded, the third stays open."""
    await desk.share("one", "two")
    for document in desk.ids.values():
        await desk.a.edit(document, title="A's")
        await desk.b.edit(document, title="B's")
    await desk.b.push()
    await desk.a.pull()
    assert set(await desk.kinds(desk.a)) == {"one", "two"}
    await desk.b.edit(desk.ids["one"], title="third")
    await desk.b.push()
    answer = await desk.a.sync.ResolveProjectConflicts(
        ResolveProjectConflictsRequest(
            project_id=desk.project_id, request_id=request_id(),
            resolution=ProjectResolution.PROJECT_RESOLUTION_OURS,
        )
    )
    assert [each.WhichOneof("outcome") for each in answer.results] == ["conflict"] * 2
    kept = (await desk.a.read(desk.ids["one"])).title
    await run_each([desk.a, desk.b, desk.a])
    await require_equal(desk.a, desk.b)
    for node in (desk.a, desk.b):
        (open_,) = await node.conflicts()
        assert open_.document_id == desk.ids["one"]
        versions = (await node.conflict(open_.conflict_id)).versions
        assert {each.body["title"] for each in versions} == {kept, "third"}


async def test_scenario_9_both_resolve_the_same_conflict_offline(desk: Desk) -> None:
    """9. A and B resolve the same conflict differently, offline: a new conflict between
    the two resolutions only; when they resolve it alike there is none."""
    await desk.share("apart", "alike")
    for document in desk.ids.values():
        await desk.a.edit(document, title="A's")
        await desk.b.edit(document, title="B's")
    await run_each([desk.a, desk.b, desk.a])
    for node, apart in ((desk.a, "A's"), (desk.b, "B's")):
        for conflict in await node.conflicts():
            title = apart if conflict.document_id == desk.ids["apart"] else "A's"
            await _decide(node, conflict.conflict_id, title)
        assert await node.conflicts() == []
    before = {version for node in (desk.a, desk.b) for version in await _dots(desk, node)}
    await run_each([desk.a, desk.b, desk.a])
    await require_equal(desk.a, desk.b)
    for node in (desk.a, desk.b):
        (open_,) = await node.conflicts()
        assert open_.document_id == desk.ids["apart"]
        versions = (await node.conflict(open_.conflict_id)).versions
        assert {each.body["title"] for each in versions} == {"A's", "B's"}
        assert await _dots(desk, node) == before  # the resolutions and nothing else
        assert (await node.read(desk.ids["alike"])).title == "A's"


async def _decide(node: Node, conflict_id: str, title: str) -> None:
    versions = (await node.conflict(conflict_id)).versions
    (chosen,) = [each for each in versions if each.body["title"] == title]
    await node.resolve(conflict_id, Resolution(theirs=Resolution.Theirs(dot=chosen.stamp.dot)))


async def _dots(desk: Desk, node: Node) -> set[Any]:
    """The live versions of the documents."""
    keys = {f"ARTIFACT#{each}" for each in desk.ids.values()}
    states = await node.states()
    return {dot for key, state in states.items() if key.sk in keys for dot in state.versions}
