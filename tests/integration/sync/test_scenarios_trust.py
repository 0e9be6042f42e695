"""What comes from a surface that is trusted with content only: documents and their bytes, but
nothing about who may do what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from workspace.common.v1.classification_pb2 import Classification
from workspace.common.v1.permission_pb2 import Permission
from workspace.project.v1.document_service_pb2 import GetDocumentRequest
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.grant_pb2 import GrantTargetType
from workspace.project.v1.grant_service_pb2 import CreateGrantRequest
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.project_pb2 import Project
from workspace.project.v1.project_service_pb2 import GetProjectRequest, UpdateProjectRequest
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.sync.v1.conflict_pb2 import ConflictKind, Resolution
from workspace.sync.v1.connection_pb2 import Trust

from tests.integration.storage.people import refused
from tests.integration.sync.backups import Backups
from tests.integration.sync.nodes import BOB, Desk, Node, open_desk, request_id

POLICY = ConflictKind.CONFLICT_KIND_POLICY
PUBLIC = Classification.CLASSIFICATION_PUBLIC
CONFIDENTIAL = Classification.CLASSIFICATION_CONFIDENTIAL


@pytest.fixture
async def desk(tmp_path: Path, backups: Backups) -> AsyncIterator[Desk]:
    """A trusts the folder with content, B (whose own it is) with everything."""
    async with open_desk(tmp_path, backups=backups) as made:
        await made.share("one")
        await made.a.connect(
            tmp_path / "content", name="content", trust=Trust.TRUST_CONTENT_ONLY
        )
        await made.b.connect(tmp_path / "content", name="content")
        await made.b.push("content")
        await made.a.pull("content")
        yield made


async def _project(node: Node, project_id: str) -> Any:
    answer = await node.stub(ProjectServiceStub).GetProject(
        GetProjectRequest(project_id=project_id)
    )
    return answer.project


@pytest.mark.case("S09")
@pytest.mark.case("G05")
async def test_content_is_taken_and_a_change_of_policy_is_held(desk: Desk) -> None:
    """Edits and new documents with their bytes come over a content_only connection; that
    the project is restricted now does not, until an owner here says so."""
    await desk.b.stub(ProjectServiceStub).UpdateProject(
        UpdateProjectRequest(
            project=Project(
                project_id=desk.project_id, name="Renamed", restricted=True,
            ),
            update_mask=FieldMask(paths=["name", "restricted"]), request_id=request_id(),
        )
    )
    await desk.b.edit(desk.ids["one"], title="Theirs")
    added = await desk.b.document(desk.project_id, "added.txt", b"added")
    await desk.b.push("content")
    await desk.a.pull("content")
    assert (await desk.a.read(desk.ids["one"])).title == "Theirs"
    assert await desk.a.bytes_of(added) == b"added"
    assert not (await _project(desk.a, desk.project_id)).restricted
    (conflict,) = await desk.a.conflicts()
    assert conflict.kind == POLICY
    assert [each.field for each in conflict.fields] == ["restricted"]
    await desk.a.push("content", full_reconcile=True)
    await desk.a.push()
    await desk.b.pull()
    assert (await _project(desk.b, desk.project_id)).restricted, "ours is not spread as theirs"
    versions = (await desk.a.conflict(conflict.conflict_id)).versions
    (theirs,) = [each for each in versions if "restricted" in each.body]
    await desk.a.resolve(
        conflict.conflict_id, Resolution(theirs=Resolution.Theirs(dot=theirs.stamp.dot))
    )
    taken = await _project(desk.a, desk.project_id)
    assert (taken.restricted, taken.name) == (True, "Renamed")
    assert await desk.a.conflicts() == []


@pytest.mark.case("S09")
@pytest.mark.case("G05")
async def test_nobody_is_let_in_over_a_connection_of_content(desk: Desk) -> None:
    """Whoever can write to a content_only surface gives nobody any right here, and lowers
    no classification."""
    await desk.a.ws.sign_in(BOB)
    bob = await desk.b.ws.sign_in(BOB)
    await desk.b.stub(GrantServiceStub).CreateGrant(
        CreateGrantRequest(
            project_id=desk.project_id, target_id=bob,
            target_type=GrantTargetType.GRANT_TARGET_TYPE_USER,
            permissions=[Permission.PERMISSION_WRITE], request_id=request_id(),
        )
    )
    await desk.b.edit(desk.ids["one"], classification=CONFIDENTIAL, title="new title")
    await desk.b.push("content")
    await desk.a.pull("content")
    read = GetDocumentRequest(document_id=desk.ids["one"])
    assert (await desk.b.stub(DocumentServiceStub, BOB).GetDocument(read)).document.name
    denied = await refused(desk.a.stub(DocumentServiceStub, BOB).GetDocument(read))
    assert denied.code.name == "PERMISSION_DENIED"
    before = await desk.a.read(desk.ids["one"])
    assert before.classification != CONFIDENTIAL
    (conflict,) = await desk.a.conflicts()
    assert (conflict.kind, conflict.document_id) == (POLICY, desk.ids["one"])
    await desk.a.resolve(conflict.conflict_id, Resolution(ours=Resolution.Ours()))
    assert await desk.a.conflicts() == []
    assert (await desk.a.read(desk.ids["one"])).classification == before.classification
    await desk.a.pull("content", full_reconcile=True)
    assert await desk.a.conflicts() == []
