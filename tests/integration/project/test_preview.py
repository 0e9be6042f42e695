"""PreviewAccessChange: what it says is what the change does, to the user and right.

Each case previews a change, makes it, and compares with what CheckPermission
says before and after. A preview writes nothing and refuses as the change does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import identity_service_pb2 as ids
from workspace.identity.v1 import team_service_pb2 as tms
from workspace.identity.v1.account_pb2 import AccountMember, AccountStatus
from workspace.identity.v1.membership_change_pb2 import DisableUserChange, ProposedMembershipChange
from workspace.identity.v1.team_pb2 import TeamMember
from workspace.project.v1 import grant_service_pb2 as gs
from workspace.project.v1 import project_service_pb2 as ps
from workspace.project.v1.grant_pb2 import Grant
from workspace.project.v1.project_pb2 import Project

from project_svc.access import candidate_users
from project_svc.previews import preview
from tests.harness import Workspace
from tests.integration.identity.people import (
    ACTIVE,
    ANN,
    BOB,
    CAT,
    DAN,
    EDITOR,
    MEMBER,
    REMOVED,
    SUSPENDED,
    VIEWER,
    reason_of,
    refused,
)
from tests.integration.project.scene import (
    ACCOUNT,
    EVE,
    FAY,
    MANAGE,
    OWNER,
    REVIEW,
    TEAM,
    USER,
    VIEW,
    WRITE,
    Scene,
    every_page,
    written_since,
)

Changed = dict[str, tuple[set[int], set[int]]]


@pytest_asyncio.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with Workspace.open(tmp_path) as ws:
        yield await Scene(ws).make()


@dataclass
class Case:
    """A change as a preview and as itself."""

    preview: gs.PreviewAccessChangeRequest
    make: Callable[[], Awaitable[Any]]
    by: str = ANN


def project_change(scene: Scene, stub: Any, **change: Any) -> Case:
    """One of the changes of the project itself."""
    request = gs.PreviewAccessChangeRequest(project_id=scene.project_id, **change)
    kind, *_ = change
    methods = {
        "create_grant": "CreateGrant",
        "update_grant": "UpdateGrant",
        "revoke_grant": "RevokeGrant",
        "assign_project": "AssignProject",
    }
    return Case(request, lambda: getattr(stub, methods[kind])(change[kind]))


def membership(scene: Scene, stub: Any, *, by: str = ANN, **change: Any) -> Case:
    kind, *_ = change
    methods = {
        "add_account_member": "AddAccountMember",
        "update_account_member": "UpdateAccountMember",
        "remove_account_member": "RemoveAccountMember",
        "add_team_member": "AddTeamMember",
        "update_team_member": "UpdateTeamMember",
        "remove_team_member": "RemoveTeamMember",
        "set_account_status": "SetAccountStatus",
        "archive_team": "ArchiveTeam",
        "disable_user": "DisableUser",
    }
    real = change[kind]
    if isinstance(real, DisableUserChange):
        real = ids.DisableUserRequest(user_id=real.user_id)
    return Case(
        gs.PreviewAccessChangeRequest(
            project_id=scene.project_id, membership_change=ProposedMembershipChange(**change)
        ),
        lambda: getattr(stub, methods[kind])(real),
        by=by,
    )


def account_member(scene: Scene, email: str, mask: str, **values: Any) -> Any:
    return acs.UpdateAccountMemberRequest(
        member=AccountMember(account_id=scene.account_id, user_id=scene.ids[email], **values),
        update_mask=FieldMask(paths=[mask]),
    )


def team_member(scene: Scene, email: str, mask: str, **values: Any) -> Any:
    return tms.UpdateTeamMemberRequest(
        member=TeamMember(team_id=scene.team_id, user_id=scene.ids[email], **values),
        update_mask=FieldMask(paths=[mask]),
    )


def new_grant(scene: Scene, kind: int, target: str, *rights: int, **more: Any) -> Any:
    request: Any = gs.CreateGrantRequest(
        project_id=scene.project_id,
        target_type=kind,  # type: ignore[arg-type]
        target_id=target,
        permissions=rights,  # type: ignore[arg-type]
        **more,
    )
    return request


async def grant_to(scene: Scene, target: str) -> Grant:
    rows = (
        await scene.grants(ANN).ListGrants(gs.ListGrantsRequest(project_id=scene.project_id))
    ).grants
    return next(grant for grant in rows if grant.target_id == target)


async def case_create_user(scene: Scene) -> Case:
    request = new_grant(scene, USER, scene.ids[FAY], WRITE)
    return project_change(scene, scene.grants(ANN), create_grant=request)


async def case_create_team(scene: Scene) -> Case:
    team = await scene.team(ANN, account_id=scene.account_id)
    await scene.add_to_team(ANN, team, DAN, MEMBER)
    await scene.add_to_team(ANN, team, FAY, MEMBER, guest=True)
    request = new_grant(scene, TEAM, team, WRITE)
    return project_change(scene, scene.grants(ANN), create_grant=request)


async def case_create_account(scene: Scene) -> Case:
    request = new_grant(scene, ACCOUNT, scene.account_id, MANAGE)
    return project_change(scene, scene.grants(ANN), create_grant=request)


async def case_update(scene: Scene) -> Case:
    grant = await grant_to(scene, scene.team_id)
    request: Any = gs.UpdateGrantRequest(
        grant=Grant(
            project_id=scene.project_id,
            grant_id=grant.grant_id,
            permissions=[MANAGE],
        ),
        update_mask=FieldMask(paths=["permissions"]),
    )
    return project_change(scene, scene.grants(ANN), update_grant=request)


async def case_revoke(scene: Scene) -> Case:
    grant = await grant_to(scene, scene.team_id)
    request = gs.RevokeGrantRequest(project_id=scene.project_id, grant_id=grant.grant_id)
    return project_change(scene, scene.grants(ANN), revoke_grant=request)


async def case_move_home(scene: Scene) -> Case:
    """Out of the account: the fallback and the team's grant end."""
    session = await scene.identity(ANN).GetSession(ids.GetSessionRequest())
    workspace = session.session.user.personal_workspace_id
    request = ps.AssignProjectRequest(project_id=scene.project_id, workspace_id=workspace)
    return project_change(scene, scene.projects(ANN), assign_project=request)


