"""Account roles, capabilities, team administration: whole tables."""

from __future__ import annotations

import itertools

import pytest
from workspace.identity.v1.account_pb2 import AccountCapability, AccountRole
from workspace.identity.v1.team_pb2 import TeamRole

from services.model import roles

OWNER, ACCOUNT_ADMIN, ADMINISTRATOR, EDITOR, VIEWER = range(1, 6)
LADDER = [OWNER, ACCOUNT_ADMIN, ADMINISTRATOR, EDITOR, VIEWER]
EVERYONE = range(-1, 8)
MANAGE, PROJECT, TEAM, INVITE, SHARE = range(1, 6)


def test_the_numbers_of_this_test_are_those_of_the_contract() -> None:
    names = ["OWNER", "ACCOUNT_ADMIN", "ADMINISTRATOR", "EDITOR", "VIEWER"]
    assert [AccountRole.Value(f"ACCOUNT_ROLE_{n}") for n in names] == LADDER
    names = ["MANAGE_ACCOUNT", "CREATE_PROJECT", "CREATE_TEAM", "INVITE_MEMBERS", "SHARE_PROJECT"]
    assert [AccountCapability.Value(f"ACCOUNT_CAPABILITY_{n}") for n in names] == [1, 2, 3, 4, 5]
    assert [TeamRole.Value(f"TEAM_ROLE_{n}") for n in ("ADMIN", "MEMBER", "VIEWER")] == [1, 2, 3]


def test_every_role_of_the_contract_has_capabilities_and_a_rank() -> None:
    known = [value for value in AccountRole.values() if value]
    assert all(roles.outranks_or_equals(role, role) for role in known)
    assert frozenset(v for v in AccountCapability.values() if v) == roles.ALL_CAPABILITIES


def test_capabilities_of_roles() -> None:
    everything = {MANAGE, PROJECT, TEAM, INVITE, SHARE}
    assert roles.capabilities(OWNER) == everything
    assert roles.capabilities(ACCOUNT_ADMIN) == everything
    assert roles.capabilities(ADMINISTRATOR) == {PROJECT, TEAM, INVITE, SHARE}
    assert roles.capabilities(EDITOR) == {PROJECT}
    assert roles.capabilities(VIEWER) == set()
    assert roles.capabilities(0) == roles.capabilities(99) == set()


def test_explicit_permissions_add() -> None:
    assert roles.capabilities(VIEWER, [SHARE]) == {SHARE}
    assert roles.capabilities(ADMINISTRATOR, [MANAGE]) == roles.ALL_CAPABILITIES
    assert roles.capabilities(VIEWER, [0, 99]) == set()


def test_effective_capabilities() -> None:
    for role, member, account in itertools.product(LADDER, range(5), range(4)):
        got = roles.effective_capabilities(
            role, [SHARE], member_status=member, account_status=account
        )
        held = roles.capabilities(role, [SHARE])
        if member != 2:
            assert got == set()
        elif account == 1:
            assert got == held
        else:
            assert got == held & {MANAGE}


def test_roles_above_ones_own_cannot_be_given() -> None:
    for actor, target in itertools.product(EVERYONE, EVERYONE):
        known = actor in LADDER and target in LADDER
        allowed = known and LADDER.index(actor) <= LADDER.index(target)
        assert roles.may_assign_role(actor, target) == allowed
    assert [role for role in EVERYONE if roles.may_assign_role(role, OWNER)] == [OWNER]


def test_a_role_one_cannot_give_one_cannot_take() -> None:
    for actor, old, new in itertools.product(LADDER, repeat=3):
        top = min(LADDER.index(old), LADDER.index(new))
        assert roles.may_change_member(actor, old, new) == (LADDER.index(actor) <= top)


def test_co_administration() -> None:
    for role, member, account in itertools.product(EVERYONE, range(5), range(4)):
        got = roles.co_administers(account_role=role, member_status=member, account_status=account)
        assert got == ((role, member, account) in {(OWNER, 2, 1), (ACCOUNT_ADMIN, 2, 1)})


@pytest.mark.parametrize("guest", [False, True])
def test_what_the_account_mutes(guest: bool) -> None:
    for scope, account, member in itertools.product(range(4), range(4), range(5)):
        muted = roles.team_mutes_member(
            scope_type=scope, guest=guest, account_status=account, account_member_status=member
        )
        if scope != 1:
            assert not muted
        elif account in (0, 2):  # absent, suspended; archived counts as active
            assert muted
        else:
            # 0 none, 1 invited, 2 active, 3 suspended, 4 removed
            assert muted == {0: not guest, 1: not guest, 2: False, 3: True, 4: not guest}[member]


def test_who_administers_a_team() -> None:
    grid = itertools.product(range(4), range(3), range(4), range(5), [False, True], range(4),
                             range(5), range(6))  # fmt: skip
    count = 0
    for scope, team, team_role, member, guest, account, account_member, account_role in grid:
        got = roles.administers_team(
            scope_type=scope,
            team_status=team,
            team_role=team_role,
            member_status=member,
            guest=guest,
            account_status=account,
            account_member_status=account_member,
            account_role=account_role,
        )
        co_admin = scope == 1 and account == 1 and account_member == 2 and account_role in (1, 2)
        own = team_role == 1 and member == 2
        if scope == 1:
            stranger = guest and account_member in (0, 1, 4)
            own = own and account in (1, 3) and (account_member == 2 or stranger)
        assert got == (team == 1 and (co_admin or own))
        count += got
    assert count


def test_nobody_lets_himself_in() -> None:
    assert roles.may_admit_to_team("u", "v", administers=True)
    assert not roles.may_admit_to_team("u", "u", administers=True)
    assert not roles.may_admit_to_team("u", "v", administers=False)
