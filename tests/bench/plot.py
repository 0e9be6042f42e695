"""The ratios of the newest results as one picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")  # no display is needed

from matplotlib import pyplot

__all__ = ["draw"]

_COLOURS = {True: "#2c7a51", False: "#b4462f", None: "#5b6b7c"}


def draw(folder: Path) -> Path | None:
    """`latest.svg` from the JSON files in `folder`; None when there are none."""
    figures = [
        (f"{result['case']}: {figure['name']}", figure)
        for result in _results(folder)
        for figure in result["figures"]
    ]
    if not figures:
        return None
    mpl.rcParams["svg.hashsalt"] = "bench"  # the same numbers, the same file
    picture, axes = pyplot.subplots(figsize=(9, 0.5 * len(figures) + 1.6), layout="constrained")
    for row, (_, figure) in enumerate(figures):
        _bar(axes, row, figure)
    axes.set_yticks(range(len(figures)), [label for label, _ in figures])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(right=10 * axes.get_xlim()[1])  # room for the labels
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("ratio to the control of the same run (1: as good; more is better)")
    axes.set_title("green: goal met, red: not met, grey: no goal; ticks: asked ratio", fontsize=9)
    path = folder / "latest.svg"
    picture.savefig(path, metadata={"Date": None})
    pyplot.close(picture)
    return path


def _results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def _bar(axes: Any, row: int, figure: Mapping[str, Any]) -> None:
    ratio = figure["ratio"]
    error = [[ratio - figure["ratio_min"]], [figure["ratio_max"] - ratio]]
    axes.barh(row, ratio, xerr=error, color=_COLOURS[figure["goal_met"]], capsize=3, height=0.6)
    text = f"  {figure['value']:,g} {figure['unit']}"
    axes.text(figure["ratio_max"], row, text, va="center", fontsize=8)
    if figure["goal"].startswith("ratio"):
        asked = float(figure["goal"].split()[-1])
        axes.plot([asked, asked], [row - 0.4, row + 0.4], color="black", linewidth=2)
