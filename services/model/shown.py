"""What a record with versions side by side shows, and whether people must decide.

A pure function of the family's policy and the state, so that every node shows the
same: append-only families and surfaced ones after a merge by field (`field_merge`),
preferences by the last writer of each field, rights by the more restrictive value
at once (`restrictive`). Nothing is discarded: the versions stay until a write
supersedes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from services.model.families import Family
from services.model.stamp import Dot
from services.model.versions import State, Version

__all__ = ["Contest", "Shown", "conflict_id", "shown_of", "winner_of"]


@dataclass(frozen=True, slots=True)
class Contest:
    """Why people must decide: a kind of `workspace.sync.v1.ConflictKind` in lower
    case without its prefix, and the content fields that disagree."""

    kind: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """What the record's row has. `version` has the winner's dot and hlc, the body
    that is shown and its digest. `partial`: the body is the winner's alone; else it
    speaks for all versions. `contest` None: nothing to decide."""

    version: Version
    partial: bool = False
    contest: Contest | None = None


def winner_of(versions: Iterable[Version]) -> Version:
    """Shown meanwhile: live before deleted, then the later hlc, then the dot."""
    return max(versions, key=lambda each: (not each.deleted, each.hlc, each.dot))


def conflict_id(pk: str, sk: str, dots: Iterable[Dot]) -> str:
    """The same on every node: lower-hex SHA-256 of the key and the sorted dots."""
    names = (f"{actor}:{counter}" for actor, counter in sorted(dots))
    return hashlib.sha256("\n".join((pk, sk, *names)).encode()).hexdigest()


def shown_of(family: Family, state: State) -> Shown:  # noqa: ARG001 - merging comes with it
    """See the module."""
    winner = winner_of(state.versions.values())
    if len(state.versions) == 1:
        return Shown(winner)
    deleted = any(each.deleted for each in state.versions.values())
    kind = "edit_delete" if deleted else "edit_edit"
    return Shown(winner, partial=True, contest=Contest(kind))