async def case_assign_team(scene: Scene) -> Case:
    team = await scene.team(ANN, account_id=scene.account_id)
    await scene.add_to_team(ANN, team, DAN, MEMBER)
    request = ps.AssignProjectRequest(project_id=scene.project_id, team_id=team)
    return project_change(scene, scene.projects(ANN), assign_project=request)


async def case_restricted(scene: Scene) -> Case:
    request = ps.UpdateProjectRequest(
        project=Project(project_id=scene.project_id, restricted=True),
        update_mask=FieldMask(paths=["restricted"]),
    )
    return Case(
        gs.PreviewAccessChangeRequest(project_id=scene.project_id, restricted=True),
        lambda: scene.projects(ANN).UpdateProject(request),
    )


async def case_add_account_member(scene: Scene) -> Case:
    request = acs.AddAccountMemberRequest(
        account_id=scene.account_id, user_id=scene.ids[FAY], role=EDITOR
    )
    return membership(scene, scene.accounts(ANN), add_account_member=request)


async def case_role(scene: Scene) -> Case:
    request = account_member(scene, BOB, "role", role=VIEWER)
    return membership(scene, scene.accounts(ANN), update_account_member=request)


async def case_suspend_member(scene: Scene) -> Case:
    """What the account gives is muted, its teams included."""
    request = account_member(scene, BOB, "status", status=SUSPENDED)
    return membership(scene, scene.accounts(ANN), update_account_member=request)


async def case_reactivate_member(scene: Scene) -> Case:
    await scene.member(ANN, scene.account_id, BOB, "status", status=SUSPENDED)
    request = account_member(scene, BOB, "status", status=ACTIVE)
    return membership(scene, scene.accounts(ANN), update_account_member=request)


