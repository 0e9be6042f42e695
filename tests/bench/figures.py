"""What a benchmark gives: figures, each with its control, as JSON and as a table.

A ratio is always "how good are we, the control being 1": for rates it is ours
by the control's, for times and sizes the control's by ours. More is better.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

__all__ = ["Figure", "Goal", "Result", "interleave", "print_table", "write_result"]


@dataclass(frozen=True, slots=True)
class Goal:
    """What the design asks: of the `ratio`, or of the measured `value` itself."""

    of: str
    at_least: float | None = None
    at_most: float | None = None

    def met(self, ratio: float, value: float) -> bool:
        """Whether it is reached. Reported, never asserted."""
        given = ratio if self.of == "ratio" else value
        enough = self.at_least is None or given >= self.at_least
        return enough and (self.at_most is None or given <= self.at_most)

    def __str__(self) -> str:
        if self.at_least is not None:
            return f"{self.of} >= {self.at_least:g}"
        return f"{self.of} <= {self.at_most:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement and its control, one number per round, in the same unit."""

    name: str
    unit: str
    control: str
    measured: Sequence[float]
    controls: Sequence[float]
    more_is_better: bool = True
    goal: Goal | None = None

    @property
    def value(self) -> float:
        """Median of what was measured."""
        return statistics.median(self.measured)

    @property
    def control_value(self) -> float:
        """Median of the control."""
        return statistics.median(self.controls)

    @property
    def ratios(self) -> list[float]:
        """One per round: neighbours in time, so that other load hits both."""
        pairs = zip(self.measured, self.controls, strict=True)
        return [ours / theirs if self.more_is_better else theirs / ours for ours, theirs in pairs]

    @property
    def ratio(self) -> float:
        """Median of the ratios of the rounds."""
        return statistics.median(self.ratios)

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without a goal."""
        return self.goal.met(self.ratio, self.value) if self.goal else None

    def as_json(self) -> dict[str, object]:
        """Numbers rounded to five digits, with every round."""
        return {
            "name": self.name,
            "unit": self.unit,
            "value": _short(self.value),
            "control": self.control,
            "control_value": _short(self.control_value),
            "ratio": _short(self.ratio),
            "ratio_min": _short(min(self.ratios)),
            "ratio_max": _short(max(self.ratios)),
            "more_is_better": self.more_is_better,
            "goal": str(self.goal) if self.goal else "",
            "goal_met": self.met,
            "rounds": [
                {"value": _short(ours), "control": _short(theirs)}
                for ours, theirs in zip(self.measured, self.controls, strict=True)
            ],
        }


@dataclass(frozen=True, slots=True)
class Result:
    """What one case gave. `skipped` names what could not be measured, and why."""

    figures: Sequence[Figure] = ()
    skipped: Sequence[str] = ()
    notes: Mapping[str, str] = field(default_factory=dict)


def interleave(
    rounds: int, sides: Mapping[str, Callable[[], float]], *, warm_up: bool = True
) -> dict[str, list[float]]:
    """A B A B ...: every side once a round, in the same order. The first round
    warms up and is not kept."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + warm_up):
        for name, measure in sides.items():
            value = measure()
            if number >= warm_up:
                taken[name].append(value)
    return taken


def write_result(folder: Path, case: str, title: str, result: Result, machine: object) -> Path:
    """`<case>.json` in `folder`."""
    path = folder / f"{case}.json"
    content = {
        "case": case,
        "title": title,
        "machine": asdict(machine),  # type: ignore[call-overload]
        "notes": dict(result.notes),
        "skipped": list(result.skipped),
        "figures": [figure.as_json() for figure in result.figures],
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path


def print_table(results: Iterable[tuple[str, Result]]) -> None:
    """One line per figure, and what was skipped."""
    head = ("figure", "value", "control", "ratio", "goal", "met")
    rows = [head]
    skipped: list[str] = []
    for case, result in results:
        rows += [_row(case, figure) for figure in result.figures]
        skipped += [f"{case}: {reason}" for reason in result.skipped]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
    for line in skipped:
        print(f"SKIPPED {line}")


def _row(case: str, figure: Figure) -> tuple[str, str, str, str, str, str]:
    met = {True: "yes", False: "no", None: ""}[figure.met]
    return (
        f"{case}: {figure.name}",
        f"{_short(figure.value):,g} {figure.unit}",
        f"{_short(figure.control_value):,g} ({figure.control})",
        f"{figure.ratio:.3g} ({min(figure.ratios):.3g}-{max(figure.ratios):.3g})",
        str(figure.goal or ""),
        met,
    )


def _short(number: float) -> float:
    return float(f"{number:.5g}")
