"""The stamp of a version: who wrote what after having seen what.

Dotted version vectors (Preguica, Almeida et al.), one set per record:
`clock` covers everything ever written here, `dot` names this version, `vv`
is its causal past with itself, `fields` holds for each top-level content
field the dot of its last writer. `hlc` is for order and display only.

A record with concurrent versions (siblings) has them in rows of their own
(`services/records/siblings.py`); its own row then has what is shown meanwhile,
and its stamp names them all in `siblings`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Dot", "Stamp", "etag_of", "stamp_write"]

Dot = tuple[str, int]
"""(actor, counter): one write of one incarnation of one store."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """See the module. Counters start at 1; `digest` is lower-hex SHA-256."""

    clock: Mapping[str, int]
    dot: Dot
    vv: Mapping[str, int]
    fields: Mapping[str, Dot]
    hlc: str
    digest: str
    deleted: bool = False
    origin: str = ""
    erased: bool = False
    """Personal data was taken out of this row: it is no new change, and if it is an
    event, no new event (services/records/erasure.py)."""
    siblings: tuple[Dot, ...] = ()
    """Sorted dots of all live versions; empty when the row itself is the only one."""
    partial: bool = False
    """With siblings: the row shows `dot` alone, so that a write supersedes only it.
    Otherwise it speaks for all of them (a clean or restrictive merge)."""

    @property
    def live(self) -> tuple[Dot, ...]:
        """Dots of all live versions."""
        return self.siblings or (self.dot,)

    @property
    def shown(self) -> tuple[Dot, ...]:
        """Dots that a reader of the row saw: what its etag names and a write supersedes."""
        return (self.dot,) if self.partial else self.live

    def dump(self) -> str:
        """Compact JSON: actors once, then positions in that list."""
        dots = (self.dot, *self.siblings, *self.fields.values())
        actors = sorted({*self.clock, *self.vv, *(actor for actor, _ in dots)})
        at = {actor: position for position, actor in enumerate(actors)}
        document: dict[str, Any] = {
            "a": actors,
            "c": [[at[a], n] for a, n in sorted(self.clock.items())],
            "d": [at[self.dot[0]], self.dot[1]],
            "v": [[at[a], n] for a, n in sorted(self.vv.items())],
            "f": {name: [at[d[0]], d[1]] for name, d in sorted(self.fields.items())},
            "h": self.hlc,
            "g": self.digest,
        }
        if self.deleted:
            document["x"] = True
        if self.origin:
            document["o"] = self.origin
        if self.erased:
            document["e"] = True
        if self.siblings:
            document["s"] = [[at[a], n] for a, n in self.siblings]
        if self.partial:
            document["p"] = True
        return json.dumps(document, separators=(",", ":"))

    @classmethod
    def load(cls, text: str) -> Stamp:
        """Inverse of `dump`. Raises ValueError on anything else."""
        try:
            raw = json.loads(text)
            actors: list[str] = raw["a"]
            return cls(
                clock={actors[i]: n for i, n in raw["c"]},
                dot=(actors[raw["d"][0]], raw["d"][1]),
                vv={actors[i]: n for i, n in raw["v"]},
                fields={name: (actors[i], n) for name, (i, n) in raw["f"].items()},
                hlc=raw["h"],
                digest=raw["g"],
                deleted=raw.get("x", False),
                origin=raw.get("o", ""),
                erased=raw.get("e", False),
                siblings=tuple((actors[i], n) for i, n in raw.get("s", ())),
                partial=raw.get("p", False),
            )
        except (
            KeyError, IndexError, TypeError, AttributeError, RecursionError, json.JSONDecodeError
        ) as error:
            raise ValueError(f"not a stamp: {error}") from error


def stamp_write(
    base: Stamp | None,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    *,
    digest: str,
    deleted: bool,
    actor: str,
    hlc: str,
) -> Stamp:
    """The stamp of a local write that saw what `base` shows and supersedes exactly it.

    `before` and `after` are the content fields, `digest` is that of `after`
    (`services.model.canonical.content_digest`). The counter is per record and
    never restarts, tombstones included: `base` is the tombstone's stamp when
    a deleted record is written again.
    """
    clock = dict(base.clock) if base else {}
    dot = (actor, clock.get(actor, 0) + 1)
    clock[actor] = dot[1]
    kept = base.fields if base else {}
    fields = {
        name: kept[name] if name in kept and before.get(name) == value else dot
        for name, value in after.items()
    }
    # A field that was cleared keeps the dot of who cleared it.
    fields |= {name: dot for name in before if name not in after}
    fields |= {n: d for n, d in kept.items() if n not in fields}
    return Stamp(
        clock=clock,
        dot=dot,
        vv={**base.vv, actor: dot[1]} if base and base.partial else clock,
        fields=fields,
        hlc=hlc,
        digest=digest,
        deleted=deleted,
    )


def etag_of(record: str, *dots: Dot) -> str:
    """Opaque etag (RFC 9110 quotes) that names exactly the versions shown of
    one record; `record` is its key, since dots count per record."""
    text = ",".join([record, *(f"{actor}:{counter}" for actor, counter in sorted(dots))])
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:20]}"'