async def case_remove_member(scene: Scene) -> Case:
    """His own grants on the account's projects go as well."""
    await scene.grant(ANN, USER, scene.ids[BOB], MANAGE)
    request = acs.RemoveAccountMemberRequest(account_id=scene.account_id, user_id=scene.ids[BOB])
    return membership(scene, scene.accounts(ANN), remove_account_member=request)


async def case_add_team_member(scene: Scene) -> Case:
    request = tms.AddTeamMemberRequest(
        team_id=scene.team_id, user_id=scene.ids[DAN], role=MEMBER  # type: ignore[arg-type]
    )
    return membership(scene, scene.teams(ANN), add_team_member=request)


async def case_suspend_team_member(scene: Scene) -> Case:
    request = team_member(scene, CAT, "status", status=SUSPENDED)
    return membership(scene, scene.teams(ANN), update_team_member=request)


async def case_remove_team_member(scene: Scene) -> Case:
    request = tms.RemoveTeamMemberRequest(team_id=scene.team_id, user_id=scene.ids[CAT])
    return membership(scene, scene.teams(ANN), remove_team_member=request)


async def case_archive_team(scene: Scene) -> Case:
    request = tms.ArchiveTeamRequest(team_id=scene.team_id)
    return membership(scene, scene.teams(ANN), archive_team=request)


async def _account_status(scene: Scene, status: int) -> Case:
    request: Any = acs.SetAccountStatusRequest(
        account_id=scene.account_id,
        status=status,  # type: ignore[arg-type]
    )
    return membership(scene, scene.accounts(ANN), set_account_status=request)


async def case_suspend_account(scene: Scene) -> Case:
    return await _account_status(scene, AccountStatus.ACCOUNT_STATUS_SUSPENDED)


async def case_archive_account(scene: Scene) -> Case:
    return await _account_status(scene, AccountStatus.ACCOUNT_STATUS_ARCHIVED)


async def case_disable_user(scene: Scene) -> Case:
    await scene.bootstrap(ANN)
    change = DisableUserChange(user_id=scene.ids[EVE])
    return membership(scene, scene.identity(ANN), disable_user=change)


CASES: dict[str, Callable[[Scene], Awaitable[Case]]] = {
    name.removeprefix("case_"): function
    for name, function in list(globals().items())
    if name.startswith("case_")
}


def difference(before: dict[str, set[int]], after: dict[str, set[int]]) -> Changed:
    both = {user: (after[user] - held, held - after[user]) for user, held in before.items()}
    return {user: change for user, change in both.items() if any(change)}


async def previewed(scene: Scene, case: Case, *, size: int) -> tuple[Changed, list[int]]:
    """Entries of all pages, and the sums of the counts."""
    request, counts, found = case.preview, [0, 0, 0], Changed()
    request.page_size, request.page_token = size, ""
    while True:
        answer = await scene.grants(case.by).PreviewAccessChange(request)
        assert len(answer.entries) <= size
        for entry in answer.entries:
            assert entry.user_id > max(found, default=""), "in order of user id, each once"
            found[entry.user_id] = (set(entry.gained), set(entry.lost))
        given = (answer.gaining_count, answer.losing_count, answer.hidden_count)
        counts = [total + one for total, one in zip(counts, given, strict=True)]
        if not answer.next_page_token:
            return found, counts
        request.page_token = answer.next_page_token


@pytest.mark.parametrize("name", CASES)
async def test_it_says_what_the_change_does_and_writes_nothing(scene: Scene, name: str) -> None:
    case = await CASES[name](scene)
    before = await scene.table()
    cursor = await scene.ws.records.tail()
    told, counts = await previewed(scene, case, size=500)
    n = len(told)
    for size in {1, 2, n - 1, n, n + 1} - {0, -1}:
        assert await previewed(scene, case, size=size) == (told, counts)
    assert not await written_since(scene.ws, cursor), "the feed is empty"
    assert await scene.table() == before
    await case.make()
    assert await written_since(scene.ws, cursor), "the control: the change itself shows"
    after = await scene.table()
    assert told == difference(before, after)
    assert told, "a case that changes nothing proves nothing"
    gaining = sum(bool(gained) for gained, _ in told.values())
    losing = sum(bool(lost) for _, lost in told.values())
    assert counts == [gaining, losing, 0]


