"""Every mistake of mutants.py is found within so many schedules."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import ENGINE_MUTANTS, KERNEL_MUTANTS
from tests.simulation.real_engine import RealEngine
from tests.simulation.world import Plan, simulate

_CALM = Plan(restores=False, clones=False, surface_restores=False)
_CURSORS = Plan(restores=False, clones=False, surface_restores=False, reconcile=False)
_FEW = Plan(
    restores=False, clones=False, surface_restores=False, nodes=2, surfaces=1, records=2, steps=50
)
_AWAY = Plan(
    restores=False, clones=False, surface_restores=False, fate=5, steps=32, surfaces=2
)
_REWOUND_NODES = Plan(
    clones=False, surface_restores=False, fate=6, steps=60, nodes=2, surfaces=1, records=2
)
_REWOUND_SURFACES = Plan(
    clones=False, restores=False, reconcile=False, fate=5, steps=40, nodes=2, surfaces=1, records=3
)
_GUARDED = Plan(restores=False, clones=False, surface_restores=False, content_only=True)

FOUND_WITHIN = {
    "last writer wins": (_CALM, 10),
    "unconditional put": (_CALM, 120),
    "a join mints a version": (_CALM, 5),
    "a join writes an event": (_CALM, 5),
    "a lost answer is success": (_CALM, 20),
    "a lost answer is failure": (_CALM, 40),
    "a lost answer of a join is success": (_CURSORS, 80),
    "a resolution replaces all": (_FEW, 40),
    "only the winner travels": (_CALM, 10),
    "cursor before data": (_CURSORS, 10),
    "record before object": (_CALM, 5),
    "no blob gate": (_AWAY, 60),
    "absent is deleted": (_CALM, 10),
    "handshake not checked": (_REWOUND_NODES, 80),
    "rewound surface not noticed": (_REWOUND_SURFACES, 60),
    "tombstones vanish": (_CALM, 60),
    "content_only ignored": (_GUARDED, 5),
    "marked clean too early": (_CURSORS, 80),
    "a short page is the end": (_CALM, 10),
}
"""By mutant: the kind of schedule, and how many of them suffice."""


def test_every_mutant_has_a_limit() -> None:
    assert FOUND_WITHIN.keys() == (KERNEL_MUTANTS | ENGINE_MUTANTS).keys()


@pytest.mark.parametrize("name", sorted(FOUND_WITHIN))
def test_the_mistake_is_found(name: str) -> None:
    plan, limit = FOUND_WITHIN[name]
    with (KERNEL_MUTANTS | ENGINE_MUTANTS)[name]():
        assert any(simulate(RealEngine(), seed, plan).violation for seed in range(limit))


@pytest.mark.parametrize(
    "plan", [_FEW, _AWAY, _REWOUND_NODES, _REWOUND_SURFACES, _GUARDED],
    ids=["few", "away", "rewound nodes", "rewound surfaces", "guarded"],
)
def test_without_a_mistake_such_schedules_pass(plan: Plan) -> None:
    outcomes = (simulate(RealEngine(), seed, plan) for seed in range(12))
    assert {each.seed: each.violation for each in outcomes if each.violation} == {}
