"""The evaluator against an oracle written from model.md, and mutants that must be caught."""

from __future__ import annotations

import itertools
import random
import sys
import types
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.model import permissions as pm
from services.model.errors import Reason, WorkspaceError
from services.model.permissions import (
    ALL,
    COMMENT,
    MANAGE_ACCESS,
    OWNER,
    REVIEW,
    VIEW,
    WRITE,
    AccountFacts,
    Block,
    Cut,
    Effective,
    Facts,
    GrantFacts,
    ProjectFacts,
    Source,
    TeamFacts,
    Terms,
)
from tests.worlds.mutants import MUTANTS, PERMISSIONS, ROLES

NOW = datetime(2026, 5, 1, tzinfo=UTC)
EXPIRIES = [None, NOW - timedelta(days=1), NOW, NOW + timedelta(microseconds=1)]
USER, TEAM, ACCOUNT = 1, 2, 3  # GrantTargetType
ACTIVE, SUSPENDED, ARCHIVED = 1, 2, 3  # AccountStatus
INVITED, MEMBER, MUTED, REMOVED = 1, 2, 3, 4  # MemberStatus
SCOPED, PERSONAL, STANDALONE = 1, 2, 3  # TeamScopeType

# --- the oracle: one fact table at a time, strings instead of numbers, no shared code

RUNG = {1: "view", 2: "comment", 3: "review", 4: "write", 5: "manage_access", 6: "owner"}


def oracle(world: Facts, now: datetime) -> set[str]:
    """Straight from model.md, Effective permissions."""
    if world.user_status != 1:
        return set()
    home = world.project.account_id if world.project.account_id else world.project.workspace_id
    if home not in world.accounts:
        return set()
    home_state = {1: "active", 2: "suspended", 3: "archived"}.get(world.accounts[home].status)
    if home_state in (None, "suspended"):
        return set()

    my_accounts = {
        key for key, a in world.accounts.items() if a.status in (1, 3) and a.member_status == 2
    }
    my_teams = set()
    for key, team in world.teams.items():
        if (team.status, team.member_status) != (1, 2):
            continue
        if team.scope_type == 1:
            stranger_guest = team.guest and team.account_member_status in {0, 1, 4}
            if team.account_status not in {1, 3}:
                continue
            if team.account_member_status != 2 and not stranger_guest:
                continue
        my_teams.add(key)
    me = {(1, world.user_id)} | {(2, t) for t in my_teams} | {(3, a) for a in my_accounts}

    held: set[str] = set()
    for grant in world.grants:
        running = grant.status == 1 and not (grant.expires_at and grant.expires_at <= now)
        if not running or (grant.target_type, grant.target_id) not in me:
            continue
        words = {RUNG[p] for p in grant.permissions if p in RUNG}
        if grant.target_type != 1:
            words -= {"owner"}
        if "owner" in words:
            words = set(RUNG.values())
        held |= words | ({"view"} if words else set())
    if world.project.account_id in my_accounts and not world.project.restricted:
        by_role = {
            1: "view comment review write manage_access",
            2: "view comment review write manage_access",
            3: "view comment review write manage_access",
            4: "view comment review write",
            5: "view",
        }
        held |= set(by_role.get(world.accounts[world.project.account_id].role, "").split())
    return held & {"view"} if home_state == "archived" else held


# --- worlds

PERMISSION_SETS = [frozenset(c) for n in range(4) for c in itertools.combinations(range(7), n)]