async def refusal_of(call: Awaitable[Any]) -> tuple[Any, str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), reason_of(caught.value), str(caught.value.details())


async def bad_changes(scene: Scene) -> dict[str, Case]:
    """Changes that are refused, for all the reasons there are. fay manages the
    project, and nothing else."""
    await scene.grant(ANN, USER, scene.ids[FAY], MANAGE)
    own = await grant_to(scene, scene.ids[FAY])
    anns = await grant_to(scene, scene.ids[ANN])
    fays, stub = scene.grants(FAY), scene.accounts(FAY)
    found = {
        "more than one holds": project_change(
            scene, fays, create_grant=new_grant(scene, USER, scene.ids[CAT], WRITE)
        ),
        "an owner grant by a manager": project_change(
            scene, fays, create_grant=new_grant(scene, USER, scene.ids[CAT], OWNER)
        ),
        "outside without share_project": project_change(
            scene, fays, create_grant=new_grant(scene, USER, scene.ids[CAT], VIEW)
        ),
        "no grant": project_change(
            scene,
            fays,
            revoke_grant=gs.RevokeGrantRequest(project_id=scene.project_id, grant_id="g_none"),
        ),
        "the owner's grant": project_change(
            scene,
            fays,
            revoke_grant=gs.RevokeGrantRequest(
                project_id=scene.project_id, grant_id=anns.grant_id
            ),
        ),
        "an old etag": project_change(
            scene,
            fays,
            revoke_grant=gs.RevokeGrantRequest(
                project_id=scene.project_id, grant_id=own.grant_id, etag="old"
            ),
        ),
        "a server-set field": project_change(
            scene,
            fays,
            update_grant=gs.UpdateGrantRequest(
                grant=Grant(
                    project_id=scene.project_id, grant_id=own.grant_id, created_by="u_other"
                ),
                update_mask=FieldMask(paths=["created_by"]),
            ),
        ),
        "one's own grant upward": project_change(
            scene,
            fays,
            update_grant=gs.UpdateGrantRequest(
                grant=Grant(
                    project_id=scene.project_id, grant_id=own.grant_id, permissions=[WRITE]
                ),
                update_mask=FieldMask(paths=["permissions"]),
            ),
        ),
        "a move by no owner": project_change(
            scene,
            scene.projects(FAY),
            assign_project=ps.AssignProjectRequest(
                project_id=scene.project_id, team_id=scene.team_id
            ),
        ),
        "a member of an account one does not manage": membership(
            scene, stub, update_account_member=account_member(scene, BOB, "role", role=VIEWER)
        ),
        "a team one does not administer": membership(
            scene, scene.teams(FAY), archive_team=tms.ArchiveTeamRequest(team_id=scene.team_id)
        ),
        "an account one does not manage": membership(
            scene,
            stub,
            set_account_status=acs.SetAccountStatusRequest(
                account_id=scene.account_id, status=AccountStatus.ACCOUNT_STATUS_SUSPENDED
            ),
        ),
        "a user, by no platform admin": membership(
            scene, scene.identity(FAY), disable_user=DisableUserChange(user_id=scene.ids[EVE])
        ),
    }
    for case in found.values():
        case.by = FAY
    return found | owners_changes(scene, anns)


