"""Derived artifacts: one live per kind and name, files of their own."""

from __future__ import annotations

import asyncio
from typing import Any

from workspace.project.v1 import document_service_pb2 as pb
from workspace.project.v1.document_pb2 import DerivedArtifact, DerivedArtifactStatus

from tests.integration.project.files import (
    DOWNLOAD,
    HOLD,
    REJECTED,
    arrived,
    authorize,
    create,
    documents,
    project,
    storage,
    upload,
)
from tests.integration.project.world import World, refused, request_id

_Status = DerivedArtifactStatus


async def _derive(world: World, document_id: str, kind: str = "chunks", **fields: Any) -> Any:
    fields.setdefault("name", f"{kind}.json")
    user_id = fields.pop("as_", "ann")
    answer = await documents(world, user_id).CreateDerivedArtifact(
        pb.CreateDerivedArtifactRequest(document_id=document_id, kind=kind, **fields)
    )
    return answer.artifact


async def _list(world: World, document_id: str, **more: Any) -> list[DerivedArtifact]:
    answer = await documents(world, "ann").ListDerivedArtifacts(
        pb.ListDerivedArtifactsRequest(document_id=document_id, **more)
    )
    return list(answer.artifacts)


async def test_the_next_of_a_kind_and_name_supersedes_the_last(world: World) -> None:
    made = await create(world, await project(world))
    await upload(world, made.document_id, "x_1")
    first = await _derive(world, made.document_id)
    assert (first.source_file_revision, first.created_by) == (1, "ann")
    await _derive(world, made.document_id, "tables")
    await _derive(world, made.document_id, name="other.json")
    second = await _derive(world, made.document_id)
    live = await _list(world, made.document_id, kind="chunks")
    assert {a.name for a in live} == {"chunks.json", "other.json"}
    assert first.artifact_id not in {a.artifact_id for a in live}
    every = await _list(world, made.document_id, include_superseded=True)
    old = next(a for a in every if a.artifact_id == first.artifact_id)
    assert old.status == _Status.DERIVED_ARTIFACT_STATUS_SUPERSEDED
    assert old.superseded_by == second.artifact_id
    assert len(await _list(world, made.document_id)) == 3


async def test_makers_at_once_leave_one_live(world: World) -> None:
    made = await create(world, await project(world))
    await asyncio.gather(*(_derive(world, made.document_id) for _ in range(10)))
    assert len(await _list(world, made.document_id)) == 1
    assert len(await _list(world, made.document_id, include_superseded=True)) == 10


async def test_a_named_artifact_is_superseded_once(world: World) -> None:
    made = await create(world, await project(world))
    old = await _derive(world, made.document_id, "tables")
    new = await _derive(world, made.document_id, supersedes=old.artifact_id)
    no = await refused(_derive(world, made.document_id, supersedes=old.artifact_id))
    assert (no.reason, no.metadata["state"]) == ("INVALID_STATE", "superseded")
    no = await refused(_derive(world, made.document_id, supersedes="f_absent"))
    assert no.reason == "NOT_FOUND"
    assert [a.artifact_id for a in await _list(world, made.document_id)] == [new.artifact_id]


async def test_a_replay_makes_no_second_artifact(world: World) -> None:
    made = await create(world, await project(world))
    fields = {"request_id": request_id()}
    first = await _derive(world, made.document_id, **fields)
    assert await _derive(world, made.document_id, **fields) == first
    assert len(await _list(world, made.document_id, include_superseded=True)) == 1


async def test_deriving_needs_write_and_a_document_in_use(world: World) -> None:
    made = await create(world, await project(world))
    assert (await refused(_derive(world, made.document_id, as_="bob"))).reason == (
        "PERMISSION_DENIED"
    )
    await documents(world, "ann").DeleteDocument(
        pb.DeleteDocumentRequest(document_id=made.document_id)
    )
    no = await refused(_derive(world, made.document_id))
    assert (no.reason, no.metadata["state"]) == ("INVALID_STATE", "trashed")


async def test_the_file_of_an_artifact(world: World) -> None:
    made = await create(world, await project(world))
    artifact = await _derive(world, made.document_id)
    allowed = await authorize(world, made.document_id, artifact_id=artifact.artifact_id)
    assert allowed.storage_prefix.endswith(
        f"/documents/{made.document_id}/derived/{artifact.artifact_id}/"
    )
    assert (allowed.artifact, allowed.next_file_revision) == (artifact, 1)
    request = arrived(allowed, "x_1")
    done = await storage(world).AttachFile(request)
    assert done.artifact.status == _Status.DERIVED_ARTIFACT_STATUS_AVAILABLE
    assert done.artifact.file.storage_provider == "local"
    assert done.document.document_id == made.document_id
    assert (await storage(world).AttachFile(request)).artifact == done.artifact
    read = await authorize(world, made.document_id, DOWNLOAD, artifact_id=artifact.artifact_id)
    assert read.file == done.artifact.file
    no = await refused(authorize(world, made.document_id, artifact_id=artifact.artifact_id))
    assert no.reason == "INVALID_STATE"
    assert (await refused(authorize(world, made.document_id, artifact_id="f_no"))).reason == (
        "NOT_FOUND"
    )
    # It is no revision of the document itself.
    listed = await documents(world, "ann").ListRevisions(
        pb.ListRevisionsRequest(document_id=made.document_id)
    )
    assert not listed.files


async def test_a_refused_artifact_file_stays_refused(world: World) -> None:
    made = await create(world, await project(world))
    artifact = await _derive(world, made.document_id)
    allowed = await authorize(world, made.document_id, artifact_id=artifact.artifact_id)
    held = await storage(world).AttachFile(arrived(allowed, "x_1", disposition=HOLD))
    assert held.artifact.status == _Status.DERIVED_ARTIFACT_STATUS_SCANNING
    gone = await storage(world).AttachFile(arrived(allowed, "x_1", disposition=REJECTED))
    assert gone.artifact.status == _Status.DERIVED_ARTIFACT_STATUS_AWAITING_FILE
    no = await refused(storage(world).AttachFile(arrived(allowed, "x_1")))
    assert (no.reason, no.metadata["state"]) == ("INVALID_STATE", "rejected")


async def test_artifacts_are_paged(world: World) -> None:
    made = await create(world, await project(world))
    for number in range(5):
        await _derive(world, made.document_id, name=f"{number}.json")
    request = pb.ListDerivedArtifactsRequest(document_id=made.document_id, page_size=2)
    seen: list[str] = []
    while True:
        page = await documents(world, "ann").ListDerivedArtifacts(request)
        seen += [artifact.name for artifact in page.artifacts]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert sorted(seen) == [f"{n}.json" for n in range(5)]
