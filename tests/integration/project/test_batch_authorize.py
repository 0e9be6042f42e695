"""BatchAuthorizeFiles: many documents, each with the outcome AuthorizeFile gives."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
import pytest
from workspace.common.v1.permission_pb2 import Permission
from workspace.project.v1 import document_service_pb2 as pb
from workspace.project.v1.document_pb2 import Document
from workspace.project.v1.grant_pb2 import GrantTargetType
from workspace.project.v1.grant_service_pb2 import CreateGrantRequest, RevokeGrantRequest

from services.rpc.errors import error_info, peer_status
from tests.integration.project.files import (
    AVAILABLE,
    DOWNLOAD,
    HOLD,
    authorize,
    create,
    documents,
    project,
    storage,
    upload,
)
from tests.integration.project.world import World, refused


async def _batch(world: World, ids: list[str], as_: str = "ann") -> list[Any]:
    answer = await storage(world, as_).BatchAuthorizeFiles(
        pb.BatchAuthorizeFilesRequest(document_ids=ids)
    )
    assert [result.document_id for result in answer.results] == ids
    return list(answer.results)


async def _alone(world: World, document_id: str, as_: str = "ann") -> Any:
    """What AuthorizeFile says, as the result of a batch."""
    try:
        decision = await authorize(world, document_id, DOWNLOAD, as_=as_)
    except grpc.aio.AioRpcError as error:
        return pb.BatchAuthorizeFilesResult(document_id=document_id, error=peer_status(error))
    known = decision.document
    decision.document.CopyFrom(
        Document(document_id=known.document_id, project_id=known.project_id, name=known.name)
    )
    return pb.BatchAuthorizeFilesResult(document_id=document_id, decision=decision)


async def _file(world: World, home: str, name: str, disposition: Any = AVAILABLE) -> str:
    made = await create(world, home, name)
    await upload(world, made.document_id, f"x_{made.document_id[-12:]}", disposition=disposition)
    return made.document_id


def _reasons(results: list[Any]) -> list[str]:
    infos = [error_info(result.error) if result.HasField("error") else None for result in results]
    return [info.reason.removeprefix("ERROR_REASON_") if info else "" for info in infos]


async def _share(world: World, home: str, user_id: str) -> str:
    answer = await world.grants("ann").CreateGrant(
        CreateGrantRequest(
            project_id=home,
            target_type=GrantTargetType.GRANT_TARGET_TYPE_USER,
            target_id=user_id,
            permissions=[Permission.PERMISSION_VIEW],
        )
    )
    return str(answer.grant.grant_id)


async def _mixed(world: World) -> list[str]:
    """Documents of three projects, of which eve may view the second: with a
    file, archived, in the trash, held, without a file, and one that is not there."""
    homes = [await project(world, account_id="a_one"), await project(world), await project(world)]
    ids = ["d_random"]
    for home in homes:
        ids += [await _file(world, home, f"{n}.pdf") for n in range(2)]
        ids.append(await _file(world, home, "held.pdf", HOLD))
        ids.append((await create(world, home, "empty.pdf")).document_id)
        archived = await _file(world, home, "archived.pdf")
        await documents(world, "ann").ArchiveDocument(
            pb.ArchiveDocumentRequest(document_id=archived)
        )
        trashed = await _file(world, home, "trashed.pdf")
        await documents(world, "ann").DeleteDocument(pb.DeleteDocumentRequest(document_id=trashed))
        ids += [archived, trashed]
    await _share(world, homes[1], "eve")
    return ids[::-1]


@pytest.mark.case("Z05")
async def test_each_outcome_is_that_of_a_single_call(world: World) -> None:
    ids = await _mixed(world)
    said = {who: await _batch(world, ids, who) for who in ("ann", "eve", "nobody")}
    for who, results in said.items():
        assert results == [await _alone(world, each, who) for each in ids]
    of_ann, of_eve, of_nobody = map(_reasons, said.values())
    assert of_ann.count("") == 9
    assert of_ann.count("FILE_NOT_AVAILABLE") == 9
    assert of_ann.count("PERMISSION_DENIED") == 1
    assert of_eve.count("") == 3
    assert of_eve.count("PERMISSION_DENIED") == 13
    assert set(of_nobody) == {"PERMISSION_DENIED"}


async def test_projects_are_decided_once_and_by_one_call_to_identity(world: World) -> None:
    ids = await _mixed(world)
    before = world.identity.batches
    await _batch(world, ids)
    assert world.identity.batches == before + 1


async def test_a_revoked_grant_counts_at_once(world: World) -> None:
    home = await project(world)
    ids = [await _file(world, home, f"{n}.pdf") for n in range(3)]
    grant_id = await _share(world, home, "eve")
    assert _reasons(await _batch(world, ids, "eve")) == ["", "", ""]
    await world.grants("ann").RevokeGrant(RevokeGrantRequest(project_id=home, grant_id=grant_id))
    assert _reasons(await _batch(world, ids, "eve")) == ["PERMISSION_DENIED"] * 3


async def test_a_membership_that_cannot_be_read_fails_its_project_alone(world: World) -> None:
    readable, other = await project(world), await project(world, account_id="a_one")
    ids = [await _file(world, readable, "a.pdf"), await _file(world, other, "b.pdf"), "d_random"]
    world.people.unreadable.add("a_one")
    results = await _batch(world, ids)
    assert _reasons(results) == ["", "BACKEND_UNAVAILABLE", "PERMISSION_DENIED"]
    assert results == [await _alone(world, each) for each in ids]


async def test_it_is_for_the_storage_service_alone(world: World) -> None:
    request = pb.BatchAuthorizeFilesRequest(document_ids=["d_1"])
    no = await refused(documents(world, "ann").BatchAuthorizeFiles(request))
    assert (no.code, no.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
    for bad in ([], ["d_1", "d_1"], ["a b"], [f"d_{n}" for n in range(501)]):
        request = pb.BatchAuthorizeFilesRequest(document_ids=bad)
        no = await refused(storage(world).BatchAuthorizeFiles(request))
        assert no.reason == "INVALID_FIELD"
