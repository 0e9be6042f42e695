"""Versions side by side: the state of a record, and how two states become one.

A dotted version vector set per record (Preguica, Almeida et al., "Dotted Version
Vectors", 2012). `join` is the only way in which state moves between surfaces: it is
commutative, associative and idempotent, and mints no version. A write supersedes
exactly the versions that its author named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from services.model.stamp import Dot, Stamp

__all__ = [
    "MAX_ACTORS",
    "MAX_BODY_BYTES",
    "MAX_COUNTER",
    "MAX_VERSIONS",
    "State",
    "Version",
    "covers",
    "join",
    "supersede",
]

MAX_ACTORS = 64
MAX_VERSIONS = 16
MAX_BODY_BYTES = 64 * 1024
MAX_COUNTER = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Version:
    """One write. `vv` is its causal past with itself, `fields` has for each content
    field the dot of its last writer, `body` is the canonical JSON of the members that
    travel (`{}` of a tombstone), `digest` that of its content."""

    dot: Dot
    vv: Mapping[str, int]
    fields: Mapping[str, Dot]
    hlc: str
    digest: str
    body: str = "{}"
    deleted: bool = False
    erased: bool = False

    @classmethod
    def of(cls, stamp: Stamp, body: str) -> Version:
        """The version that a stamp describes."""
        return cls(
            stamp.dot, stamp.vv, stamp.fields, stamp.hlc, stamp.digest, body, stamp.deleted,
            stamp.erased,
        )


@dataclass(frozen=True, slots=True)
class State:
    """All that is known of a record: `clock` covers every version ever seen,
    `versions` are the live ones by their dots (never empty)."""

    family: str
    clock: Mapping[str, int]
    versions: Mapping[Dot, Version]

    @property
    def dots(self) -> tuple[Dot, ...]:
        """Live dots, sorted."""
        return tuple(sorted(self.versions))

    @property
    def deleted(self) -> bool:
        """All versions are tombstones."""
        return all(version.deleted for version in self.versions.values())

    def same_as(self, other: State | None) -> bool:
        """Whether `join` with the other would change neither."""
        return (
            other is not None
            and self.clock == other.clock
            and {d: _weight(v) for d, v in self.versions.items()}
            == {d: _weight(v) for d, v in other.versions.items()}
        )


def covers(clock: Mapping[str, int], dot: Dot) -> bool:
    """Whether the write `dot` lies in the causal past `clock`."""
    return clock.get(dot[0], 0) >= dot[1]


def join(mine: State | None, theirs: State | None) -> State:
    """Both together: a version is gone only where the other side has seen it and
    keeps it no more. One of the two must be there, both of one family."""
    if mine is None or theirs is None:
        found = mine or theirs
        assert found is not None, "nothing to join"
        return found
    kept = {d: v for d, v in mine.versions.items() if _stays(d, theirs)}
    for dot, version in theirs.versions.items():
        if _stays(dot, mine):
            other = kept.get(dot)
            kept[dot] = version if other is None else max(other, version, key=_weight)
    actors = mine.clock.keys() | theirs.clock.keys()
    clock = {a: max(mine.clock.get(a, 0), theirs.clock.get(a, 0)) for a in actors}
    return State(mine.family, clock, _collapsed(kept))


def supersede(state: State, dots: Iterable[Dot], version: Version) -> State:
    """The state after a write that replaces exactly the versions `dots`."""
    gone = set(dots)
    kept = {dot: other for dot, other in state.versions.items() if dot not in gone}
    actor, counter = version.dot
    clock = {**state.clock, actor: max(counter, state.clock.get(actor, 0))}
    return replace(state, clock=clock, versions=_collapsed({**kept, version.dot: version}))


def _stays(dot: Dot, other: State) -> bool:
    return dot in other.versions or not covers(other.clock, dot)


def _weight(version: Version) -> tuple[bool, str, int, str]:
    """Of two texts of one version the same is kept everywhere: the one without
    personal data first, then by content."""
    return (version.erased, version.digest, -len(version.body), version.body)


def _collapsed(versions: Mapping[Dot, Version]) -> dict[Dot, Version]:
    """Of versions with one content the greatest dot is kept: nobody disagrees.
    A version is dropped only for a greater one, so all nodes keep the same."""
    best: dict[str, Dot] = {}
    for dot, version in versions.items():
        best[version.digest] = max(dot, best.get(version.digest, dot))
    return {dot: versions[dot] for dot in sorted(best.values())}
