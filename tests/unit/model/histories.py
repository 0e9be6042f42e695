"""Records written on several nodes as stores do it, with what really was seen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from services.model.canonical import canonical_json, text_digest
from services.model.families import FAMILIES, Family
from services.model.merging.content import content_of
from services.model.shown import shown_of
from services.model.stamp import Dot, Stamp, stamp_write
from services.model.versions import State, Version, join, past_kept, seen_in, supersede


@dataclass
class World:
    """Some nodes with one record. `pasts` has the exact past of each write, `gone`
    every write that another one replaced knowing it."""

    family: Family
    nodes: list[State | None]
    pasts: dict[Dot, frozenset[Dot]] = field(default_factory=dict)
    gone: set[Dot] = field(default_factory=set)
    time: int = 0

    @classmethod
    def of(cls, family: str, nodes: int = 3) -> World:
        return cls(FAMILIES[family], [None] * nodes)

    def state(self, node: int) -> State:
        found = self.nodes[node]
        assert found is not None
        return found

    def write(
        self, node: int, changes: Mapping[str, Any], *, deleted: bool = False,
        resolves: tuple[Dot, ...] = (),
    ) -> Dot:
        """As `services/records/plan.py` does it; None takes a field away."""
        state = self.nodes[node]
        self.time += 1
        shown = shown_of(self.family, state) if state else None
        members = json.loads(shown.version.body) if shown else {}
        after = {} if deleted else {
            name: value for name, value in {**members, **changes}.items() if value is not None
        }
        old, new = content_of(self.family, members), content_of(self.family, after)
        base = _row(state, shown) if state and shown else None
        stamp = stamp_write(
            base, old, new, digest=text_digest(self.family.name, deleted, canonical_json(new)),
            deleted=deleted, actor=f"n{node}", hlc=f"{1_700_000_000_000 + self.time}.00000",
        )
        version = Version.of(stamp, canonical_json(after))
        if state is None or base is None:
            self.nodes[node] = State(self.family.name, stamp.clock, {version.dot: version})
            self.pasts[version.dot] = frozenset({version.dot})
            return version.dot
        dots = resolves or seen_in(state, base.shown)
        self.nodes[node] = supersede(state, dots, past_kept(state, dots, version))
        self.pasts[version.dot] = frozenset({version.dot}).union(*(self.pasts[d] for d in dots))
        self.gone |= set(dots)
        return version.dot

    def pull(self, node: int, source: int) -> None:
        if self.nodes[source] is not None:
            self.nodes[node] = join(self.nodes[node], self.nodes[source])

    def settle(self) -> State:
        """Exchange until all have the same; that."""
        for _ in self.nodes:
            for node in range(len(self.nodes)):
                self.pull(node, (node + 1) % len(self.nodes))
        return self.state(0)


def _row(state: State, shown: Any) -> Stamp:
    version = shown.version
    several = len(state.versions) > 1
    return Stamp(
        clock=state.clock, dot=version.dot,
        vv=version.vv if not several or shown.partial else state.clock,
        fields=version.fields, hlc=version.hlc, digest=version.digest, deleted=version.deleted,
        siblings=state.dots if several else (), partial=several and shown.partial,
    )
