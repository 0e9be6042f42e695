"""Builds of the product with one protection taken out, a few for each class of cases.

`WM_BROKEN_BUILD=<name>` breaks the build of a test run; `test_broken_builds.py` holds that
the tests of the class fail with it. A module of this folder lists the builds of a class.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["VARIABLE", "BrokenBuild", "apply", "every_build"]

VARIABLE = "WM_BROKEN_BUILD"


@dataclass(frozen=True, slots=True)
class BrokenBuild:
    """`what` is taken out, by calling `break_it` before any test is run; `caught_by` are the
    arguments of pytest for the tests that have to fail (a node id, perhaps `-k`)."""

    what: str
    break_it: Callable[[], None]
    caught_by: tuple[str, ...]


def every_build() -> Mapping[str, BrokenBuild]:
    """`<class>.<name>` -> the build."""
    found: dict[str, BrokenBuild] = {}
    for module in pkgutil.iter_modules(__path__):
        builds: Mapping[str, BrokenBuild] = importlib.import_module(
            f"{__name__}.{module.name}"
        ).BUILDS
        found |= {f"{module.name}.{name}": build for name, build in builds.items()}
    return found


def apply(environ: Mapping[str, str]) -> None:
    """Break this process where `environ` asks for it."""
    if name := environ.get(VARIABLE):
        every_build()[name].break_it()
