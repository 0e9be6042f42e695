"""Joining states: a lattice, in which nothing that nobody saw is lost."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import permutations
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.model.shown import shown_of
from services.model.versions import State, Version, join, past_kept, seen_in, supersede
from tests.unit.model.histories import World

_NODES = st.integers(0, 2)
_VALUES = {
    "name": ["A", "B", "C"],
    "description": ["x", "y", None],
    "status": ["PROJECT_STATUS_ACTIVE", "PROJECT_STATUS_ARCHIVED", "PROJECT_STATUS_TRASHED"],
    "restricted": [True, None],
    "account_id": ["a_1", "a_2"],
    "note": ["p", "q"],
}
_WRITES = st.sampled_from([(n, v) for n, values in _VALUES.items() for v in values])
_STEPS = st.one_of(
    st.tuples(st.just("write"), _NODES, _WRITES),
    st.tuples(st.just("delete"), _NODES, st.none()),
    st.tuples(st.just("resolve"), _NODES, _WRITES),
    st.tuples(st.just("pull"), _NODES, _NODES),
)
HISTORIES = st.lists(_STEPS, min_size=1, max_size=16)
FAMILY = st.sampled_from(["project", "project_grant", "notification_preference"])


def lived(family: str, steps: list[Any], start: bool = True) -> World:
    world = World.of(family)
    if start:  # all know one common version
        world.write(0, {"name": "A", "account_id": "a_1"})
        for node in (1, 2):
            world.pull(node, 0)
    for kind, node, what in steps:
        if kind == "pull":
            world.pull(node, what)
        elif kind == "delete" and world.nodes[node]:
            world.write(node, {}, deleted=True)
        elif kind == "resolve" and world.nodes[node]:
            world.write(node, dict([what]), resolves=world.state(node).dots[:1])
        elif kind == "write":
            world.write(node, dict([what]))
    return world


@given(FAMILY, HISTORIES, st.booleans())
def test_join_is_commutative_associative_and_idempotent(
    family: str, steps: list[Any], start: bool
) -> None:
    states = [state for state in lived(family, steps, start).nodes if state]
    for a in states:
        assert join(a, a) == a
        assert join(a, None) == join(None, a) == a
        for b in states:
            assert join(a, b) == join(b, a)
            assert join(join(a, b), b) == join(a, b)
            assert a.same_as(join(a, b)) == (a == join(a, b))
            for c in states:
                assert join(join(a, b), c) == join(a, join(b, c))


@given(FAMILY, HISTORIES, st.booleans())
def test_all_nodes_end_with_exactly_the_writes_that_nobody_replaced(
    family: str, steps: list[Any], start: bool
) -> None:
    world = lived(family, steps, start)
    if not any(world.nodes):
        return
    end = world.settle()
    assert all(end.same_as(state) for state in world.nodes)
    assert set(end.versions) == set(world.pasts) - world.gone


@given(HISTORIES, st.booleans())
def test_a_vector_never_claims_what_its_author_did_not_see(
    steps: list[Any], start: bool
) -> None:
    world = lived("project", steps, start)
    for state in filter(None, world.nodes):
        for dot, version in state.versions.items():
            seen = {other for other in world.pasts if version.saw(other)}
            assert seen <= world.pasts[dot]
            assert all(version.saw(writer) for writer in version.fields.values())
            assert version.vv.get(dot[0], 0) <= dot[1]


@given(FAMILY, HISTORIES, st.booleans(), st.randoms(use_true_random=False))
def test_what_is_shown_does_not_depend_on_the_order(
    family: str, steps: list[Any], start: bool, chance: random.Random
) -> None:
    world = lived(family, steps, start)
    for state in filter(None, world.nodes):
        versions = list(state.versions.items())
        chance.shuffle(versions)
        again = replace(state, versions=dict(versions))
        assert shown_of(world.family, again) == shown_of(world.family, state)


def _version(actor: str, counter: int, digest: str = "d", **fields: Any) -> Version:
    return Version(
        (actor, counter), {actor: counter}, {}, "1700000000000.00000", digest, **fields
    )


def _state(*versions: Version) -> State:
    clock: dict[str, int] = {}
    for each in versions:
        clock |= {a: max(n, clock.get(a, 0)) for a, n in each.vv.items()}
    return State("project", clock, {each.dot: each for each in versions})


def test_equal_contents_stay_side_by_side_so_that_the_order_of_arrival_does_not_matter() -> None:
    one, twin = _state(_version("a", 1)), _state(_version("b", 1))
    later = replace(_version("b", 2, "e"))
    rewritten = supersede(twin, [("b", 1)], later)
    results = [
        join(join(x, y), z) for x, y, z in permutations([one, twin, rewritten])
    ]
    assert all(each == results[0] for each in results)
    assert results[0].dots == (("a", 1), ("b", 2))


def test_who_saw_one_of_equal_contents_saw_them_all() -> None:
    state = _state(_version("a", 1), _version("b", 1), _version("c", 1, "e"))
    assert seen_in(state, [("a", 1)]) == (("a", 1), ("b", 1))


def test_of_two_texts_of_one_version_the_one_without_personal_data_stays() -> None:
    full, erased = _version("a", 1, "f", body='{"x":1}'), _version("a", 1, "0", erased=True)
    for pair in ((full, erased), (erased, full)):
        assert join(_state(pair[0]), _state(pair[1])).versions["a", 1] is erased
    assert not _state(full).same_as(_state(erased))


def test_a_causal_stub_replaces_its_tombstone_everywhere() -> None:
    full = _version("a", 1, "f", deleted=True)
    stub = replace(full, vv={}, fields={})
    one, other = State("project", {"a": 1}, {full.dot: full}), State(
        "project", {"a": 1}, {stub.dot: stub}
    )
    assert join(one, other) == join(other, one) == other


def test_a_write_beside_an_unseen_one_of_the_same_actor_does_not_claim_it() -> None:
    state = State(
        "project", {"n": 5, "m": 2},
        {("n", 5): _version("n", 5), ("m", 2): replace(_version("m", 2), vv={"n": 3, "m": 2})},
    )
    made = replace(_version("n", 6), fields={"name": ("m", 2), "note": ("n", 4)})
    kept = past_kept(state, [("m", 2)], made)
    assert kept.vv == {"n": 3, "m": 2}
    assert kept.saw(("n", 6))
    assert not kept.saw(("n", 5))
    assert kept.fields == {"name": ("m", 2), "note": ("n", 6)}
    assert past_kept(state, state.dots, made).vv == {"n": 6, "m": 2}
