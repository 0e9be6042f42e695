"""Foreign edits: somebody changed a row of a surface, with its digest, but made no
version of it.

Then one version has two texts, which no join can tell apart. The changed text gets a
version of its own, of the pseudo-actor `ext:{instance_id}.{incarnation}` of that
surface, by compare-and-swap in the surface itself: whoever comes second finds it
there. It follows the version that was edited; beside a record that is only ever added
it stands as a second text (`integrity`). Events are no such case: nobody edits them.

Where the two texts were written at different readings of the clock, nobody edited
anything: a workspace and its copy both gave the dot to a write before either knew of
the other. Neither text may then follow the other, and neither keeps the dot: both get
versions of their own, beside each other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from services.model.families import FAMILIES, Family
from services.model.shown import shown_of
from services.model.stamp import Dot
from services.model.versions import State, Version, covers, supersede
from services.records.codec import content_of
from services.records.conflict_rows import Found
from services.records.instance import Instance, read_instance
from services.records.port import Key, Put
from services.records.remint import is_another
from services.records.siblings import Rows
from sync_svc.engine.erasures import is_erased_text
from sync_svc.engine.reading import BROKEN
from sync_svc.surfaces.surface import Surface

__all__ = ["edited", "mint", "minted"]


def edited(theirs: State, local: State | None) -> tuple[Dot, ...]:
    """Versions that have another content there than here. Taking out personal data
    is no edit; anything else that only says that it is, is one."""
    if local is None:
        return ()
    return tuple(
        dot
        for dot, version in sorted(theirs.versions.items())
        if (mine := local.versions.get(dot)) is not None
        and mine.digest != version.digest
        and not mine.erased
        and not (version.erased and is_erased_text(mine, version))
    )


def minted(theirs: State, local: State, *, surface: Instance) -> State:
    """The surface's state with each edit as a version of its own. The same for every
    node that saw the same two texts."""
    family, actor = FAMILIES[theirs.family], f"ext:{surface.actor}"
    state = theirs
    for dot in edited(theirs, local):
        if family.policy != "append_only" and is_another(theirs.versions[dot], local.versions[dot]):
            state = _both(state, local, dot, actor)
            continue
        counter = max(state.clock.get(actor, 0), local.clock.get(actor, 0)) + 1
        version = _version(family, theirs.versions[dot], local.versions[dot], (actor, counter))
        gone: tuple[Dot, ...] = (dot,)
        if family.policy == "append_only":
            state = replace(state, versions={**state.versions, dot: local.versions[dot]})
            gone = ()
        state = supersede(state, gone, version)
    return state


def _both(state: State, local: State, dot: Dot, actor: str) -> State:
    """Two versions in place of the two texts of one dot."""
    texts = sorted((state.versions[dot], local.versions[dot]), key=lambda v: (v.digest, v.hlc))
    gone: tuple[Dot, ...] = (dot,)
    for text in texts:
        counter = max(state.clock.get(actor, 0), local.clock.get(actor, 0)) + 1
        state = supersede(state, gone, _renamed(text, (actor, counter)))
        gone = ()
    return state


def _renamed(text: Version, dot: Dot) -> Version:
    """The text as version `dot`, which has seen what it saw before. Its vector has the
    new dot only if it does not claim an earlier one by that."""
    old = text.dot
    vv = {a: min(n, old[1] - 1) if a == old[0] else n for a, n in text.vv.items()}
    if dot[1] == vv.get(dot[0], 0) + 1:
        vv[dot[0]] = dot[1]
    vv = {a: n for a, n in vv.items() if n}
    fields = {
        name: dot if each == old or not covers(vv, each) else each
        for name, each in text.fields.items()
    }
    return replace(text, dot=dot, vv=vv, fields=fields)


async def mint(
    surface: Surface, key: Key, *, seen: State, local: State, now_ms: int
) -> State | None:
    """`minted` written to the surface, where `seen` was read and screened. None when
    the record was changed there meanwhile: its feed tells of it again."""
    done: list[State] = []
    there = await read_instance(surface.records.driver) or surface.instance

    async def decide(found: Sequence[Rows]) -> list[Put]:
        done.clear()
        rows = found[0]
        if not _is(rows, seen):
            return []
        done.append(minted(seen, local, surface=there))
        shown = shown_of(FAMILIES[seen.family], done[0])
        return rows.puts(done[0], shown, origin="", found=Found(now_ms))

    await surface.records.converge(key.pk, [key], decide)
    return done[0] if done else None


def _is(rows: Rows, seen: State) -> bool:
    try:
        return rows.state == seen
    except BROKEN:
        return False  # whoever writes there now writes what cannot be read


def _version(family: Family, theirs: Version, mine: Version, dot: Dot) -> Version:
    alone = family.policy == "append_only"
    before = {} if alone else _content(family, mine)
    after = _content(family, theirs)
    kept = {} if alone else mine.fields
    fields = {
        name: kept[name] if name in kept and before.get(name) == value else dot
        for name, value in after.items()
    }
    fields |= {name: dot for name in before if name not in after}
    fields |= {name: last for name, last in kept.items() if name not in fields}
    past = {} if alone else dict(theirs.vv)
    vv = {**past, dot[0]: dot[1]}
    return replace(theirs, dot=dot, vv=vv, fields=fields, erased=False)


def _content(family: Family, version: Version) -> Mapping[str, Any]:
    return content_of(family, json.loads(version.body))