def random_world(rng: random.Random) -> Facts:
    """Biased to the interesting: most things active, few of each."""
    account_ids, team_ids = ["a1", "a2", "w1"], ["t1", "t2"]
    mostly = lambda good, other: good if rng.random() < 0.7 else rng.choice(other)  # noqa: E731
    project = rng.choice(
        [
            ProjectFacts("p", account_id="a1"),
            ProjectFacts("p", account_id="a1", restricted=True),
            ProjectFacts("p", workspace_id="w1"),
        ]
    )
    accounts = {
        key: AccountFacts(
            status=mostly(1, [0, 2, 3]), member_status=mostly(2, range(5)), role=rng.randrange(6)
        )
        for key in account_ids
        if rng.random() < 0.9
    }
    teams = {
        key: TeamFacts(
            status=mostly(1, [0, 2]),
            scope_type=rng.randrange(1, 4),
            member_status=mostly(2, range(5)),
            guest=rng.random() < 0.5,
            account_id="a1",
            account_status=mostly(1, [0, 2, 3]),
            account_member_status=rng.randrange(5),
        )
        for key in team_ids
        if rng.random() < 0.9
    }
    targets = [(USER, "u"), (USER, "v"), (USER, "a1"), (0, "u")]
    targets += [(TEAM, t) for t in team_ids] + [(ACCOUNT, a) for a in account_ids]
    grants = tuple(
        GrantFacts(
            f"g{index}",
            *rng.choice(targets),
            rng.choice(PERMISSION_SETS),
            status=mostly(1, [0, 2]),
            expires_at=rng.choice(EXPIRIES),
            source=rng.randrange(1, 5),
        )
        for index in range(rng.choice([0, 1, 1, 2, 4]))
    )
    return Facts("u", mostly(1, range(4)), project, grants, accounts, teams)


CORPUS = [random_world(random.Random(seed)) for seed in range(6000)]


def disagreement(module: types.ModuleType, world: Facts) -> str:
    """Where the module and the oracle differ on a world; empty if nowhere."""
    expected = oracle(world, NOW)
    answer = module.evaluate(world, NOW)
    if {RUNG.get(p, "?") for p in answer.permissions} != expected:
        return "evaluate"
    held = module.held(world, NOW)
    if (held.permissions, held.cuts) != (answer.permissions, answer.cuts):
        return "held"
    for number in range(8):
        if module.allows(world, number, NOW) != (RUNG.get(number) in expected):
            return "allows"
    return ""


def test_evaluator_equals_oracle_on_the_corpus() -> None:
    wrong = [(world, where) for world in CORPUS if (where := disagreement(pm, world))]
    assert wrong == []


def test_corpus_is_not_one_sided() -> None:
    answers = [frozenset(oracle(world, NOW)) for world in CORPUS]
    assert sum(bool(a) for a in answers) > 1000
    assert sum(not a for a in answers) > 1000
    # Nothing, everything, and each of the 16 sets between with view in it.
    assert len(set(answers)) == 18
    assert any("owner" in a for a in answers)


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False))
def test_evaluator_equals_oracle_on_found_worlds(rng: random.Random) -> None:
    assert disagreement(pm, random_world(rng)) == ""


@settings(max_examples=200, deadline=None)
@given(st.randoms(use_true_random=False))
def test_sources_account_for_the_answer(rng: random.Random) -> None:
    world = random_world(rng)
    answer = pm.evaluate(world, NOW)
    union = frozenset().union(*(s.permissions for s in answer.sources))
    assert answer.permissions <= union
    if not answer.cuts:
        assert answer.permissions == union
    assert all(s.block is None and s.permissions for s in answer.sources)
    assert all(s.block is not None for s in answer.blocked)
    ids = [s.grant_id for s in (*answer.sources, *answer.blocked) if s.grant_id]
    assert len(ids) == len(set(ids))
    # Each source alone gives exactly what it claims.
    for source in answer.sources:
        if source.grant_id and not answer.cuts:
            grants = tuple(g for g in world.grants if g.grant_id == source.grant_id)
            project = replace(world.project, restricted=True)
            alone = pm.evaluate(replace(world, grants=grants, project=project), NOW)
            assert alone.permissions == source.permissions


