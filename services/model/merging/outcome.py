"""What merging answers with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from services.model.versions import Version

__all__ = ["Contest", "Shown", "winner_of"]


@dataclass(frozen=True, slots=True)
class Contest:
    """Why people must decide: a kind of `workspace.sync.v1.ConflictKind` in lower
    case without its prefix, and the content fields that disagree, sorted."""

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
