"""Ways to a right that nobody gave: by other rights, by copies, by names that look alike."""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio
from workspace.common.v1.consistency_pb2 import Consistency
from workspace.common.v1.permission_pb2 import Permission
from workspace.identity.v1 import invitation_pb2 as iv
from workspace.identity.v1 import invitation_service_pb2 as ivs
from workspace.identity.v1 import team_service_pb2 as tms
from workspace.identity.v1.invitation_service_pb2_grpc import InvitationServiceStub
from workspace.project.v1 import document_service_pb2 as ds
from workspace.project.v1 import grant_service_pb2 as gs
from workspace.project.v1 import permission_service_pb2 as pms
from workspace.project.v1 import project_service_pb2 as ps
from workspace.project.v1.document_service_pb2_grpc import DocumentServiceStub

from tests.harness import Workspace
from tests.integration.identity.people import ANN, BOB, CAT, EDITOR, MEMBER
from tests.integration.project.scene import EVE, FAY, MANAGE, OWNER, TEAM, USER, VIEW, WRITE, Scene

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with Workspace.open(tmp_path_factory.mktemp("grants")) as ws:
        yield await Scene(ws).make()


def documents(scene: Scene, email: str) -> Any:
    return scene.ws.stub(DocumentServiceStub, as_=email)


async def document(scene: Scene, name: str, project_id: str = "") -> str:
    request = ds.CreateDocumentRequest(project_id=project_id or scene.project_id, name=name)
    return str((await documents(scene, ANN).CreateDocument(request)).document.document_id)


async def refusal(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


# G06, G01: bob edits everything, by his role in the account.


def to_fay(scene: Scene, *rights: int) -> gs.CreateGrantRequest:
    request: Any = gs.CreateGrantRequest(
        project_id=scene.project_id, target_type=USER, target_id=scene.ids[FAY],
        permissions=rights,  # type: ignore[arg-type]
    )
    return request  # type: ignore[no-any-return]


async def eves(scene: Scene) -> Any:
    listed = await scene.grants(ANN).ListGrants(gs.ListGrantsRequest(project_id=scene.project_id))
    return next(each for each in listed.grants if each.target_id == scene.ids[EVE])


async def raised(scene: Scene) -> gs.UpdateGrantRequest:
    request = gs.UpdateGrantRequest(
        grant=await eves(scene),
        update_mask={"paths": ["permissions"]},  # type: ignore[arg-type]
    )
    request.grant.permissions.append(Permission.PERMISSION_WRITE)
    return request


async def ended(scene: Scene) -> gs.RevokeGrantRequest:
    grant = await eves(scene)
    return gs.RevokeGrantRequest(project_id=scene.project_id, grant_id=grant.grant_id)


async def opened(scene: Scene) -> ps.UpdateProjectRequest:
    request = ps.UpdateProjectRequest(
        update_mask={"paths": ["restricted"]}  # type: ignore[arg-type]
    )
    request.project.project_id, request.project.restricted = scene.project_id, True
    return request


async def moved(scene: Scene) -> ps.AssignProjectRequest:
    return ps.AssignProjectRequest(project_id=scene.project_id, team_id=scene.team_id)


async def invited(scene: Scene) -> ivs.CreateInvitationRequest:
    return ivs.CreateInvitationRequest(
        project_id=scene.project_id, email="x@example.com",
        terms=iv.InvitationTerms(permissions=[VIEW]),
    )


WAYS: dict[str, tuple[Callable[[Scene], Any], Callable[[Scene], Any]]] = {
    "UpdateGrant": (lambda s: s.grants(BOB).UpdateGrant, raised),
    "RevokeGrant": (lambda s: s.grants(BOB).RevokeGrant, ended),
    "UpdateProject": (lambda s: s.projects(BOB).UpdateProject, opened),
    "AssignProject": (lambda s: s.projects(BOB).AssignProject, moved),
    "CreateInvitation": (
        lambda s: s.ws.stub(InvitationServiceStub, as_=BOB).CreateInvitation,  # type: ignore[attr-defined]
        invited,
    ),
}


@pytest.mark.case("G06")
@pytest.mark.parametrize("way", WAYS)
async def test_who_edits_documents_changes_no_rights(scene: Scene, way: str) -> None:
    assert await scene.check(BOB, WRITE)
    before = await scene.table()
    rpc, request = WAYS[way]
    assert await refusal(rpc(scene)(await request(scene))) is grpc.StatusCode.PERMISSION_DENIED
    assert await scene.table() == before


@pytest.mark.case("G01", "G06")
@pytest.mark.parametrize("right", [VIEW, WRITE, MANAGE, OWNER])
async def test_an_editor_gives_nothing(scene: Scene, right: int) -> None:
    call = scene.grants(BOB).CreateGrant(to_fay(scene, right))
    assert await refusal(call) is grpc.StatusCode.PERMISSION_DENIED
    assert not await scene.check(FAY, VIEW)


# G05


@pytest.mark.case("G05")
async def test_a_copy_is_no_way_to_what_one_may_not_see(scene: Scene) -> None:
    private = await scene.project(ANN)
    request = ds.CopyDocumentRequest(
        document_id=await document(scene, "private.txt", private),
        project_id=await scene.project(EVE),
    )
    call = documents(scene, EVE).CopyDocument(request)
    assert await refusal(call) is grpc.StatusCode.PERMISSION_DENIED


# G13


@pytest.mark.case("G13")
async def test_what_is_added_after_a_removal_is_never_seen_by_who_was_removed(
    scene: Scene,
) -> None:
    """The new enemy: fay asks with what she knew while she was in."""
    given = await scene.grant(ANN, USER, scene.ids[FAY], VIEW)
    asked = pms.CheckPermissionRequest(
        project_id=scene.project_id, permission=Permission.PERMISSION_VIEW
    )
    held = await scene.permissions(FAY).CheckPermission(asked)
    assert held.allowed
    await scene.grants(ANN).RevokeGrant(
        gs.RevokeGrantRequest(project_id=scene.project_id, grant_id=given.grant_id)
    )
    secret = await document(scene, "secret.txt")
    old = Consistency(at_least_as_fresh={"tokens": [held.consistency_token]})  # type: ignore[arg-type]
    for consistency in (Consistency(), old, Consistency(fully_consistent=True)):
        asked.consistency.CopyFrom(consistency)
        assert not (await scene.permissions(FAY).CheckPermission(asked)).allowed
    request = ds.GetDocumentRequest(document_id=secret)
    call = documents(scene, FAY).GetDocument(request)
    assert await refusal(call) is grpc.StatusCode.PERMISSION_DENIED
    found = await documents(scene, FAY).SearchDocuments(ds.SearchDocumentsRequest(query="secret"))
    assert not found.documents


# G14


@pytest.mark.case("G14")
@pytest.mark.parametrize(
    "alike",
    [
        str.upper,
        lambda name: name + " ",
        lambda name: name + "\u0301",
        lambda name: unicodedata.normalize("NFKC", name).replace("u", "\uff55"),
        lambda name: name.replace("_", "\u005f\u200b"),
    ],
    ids=["upper case", "a blank", "an accent", "full width", "no width"],
)
async def test_an_id_that_looks_alike_is_nobody(
    scene: Scene, alike: Callable[[str], str]
) -> None:
    before = await scene.table()
    request = to_fay(scene, VIEW)
    request.target_id = alike(scene.ids[FAY])
    assert request.target_id != scene.ids[FAY]
    code = await refusal(scene.grants(ANN).CreateGrant(request))
    assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND,
                    grpc.StatusCode.FAILED_PRECONDITION)  # fmt: skip
    assert await scene.table() == before