@settings(max_examples=200, deadline=None)
@given(st.randoms(use_true_random=False))
def test_metamorphic(rng: random.Random) -> None:
    world = random_world(rng)
    held = pm.evaluate(world, NOW).permissions
    shuffled = list(world.grants)
    rng.shuffle(shuffled)
    assert pm.evaluate(replace(world, grants=tuple(shuffled)), NOW).permissions == held
    assert pm.evaluate(replace(world, grants=world.grants[:-1]), NOW).permissions <= held
    assert pm.evaluate(world, NOW + timedelta(days=1)).permissions <= held
    restricted = replace(world, project=replace(world.project, restricted=True))
    assert pm.evaluate(restricted, NOW).permissions <= held
    trashed = replace(world, project=replace(world.project, status=3))
    assert pm.evaluate(trashed, NOW).permissions == held
    assert not pm.evaluate(replace(world, user_status=2), NOW).permissions
    accounts, teams = pm.scopes_of(world.project, world.grants)
    narrowed = replace(
        world,
        accounts={k: v for k, v in world.accounts.items() if k in accounts},
        teams={k: v for k, v in world.teams.items() if k in teams},
    )
    assert pm.evaluate(narrowed, NOW).permissions == held


# --- mutants: every rule of the module, changed one at a time

SOURCES = {
    name: Path(sys.modules[name].__file__ or "").read_text("utf-8")
    for name in (PERMISSIONS, ROLES)
}


