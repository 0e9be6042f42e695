"""Explanations say what the evaluator says, and name everything that is wrong."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model.explanation import Explanation, explain
from services.model.permissions import (
    ALL,
    COMMENT,
    VIEW,
    WRITE,
    AccountFacts,
    Facts,
    GrantFacts,
    ProjectFacts,
    TeamFacts,
    allows,
    evaluate,
)
from tests.unit.model.test_permissions import NOW, random_world


def explained(facts: Facts, permission: int, *, hidden: bool = False) -> Explanation:
    return explain(facts, permission, NOW, shows=lambda _: not hidden)


@given(st.randoms(use_true_random=False), st.sampled_from(sorted(ALL)))
def test_it_agrees_with_the_evaluator(rng: random.Random, permission: int) -> None:
    facts = random_world(rng)
    effective = evaluate(facts, NOW)
    found = explained(facts, permission)
    assert found.allowed == allows(facts, permission, NOW) == (permission in effective.permissions)
    assert [step.source for step in found.steps] == [*effective.sources, *effective.blocked]
    for step in found.steps:
        assert step.gives == (step.source.block is None), step
        assert step.allows == (step.gives and permission in step.source.permissions)
    cut = not all(fact.holds for fact in found.cuts)
    assert found.allowed == (not cut and any(step.allows for step in found.steps))


@given(st.randoms(use_true_random=False), st.sampled_from(sorted(ALL)))
def test_a_deny_has_remedies_and_each_names_something(rng: random.Random, permission: int) -> None:
    facts = random_world(rng)
    found = explained(facts, permission)
    assert bool(found.remedies) == (not found.allowed)
    assert all(found.remedies)
    everything = (*found.cuts, *(fact for step in found.steps for fact in step.facts))
    for fact in everything:
        assert bool(fact.remedy) == (not fact.holds), fact


@given(st.randoms(use_true_random=False), st.sampled_from(sorted(ALL)))
def test_what_is_hidden_is_in_no_text(rng: random.Random, permission: int) -> None:
    facts = random_world(rng)
    renamed = replace(
        facts,
        project=replace(
            facts.project, account_id=facts.project.account_id and "a1", project_id="p_known"
        ),
    )
    found = explained(renamed, permission, hidden=True)
    texts = [found.text, *found.remedies]
    for fact in (*found.cuts, *(fact for step in found.steps for fact in step.facts)):
        texts += [fact.text, fact.remedy]
        assert fact.resource in ("", "users/u", "projects/p_known")
    texts += [step.text for step in found.steps]
    assert not any(step.resource for step in found.steps)
    for text in texts:
        for secret in ("teams/", "accounts/", "workspaces/", "/grants/"):
            assert secret not in text, text


HOME = AccountFacts(status=1, member_status=0)
PROJECT = ProjectFacts("p", account_id="a", restricted=True)


def world(*grants: GrantFacts, **more: object) -> Facts:
    more.setdefault("project", PROJECT)
    more.setdefault("accounts", {"a": HOME})
    return Facts("u", 1, grants=grants, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (world(), ["nobody gave users/u 'write'"]),
        (
            world(GrantFacts("g", 1, "u", frozenset([WRITE]), status=2)),
            ["projects/p/grants/g was revoked"],
        ),
        (
            world(
                GrantFacts("g", 1, "u", frozenset([WRITE]), expires_at=NOW - timedelta(seconds=1))
            ),
            ["projects/p/grants/g expired at 2026-04-30T23:59:59.000000Z", "must extend it"],
        ),
        (
            world(GrantFacts("g", 1, "u", frozenset([COMMENT]))),
            ["projects/p/grants/g does not give 'write'"],
        ),
        (
            world(
                GrantFacts("g", 2, "t", frozenset([WRITE])),
                teams={"t": TeamFacts(status=1, scope_type=3, member_status=3)},
            ),
            ["an administrator of teams/t must reactivate the membership of users/u"],
        ),
        (
            world(
                GrantFacts("g", 2, "t", frozenset([WRITE])),
                teams={"t": TeamFacts(status=2, scope_type=3, member_status=2)},
            ),
            ["teams/t is archived"],
        ),
        (
            world(
                GrantFacts("g", 2, "t", frozenset([WRITE])),
                teams={
                    "t": TeamFacts(
                        status=1,
                        scope_type=1,
                        member_status=2,
                        account_id="b",
                        account_status=2,
                        account_member_status=3,
                    )
                },
            ),
            ["accounts/b is not active", "must reactivate the membership of users/u"],
        ),
        (
            world(accounts={"a": AccountFacts(1, 2, 4)}),
            ["projects/p is restricted"],
        ),
        (
            world(
                project=replace(PROJECT, restricted=False), accounts={"a": AccountFacts(1, 2, 5)}
            ),
            ["the role 'viewer' in accounts/a does not give 'write'"],
        ),
        (
            world(
                GrantFacts("g", 1, "u", frozenset([WRITE])), accounts={"a": AccountFacts(status=2)}
            ),
            ["accounts/a is not active"],
        ),
    ],
)
def test_remedies_are_plain_and_name_who_and_what(facts: Facts, words: list[str]) -> None:
    found = explained(facts, WRITE)
    assert not found.allowed
    text = "\n".join(found.remedies)
    for word in words:
        assert word in text


def test_a_cut_alone_needs_no_new_grant() -> None:
    facts = replace(world(GrantFacts("g", 1, "u", frozenset([WRITE]))), user_status=2)
    found = explained(facts, WRITE)
    assert found.remedies == (
        "users/u is not active: a platform administrator must enable the user",
    )
    assert found.steps[0].allows


def test_an_archived_home_leaves_view() -> None:
    grant = GrantFacts("g", 1, "u", frozenset([WRITE]))
    facts = world(grant, accounts={"a": AccountFacts(status=3)})
    assert explained(facts, VIEW).allowed
    assert not explained(facts, WRITE).allowed
    assert "which leaves 'view' alone" in explained(facts, WRITE).cuts[1].text
