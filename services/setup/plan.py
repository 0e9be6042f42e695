"""A plan: one line for each property, with the calls that make it so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

__all__ = ["Call", "Planned", "Setup", "Step", "Told", "Verb", "changes_of", "compared"]


class Verb(StrEnum):
    """`leave`: it differs, and changing it would destroy something: people decide."""

    CREATE = "create"
    CHANGE = "change"
    KEEP = "keep"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Call:
    """A writing call. `settle`: how long until it shows, None where it does at once:
    the name of the reading that tells."""

    service: str
    operation: str
    parameters: Mapping[str, Any] = field(repr=False)
    settle: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One property of one resource: what is wanted, what was there, what it takes.
    `instead`: what somebody with more rights has to do where these credentials may not;
    the other steps are done all the same."""

    resource: str
    name: str
    verb: Verb
    wanted: str
    was: str = ""
    calls: Sequence[Call] = ()
    instead: str = ""

    @property
    def writes(self) -> bool:
        return self.verb in (Verb.CREATE, Verb.CHANGE)

    def members(self) -> dict[str, str]:
        """For JSON."""
        return {
            "resource": self.resource, "property": self.name, "action": self.verb.value,
            "wanted": self.wanted, "was": self.was,
        }


def compared(
    resource: str, name: str, *, wanted: str, was: str, good: bool, calls: Sequence[Call]
) -> Step:
    """A property that is kept when it is `good`, else made or changed."""
    if good:
        return Step(resource, name, Verb.KEEP, was or wanted, was)
    verb = Verb.CHANGE if was else Verb.CREATE
    return Step(resource, name, verb, wanted, was, calls)


def changes_of(steps: Sequence[Step]) -> list[Step]:
    """The steps that write."""
    return [step for step in steps if step.writes]


class Told(Protocol):
    """What is told while a plan is made so."""

    def done(self, step: Step) -> None:
        """The step is complete."""

    def denied(self, step: Step) -> None:
        """The step is for somebody else: `Step.instead`."""

    def waiting(self, what: str, seconds: float) -> None:
        """Something takes its time."""


class Planned(Protocol):
    """What a setup would do. `heading` names where, as `AWS account 1, region x`, `scope`
    what is changed, as `account 1`; `notes` are for people, `members` for JSON."""

    @property
    def heading(self) -> str: ...

    @property
    def scope(self) -> str: ...

    @property
    def notes(self) -> Sequence[str]: ...

    @property
    def members(self) -> Mapping[str, str]: ...

    @property
    def steps(self) -> Sequence[Step]: ...

    @property
    def changes(self) -> list[Step]: ...


class Setup(Protocol):
    """The setup of a provider, opened for one run."""

    async def plan(self) -> Planned:
        """Read everything, write nothing."""

    async def apply(self, told: Told) -> None:
        """Make every change of the plan, in order."""

    async def close(self) -> None:
        """End the connections."""
