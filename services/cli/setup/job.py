"""One run of a setup, told line by line or as one JSON document at its end."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from services.cli.confirming import confirm_by_typing
from services.cli.exit_codes import ExitCode
from services.cli.init import render_toml, write_selection
from services.cli.output import counted, print_json, print_line
from services.cli.setup.selection import is_to_be_replaced, names_the_same
from services.setup.plan import Planned, Setup, Step

__all__ = ["Asked", "run_setup"]

_COLOURS = {"create": "green", "change": "yellow", "keep": None, "leave": "cyan"}


@dataclass(frozen=True, slots=True)
class Asked:
    """How to run: the flags that all providers have. `by_hand` are the members of the
    selection that a person writes into a file which is not replaced."""

    provider: str
    backend: Path
    by_hand: str
    dry_run: bool = False
    check: bool = False
    write: bool = False
    force: bool = False
    yes: bool = False
    as_json: bool = False


def run_setup(asked: Asked, opening: Callable[[], Setup], selection: Mapping[str, Any]) -> None:
    """Plan, ask, make, print, write. Ends with FAILED on drift with `check`, and with
    PARTLY_FAILED when a step is left to somebody with more rights."""
    write = asked.write and not (asked.dry_run or asked.check)
    if write and asked.backend.exists():
        write = is_to_be_replaced(
            asked.backend, selection, force=asked.force, by_hand=asked.by_hand
        )
    job = _Job(asked, selection)
    asyncio.run(job.run(opening))
    if write:
        write_selection(asked.backend, render_toml(selection), force=asked.force)
    followed = asked.backend.exists() and names_the_same(asked.backend, selection)
    job.conclude(written=asked.backend if write else None, followed=followed)
    if asked.check and job.planned.changes:
        raise typer.Exit(ExitCode.FAILED)
    if job.left:
        raise typer.Exit(ExitCode.PARTLY_FAILED)


class _Job:
    planned: Planned

    def __init__(self, asked: Asked, selection: Mapping[str, Any]) -> None:
        self._asked = asked
        self._selection = selection
        self._json = asked.as_json
        self._dry = asked.dry_run or asked.check
        self._done: list[Step] = []
        self.left: list[Step] = []
        self._begun = time.monotonic()

    async def run(self, opening: Callable[[], Setup]) -> None:
        setup = opening()
        try:
            self.planned = await setup.plan()
            self._say_plan()
            if self._dry or not self.planned.changes:
                return
            confirm_by_typing("yes", self._question(), yes=self._asked.yes)
            self._begun = time.monotonic()
            await setup.apply(self)
        except Exception:
            self._say_interrupted()
            raise
        finally:
            await setup.close()

    def done(self, step: Step) -> None:
        self._done.append(step)
        self._progress(f"{step.resource}: {step.name}: {step.wanted}")

    def denied(self, step: Step) -> None:
        self.left.append(step)
        self._progress(f"{step.resource}: {step.name}: not allowed to you; it is left")

    def waiting(self, what: str, seconds: float) -> None:
        if not self._json:
            print_line(f"        {what}: {seconds:.0f} s so far")
            sys.stdout.flush()

    def conclude(self, *, written: Path | None, followed: bool) -> None:
        """What there is now, and the selection that names it, unless it is `followed`."""
        if self._json:
            print_json(self._members(written))
            return
        self._say_end()
        for step in self.left:
            print_line(f"Somebody who may has to run: {step.instead}")
        if written is not None:
            print_line(f"Wrote {written}. Next: wm serve")
        elif followed and not self._dry:
            print_line("Next: wm serve")
        elif not self._dry:
            print_line("The selection for backend.toml (--write writes it):")
            sys.stdout.write("\n" + render_toml(self._selection))

    def _say_end(self) -> None:
        changes = len(self.planned.changes)
        if not changes:
            print_line("Nothing to change: everything is as it should be.")
        elif self._dry:
            print_line(f"{counted(changes, 'change')} to make. Nothing was changed.")
        else:
            seconds = time.monotonic() - self._begun
            left = f"; {len(self.left)} left" if self.left else ""
            print_line(f"Done: {counted(len(self._done), 'change')} in {seconds:.0f} s{left}.")

    def _question(self) -> str:
        changes = counted(len(self.planned.changes), "change")
        return f"This makes {changes} in {self.planned.scope}."

    def _say_plan(self) -> None:
        if self._json:
            return
        print_line(self.planned.heading)
        resource = ""
        for step in self.planned.steps:
            if step.resource != resource:
                resource = step.resource
                print_line(resource)
            _print_step(step)
        for note in self.planned.notes:
            print_line(note)

    def _progress(self, text: str) -> None:
        if not self._json:
            number = f"{len(self._done) + len(self.left)}/{len(self.planned.changes)}"
            print_line(f"{number:>6}  {text}")
            sys.stdout.flush()

    def _say_interrupted(self) -> None:
        """What was done stays, and is said."""
        if not self._done:
            return
        if self._json:
            print_json(self._members(None))
            return
        total = len(self.planned.changes)
        print_line(
            f"Stopped after {len(self._done)} of {total} changes; these stay. Run "
            f"`wm setup {self._asked.provider}` again to go on."
        )

    def _members(self, written: Path | None) -> dict[str, Any]:
        planned = self.planned
        steps = [
            {**step.members(), "done": step in self._done}
            | ({"instead": step.instead} if step in self.left else {})
            for step in planned.steps
        ]
        return {
            **planned.members, "dry_run": self._dry,
            "changes": len(planned.changes), "made": len(self._done), "steps": steps,
            "selection": self._selection, "written": str(written or ""),
        }  # fmt: skip


def _print_step(step: Step) -> None:
    was = f"  (was {step.was})" if step.writes and step.was else ""
    line = f"  {step.verb.value:<6}  {step.name:<22}  {step.wanted}{was}"
    colour = _COLOURS[step.verb.value]
    if colour and sys.stdout.isatty():
        line = typer.style(line, fg=colour)
        sys.stdout.write(line + "\n")
    else:
        print_line(line)
