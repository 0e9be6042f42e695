"""What people try who may see less, or decide less, than a conflict has."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from workspace.common.v1.permission_pb2 import Permission
from workspace.project.v1.document_pb2 import Document
from workspace.project.v1.document_service_pb2 import CreateDocumentRequest
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub
from workspace.project.v1.grant_pb2 import GrantTargetType
from workspace.project.v1.grant_service_pb2 import CreateGrantRequest, RevokeGrantRequest
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.project_service_pb2 import CreateProjectRequest, SetLegalHoldRequest
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.sync.v1.conflict_pb2 import Resolution
from workspace.sync.v1.sync_service_pb2 import (
    GetConflictRequest,
    ListConflictsRequest,
    ResolveConflictRequest,
)
from workspace.sync.v1.sync_service_pb2_grpc import SyncServiceStub

from services.model.canonical import canonical_json, content_digest
from services.model.families import FAMILIES
from services.model.merging.content import content_of
from services.model.versions import State, Version
from services.records.conflict_rows import Found
from services.records.port import Key
from services.records.replica import Incoming, Replica
from tests.integration.storage.people import refused
from tests.integration.sync.nodes import ANN, BOB, EVE, Node, request_id

OURS = Resolution(ours=Resolution.Ours())
DELETE = Resolution(delete=Resolution.Delete())


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """Ann administers the platform; the project is Bob's."""
    async with Node.open(tmp_path / "node") as made:
        await made.ws.sign_in(BOB)
        await made.ws.sign_in(EVE)
        yield made


async def project_of_bob(node: Node) -> str:
    made = await node.stub(ProjectServiceStub, BOB).CreateProject(
        CreateProjectRequest(
            name="Bob's", description="secret words", request_id=request_id()
        )
    )
    return str(made.project.project_id)


async def document_of_bob(node: Node, project_id: str) -> str:
    made = await node.stub(DocumentServiceStub, BOB).CreateDocument(
        CreateDocumentRequest(project_id=project_id, name="plan.txt", request_id=request_id())
    )
    document: Document = made.document
    return document.document_id


async def give(node: Node, project_id: str, who: str, *permissions: Any) -> str:
    made = await node.stub(GrantServiceStub, BOB).CreateGrant(
        CreateGrantRequest(
            project_id=project_id, target_id=await node.ws.sign_in(who),
            target_type=GrantTargetType.GRANT_TARGET_TYPE_USER, permissions=permissions,
            request_id=request_id(),
        )
    )
    return str(made.grant.grant_id)


async def contest(node: Node, key: Key, **fields: tuple[Any, Any]) -> str:
    """Fields of a record were given one value here and another elsewhere; the conflict."""
    replica = Replica(node.ws.records)
    (state,) = await replica.states([key])
    assert state is not None
    (mine,) = state.versions.values()
    conflict = ""
    for at, actor in enumerate((mine.dot[0], "nother.1")):
        values = {name: pair[at] for name, pair in fields.items()}
        version = _edited(state.family, mine, actor, values)
        clock = {**state.clock, actor: version.dot[1]}
        both = State(state.family, clock, {version.dot: version})
        (joined,) = await replica.join(
            key.pk, [Incoming(key, both)], origin="nother", found=Found(1_700_000_000_000)
        )
        conflict = joined.conflict
    assert conflict
    return conflict


def _edited(family: str, version: Version, actor: str, values: dict[str, Any]) -> Version:
    members = {**json.loads(version.body), **values}
    dot = (actor, version.vv.get(actor, 0) + 1)
    return replace(
        version,
        dot=dot,
        vv={**version.vv, actor: dot[1]},
        fields={**version.fields, **dict.fromkeys(values, dot)},
        body=canonical_json(members),
        digest=content_digest(family, False, content_of(FAMILIES[family], members)),
    )


def project_key(project_id: str) -> Key:
    return Key(f"PROJECT#{project_id}", f"PROJECT#{project_id}")


def document_key(document_id: str) -> Key:
    return Key(f"DOCUMENT#{document_id}", f"ARTIFACT#{document_id}")


async def rights_of_a_project(node: Node) -> tuple[str, str]:
    """A conflict about rights that platform administrators may decide."""
    project_id = await project_of_bob(node)
    conflict = await contest(
        node, project_key(project_id),
        data_classification=("CLASSIFICATION_INTERNAL", "CLASSIFICATION_CONFIDENTIAL"),
    )
    return project_id, conflict


async def test_who_may_decide_but_not_view_reads_nothing_by_trying(node: Node) -> None:
    _, conflict = await rights_of_a_project(node)
    ann = node.stub(SyncServiceStub, ANN)
    answer = await refused(ann.GetConflict(GetConflictRequest(conflict_id=conflict)))
    assert answer.code.name == "PERMISSION_DENIED"
    tried = await ann.ResolveConflict(
        ResolveConflictRequest(conflict_id=conflict, resolution=OURS, dry_run=True)
    )
    assert "secret words" not in str(tried)
    done = await ann.ResolveConflict(
        ResolveConflictRequest(conflict_id=conflict, resolution=OURS, request_id=request_id())
    )
    assert done.HasField("dot")
    assert "secret words" not in str(done)


