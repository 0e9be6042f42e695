"""Versions side by side: the state of a record, and how two states become one.

A dotted version vector set per record (Preguica, Almeida et al., "Dotted Version
Vectors", 2012). `join` is the only way in which state moves between surfaces: it is
commutative, associative and idempotent, and mints no version. A write supersedes
exactly the versions that its author named.

Versions of equal content stay side by side and are shown as one, without a conflict
(`services/model/shown.py`). To drop one of them in `join` would break associativity:
whether the twin is still there depends on the order of arrival.
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
    "past_kept",
    "seen_in",
    "supersede",
]

MAX_ACTORS = 64
MAX_VERSIONS = 16
MAX_BODY_BYTES = 64 * 1024
MAX_COUNTER = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Version:
    """One write. `vv` is its causal past, `fields` has for each content field the dot
    of its last writer, `body` is the canonical JSON of the members that travel (`{}`
    of a tombstone), `digest` that of its content.

    `vv` has the version itself unless its actor wrote another version just before
    that it does not know of: then a vector that had it would claim that one too."""

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

    def saw(self, dot: Dot) -> bool:
        """Whether the write `dot` is this one or lies in its past."""
        return dot == self.dot or covers(self.vv, dot)


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
    return State(mine.family, clock, dict(sorted(kept.items())))


def supersede(state: State, dots: Iterable[Dot], version: Version) -> State:
    """The state after a write that replaces exactly the versions `dots`."""
    gone = set(dots)
    kept = {dot: other for dot, other in state.versions.items() if dot not in gone}
    actor, counter = version.dot
    clock = {**state.clock, actor: max(counter, state.clock.get(actor, 0))}
    kept[version.dot] = version
    return replace(state, clock=clock, versions=dict(sorted(kept.items())))


def _stays(dot: Dot, other: State) -> bool:
    return dot in other.versions or not covers(other.clock, dot)


def seen_in(state: State, shown: Iterable[Dot]) -> tuple[Dot, ...]:
    """The dots of live versions that a reader of the versions `shown` saw: those of
    equal content are the same to a reader."""
    digests = {state.versions[dot].digest for dot in shown if dot in state.versions}
    return tuple(dot for dot, each in state.versions.items() if each.digest in digests)


def past_kept(state: State, gone: Iterable[Dot], version: Version) -> Version:
    """A new version that supersedes the live versions `gone`, with its past.

    Who supersedes all has seen all. Otherwise it is the past of those, and never
    more: of dots that do not follow on it the vector says nothing, because it would
    claim what lies between, and fields that nobody saw would be lost. A field whose
    writer the vector cannot tell then counts as written by the new version.
    """
    seen = {each: state.versions[each] for each in gone if each in state.versions}
    if len(seen) == len(state.versions):
        vv = dict(state.clock)
    else:
        vv = {}
        for each in seen.values():
            vv |= {a: n for a, n in each.vv.items() if n > vv.get(a, 0)}
    for actor, counter in sorted([*seen, version.dot]):
        if counter == vv.get(actor, 0) + 1:
            vv[actor] = counter
    made = replace(version, vv=vv)
    fields = {name: dot if made.saw(dot) else made.dot for name, dot in made.fields.items()}
    return replace(made, fields=fields)


def _weight(version: Version) -> tuple[bool, str, int, int, int, str]:
    """Of two texts of one version the same is kept everywhere: the one without
    personal data first, then by content, then the shorter (a causal stub)."""
    return (
        version.erased, version.digest, -len(version.vv), -len(version.fields),
        -len(version.body), version.body,
    )
