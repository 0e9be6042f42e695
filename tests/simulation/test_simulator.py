"""The simulator itself: the same twice, right engines pass, the oracle sees errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.real_engine import RealEngine
from tests.simulation.simple_sync import SimpleSync
from tests.simulation.world import Plan, simulate

_ROOT = Path(__file__).parents[2]
_CALM = Plan(restores=False, clones=False, surface_restores=False)


@pytest.mark.parametrize("seed", [3, 17, 42])
def test_the_same_seed_gives_the_same_trace(seed: int) -> None:
    first, second = simulate(RealEngine(), seed), simulate(RealEngine(), seed)
    assert first == second
    assert first.calls > 100
    assert simulate(RealEngine(), seed + 1).trace != first.trace


def test_the_trace_does_not_depend_on_the_process() -> None:
    """Sets of texts have another order in each process."""
    code = (
        "from tests.simulation.world import simulate\n"
        "from tests.simulation.real_engine import RealEngine\n"
        "print([simulate(RealEngine(), seed).trace for seed in (5, 6)])"
    )
    traces = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, check=True,
            env={"PYTHONHASHSEED": salt, "PYTHONPATH": f"{_ROOT}:{_ROOT}/protos/gen/python"},
        ).stdout
        for salt in ("1", "2")
    }
    assert len(traces) == 1


def test_faults_of_every_kind_happen() -> None:
    counted: dict[str, int] = {}
    for seed in range(40):
        for name, count in simulate(RealEngine(), seed).counted.items():
            counted[name] = counted.get(name, 0) + count
    wanted = {"unavailable", "lost before", "lost after", "incomplete", "crash", "restore", "clone"}
    assert wanted | {"write", "push", "pull"} <= counted.keys()


@pytest.mark.parametrize("first", [0, 25])
def test_a_right_sync_of_a_few_lines_passes(first: int) -> None:
    bad = {}
    for seed in range(first, first + 25):
        if violation := simulate(SimpleSync(), seed, _CALM).violation:
            bad[seed] = violation
    assert bad == {}


def test_a_node_that_takes_content_alone_takes_no_rights() -> None:
    plan = Plan(restores=False, clones=False, surface_restores=False, content_only=True)
    bad = [s for s in range(25) if simulate(RealEngine(), s, plan).violation]
    assert bad == []