# G16


@pytest.mark.case("G16")
async def test_a_team_of_the_same_name_is_another_team(scene: Scene) -> None:
    old = await scene.team(ANN, account_id=scene.account_id, name="Night shift")
    await scene.grant(ANN, TEAM, old, WRITE)
    stub = scene.teams(ANN)
    await stub.ArchiveTeam(tms.ArchiveTeamRequest(team_id=old))
    new = await scene.team(ANN, account_id=scene.account_id, name="Night shift")
    assert new != old
    await scene.add_to_team(ANN, new, FAY, MEMBER, guest=True)
    assert not await scene.check(FAY, VIEW)


@pytest.mark.case("G16")
async def test_who_comes_back_holds_what_is_given_anew_alone(scene: Scene) -> None:
    """Removed from the account and taken back: a grant of before stays ended."""
    await scene.add_member(ANN, scene.account_id, FAY, EDITOR)
    restricted = await scene.project(ANN, scene.account_id, restricted=True)
    await scene.grant(ANN, USER, scene.ids[FAY], WRITE, project=restricted)
    assert await scene.check(FAY, WRITE, restricted)
    await scene.remove(ANN, scene.account_id, FAY)
    await scene.add_member(ANN, scene.account_id, FAY, EDITOR)
    assert not await scene.check(FAY, VIEW, restricted)
    await scene.remove(ANN, scene.account_id, FAY)


# G18


@pytest.mark.case("G18")
async def test_every_way_in_is_listed_to_the_owner(scene: Scene) -> None:
    """Whoever may do anything may by a grant in her list, or as a member of the account."""
    listed = await scene.grants(ANN).ListGrants(gs.ListGrantsRequest(project_id=scene.project_id))
    known = {each.grant_id for each in listed.grants}
    answer = await scene.permissions(ANN).ListProjectUsers(
        pms.ListProjectUsersRequest(project_id=scene.project_id, include_sources=True)
    )
    seen = {user.user_id for user in answer.users}
    assert {scene.ids[each] for each in (ANN, BOB, CAT, EVE)} <= seen
    sources = [source for user in answer.users for source in user.sources]
    assert {each.grant_id for each in sources} - {""} <= known
    assert {each.account_id for each in sources if not each.grant_id} == {scene.account_id}