def owners_changes(scene: Scene, anns: Grant) -> dict[str, Case]:
    """What even the owner of everything cannot do."""
    ann = scene.ids[ANN]
    return {
        "the last owner of the project": project_change(
            scene,
            scene.grants(ANN),
            revoke_grant=gs.RevokeGrantRequest(
                project_id=scene.project_id, grant_id=anns.grant_id
            ),
        ),
        "a second direct grant": project_change(
            scene, scene.grants(ANN), create_grant=new_grant(scene, USER, scene.ids[EVE], VIEW)
        ),
        "a grant to oneself": project_change(
            scene, scene.grants(ANN), create_grant=new_grant(scene, USER, ann, VIEW)
        ),
        "nobody there": project_change(
            scene, scene.grants(ANN), create_grant=new_grant(scene, USER, "u_nobody", VIEW)
        ),
        "the last owner of the account": membership(
            scene,
            scene.accounts(ANN),
            update_account_member=account_member(scene, ANN, "role", role=VIEWER),
        ),
        "no such member": membership(
            scene,
            scene.accounts(ANN),
            remove_account_member=acs.RemoveAccountMemberRequest(
                account_id=scene.account_id, user_id=scene.ids[FAY]
            ),
        ),
        "a status that nobody sets": membership(
            scene,
            scene.accounts(ANN),
            update_account_member=account_member(scene, BOB, "status", status=REMOVED),
        ),
        "a member twice": membership(
            scene,
            scene.accounts(ANN),
            add_account_member=acs.AddAccountMemberRequest(
                account_id=scene.account_id, user_id=scene.ids[BOB], role=VIEWER
            ),
        ),
        "a stranger as a team member": membership(
            scene,
            scene.teams(ANN),
            add_team_member=tms.AddTeamMemberRequest(
                team_id=scene.team_id,
                user_id=scene.ids[EVE],
                role=MEMBER,  # type: ignore[arg-type]
            ),
        ),
    }


async def test_it_refuses_as_the_change_does(scene: Scene) -> None:
    for name, case in (await bad_changes(scene)).items():
        cursor = await scene.ws.records.tail()
        tried = await refusal_of(scene.grants(case.by).PreviewAccessChange(case.preview))
        assert not await written_since(scene.ws, cursor), name
        assert tried == await refusal_of(case.make()), name


async def test_a_removed_member_is_not_tidied_up_by_a_preview(scene: Scene) -> None:
    """The change would repeat its clean-up before it says NOT_FOUND."""
    await scene.remove(ANN, scene.account_id, BOB)
    request = acs.RemoveAccountMemberRequest(account_id=scene.account_id, user_id=scene.ids[BOB])
    case = membership(scene, scene.accounts(ANN), remove_account_member=request)
    cursor = await scene.ws.records.tail()
    with refused("NOT_FOUND"):
        await scene.grants(ANN).PreviewAccessChange(case.preview)
    assert not await written_since(scene.ws, cursor)


async def test_it_needs_manage_access(scene: Scene) -> None:
    case = await case_create_user(scene)
    for email in (BOB, CAT, DAN, EVE, FAY):
        with refused("PERMISSION_DENIED"):
            await scene.grants(email).PreviewAccessChange(case.preview)
    grant = await grant_to(scene, scene.ids[EVE])
    own = gs.PreviewAccessChangeRequest(
        project_id=scene.project_id,
        revoke_grant=gs.RevokeGrantRequest(
            project_id=scene.project_id, grant_id=grant.grant_id
        ),
    )
    with refused("PERMISSION_DENIED"):  # revoking it needs nothing, looking at others does
        await scene.grants(EVE).PreviewAccessChange(own)


async def test_the_change_is_about_the_same_project(scene: Scene) -> None:
    other = await scene.project(ANN)
    for case in (
        await case_create_user(scene),
        await case_update(scene),
        await case_revoke(scene),
        await case_move_home(scene),
    ):
        case.preview.project_id = other
        with refused("INVALID_FIELD"):
            await scene.grants(ANN).PreviewAccessChange(case.preview)
    with refused("INVALID_FIELD"):
        await scene.grants(ANN).PreviewAccessChange(
            gs.PreviewAccessChangeRequest(project_id=other)
        )


async def test_what_changes_nothing_has_an_empty_answer(scene: Scene) -> None:
    answer = await scene.grants(ANN).PreviewAccessChange(
        gs.PreviewAccessChangeRequest(project_id=scene.project_id, restricted=False)
    )
    assert (len(answer.entries), answer.gaining_count, answer.losing_count) == (0, 0, 0)


