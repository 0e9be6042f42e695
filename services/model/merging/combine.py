"""Live versions of one record combined: field by field, and by the family's rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.model.merging.rules import BIRTH, ENDED_STATUSES, RULES, Rule
from services.model.merging.sides import Side, agree, leading
from services.model.stamp import Dot

__all__ = ["Combined", "combined"]


@dataclass(slots=True)
class Combined:
    """Content with the dot of each field's last writer; a value that no version has
    gets none, so that the next writer counts as its author. `governed` are the
    fields of rules, `policy` and `plain` those of either kind that disagree, `gone`:
    one version edited what another had deleted."""

    content: dict[str, Any] = field(default_factory=dict)
    dots: dict[str, Dot] = field(default_factory=dict)
    governed: set[str] = field(default_factory=set)
    policy: set[str] = field(default_factory=set)
    plain: set[str] = field(default_factory=set)
    gone: bool = False

    def take(self, side: Side, names: Iterable[str]) -> None:
        """The values of one version."""
        for name in names:
            if name in side.content:
                self.content[name] = side.content[name]
            if (dot := side.dot_of(name)) is not None:
                self.dots[name] = dot

    def set(self, name: str, value: Any) -> None:
        """A value that no version has; False, '' and empty are the default."""
        self.dots.pop(name, None)
        self.content.pop(name, None)
        if value:
            self.content[name] = value


def combined(family: str, sides: Sequence[Side]) -> Combined:
    """`sides` are live versions, the winner first, at least one."""
    found = Combined()
    closed: dict[str, Any] = {}
    for rule in (*RULES.get(family, ()), BIRTH):
        found.governed.update(rule.names)
        if _apply(rule, sides, found):
            closed |= rule.closes
    for name in sorted({n for s in sides for n in (*s.content, *s.version.fields)}):
        if name not in found.governed:
            _merge(name, sides, found)
    for name, value in closed.items():
        if found.content.get(name) != value:
            found.set(name, value)
    return found


def _apply(rule: Rule, sides: Sequence[Side], found: Combined) -> bool:
    """Whether the rule's fields are contested."""
    lead = leading(sides, rule.names)
    if agree(lead, rule.by):
        found.take(lead[0], rule.names)
        found.gone |= _edited_after_deletion(lead[0], sides, rule)
        return False
    pick = lead[0]
    if rule.rank is not None:
        rank = rule.rank
        best = max(rank(side.content) for side in lead)
        pick = next(side for side in lead if rank(side.content) == best)
    found.take(pick, rule.names)
    if rule.meet is not None:
        value = rule.meet([side.content.get(rule.by[0]) for side in lead])
        if value != pick.content.get(rule.by[0]):
            found.set(rule.by[0], value)
    if not rule.silent:
        found.policy.update(n for n in rule.by if not agree(lead, (n,)))
    return not rule.silent


def _edited_after_deletion(pick: Side, sides: Sequence[Side], rule: Rule) -> bool:
    """Whether the state shown is a deletion whose author had not seen all edits."""
    if pick.content.get("status") not in ENDED_STATUSES or "status" not in rule.by:
        return False
    return any(
        side.content.get("status") not in ENDED_STATUSES
        and any(
            not pick.saw(name, side) and pick.text_of((name,)) != side.text_of((name,))
            for name in side.content.keys() - set(rule.names)
        )
        for side in sides
    )


def _merge(name: str, sides: Sequence[Side], found: Combined) -> None:
    lead = leading(sides, (name,))
    if not agree(lead, (name,)):
        found.plain.add(name)
    found.take(lead[0], (name,))
