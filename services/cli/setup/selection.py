"""The selection that a setup writes, beside one that is there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.cli.exit_codes import ExitCode
from services.cli.failures import CliError
from services.config import load_selection

__all__ = ["is_to_be_replaced", "names_the_same"]


def names_the_same(path: Path, selection: Mapping[str, Any]) -> bool:
    """Whether a file has this selection."""
    return load_selection(path) == selection


def is_to_be_replaced(
    path: Path, selection: Mapping[str, Any], *, force: bool, by_hand: str
) -> bool:
    """False for a file that says the same: what else is in it stays. Raises CliError for
    one that would be replaced unawares, or that holds more than is written anew."""
    there = load_selection(path)
    if there == selection:
        return False
    tables = [each for each in there.values() if isinstance(each, dict)]
    if any(isinstance(each, list) for table in (there, *tables) for each in table.values()):
        raise CliError(
            f"{path} names other resources, and holds lists that would be lost",
            remedy=f"write {by_hand} into it by hand",
            exit_code=ExitCode.CONFLICT,
        )
    if not force:
        raise CliError(
            f"{path} is there already and names other resources",
            remedy="replace it with --force, or name another file with --backend",
            exit_code=ExitCode.CONFLICT,
        )
    return True