async def test_who_may_view_and_decide_sees_what_comes_of_it(node: Node) -> None:
    _, conflict = await rights_of_a_project(node)
    tried = await node.stub(SyncServiceStub, BOB).ResolveConflict(
        ResolveConflictRequest(conflict_id=conflict, resolution=OURS, dry_run=True)
    )
    assert "secret words" in str(tried.result)


@pytest.mark.case("Z21")
async def test_who_may_decide_no_more_decides_nothing(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The right ends right before the commit, whose partition has no word of it."""
    project_id = await project_of_bob(node)
    document_id = await document_of_bob(node, project_id)
    given = await give(node, project_id, EVE, Permission.PERMISSION_WRITE)
    conflict = await contest(node, document_key(document_id), title=("Ours", "Theirs"))
    commit, ended = node.ws.records.commit, []

    async def late(pk: str, *args: Any, **more: Any) -> Any:
        if pk.startswith("DOCUMENT#") and not ended:
            ended.append(
                await node.stub(GrantServiceStub, BOB).RevokeGrant(
                    RevokeGrantRequest(project_id=project_id, grant_id=given)
                )
            )
        return await commit(pk, *args, **more)

    monkeypatch.setattr(node.ws.records, "commit", late)
    request = ResolveConflictRequest(
        conflict_id=conflict, resolution=OURS, request_id=request_id()
    )
    answer = await refused(node.stub(SyncServiceStub, EVE).ResolveConflict(request))
    assert answer.code.name == "PERMISSION_DENIED"
    assert ended
    (state,) = await Replica(node.ws.records).states([document_key(document_id)])
    assert state is not None
    assert len(state.versions) == 2


@pytest.mark.parametrize("permission", ["VIEW", "WRITE"])
async def test_grants_are_seen_by_those_who_manage_access(node: Node, permission: str) -> None:
    """As in ListGrants: who else has what is not everybody's to read."""
    project_id = await project_of_bob(node)
    grant_id = await give(node, project_id, ANN, Permission.PERMISSION_VIEW)
    await give(node, project_id, EVE, Permission.Value(f"PERMISSION_{permission}"))
    conflict = await contest(
        node, Key(f"PROJECT#{project_id}", f"GRANT#{grant_id}"),
        permissions=(["PERMISSION_WRITE"], ["PERMISSION_COMMENT"]),
    )
    eve, bob = node.stub(SyncServiceStub, EVE), node.stub(SyncServiceStub, BOB)
    request = GetConflictRequest(conflict_id=conflict)
    assert len((await bob.GetConflict(request)).conflict.versions) == 2
    assert (await refused(eve.GetConflict(request))).code.name == "PERMISSION_DENIED"
    of_project = ListConflictsRequest(project_id=project_id)
    assert list((await eve.ListConflicts(of_project)).conflicts) == []
    assert list((await eve.ListConflicts(ListConflictsRequest())).conflicts) == []
    assert len((await bob.ListConflicts(of_project)).conflicts) == 1
    resolve = ResolveConflictRequest(conflict_id=conflict, resolution=OURS, dry_run=True)
    assert (await refused(eve.ResolveConflict(resolve))).code.name == "PERMISSION_DENIED"


@pytest.mark.case("Z02")
async def test_absent_and_closed_are_refused_alike(node: Node) -> None:
    project_id = await project_of_bob(node)
    document_id = await document_of_bob(node, project_id)
    conflict = await contest(node, document_key(document_id), title=("A", "B"))
    eve = node.stub(SyncServiceStub, EVE)
    for request, call in (
        (GetConflictRequest(), eve.GetConflict),
        (ResolveConflictRequest(resolution=OURS), eve.ResolveConflict),
        (ResolveConflictRequest(resolution=OURS, dry_run=True), eve.ResolveConflict),
    ):
        answers = []
        for name in (conflict, "f" * 64):
            request.conflict_id = name
            answer = await refused(call(request))
            answers.append((answer.code, answer.reason, answer.message.replace(name, "it")))
        assert answers[0] == answers[1]


async def test_a_legal_hold_outlasts_a_conflict(node: Node) -> None:
    project_id = await project_of_bob(node)
    document_id = await document_of_bob(node, project_id)
    conflict = await contest(node, document_key(document_id), title=("A", "B"))
    bob = node.stub(SyncServiceStub, BOB)
    await node.stub(ProjectServiceStub, BOB).SetLegalHold(
        SetLegalHoldRequest(
            project_id=project_id, legal_hold=True, reason="court", request_id=request_id()
        )
    )
    for dry_run in (True, False):
        request = ResolveConflictRequest(
            conflict_id=conflict, resolution=DELETE, dry_run=dry_run,
            request_id="" if dry_run else request_id(),
        )
        assert (await refused(bob.ResolveConflict(request))).reason == "HELD"
    done = await bob.ResolveConflict(
        ResolveConflictRequest(conflict_id=conflict, resolution=OURS, request_id=request_id())
    )
    assert done.HasField("dot")
