"""The stamp of a version: who wrote what after having seen what.

Dotted version vectors (Preguica, Almeida et al.), one set per record:
`clock` covers everything ever written here, `dot` names this version, `vv`
is its causal past with itself, `fields` holds for each top-level content
field the dot of its last writer. `hlc` is for order and display only.
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

    def dump(self) -> str:
        """Compact JSON: actors once, then positions in that list."""
        actors = sorted({*self.clock, *self.vv, self.dot[0], *(d[0] for d in self.fields.values())})
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
            )
        except (KeyError, IndexError, TypeError, json.JSONDecodeError) as error:
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
    """The stamp of a local write that saw `base` and supersedes exactly it.

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
        vv=clock,
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