async def hidden_gain(scene: Scene) -> tuple[Case, set[str]]:
    """eve comes to own the project and opens it to its account, of which she is
    no member: she learns how many gain, not who."""
    other = await scene.project(ANN, scene.account_id, restricted=True)
    scene.project_id = other
    await scene.grant(ANN, USER, scene.ids[EVE], OWNER)
    case = await case_restricted(scene)
    case.preview.restricted, case.by = False, EVE
    return case, {scene.ids[BOB], scene.ids[DAN]}


async def test_hidden_users_are_counted_and_not_named(scene: Scene) -> None:
    case, hidden = await hidden_gain(scene)
    for size in (1, 2, 3):
        told, counts = await previewed(scene, case, size=size)
        assert told == {}
        assert counts == [2, 0, 2]
    case.by = ANN  # a member sees the members
    told, counts = await previewed(scene, case, size=1)
    assert set(told) == hidden
    assert counts == [2, 0, 0]


async def test_page_tokens_tell_nothing_of_the_hidden(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.model import base64url

    monkeypatch.setattr(preview, "MOST_EXAMINED", 1)
    monkeypatch.setattr(candidate_users, "_BATCH", 1)
    case, hidden = await hidden_gain(scene)
    _, counts = await previewed(scene, case, size=1)
    assert counts == [2, 0, 2], "bounded work is resumed and never cut"
    request = case.preview
    request.page_token = ""
    while True:
        answer = await scene.grants(EVE).PreviewAccessChange(request)
        if not answer.next_page_token:
            break
        raw = base64url.decode(answer.next_page_token)
        assert not any(user.encode() in raw for user in hidden | set(scene.ids.values()))
        request.page_token = answer.next_page_token


async def test_a_token_is_bound_to_caller_and_change(scene: Scene) -> None:
    await scene.grant(ANN, USER, scene.ids[FAY], OWNER)
    request = (await case_restricted(scene)).preview
    request.page_size = 1
    request.page_token = (await scene.grants(ANN).PreviewAccessChange(request)).next_page_token
    assert request.page_token
    with refused("INVALID_PAGE_TOKEN"):
        await scene.grants(FAY).PreviewAccessChange(request)
    request.restricted = False
    with refused("INVALID_PAGE_TOKEN"):
        await scene.grants(ANN).PreviewAccessChange(request)


async def test_an_address_names_the_receiver(scene: Scene) -> None:
    request: Any = gs.CreateGrantRequest(
        project_id=scene.project_id, target_type=USER, target_email=FAY, permissions=[REVIEW]
    )
    case = project_change(scene, scene.grants(ANN), create_grant=request)
    told, _ = await previewed(scene, case, size=2)
    assert told == {scene.ids[FAY]: ({VIEW, REVIEW}, set())}


async def test_the_gateway_answers_the_same(scene: Scene) -> None:
    case = await case_restricted(scene)
    told, counts = await previewed(scene, case, size=500)
    async with scene.ws.client(as_=ANN) as client:
        answer = await client.post(
            f"/api/projects/{scene.project_id}:previewAccessChange", json={"restricted": True}
        )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert {entry["user_id"] for entry in body["entries"]} == set(told)
    assert int(body["losing_count"]) == counts[1]


async def test_many_pages_are_complete(scene: Scene) -> None:
    """Forty more members of the account, over pages of every odd size."""
    for number in range(40):
        await scene.add_member(ANN, scene.account_id, f"member{number}@example.com", VIEWER)
    case = await case_restricted(scene)
    told, counts = await previewed(scene, case, size=500)
    assert len(told) == 40 + 2
    for size in (1, 2, 41, 42, 43):
        assert await previewed(scene, case, size=size) == (told, counts)
    rows = await every_page(
        scene.grants(ANN).PreviewAccessChange, case.preview, "entries", size=7
    )
    assert [row.user_id for row in rows] == sorted(told)
