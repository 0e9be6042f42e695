"""What is shown of versions side by side, by the sync policy of the family."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, Final

from services.model.canonical import canonical_json, text_digest
from services.model.families import Family
from services.model.merging.combine import Combined, combined
from services.model.merging.content import content_of
from services.model.merging.outcome import Contest, Shown, winner_of
from services.model.merging.sides import Side, share_past, sides_of
from services.model.stamp import Dot
from services.model.versions import Version

__all__ = ["POLICIES", "Merge", "with_content"]

Merge = Callable[[Family, Sequence[Version]], Shown]


def surface(family: Family, versions: Sequence[Version]) -> Shown:
    """Merged by field. Where fields disagree people decide, and meanwhile the winner
    is shown, but for what the family's rules say: there the more restrictive holds.
    An edit beside a tombstone is shown, not the tombstone."""
    sides = sides_of(family, versions)
    if not sides:
        return Shown(winner_of(versions))
    found = combined(family.name, sides)
    if len(sides) < len(versions):
        return _partial(family, sides[0], found, Contest("edit_delete", _names(found)))
    if found.plain:
        apart = any(not share_past(a, b) for a, b in _differing(sides))
        kind = "create_create" if apart else "edit_edit"
        return _partial(family, sides[0], found, Contest(kind, _names(found)))
    shown = _whole(family, sides[0], found)
    if found.policy:
        return replace(shown, contest=Contest("policy", _names(found)))
    return replace(shown, contest=Contest("edit_delete", ("status",))) if found.gone else shown


def restrictive(family: Family, versions: Sequence[Version]) -> Shown:
    """Rights: what is more restrictive holds at once and speaks for all versions, so
    that an edit by someone who saw it decides. A tombstone, or a revocation, wins over
    edits, and people are asked about it."""
    dead = [each for each in versions if each.deleted]
    if dead:
        contest = Contest("policy") if len(dead) < len(versions) else None
        return Shown(winner_of(dead), contest=contest)
    sides = sides_of(family, versions)
    found = combined(family.name, sides)
    names = _names(found) or (("status",) if found.gone else ())
    contest = Contest("policy", names) if names else None
    return replace(_whole(family, sides[0], found), contest=contest)


def field_lww(family: Family, versions: Sequence[Version]) -> Shown:
    """Each field as the later of those versions has it whose last writes of it did
    not know each other. Nobody is asked, but about whether a user may act at all. An
    edit holds against a tombstone."""
    sides = sides_of(family, versions)
    if not sides:
        return Shown(winner_of(versions))
    found = combined(family.name, sides)
    contest = Contest("policy", tuple(sorted(found.policy))) if found.policy else None
    return replace(_whole(family, sides[0], found), contest=contest)


def append_only(family: Family, versions: Sequence[Version]) -> Shown:  # noqa: ARG001
    """One id has one body: another one is a fault, whoever is right."""
    winner = winner_of(versions)
    if len({each.digest for each in versions}) == 1:
        return Shown(winner)
    return Shown(winner, partial=True, contest=Contest("integrity"))


POLICIES: Final[Mapping[str, Merge]] = {
    "surface": surface,
    "restrictive": restrictive,
    "field_lww": field_lww,
    "append_only": append_only,
}


def with_content(
    family: Family, version: Version, members: Mapping[str, Any], content: Mapping[str, Any]
) -> Version:
    """The version as live with other content; the other members are those given."""
    replaced = content_of(family, members)
    rest = {name: value for name, value in members.items() if name not in replaced}
    body = canonical_json({**rest, **content})
    digest = text_digest(family.name, False, canonical_json(dict(content)))
    return replace(version, body=body, digest=digest, deleted=False)


def _whole(family: Family, winner: Side, found: Combined) -> Shown:
    version = with_content(family, winner.version, winner.members, found.content)
    return Shown(replace(version, fields=found.dots))


def _partial(family: Family, winner: Side, found: Combined, contest: Contest) -> Shown:
    """The winner's, with the fields of rules as they hold for all. A write then
    supersedes the winner alone: of values that it did not write or see it counts as
    the author."""
    content = {n: v for n, v in winner.content.items() if n not in found.governed}
    content |= {n: v for n, v in found.content.items() if n in found.governed}
    fields: dict[str, Dot] = {
        n: d for n, d in winner.version.fields.items() if n not in found.governed
    }
    fields |= {
        n: d for n, d in found.dots.items() if n in found.governed and winner.version.saw(d)
    }
    version = with_content(family, winner.version, winner.members, content)
    return Shown(replace(version, fields=fields), partial=True, contest=contest)


def _names(found: Combined) -> tuple[str, ...]:
    return tuple(sorted(found.policy | found.plain))


def _differing(sides: Sequence[Side]) -> Iterable[tuple[Side, Side]]:
    pairs = combinations(sides, 2)
    return ((a, b) for a, b in pairs if a.version.digest != b.version.digest)
