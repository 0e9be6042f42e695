"""A plan: one line for each property, with the calls that make it so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["Call", "Step", "Verb", "changes_of"]


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
    """One property of one resource: what is wanted, what was there, what it takes."""

    resource: str
    name: str
    verb: Verb
    wanted: str
    was: str = ""
    calls: Sequence[Call] = ()

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
