"""Teams: administration, guests, root administrators, the tree."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from workspace.identity.v1 import account_pb2 as ac
from workspace.identity.v1 import account_service_pb2 as acs
from workspace.identity.v1 import team_pb2 as tm
from workspace.identity.v1 import team_service_pb2 as tms

import identity_svc.teams.teams
import identity_svc.teams.visible
from services.records.store import RecordStore
from tests.harness import Workspace
from tests.integration.identity.people import (
    ACCOUNT_ADMIN,
    ACTIVE,
    ADMIN,
    ADMINISTRATOR,
    ANN,
    BOB,
    CAT,
    DAN,
    EDITOR,
    MEMBER,
    REMOVED,
    SUSPENDED,
    People,
    reason_of,
    refused,
)


def _update(team_id: str, mask: str, **values: Any) -> tms.UpdateTeamRequest:
    request = tms.UpdateTeamRequest(team=tm.Team(team_id=team_id, **values))
    request.update_mask.paths.extend(mask.split(","))
    return request


def _transfer(team_id: str, user_id: str, **more: Any) -> tms.TransferRootAdminRequest:
    return tms.TransferRootAdminRequest(team_id=team_id, new_root_admin_user_id=user_id, **more)


async def _get(people: People, by: str, team_id: str) -> tm.Team:
    return (await people.teams(by).GetTeam(tms.GetTeamRequest(team_id=team_id))).team


async def test_create_needs_create_team(ws: Workspace) -> None:
    people = People(ws)
    ann, *_ = await people.sign_in(ANN, DAN)
    account = await people.account(ANN, bob=ADMINISTRATOR, cat=EDITOR)
    made = await people.teams(ANN).CreateTeam(
        tms.CreateTeamRequest(account_id=account, name="Crew")
    )
    assert made.team.root_admin_user_id == made.root_admin.user_id == ann
    assert (made.root_admin.role, made.root_admin.status) == (ADMIN, ACTIVE)
    assert made.team.scope_type == tm.TEAM_SCOPE_TYPE_ACCOUNT
    await people.team(BOB, account_id=account)
    for denied in (CAT, DAN):
        with refused("PERMISSION_DENIED"):
            await people.team(denied, account_id=account)
    own = await _get(people, DAN, await people.team(DAN))
    assert own.scope_type == tm.TEAM_SCOPE_TYPE_PERSONAL_WORKSPACE
    assert not own.account_id
    with refused("PERMISSION_DENIED"):
        await people.teams(ANN).CreateTeam(
            tms.CreateTeamRequest(workspace_id=own.workspace_id, name="X")
        )
    with refused("INVALID_FIELD"):
        await people.teams(DAN).CreateTeam(
            tms.CreateTeamRequest(account_id=own.workspace_id, name="X")
        )
    await people.accounts(ANN).SetAccountStatus(
        acs.SetAccountStatusRequest(account_id=account, status=ac.ACCOUNT_STATUS_ARCHIVED)
    )
    with refused("INVALID_STATE"):
        await people.team(ANN, account_id=account)


async def test_who_sees_a_team(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    account = await people.account(ANN, bob=ACCOUNT_ADMIN, cat=EDITOR, dan=EDITOR)
    team = await people.team(ANN, account_id=account)
    await people.add_to_team(ANN, team, CAT, MEMBER)
    for allowed in (ANN, BOB, CAT):
        assert (await _get(people, allowed, team)).team_id == team
        request = tms.ListTeamMembersRequest(team_id=team)
        members = await people.teams(allowed).ListTeamMembers(request)
        assert {m.email for m in members.members} == {ANN, CAT}
    with refused("PERMISSION_DENIED"):
        await _get(people, DAN, team)
    with refused("PERMISSION_DENIED"):
        await people.teams(DAN).ListTeamMembers(tms.ListTeamMembersRequest(team_id=team))
    await people.member(ANN, account, CAT, "status", status=SUSPENDED)  # mutes the team too
    with refused("PERMISSION_DENIED"):
        await _get(people, CAT, team)


async def test_lists_of_teams(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN, DAN)
    account = await people.account(ANN, bob=ACCOUNT_ADMIN)
    in_account = {await people.team(ANN, account_id=account) for _ in range(3)}
    private = await people.team(ANN)
    stranger = await people.team(DAN)

    async def all_of(who: str, **filters: Any) -> list[str]:
        seen, token = list[str](), ""
        while True:
            page = await people.teams(who).ListTeams(
                tms.ListTeamsRequest(page_size=2, page_token=token, **filters)
            )
            seen += [team.team_id for team in page.teams]
            token = page.next_page_token
            if not token:
                return seen

    assert await all_of(ANN) == sorted(in_account | {private})
    assert await all_of(BOB) == sorted(in_account)
    assert await all_of(BOB, account_id=account) == sorted(in_account)
    assert await all_of(DAN) == [stranger]
    assert await all_of(DAN, account_id=account) == []
    assert await all_of(ANN, scope_type=tm.TEAM_SCOPE_TYPE_PERSONAL_WORKSPACE) == [private]
    with refused("INVALID_PAGE_TOKEN"):
        await people.teams(ANN).ListTeams(tms.ListTeamsRequest(page_token="x"))


async def _listed(people: People, who: str, **arguments: Any) -> tuple[list[str], int]:
    """Team ids of all pages, and how many pages there were."""
    request, found, pages = tms.ListTeamsRequest(**arguments), list[str](), 0
    while True:
        page = await people.teams(who).ListTeams(request)
        found, pages = found + [team.team_id for team in page.teams], pages + 1
        if not page.next_page_token:
            return found, pages
        request.page_token = page.next_page_token


@pytest.mark.parametrize("size", [1, 2, 3, 50])
async def test_merged_lists_are_complete_in_order_and_bounded(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Ann's teams come from two accounts, her workspace and a membership at once."""
    people = People(ws)
    await people.sign_in(ANN, BOB)
    accounts = [await people.account(ANN, bob=EDITOR) for _ in range(2)]
    made = [await people.team(ANN, account_id=account) for account in accounts for _ in range(3)]
    made.append(await people.team(ANN))
    foreign = await people.team(BOB)
    await people.add_to_team(BOB, foreign, ANN, MEMBER)
    assert await _listed(people, ANN, page_size=size) == (
        sorted([*made, foreign]), -(-8 // size)
    )
    # Bob is in none of ann's teams; as a member he finds what he is in.
    await people.add_to_team(ANN, made[4], BOB, MEMBER)
    assert (await _listed(people, BOB, page_size=size))[0] == sorted([foreign, made[4]])
    monkeypatch.setattr(identity_svc.teams.visible, "_FIRST_READ", 1)
    monkeypatch.setattr(identity_svc.teams.visible, "_LONGEST_READ", 1)
    monkeypatch.setattr(identity_svc.teams.teams, "_MOST_CANDIDATES", 2)
    standalone = tm.TEAM_SCOPE_TYPE_STANDALONE
    found, pages = await _listed(people, ANN, page_size=50, scope_type=standalone)
    assert (found, pages) == ([], 4)  # eight candidates, two in each call
    assert (await _listed(people, ANN, page_size=size))[0] == sorted([*made, foreign])


async def test_a_name_that_is_no_longer_taken_hinders_no_other_change(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    team, teams = await people.team(ANN), people.teams(ANN)
    name = "x\u2764\ufe0f\ufe0f"  # releases took it
    with monkeypatch.context() as patch:
        patch.setattr(identity_svc.teams.teams, "validate_name", lambda _, text, **__: text)
        await teams.UpdateTeam(_update(team, "name", name=name))
    changed = await teams.UpdateTeam(_update(team, "description", description="d"))
    assert (changed.team.name, changed.team.description) == (name, "d")
    with refused("INVALID_FIELD"):
        await teams.UpdateTeam(_update(team, "name", name=name + "y"))


async def test_administrators_change_a_team(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    account = await people.account(ANN, bob=ACCOUNT_ADMIN, cat=EDITOR)
    team = await people.team(ANN, account_id=account)
    await people.add_to_team(ANN, team, CAT, MEMBER)
    assert (await people.teams(BOB).UpdateTeam(_update(team, "name", name="N"))).team.name == "N"
    with refused("PERMISSION_DENIED"):
        await people.teams(CAT).UpdateTeam(_update(team, "name", name="X"))
    await people.team_member(BOB, team, CAT, "role", role=ADMIN)
    await people.teams(CAT).UpdateTeam(_update(team, "description", description="d"))
    for field in ("status", "root_admin_user_id", "account_id", "nope"):
        with refused("INVALID_MASK"):
            await people.teams(ANN).UpdateTeam(_update(team, field))
    with refused("ETAG_MISMATCH"):
        await people.teams(ANN).UpdateTeam(_update(team, "name", name="X", etag='"x"'))
    with refused("ETAG_MISMATCH"):
        await people.teams(ANN).ArchiveTeam(tms.ArchiveTeamRequest(team_id=team, etag='"x"'))


async def test_an_archived_team_stays_as_it_was(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    account = await people.account(ANN, bob=EDITOR, cat=EDITOR)
    team = await people.team(ANN, account_id=account)
    await people.add_to_team(ANN, team, BOB, MEMBER)
    with refused("PERMISSION_DENIED"):
        await people.teams(BOB).ArchiveTeam(tms.ArchiveTeamRequest(team_id=team))
    first = await people.teams(ANN).ArchiveTeam(tms.ArchiveTeamRequest(team_id=team))
    again = await people.teams(ANN).ArchiveTeam(tms.ArchiveTeamRequest(team_id=team))
    assert first.team.status == tm.TEAM_STATUS_ARCHIVED
    assert again.team.etag == first.team.etag
    (bob,) = await people.sign_in(BOB)
    for attempt in (
        people.teams(ANN).UpdateTeam(_update(team, "name", name="X")),
        people.add_to_team(ANN, team, CAT, MEMBER),
        people.team_member(ANN, team, BOB, "role", role=ADMIN),
        people.teams(ANN).TransferRootAdmin(_transfer(team, bob)),
    ):
        with refused("INVALID_STATE"):
            await attempt
    assert (await people.fact(BOB, team_id=team)).team_status == tm.TEAM_STATUS_ARCHIVED


@pytest.mark.case("G03")
async def test_co_administrators_do_not_let_themselves_in(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    account = await people.account(ANN, bob=ACCOUNT_ADMIN, cat=EDITOR)
    team = await people.team(ANN, account_id=account)
    with refused("PERMISSION_DENIED"):
        await people.add_to_team(BOB, team, BOB, MEMBER)
    with refused("PERMISSION_DENIED"):
        await people.teams(BOB).AddTeamMember(
            tms.AddTeamMemberRequest(team_id=team, email=BOB, role=MEMBER)
        )
    await people.add_to_team(BOB, team, CAT, MEMBER)
    await people.add_to_team(ANN, team, BOB, MEMBER)
    await people.team_member(ANN, team, BOB, "status", status=SUSPENDED)
    with refused("PERMISSION_DENIED"):
        await people.team_member(BOB, team, BOB, "status", status=ACTIVE)
    await people.remove_from_team(BOB, team, BOB)
    with refused("PERMISSION_DENIED"):
        await people.add_to_team(BOB, team, BOB, ADMIN)


async def test_outsiders_are_guests_and_insiders_are_not(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN, DAN)
    account = await people.account(ANN, bob=EDITOR)
    team = await people.team(ANN, account_id=account)
    with refused("INVALID_STATE"):
        await people.add_to_team(ANN, team, DAN, MEMBER)
    with refused("INVALID_STATE"):
        await people.add_to_team(ANN, team, BOB, MEMBER, guest=True)
    await people.add_to_team(ANN, team, BOB, ADMIN)
    with refused("PERMISSION_DENIED"):  # a team admin without invite_members
        await people.add_to_team(BOB, team, DAN, MEMBER, guest=True)
    added = await people.add_to_team(ANN, team, DAN, MEMBER, guest=True)
    assert added.member.guest
    with refused("ALREADY_EXISTS"):
        await people.add_to_team(ANN, team, DAN, MEMBER, guest=True)
    with refused("INVALID_STATE"):
        await people.team_member(ANN, team, DAN, "guest", guest=False)
    private = await people.team(ANN)
    with refused("INVALID_FIELD"):
        await people.add_to_team(ANN, private, DAN, MEMBER, guest=True)
    await people.add_to_team(ANN, private, DAN, MEMBER)
    with refused("NOT_FOUND"):
        await people.teams(ANN).AddTeamMember(
            tms.AddTeamMemberRequest(team_id=private, user_id="u_nobody", role=MEMBER)
        )


async def test_member_rules(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN, DAN)
    team = await people.team(ANN)
    await people.add_to_team(ANN, team, BOB, MEMBER)
    await people.add_to_team(ANN, team, CAT, MEMBER)
    with refused("PERMISSION_DENIED"):
        await people.remove_from_team(BOB, team, CAT)
    with refused("PERMISSION_DENIED"):
        await people.team_member(BOB, team, BOB, "role", role=ADMIN)
    for mask in ("email", "created_at", "nope"):
        with refused("INVALID_MASK"):
            await people.team_member(ANN, team, BOB, mask)
    with refused("INVALID_FIELD"):
        await people.team_member(ANN, team, BOB, "status", status=REMOVED)
    with refused("ETAG_MISMATCH"):
        await people.team_member(ANN, team, BOB, "role", role=ADMIN, etag='"x"')
    with refused("NOT_FOUND"):
        await people.team_member(ANN, team, DAN, "role", role=ADMIN)
    left = await people.remove_from_team(BOB, team, BOB)
    assert left.member.status == REMOVED
    with refused("INVALID_STATE"):
        await people.team_member(ANN, team, BOB, "role", role=ADMIN)
    with refused("NOT_FOUND"):
        await people.remove_from_team(ANN, team, BOB)
    back = await people.add_to_team(ANN, team, BOB, MEMBER)
    assert back.member.status == ACTIVE
    gone = await people.teams(ANN).ListTeamMembers(
        tms.ListTeamMembersRequest(team_id=team, status=REMOVED)
    )
    assert not gone.members


@pytest.mark.case("G09")
async def test_the_last_root_administrator_stays(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    team = await people.team(ANN)
    await people.add_to_team(ANN, team, BOB, ADMIN)
    (bob,) = await people.sign_in(BOB)
    for by in (ANN, BOB):
        with refused("LAST_OWNER"):
            await people.remove_from_team(by, team, ANN)
        with refused("LAST_OWNER"):
            await people.team_member(by, team, ANN, "status", status=SUSPENDED)
        with refused("LAST_OWNER"):
            await people.team_member(by, team, ANN, "role", role=MEMBER)
    with refused("PERMISSION_DENIED"):
        await people.teams(BOB).TransferRootAdmin(_transfer(team, bob))
    answer = await people.teams(ANN).TransferRootAdmin(_transfer(team, bob))
    assert answer.team.root_admin_user_id == bob
    assert (await people.remove_from_team(ANN, team, ANN)).member.status == REMOVED


async def test_in_an_account_the_root_administrator_may_leave(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    account = await people.account(ANN)
    team = await people.team(ANN, account_id=account)
    assert (await people.remove_from_team(ANN, team, ANN)).member.status == REMOVED
    assert (await people.fact(ANN, team_id=team)).member_status == REMOVED


async def test_root_administration_goes_to_active_members_only(ws: Workspace) -> None:
    people = People(ws)
    _, bob, dan = await people.sign_in(ANN, BOB, DAN)
    team = await people.team(ANN)
    await people.add_to_team(ANN, team, BOB, MEMBER)
    with refused("INVALID_STATE"):
        await people.teams(ANN).TransferRootAdmin(_transfer(team, dan))
    with refused("ETAG_MISMATCH"):
        await people.teams(ANN).TransferRootAdmin(_transfer(team, bob, etag='"x"'))
    await people.team_member(ANN, team, BOB, "status", status=SUSPENDED)
    with refused("INVALID_STATE"):
        await people.teams(ANN).TransferRootAdmin(_transfer(team, bob))
    await people.team_member(ANN, team, BOB, "status", status=ACTIVE)
    await people.teams(ANN).TransferRootAdmin(_transfer(team, bob))
    assert (await people.fact(BOB, team_id=team)).team_role == ADMIN


@pytest.mark.parametrize("round_", range(8))
async def test_transfer_and_removal_race_leaves_a_root(ws: Workspace, round_: int) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    team = await people.team(ANN)
    await people.add_to_team(ANN, team, BOB, ADMIN)
    (bob,) = await people.sign_in(BOB)
    await asyncio.gather(
        people.teams(ANN).TransferRootAdmin(_transfer(team, bob)),
        people.remove_from_team(BOB, team, BOB),
        return_exceptions=True,
    )
    assert await _has_root(people, team)


async def test_without_if_head_a_removed_member_would_become_root(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The race of the test above is real: it is `if_head` that decides it."""
    people = People(ws)
    await people.sign_in(ANN)
    team = await people.team(ANN)
    await people.add_to_team(ANN, team, BOB, ADMIN)  # so his row is not part of the transfer
    (bob,) = await people.sign_in(BOB)
    commit, waiting, both = RecordStore.commit, [], asyncio.Event()

    async def blind(self: RecordStore, pk: str, *args: Any, **kwargs: Any) -> Any:
        if pk == f"TEAM#{team}":
            waiting.append(pk)
            if len(waiting) == 2:
                both.set()
            await both.wait()
        kwargs.pop("if_head", None)
        return await commit(self, pk, *args, **kwargs)

    monkeypatch.setattr(RecordStore, "commit", blind)
    await asyncio.gather(
        people.teams(ANN).TransferRootAdmin(_transfer(team, bob)),
        people.remove_from_team(BOB, team, BOB),
    )
    monkeypatch.undo()
    assert not await _has_root(people, team)


async def _has_root(people: People, team: str) -> bool:
    facts = [await people.fact(who, team_id=team) for who in (ANN, BOB)]
    return any(f.root_admin and f.member_status == ACTIVE and f.team_role == ADMIN for f in facts)


@pytest.mark.case("G11")
async def test_the_tree_has_one_scope_no_cycle_and_eight_levels(ws: Workspace) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    account = await people.account(ANN)
    chain = [await people.team(ANN, account_id=account)]
    for _ in range(7):
        chain.append(await people.team(ANN, account_id=account, parent_team_id=chain[-1]))
    with refused("INVALID_STATE"):
        await people.team(ANN, account_id=account, parent_team_id=chain[-1])
    teams = people.teams(ANN)
    for parent in (chain[0], chain[4], chain[7]):
        with refused("INVALID_STATE"):
            await teams.UpdateTeam(_update(chain[0], "parent_team_id", parent_team_id=parent))
    above = await people.team(ANN, account_id=account)
    with refused("INVALID_STATE"):  # the subtree would be too deep
        await teams.UpdateTeam(_update(chain[0], "parent_team_id", parent_team_id=above))
    await teams.UpdateTeam(_update(chain[1], "parent_team_id", parent_team_id=above))
    other = await people.team(ANN)
    for parent in (other, "t_nobody"):
        with refused("INVALID_STATE"):
            await teams.UpdateTeam(_update(above, "parent_team_id", parent_team_id=parent))
    archived = await people.team(ANN, account_id=account)
    await teams.ArchiveTeam(tms.ArchiveTeamRequest(team_id=archived))
    with refused("INVALID_STATE"):
        await teams.UpdateTeam(_update(above, "parent_team_id", parent_team_id=archived))
    cleared = await teams.UpdateTeam(_update(chain[1], "parent_team_id"))
    assert not cleared.team.parent_team_id


@pytest.mark.parametrize("round_", range(4))
async def test_two_moves_make_no_cycle_together(ws: Workspace, round_: int) -> None:
    people = People(ws)
    await people.sign_in(ANN)
    account = await people.account(ANN)
    one, two = [await people.team(ANN, account_id=account) for _ in range(2)]
    teams = people.teams(ANN)
    outcomes = await asyncio.gather(
        teams.UpdateTeam(_update(one, "parent_team_id", parent_team_id=two)),
        teams.UpdateTeam(_update(two, "parent_team_id", parent_team_id=one)),
        return_exceptions=True,
    )
    assert "INVALID_STATE" in [reason_of(e) for e in outcomes if isinstance(e, BaseException)]
    parents = [(await _get(people, ANN, team)).parent_team_id for team in (one, two)]
    assert not all(parents)