def mutated(name: str, old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The permissions module with one text of it, or of roles, replaced."""
    assert SOURCES[name].count(old) == 1, f"{old!r} is not in {name} exactly once"
    for source_name in (ROLES, PERMISSIONS):
        text = SOURCES[source_name]
        text = text.replace(old, new) if source_name == name else text
        text = text.replace("from services.model.roles", "from mutant.roles")
        module = types.ModuleType(source_name.replace("services.model", "mutant"))
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(text, module.__name__, "exec"), module.__dict__)  # the mutation itself
    return module


def with_home(world: Facts, module: types.ModuleType) -> Facts:
    """The world with the module's own ProjectFacts, whose `home_id` may be mutated."""
    p = world.project
    project = module.ProjectFacts(
        p.project_id, p.account_id, p.workspace_id, p.restricted, p.status
    )
    return replace(world, project=project)


@pytest.mark.parametrize(("name", "old", "new"), MUTANTS)
def test_mutant_is_caught(name: str, old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = mutated(name, old, new, monkeypatch)
    assert any(disagreement(module, with_home(world, module)) for world in CORPUS)


def test_unmutated_copy_survives(monkeypatch: pytest.MonkeyPatch) -> None:
    module = mutated(PERMISSIONS, "return self.account_id or self.workspace_id",
                     "return self.account_id or self.workspace_id", monkeypatch)  # fmt: skip
    assert not any(disagreement(module, with_home(world, module)) for world in CORPUS)


# --- named cases

ACTIVE_HOME = AccountFacts(status=ACTIVE)


def facts(*grants: GrantFacts, project: ProjectFacts | None = None, **kwargs: object) -> Facts:
    accounts = {"w1": ACTIVE_HOME, **kwargs.pop("accounts", {})}  # type: ignore[dict-item]
    home = project or ProjectFacts("p", workspace_id="w1")
    return Facts("u", 1, home, grants, accounts, **kwargs)  # type: ignore[arg-type]


def test_every_source_is_listed_with_its_kind_and_block() -> None:
    soon = NOW + timedelta(hours=1)
    world = facts(
        GrantFacts("g1", USER, "u", frozenset([OWNER]), source=2),
        GrantFacts("g2", USER, "u", frozenset([WRITE]), expires_at=soon),
        GrantFacts("g3", TEAM, "t1", frozenset([COMMENT])),
        GrantFacts("g4", ACCOUNT, "a2", frozenset([REVIEW])),
        GrantFacts("g5", USER, "u", frozenset([VIEW]), status=2),
        GrantFacts("g6", USER, "u", frozenset([VIEW]), expires_at=NOW),
        GrantFacts("g7", TEAM, "t2", frozenset([VIEW])),
        GrantFacts("g8", ACCOUNT, "a3", frozenset([VIEW])),
        GrantFacts("g9", USER, "somebody", frozenset([VIEW])),
        project=ProjectFacts("p", account_id="a1"),
        accounts={
            "a1": AccountFacts(ACTIVE, MEMBER, 4),
            "a2": AccountFacts(ARCHIVED, MEMBER, 5),
            "a3": AccountFacts(SUSPENDED, MEMBER, 5),
        },
        teams={
            "t1": TeamFacts(1, STANDALONE, MEMBER),
            "t2": TeamFacts(1, SCOPED, MEMBER, True, "a9", ACTIVE, MUTED),
        },
    )
    answer = pm.evaluate(world, NOW)
    assert answer.permissions == ALL
    assert not answer.cuts
    assert answer.sources == (
        Source(5, ALL, grant_id="g1", grant_source=2),
        Source(1, frozenset([VIEW, WRITE]), grant_id="g2", expires_at=soon, grant_source=1),
        Source(2, frozenset([VIEW, COMMENT]), grant_id="g3", team_id="t1", grant_source=1),
        Source(3, frozenset([VIEW, REVIEW]), grant_id="g4", account_id="a2", grant_source=1),
        Source(4, frozenset([VIEW, COMMENT, REVIEW, WRITE]), account_id="a1", role=4),
    )
    assert [(s.grant_id, s.block) for s in answer.blocked] == [
        ("g5", Block.GRANT_REVOKED),
        ("g6", Block.GRANT_EXPIRED),
        ("g7", Block.TEAM_ACCOUNT),
        ("g8", Block.ACCOUNT_INACTIVE),
    ]


def test_restricted_shows_the_fallback_as_blocked() -> None:
    world = facts(
        project=ProjectFacts("p", account_id="a1", restricted=True),
        accounts={"a1": AccountFacts(ACTIVE, MEMBER, 1)},
    )
    answer = pm.evaluate(world, NOW)
    assert (answer.permissions, answer.sources) == (frozenset(), ())
    assert [s.block for s in answer.blocked] == [Block.PROJECT_RESTRICTED]


@pytest.mark.parametrize(
    ("status", "left", "cut"),
    [
        (ACTIVE, ALL, ()),
        (ARCHIVED, {VIEW}, (Cut.HOME_ARCHIVED,)),
        (SUSPENDED, set(), (Cut.HOME_CLOSED,)),
        (0, set(), (Cut.HOME_CLOSED,)),
    ],
)
def test_status_of_the_home(status: int, left: set[int], cut: tuple[Cut, ...]) -> None:
    for project in (ProjectFacts("p", account_id="h"), ProjectFacts("p", workspace_id="h")):
        grant = GrantFacts("g", USER, "u", frozenset([OWNER]))
        world = Facts("u", 1, project, (grant,), {"h": AccountFacts(status)})
        answer = pm.evaluate(world, NOW)
        assert (answer.permissions, answer.cuts) == (left, cut)
        assert answer.reduced == bool(cut)
        assert len(answer.sources) == 1


def test_disabled_user_keeps_sources_for_the_explanation() -> None:
    world = replace(facts(GrantFacts("g", USER, "u", frozenset([VIEW]))), user_status=2)
    answer = pm.evaluate(world, NOW)
    assert (answer.permissions, answer.cuts) == (frozenset(), (Cut.USER_INACTIVE,))
    assert len(answer.sources) == 1
    assert not answer.reduced


def test_a_workspace_has_no_fallback() -> None:
    world = facts(accounts={"w1": AccountFacts(ACTIVE, MEMBER, 1)})
    assert not pm.evaluate(world, NOW).permissions


def test_suspended_account_opens_nothing_its_owner_could_not_see() -> None:
    owner = AccountFacts(SUSPENDED, MEMBER, 1)
    open_project = ProjectFacts("p", account_id="a1")
    world = facts(project=open_project, accounts={"a1": owner})
    assert pm.may_read_suspended(world, NOW)
    assert not pm.allows(world, VIEW, NOW)
    closed = replace(world, project=replace(open_project, restricted=True))
    assert not pm.may_read_suspended(closed, NOW)
    team = TeamFacts(1, SCOPED, MEMBER, False, "a1", SUSPENDED, MEMBER)
    grant = GrantFacts("g", TEAM, "t1", frozenset([VIEW]))
    assert pm.may_read_suspended(replace(closed, grants=(grant,), teams={"t1": team}), NOW)
    assert not pm.may_read_suspended(replace(world, user_status=2), NOW)


@pytest.mark.parametrize(
    "home",
    [
        AccountFacts(ACTIVE, MEMBER, 1),
        AccountFacts(ARCHIVED, MEMBER, 1),
        AccountFacts(SUSPENDED, MUTED, 1),
        AccountFacts(SUSPENDED, MEMBER, 2),
        AccountFacts(0, MEMBER, 1),
    ],
)
def test_may_read_suspended_is_for_active_owners_of_suspended_accounts(home: AccountFacts) -> None:
    grant = GrantFacts("g", USER, "u", frozenset([OWNER]))
    world = facts(grant, project=ProjectFacts("p", account_id="a1"), accounts={"a1": home})
    assert not pm.may_read_suspended(world, NOW)
    assert not pm.may_read_suspended(replace(world, accounts={}), NOW)


def test_expand_exhaustively() -> None:
    for count in range(8):
        for chosen in itertools.combinations(range(8), count):
            known = set(chosen) & set(RUNG)
            want = set(RUNG) if OWNER in known else known | ({VIEW} if known else set())
            assert pm.expand(chosen) == want
            assert pm.expand(pm.expand(chosen)) == want


def test_presets() -> None:
    names = {p: pm.permission_names(pm.preset_permissions(p)) for p in range(7)}
    assert names == {
        0: [],
        1: ["view"],
        2: ["view", "comment"],
        3: ["view", "comment", "review"],
        4: ["view", "comment", "review", "write"],
        5: ["view", "comment", "review", "write", "manage_access"],
        6: ["view", "comment", "review", "write", "manage_access", "owner"],
    }
    assert [pm.preset_of(pm.preset_permissions(p)) for p in range(1, 7)] == [1, 2, 3, 4, 5, 6]
    assert pm.preset_of([OWNER]) == 6
    assert pm.preset_of([WRITE]) == 0
    assert pm.preset_of([]) == 0


def test_scopes_leave_out_what_cannot_matter() -> None:
    grants = [
        GrantFacts("g1", TEAM, "t1", frozenset([VIEW])),
        GrantFacts("g2", TEAM, "t2", frozenset([VIEW]), status=2),
        GrantFacts("g3", ACCOUNT, "a2", frozenset([VIEW])),
        GrantFacts("g4", USER, "u", frozenset([VIEW])),
    ]
    project = ProjectFacts("p", account_id="a1")
    assert pm.scopes_of(project, grants) == ({"a1", "a2"}, {"t1"})
    assert pm.scopes_of(ProjectFacts("p"), []) == (frozenset(), frozenset())


# --- giving and taking


def holding(*permissions: int, expires_at: datetime | None = None) -> Effective:
    held = pm.expand(permissions)
    return Effective(held, (Source(1, held, expires_at=expires_at),), (), ())


def change(
    own: Effective, before: Terms, after: Terms, *, to_self: bool = False
) -> tuple[object, str] | None:
    try:
        pm.check_grant_change(own, before, after, to_self=to_self, resource="projects/p")
    except WorkspaceError as error:
        return error.reason, error.metadata["permission"]
    return None


def terms(*permissions: int, expires_at: datetime | None = None) -> Terms:
    return Terms(frozenset(permissions), expires_at)


EXCEEDS = Reason.ERROR_REASON_EXCEEDS_OWN_RIGHTS
DENIED = Reason.ERROR_REASON_PERMISSION_DENIED
NOTHING = Terms()


def test_grantable_exhaustively() -> None:
    sets = [frozenset(c) for n in range(7) for c in itertools.combinations(range(1, 7), n)]
    for raw, wanted in itertools.product(sets, sets):
        own = pm.expand(raw)
        if OWNER in own:
            expected = True
        elif MANAGE_ACCESS in own:
            expected = OWNER not in wanted and wanted <= own
        else:
            expected = not wanted
        assert pm.grantable(own, wanted) == expected
        given_by = change(holding(*raw), NOTHING, Terms(wanted))
        if OWNER in own or MANAGE_ACCESS in own:
            assert (given_by is None) == expected
        else:
            assert given_by == (DENIED, "manage_access")
        # What one may not give, one may not take away either.
        assert (change(holding(*raw), Terms(wanted), NOTHING) is None) == (given_by is None)


def test_only_the_difference_is_judged() -> None:
    manager = holding(COMMENT, MANAGE_ACCESS)
    assert change(manager, terms(WRITE), terms(WRITE, COMMENT)) is None
    assert change(manager, terms(WRITE), terms(VIEW)) == (EXCEEDS, "write")
    assert change(manager, terms(OWNER), terms(VIEW)) == (EXCEEDS, "owner")
    assert change(manager, terms(WRITE), terms(WRITE)) is None


def test_own_grant_cannot_be_raised_but_can_be_lowered() -> None:
    manager = holding(WRITE, MANAGE_ACCESS)
    assert change(manager, terms(VIEW), terms(WRITE), to_self=True) == (EXCEEDS, "write")
    assert change(manager, NOTHING, terms(VIEW), to_self=True) == (EXCEEDS, "view")
    assert change(manager, terms(WRITE), terms(VIEW), to_self=True) is None
    longer = terms(WRITE, expires_at=NOW + timedelta(days=2))
    assert change(manager, terms(WRITE, expires_at=NOW), longer, to_self=True) == (EXCEEDS, "write")
    assert change(holding(OWNER), NOTHING, terms(WRITE), to_self=True) is None


def test_expiry_is_bounded_by_ones_own() -> None:
    end = NOW + timedelta(days=1)
    manager = holding(WRITE, MANAGE_ACCESS, expires_at=end)
    assert change(manager, NOTHING, terms(VIEW, expires_at=end)) is None
    assert change(manager, NOTHING, terms(VIEW)) == (EXCEEDS, "view")
    late = end + timedelta(microseconds=1)
    assert change(manager, NOTHING, terms(VIEW, expires_at=late)) == (EXCEEDS, "view")
    # Lengthening gives anew, shortening takes away.
    assert change(manager, terms(VIEW, expires_at=NOW), terms(VIEW)) == (EXCEEDS, "view")
    assert change(manager, terms(REVIEW), terms(REVIEW, expires_at=NOW)) == (EXCEEDS, "review")
    assert change(manager, terms(WRITE), terms(WRITE, expires_at=NOW)) is None
    assert change(manager, terms(WRITE), NOTHING) is None


def test_held_until_takes_the_best_source_of_the_weakest_permission() -> None:
    early, late = NOW + timedelta(days=1), NOW + timedelta(days=2)
    own = Effective(
        frozenset([VIEW, WRITE, COMMENT]),
        (
            Source(1, frozenset([VIEW, WRITE]), expires_at=early),
            Source(2, frozenset([VIEW, WRITE]), expires_at=late),
            Source(3, frozenset([VIEW, COMMENT])),
        ),
        (),
        (),
    )
    assert pm.held_until(own, [VIEW]) is None
    assert pm.held_until(own, [WRITE]) == late
    assert pm.held_until(own, [WRITE, COMMENT]) == late
    assert pm.held_until(own, []) is None


def test_shape_of_a_grant() -> None:
    pm.check_grant_shape(USER, [OWNER], None)
    pm.check_grant_shape(TEAM, [MANAGE_ACCESS], NOW)
    for target, wanted, expires, field in [
        (TEAM, [OWNER], None, "permissions"),
        (ACCOUNT, [VIEW, OWNER], None, "permissions"),
        (USER, [OWNER], NOW, "expires_at"),
        (USER, [], None, "permissions"),
        (USER, [0], None, "permissions"),
    ]:
        with pytest.raises(WorkspaceError) as caught:
            pm.check_grant_shape(target, wanted, expires)
        assert caught.value.metadata == {"field": field}
