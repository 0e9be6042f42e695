"""Flags that `wm setup` has for every provider."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import typer

__all__ = [
    "ALLOW_ORIGIN", "BACKEND", "CHECK", "DRY_RUN", "ENVIRONMENT", "FORCE", "PREFIX", "WRITE",
    "YES",
]  # fmt: skip

PREFIX: Final[Any] = typer.Option("", "--prefix", help="Begins the names of resources.")
ENVIRONMENT: Final[Any] = typer.Option("", "--environment", help="dev, prod, ...")
BACKEND: Final[Any] = typer.Option(
    Path("backend.toml"), "--backend", help="Selection to follow."
)
DRY_RUN: Final[Any] = typer.Option(False, "--dry-run", help="Print the plan, change nothing.")
CHECK: Final[Any] = typer.Option(False, "--check", help="As --dry-run; exit code 1 on drift.")
WRITE: Final[Any] = typer.Option(False, "--write", help="Write the selection when all is done.")
FORCE: Final[Any] = typer.Option(False, "--force", help="With --write: replace the file.")
YES: Final[Any] = typer.Option(False, "--yes", help="Do not ask.")
ALLOW_ORIGIN: Final[Any] = typer.Option(
    [], "--allow-origin", help="A web origin whose pages use signed URLs; repeatable."
)
