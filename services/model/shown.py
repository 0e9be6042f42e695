"""What a record with versions side by side shows, and whether people must decide.

A pure function of the family's policy and the set of versions, so that every node
shows the same: append-only families and surfaced ones after a merge by field,
preferences by the last writer of each field, rights by the more restrictive value
at once (`services/model/merging`). Nothing is discarded: the versions stay until a
write supersedes them. Versions of equal content are shown as one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from services.model.families import Family
from services.model.merging.kinds import POLICIES, surface
from services.model.merging.outcome import Contest, Shown, winner_of
from services.model.stamp import Dot
from services.model.versions import State

__all__ = ["Contest", "Shown", "conflict_id", "shown_of", "winner_of"]


def conflict_id(pk: str, sk: str, dots: Iterable[Dot]) -> str:
    """The same on every node: lower-hex SHA-256 of the key and the sorted dots."""
    names = (f"{actor}:{counter}" for actor, counter in sorted(dots))
    return hashlib.sha256("\n".join((pk, sk, *names)).encode()).hexdigest()


def shown_of(family: Family, state: State) -> Shown:
    """See the module."""
    versions = list(state.versions.values())
    if len(versions) == 1:
        return Shown(versions[0])
    return POLICIES.get(family.policy, surface)(family, versions)
