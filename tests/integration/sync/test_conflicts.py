"""Conflicts through gRPC: seen alike on every node, decided once, closed everywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from workspace.common.v1.permission_pb2 import Permission
from workspace.project.v1.grant_pb2 import GrantTargetType
from workspace.project.v1.grant_service_pb2 import CreateGrantRequest
from workspace.project.v1.grant_service_pb2_grpc import GrantServiceStub
from workspace.project.v1.project_service_pb2 import DeleteProjectRequest, RestoreProjectRequest
from workspace.project.v1.project_service_pb2_grpc import ProjectServiceStub
from workspace.sync.v1.conflict_pb2 import (
    ConflictKind,
    ConflictStatus,
    ProjectResolution,
    Resolution,
)
from workspace.sync.v1.sync_service_pb2 import (
    GetConflictRequest,
    ListConflictsRequest,
    ResolveConflictRequest,
    ResolveProjectConflictsRequest,
)
from workspace.sync.v1.sync_service_pb2_grpc import SyncServiceStub

from tests.integration.storage.people import refused
from tests.integration.sync.nodes import BOB, EVE, Node, in_step, request_id

OURS = Resolution(ours=Resolution.Ours())
BOTH = Resolution(both=Resolution.Both())
DELETE = Resolution(delete=Resolution.Delete())


class Pair:
    """Two nodes in step about one document."""

    def __init__(self, a: Node, b: Node) -> None:
        self.a, self.b = a, b
        self.project_id = ""
        self.document_id = ""

    async def prepare(self) -> None:
        self.project_id = await self.a.project()
        self.document_id = await self.a.document(self.project_id, "plan.txt")
        await self.exchange()

    async def exchange(self) -> None:
        await in_step(self.a, self.b, rounds=5)

    async def differ(self) -> Any:
        """Both give the document a title; the conflict as A has it."""
        await self.a.edit(self.document_id, title="Ann's")
        await self.b.edit(self.document_id, title="Bob's", issuing_body="Office")
        await self.exchange()
        (found,) = await self.a.conflicts()
        return await self.a.conflict(found.conflict_id)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(Node.open(tmp_path / n)) for n in ("a", "b")]
        for node in nodes:
            await node.connect(tmp_path / "backup")
        made = Pair(*nodes)
        await made.prepare()
        yield made


def named(conflict: Any, title: str) -> Any:
    """The version with this title."""
    return next(each for each in conflict.versions if each.body["title"] == title)


async def test_both_nodes_show_one_conflict_with_its_versions_side_by_side(pair: Pair) -> None:
    conflict = await pair.differ()
    (there,) = await pair.b.conflicts()
    assert there.conflict_id == conflict.conflict_id
    assert conflict.kind == ConflictKind.CONFLICT_KIND_EDIT_EDIT
    assert [field.field for field in conflict.fields] == ["title"]
    assert {version.body["title"] for version in conflict.versions} == {"Ann's", "Bob's"}
    assert [version.winner for version in conflict.versions] == [True, False]
    assert sum(version.ours for version in conflict.versions) == 1
    assert conflict.project_id == pair.project_id
    assert conflict.name == "plan.txt"
    # What only one of them changed is merged; what was there before is known.
    assert conflict.merged["issuing_body"] == "Office"
    assert "title" not in conflict.base.body
    assert conflict.base.body["name"] == "plan.txt"
    assert (await pair.a.read(pair.document_id)).title == (
        (await pair.b.read(pair.document_id)).title
    )


async def test_lists_have_no_bodies(pair: Pair) -> None:
    await pair.differ()
    (listed,) = await pair.a.conflicts(project_id=pair.project_id)
    assert not any(version.HasField("body") for version in listed.versions)
    assert not listed.HasField("merged")


async def test_a_decision_on_one_node_closes_the_conflict_on_the_other(pair: Pair) -> None:
    conflict = await pair.differ()
    chosen = named(conflict, "Ann's")
    answer = await pair.a.resolve(
        conflict.conflict_id, Resolution(theirs=Resolution.Theirs(dot=chosen.stamp.dot))
    )
    assert answer.conflict.status == ConflictStatus.CONFLICT_STATUS_RESOLVED
    assert answer.result["title"] == "Ann's"
    assert not answer.remaining_conflict_id
    await pair.exchange()
    for node in (pair.a, pair.b):
        assert await node.conflicts() == []
        assert (await node.read(pair.document_id)).title == "Ann's"
        resolved = ConflictStatus.CONFLICT_STATUS_RESOLVED
        (closed,) = await node.conflicts(status=resolved)
        assert closed.conflict_id == conflict.conflict_id


async def test_a_dry_run_shows_the_result_and_changes_nothing(pair: Pair) -> None:
    conflict = await pair.differ()
    before = await pair.a.read(pair.document_id)
    choices = {"title": named(conflict, "Ann's").stamp.dot}
    fields = Resolution(fields=Resolution.Fields(choices=choices))
    shown = await pair.a.resolve(conflict.conflict_id, fields, dry_run=True)
    assert (shown.result["title"], shown.result["issuing_body"]) == ("Ann's", "Office")
    assert not shown.HasField("dot")
    assert await pair.a.read(pair.document_id) == before
    done = await pair.a.resolve(conflict.conflict_id, fields)
    assert {**shown.result, "updated_at": "", "updated_by": ""} == {
        **done.result, "updated_at": "", "updated_by": ""
    }


async def test_a_new_text_is_written_for_both(pair: Pair) -> None:
    conflict = await pair.differ()
    body = Struct()
    body.CopyFrom(conflict.merged)
    body["title"] = "Ours together"
    await pair.b.resolve(conflict.conflict_id, Resolution(body=Resolution.Body(body=body)))
    await pair.exchange()
    found = await pair.a.read(pair.document_id)
    assert (found.title, found.issuing_body) == ("Ours together", "Office")


async def test_both_keeps_the_loser_as_a_document_with_its_own_bytes(pair: Pair) -> None:
    await pair.a.edit(pair.document_id, title="Ann's")
    await pair.b.revise(pair.document_id, b"second")
    await pair.b.edit(pair.document_id, title="Bob's")
    await pair.exchange()
    (conflict,) = await pair.a.conflicts()
    answer = await pair.a.resolve(conflict.conflict_id, BOTH)
    (kept,) = answer.new_document_ids
    await pair.a.ws.process.kernel.due.run(
        {k: do for m in pair.a.ws.process.modules for k, do in m.due.items()}
    )
    await pair.exchange()
    for node in (pair.a, pair.b):
        assert await node.bytes_of(pair.document_id) == b"second"
        assert await node.bytes_of(kept) == b"first"
        copy = await node.read(kept)
        assert copy.title == "Ann's"
        assert copy.name.startswith("plan (")


async def test_a_version_that_arrived_meanwhile_stays_open(pair: Pair) -> None:
    conflict = await pair.differ()
    await pair.b.edit(pair.document_id, title="Bob again")
    resolved = await pair.a.resolve(conflict.conflict_id, OURS)
    assert not resolved.remaining_conflict_id
    await pair.exchange()
    (later,) = await pair.a.conflicts()
    versions = (await pair.a.conflict(later.conflict_id)).versions
    assert {version.body["title"] for version in versions} == {"Ann's", "Bob again"}


async def test_only_the_versions_named_are_superseded(pair: Pair) -> None:
    conflict = await pair.differ()
    loser = next(each for each in conflict.versions if not each.winner)
    answer = await pair.a.resolve(
        conflict.conflict_id,
        Resolution(theirs=Resolution.Theirs(dot=loser.stamp.dot)),
        resolves=[loser.stamp.dot],
    )
    (later,) = await pair.a.conflicts()
    assert answer.remaining_conflict_id == later.conflict_id


async def test_the_same_request_has_one_effect_and_one_answer(pair: Pair) -> None:
    conflict = await pair.differ()
    request = ResolveConflictRequest(
        conflict_id=conflict.conflict_id, resolution=OURS, request_id=request_id()
    )
    first = await pair.a.sync.ResolveConflict(request)
    assert await pair.a.sync.ResolveConflict(request) == first
    again = await refused(pair.a.resolve(conflict.conflict_id, OURS))
    assert (again.code.name, again.reason) == ("FAILED_PRECONDITION", "INVALID_STATE")


async def test_a_stale_etag_is_refused(pair: Pair) -> None:
    conflict = await pair.differ()
    answer = await refused(pair.a.resolve(conflict.conflict_id, OURS, etag='"old"'))
    assert (answer.code.name, answer.reason) == ("ABORTED", "ETAG_MISMATCH")


async def test_an_edit_by_somebody_who_saw_the_winner_leaves_the_other_version(pair: Pair) -> None:
    conflict = await pair.differ()
    await pair.a.edit(pair.document_id, title="Third")
    (later,) = await pair.a.conflicts()
    assert later.conflict_id != conflict.conflict_id
    titles = {v.body["title"] for v in (await pair.a.conflict(later.conflict_id)).versions}
    assert titles == {"Third", conflict.versions[1].body["title"]}


async def test_who_may_not_view_the_project_learns_nothing(pair: Pair) -> None:
    conflict = await pair.differ()
    await pair.a.ws.sign_in(EVE)
    eve = pair.a.stub(SyncServiceStub, EVE)
    assert list((await eve.ListConflicts(ListConflictsRequest())).conflicts) == []
    named_project = ListConflictsRequest(project_id=pair.project_id)
    for call in (
        eve.ListConflicts(named_project),
        eve.GetConflict(GetConflictRequest(conflict_id=conflict.conflict_id)),
        eve.GetConflict(GetConflictRequest(conflict_id="f" * 64)),
        eve.ResolveConflict(
            ResolveConflictRequest(conflict_id=conflict.conflict_id, resolution=OURS)
        ),
        eve.ResolveConflict(ResolveConflictRequest(conflict_id="f" * 64, resolution=OURS)),
        eve.ResolveProjectConflicts(
            ResolveProjectConflictsRequest(
                project_id=pair.project_id,
                resolution=ProjectResolution.PROJECT_RESOLUTION_OURS,
            )
        ),
    ):
        answer = await refused(call)
        assert (answer.code.name, answer.reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED")


async def grant(pair: Pair, who: str, *permissions: Any) -> None:
    stub = pair.a.stub(GrantServiceStub)
    await stub.CreateGrant(
        CreateGrantRequest(
            project_id=pair.project_id, target_id=await pair.a.ws.sign_in(who),
            target_type=GrantTargetType.GRANT_TARGET_TYPE_USER, permissions=permissions,
            request_id=request_id(),
        )
    )


async def test_a_viewer_sees_and_an_editor_decides(pair: Pair) -> None:
    conflict = await pair.differ()
    await grant(pair, BOB, Permission.PERMISSION_VIEW)
    await grant(pair, EVE, Permission.PERMISSION_WRITE)
    bob, eve = pair.a.stub(SyncServiceStub, BOB), pair.a.stub(SyncServiceStub, EVE)
    seen = await bob.GetConflict(GetConflictRequest(conflict_id=conflict.conflict_id))
    assert len(seen.conflict.versions) == 2
    request = ResolveConflictRequest(conflict_id=conflict.conflict_id, resolution=OURS)
    assert (await refused(bob.ResolveConflict(request))).code.name == "PERMISSION_DENIED"
    assert (await eve.ResolveConflict(request)).HasField("dot")


async def test_one_rule_decides_all_conflicts_of_a_project(pair: Pair) -> None:
    other = await pair.a.document(pair.project_id, "other.txt")
    await pair.exchange()
    for document in (pair.document_id, other):
        await pair.a.edit(document, title="Ann's")
        await pair.b.edit(document, title="Bob's")
    await pair.exchange()
    request = ResolveProjectConflictsRequest(
        project_id=pair.project_id, resolution=ProjectResolution.PROJECT_RESOLUTION_THEIRS,
        request_id=request_id(),
    )
    looked = ResolveProjectConflictsRequest()
    looked.CopyFrom(request)
    looked.dry_run = True
    dry = await pair.a.sync.ResolveProjectConflicts(looked)
    assert (len(dry.results), dry.open_conflicts) == (2, 2)
    done = await pair.a.sync.ResolveProjectConflicts(request)
    assert [each.WhichOneof("outcome") for each in done.results] == ["conflict"] * 2
    assert done.open_conflicts == 0
    assert await pair.a.sync.ResolveProjectConflicts(request) == done
    await pair.exchange()
    for document in (pair.document_id, other):
        assert (await pair.b.read(document)).title == "Bob's"


async def test_a_deletion_beside_an_edit_can_go_either_way(pair: Pair) -> None:
    conflict = await pair.differ()
    answer = await pair.a.resolve(conflict.conflict_id, DELETE)
    assert not answer.HasField("result")
    await pair.exchange()
    for node in (pair.a, pair.b):
        assert (await refused(node.read(pair.document_id))).code.name == "PERMISSION_DENIED"


async def test_a_document_survives_the_project_that_was_trashed_meanwhile(pair: Pair) -> None:
    added = await pair.b.document(pair.project_id, "late.txt", b"late")
    await pair.a.stub(ProjectServiceStub).DeleteProject(
        DeleteProjectRequest(project_id=pair.project_id, request_id=request_id())
    )
    await pair.a.push(force=True)
    await pair.b.push(force=True)
    await pair.a.pull(force=True)
    await pair.b.pull(force=True)
    for node in (pair.a, pair.b):
        found = await node.conflicts(kind=ConflictKind.CONFLICT_KIND_PARENT_DELETED)
        assert [each.document_id for each in found] == [added], node.folder
    await pair.a.stub(ProjectServiceStub).RestoreProject(
        RestoreProjectRequest(project_id=pair.project_id, request_id=request_id())
    )
    assert await pair.a.conflicts() == []
    assert await pair.a.bytes_of(added) == b"late"
    await pair.exchange()
    assert await pair.b.conflicts() == []


async def test_conflicts_over_http(pair: Pair) -> None:
    conflict = await pair.differ()
    async with pair.a.ws.client(pair.a.who) as client:
        listed = await client.get("/api/sync/conflicts", params={"project_id": pair.project_id})
        assert [each["conflict_id"] for each in listed.json()["conflicts"]] == [
            conflict.conflict_id
        ]
        sent = await client.post(
            f"/api/sync/conflicts/{conflict.conflict_id}:resolve",
            json={"resolution": {"ours": {}}},
        )
        assert sent.status_code == 200, sent.text
        assert sent.json()["result"]["title"] == "Ann's"
