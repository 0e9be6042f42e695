"""PreviewMembershipChange: the projects a person gains and loses, to the right.

Each case previews a change, makes it, and compares with what CheckPermission
said before and says after, on every project there is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

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

from project_svc.access import candidate_users
from project_svc.previews import memberships as preview_memberships
from tests.harness import Workspace
from tests.integration.identity.people import (
    ACTIVE,
    ADMINISTRATOR,
    ANN,
    BOB,
    DAN,
    EDITOR,
    MEMBER,
    SUSPENDED,
    VIEWER,
    refused,
)
from tests.integration.project.scene import (
    ACCOUNT,
    EVE,
    FAY,
    LADDER,
    OWNER,
    TEAM,
    USER,
    VIEW,
    WRITE,
    Scene,
    written_since,
)

Changed = dict[str, tuple[set[int], set[int]]]


class Many(Scene):
    """Projects that bob reaches in every way: open, by team, by account, by a
    grant of his own, and some that have nothing to do with the account."""

    async def fill(self) -> Many:
        account = self.account_id
        self.open = [self.project_id, await self.project(ANN, account, restricted=False)]
        self.by_team = await self.project(ANN, account, restricted=True)
        await self.grant(ANN, TEAM, self.team_id, WRITE, project=self.by_team)
        self.by_account = await self.project(ANN, account, restricted=True)
        await self.grant(ANN, ACCOUNT, account, VIEW, project=self.by_account)
        self.own_grant = await self.project(ANN, account, restricted=True)
        await self.grant(ANN, USER, self.ids[BOB], WRITE, project=self.own_grant)
        self.closed = await self.project(ANN, account, restricted=True)
        self.private = await self.project(BOB)
        self.elsewhere = await self.project(EVE)
        await self.grant(EVE, USER, self.ids[BOB], VIEW, project=self.elsewhere)
        self.all = [
            *self.open, self.by_team, self.by_account, self.own_grant, self.closed,
            self.private, self.elsewhere,
        ]  # fmt: skip
        return self

    async def held(self, email: str) -> dict[str, set[int]]:
        """What CheckPermission says of one person, by project."""
        return {
            project: {p for p in LADDER if await self.check(email, p, project)}
            for project in self.all
        }


@pytest_asyncio.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Many]:
    async with Workspace.open(tmp_path) as ws:
        scene = Many(ws)
        await scene.make()
        yield await scene.fill()


def difference(before: dict[str, set[int]], after: dict[str, set[int]]) -> Changed:
    both = {each: (after[each] - held, held - after[each]) for each, held in before.items()}
    return {each: change for each, change in both.items() if any(change)}


async def previewed(
    scene: Scene, *, size: int = 500, as_: str = ANN, **change: Any
) -> tuple[Changed, list[int]]:
    """Entries of all pages, and the sums of the counts."""
    request = gs.PreviewMembershipChangeRequest(
        change=ProposedMembershipChange(**change), page_size=size
    )
    found, counts = Changed(), [0, 0, 0]
    while True:
        answer = await scene.grants(as_).PreviewMembershipChange(request)
        assert len(answer.entries) <= size
        for entry in answer.entries:
            assert entry.project_id > max(found, default=""), "in order of id, each once"
            found[entry.project_id] = (set(entry.gained), set(entry.lost))
        given = (answer.gaining_count, answer.losing_count, answer.hidden_count)
        counts = [total + one for total, one in zip(counts, given, strict=True)]
        if not answer.next_page_token:
            return found, counts
        request.page_token = answer.next_page_token


def update(scene: Scene, email: str, mask: str, **values: Any) -> dict[str, Any]:
    return {
        "update_account_member": acs.UpdateAccountMemberRequest(
            member=AccountMember(account_id=scene.account_id, user_id=scene.ids[email], **values),
            update_mask=FieldMask(paths=[mask]),
        )
    }


async def role_up(scene: Many) -> tuple[str, dict[str, Any]]:
    return BOB, update(scene, BOB, "role", role=ADMINISTRATOR)


async def role_down(scene: Many) -> tuple[str, dict[str, Any]]:
    return BOB, update(scene, BOB, "role", role=VIEWER)


async def suspended(scene: Many) -> tuple[str, dict[str, Any]]:
    return BOB, update(scene, BOB, "status", status=SUSPENDED)


async def reactivated(scene: Many) -> tuple[str, dict[str, Any]]:
    await scene.member(ANN, scene.account_id, BOB, "status", status=SUSPENDED)
    return BOB, update(scene, BOB, "status", status=ACTIVE)


async def removed(scene: Many) -> tuple[str, dict[str, Any]]:
    request = acs.RemoveAccountMemberRequest(account_id=scene.account_id, user_id=scene.ids[BOB])
    return BOB, {"remove_account_member": request}


async def added(scene: Many) -> tuple[str, dict[str, Any]]:
    request = acs.AddAccountMemberRequest(
        account_id=scene.account_id, user_id=scene.ids[FAY], role=EDITOR
    )
    return FAY, {"add_account_member": request}


async def team_joined(scene: Many) -> tuple[str, dict[str, Any]]:
    request: Any = tms.AddTeamMemberRequest(
        team_id=scene.team_id,
        user_id=scene.ids[DAN],
        role=MEMBER,  # type: ignore[arg-type]
    )
    return DAN, {"add_team_member": request}


async def team_suspended(scene: Many) -> tuple[str, dict[str, Any]]:
    request = tms.UpdateTeamMemberRequest(
        member=TeamMember(team_id=scene.team_id, user_id=scene.ids[BOB], status=SUSPENDED),
        update_mask=FieldMask(paths=["status"]),
    )
    return BOB, {"update_team_member": request}


async def team_left(scene: Many) -> tuple[str, dict[str, Any]]:
    request = tms.RemoveTeamMemberRequest(team_id=scene.team_id, user_id=scene.ids[BOB])
    return BOB, {"remove_team_member": request}


CASES = (
    role_up, role_down, suspended, reactivated, removed, added, team_joined, team_suspended,
    team_left,
)  # fmt: skip
METHODS = {
    "add_account_member": ("accounts", "AddAccountMember"),
    "update_account_member": ("accounts", "UpdateAccountMember"),
    "remove_account_member": ("accounts", "RemoveAccountMember"),
    "add_team_member": ("teams", "AddTeamMember"),
    "update_team_member": ("teams", "UpdateTeamMember"),
    "remove_team_member": ("teams", "RemoveTeamMember"),
}


async def make(scene: Scene, by: str, change: dict[str, Any]) -> None:
    ((kind, request),) = change.items()
    stub, method = METHODS[kind]
    await getattr(getattr(scene, stub)(by), method)(request)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_it_says_what_the_change_does_and_writes_nothing(
    scene: Many, case: Callable[[Many], Awaitable[tuple[str, dict[str, Any]]]]
) -> None:
    email, change = await case(scene)
    before = await scene.held(email)
    cursor = await scene.ws.records.tail()
    told, counts = await previewed(scene, **change)
    n = len(told)
    for size in {1, 2, n - 1, n, n + 1} - {0, -1}:
        assert await previewed(scene, size=size, **change) == (told, counts)
    assert not await written_since(scene.ws, cursor)
    await make(scene, ANN, change)
    assert await written_since(scene.ws, cursor), "the control: the change itself shows"
    assert told == difference(before, await scene.held(email))
    assert told, "a case that changes nothing proves nothing"
    gaining = sum(bool(gained) for gained, _ in told.values())
    assert counts == [gaining, sum(bool(lost) for _, lost in told.values()), 0]


async def test_projects_of_others_are_counted_and_not_named(scene: Many) -> None:
    """Disabling bob closes all his projects: ann sees those that she manages."""
    await scene.bootstrap(ANN)
    change = {"disable_user": DisableUserChange(user_id=scene.ids[BOB])}
    before = await scene.held(BOB)
    for size in (1, 2, 3, 500):
        told, counts = await previewed(scene, size=size, **change)
        assert set(told) == {each for each, held in before.items() if held} - {
            scene.private,
            scene.elsewhere,
        }
        assert counts == [0, len(told) + 2, 2]
    await scene.identity(ANN).DisableUser(ids.DisableUserRequest(user_id=scene.ids[BOB]))
    assert not any((await scene.held(BOB)).values())


async def test_of_himself_a_person_sees_all_that_he_may_view(scene: Many) -> None:
    """bob leaves: he manages none of these projects, and sees what he loses."""
    _, change = await removed(scene)
    before = await scene.held(BOB)
    told, counts = await previewed(scene, as_=BOB, **change)
    assert counts == [0, len(told), 0]
    await make(scene, BOB, change)
    assert told == difference(before, await scene.held(BOB))


async def test_a_sole_owner_keeps_his_grant_when_he_is_removed(scene: Many) -> None:
    """A removal never leaves a project without an owner: the preview knows it."""
    kept = await scene.project(BOB, scene.account_id, restricted=True)
    scene.all.append(kept)
    _, change = await removed(scene)
    before = await scene.held(BOB)
    told, _ = await previewed(scene, as_=BOB, **change)
    assert kept not in told
    await make(scene, ANN, change)
    assert told == difference(before, await scene.held(BOB))
    assert OWNER in (await scene.held(BOB))[kept]


async def test_it_needs_what_the_change_needs_and_refuses_alike(scene: Many) -> None:
    for case, reason in ((role_up, "PERMISSION_DENIED"), (team_left, "PERMISSION_DENIED")):
        _, change = await case(scene)
        with refused(reason):
            await previewed(scene, as_=DAN, **change)
        with refused(reason):
            await make(scene, DAN, change)
    for change, reason in (
        (update(scene, ANN, "role", role=VIEWER), "LAST_OWNER"),
        (update(scene, FAY, "role", role=VIEWER), "NOT_FOUND"),
        (update(scene, BOB, "created_at"), "INVALID_MASK"),
    ):
        with refused(reason):
            await previewed(scene, **change)
        with refused(reason):
            await make(scene, ANN, change)
    with refused("PERMISSION_DENIED"):
        await previewed(scene, disable_user=DisableUserChange(user_id=scene.ids[BOB]))


async def test_a_change_of_many_is_for_the_other_preview(scene: Many) -> None:
    status = AccountStatus.ACCOUNT_STATUS_SUSPENDED
    for change in (
        {"archive_team": tms.ArchiveTeamRequest(team_id=scene.team_id)},
        {
            "set_account_status": acs.SetAccountStatusRequest(
                account_id=scene.account_id, status=status
            )
        },
    ):
        with refused("INVALID_FIELD"):
            await previewed(scene, **change)
    with refused("INVALID_FIELD"):
        await scene.grants(ANN).PreviewMembershipChange(gs.PreviewMembershipChangeRequest())


async def test_a_token_is_bound_to_caller_and_change(scene: Many) -> None:
    _, change = await suspended(scene)
    request = gs.PreviewMembershipChangeRequest(
        change=ProposedMembershipChange(**change), page_size=1
    )
    answer = await scene.grants(ANN).PreviewMembershipChange(request)
    request.page_token = answer.next_page_token
    assert request.page_token
    await scene.member(ANN, scene.account_id, DAN, "role", role=1)
    with refused("INVALID_PAGE_TOKEN"):
        await scene.grants(DAN).PreviewMembershipChange(request)
    request.change.update_account_member.member.status = ACTIVE
    with refused("INVALID_PAGE_TOKEN"):
        await scene.grants(ANN).PreviewMembershipChange(request)


async def test_bounded_work_is_resumed_and_never_cut(
    scene: Many, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, change = await suspended(scene)
    whole = await previewed(scene, **change)
    monkeypatch.setattr(preview_memberships, "MOST_EXAMINED", 2)
    monkeypatch.setattr(candidate_users, "_BATCH", 1)
    for size in (1, 2, 500):
        assert await previewed(scene, size=size, **change) == whole


async def test_the_gateway_answers_the_same(scene: Many) -> None:
    _, change = await suspended(scene)
    told, _ = await previewed(scene, **change)
    member = {
        "account_id": scene.account_id,
        "user_id": scene.ids[BOB],
        "status": "MEMBER_STATUS_SUSPENDED",
    }
    body = {"change": {"update_account_member": {"member": member, "update_mask": "status"}}}
    async with scene.ws.client(as_=ANN) as client:
        answer = await client.post("/api/access:previewMembershipChange", json=body)
    assert answer.status_code == 200, answer.text
    assert [entry["project_id"] for entry in answer.json()["entries"]] == sorted(told)
