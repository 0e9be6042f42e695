"""Screening: what of another surface may not be joined here, and why.

Pure. A record that passes has a state that can be joined without any further
check; one that does not is kept aside with a reason (`sync_svc/quarantine`). The
rules are those of the design ("Guards before the first write"), from the stamp to
the body; the first that is broken is told. No input makes it raise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Final

from workspace.sync.v1.quarantine_pb2 import QuarantineReason as Why

from services.model.clocks import hlc_millis
from services.model.families import FAMILIES, KERNEL_ROWS, Family
from services.model.stamp import Dot, Stamp
from services.model.versions import MAX_ACTORS, MAX_VERSIONS, State, Version, covers, join
from services.records.limits import MAX_KEY_BYTES
from services.records.port import Item
from services.records.siblings import SIBLING, Rows, sibling_key, travelling
from services.rpc.validation import Validator
from sync_svc.engine.bodies import check_body
from sync_svc.engine.refusal import Refusal, Refused
from sync_svc.engine.stamps import dots_in, strict_stamp

__all__ = ["Refusal", "screen", "screened_state"]

_AHEAD_MS: Final = 24 * 3600 * 1000
_KERNEL: Final = frozenset(row.name for row in KERNEL_ROWS)


def screen(rows: Rows, *, local: State | None, own_actor: str, now_ms: int) -> Refusal | None:
    """None when `rows.state` may be joined to `local` (the state of the same key
    here). `own_actor` is who writes here now, `now_ms` unix milliseconds."""
    found = screened_state(rows, local=local, own_actor=own_actor, now_ms=now_ms)
    return found if isinstance(found, Refusal) else None


def screened_state(
    rows: Rows, *, local: State | None, own_actor: str, now_ms: int
) -> State | Refusal | None:
    """The state of rows that passed, or why not; None where there is no row."""
    if rows.item is None:
        return None
    try:
        family = _family(rows.item)
        state = _state(family, rows, rows.item, local, own_actor)
        _check_times(state, now_ms)
        _check_limits(state, local)
        for version in state.versions.values():
            if not _is_known(version, local):
                check_body(family, rows.key, version, _schema())
    except Refused as refused:
        return refused.refusal
    return state


@cache
def _schema() -> Validator:
    return Validator()


def _family(item: Item) -> Family:
    family = FAMILIES.get(item.family)
    if family is not None and family.synced:
        return family
    if family is not None or item.family in _KERNEL:
        raise _invalid("rows of this family belong to one node and never travel")
    raise Refused(
        Why.QUARANTINE_REASON_SCHEMA_UNKNOWN, "its family is not known to this software; upgrade it"
    )


def _state(
    family: Family, rows: Rows, item: Item, local: State | None, own_actor: str
) -> State:
    stamp = strict_stamp(item.stamp)
    _check_own_counters(stamp, local, own_actor)
    if local is not None and local.family != family.name:
        raise _invalid(f"its key belongs to a record of family {local.family} here")
    if stamp.siblings:
        versions = [_sibling(family, rows, dot, local, own_actor) for dot in stamp.siblings]
    else:
        versions = [_only(family, item, stamp)]
    for version in versions:
        _check_causality(stamp.clock, version)
    return State(family.name, stamp.clock, {each.dot: each for each in versions})


def _only(family: Family, item: Item, stamp: Stamp) -> Version:
    if item.deleted != stamp.deleted:
        raise _invalid("its row and its stamp disagree on whether it is deleted")
    try:
        body = travelling(family, item.body)
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise _invalid("its body is not a JSON object") from error
    return Version.of(stamp, body)


def _sibling(
    family: Family, rows: Rows, dot: Dot, local: State | None, own_actor: str
) -> Version:
    key = sibling_key(rows.key, dot)
    if len(key.sk) > MAX_KEY_BYTES:
        raise _invalid("the key of one of its versions is too long")
    item = rows.others.get(key)
    if item is None or item.deleted or item.family != SIBLING:
        raise _invalid("it names a version that is not there")
    stamp = strict_stamp(item.stamp)
    _check_own_counters(stamp, local, own_actor)
    if stamp.dot != dot or stamp.siblings:
        raise _invalid("the row of one of its versions has another version")
    return Version.of(stamp, _sibling_body(family, item))


def _sibling_body(family: Family, item: Item) -> str:
    try:
        wrapped = json.loads(item.body)
        named, body = wrapped["family"], wrapped["body"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _invalid("the row of one of its versions cannot be read") from error
    if named != family.name or not isinstance(body, str):
        raise _invalid("one of its versions is of another family")
    return body


def _check_own_counters(stamp: Stamp, local: State | None, own_actor: str) -> None:
    """Nobody but us counts our writes: more of them than we know means that this
    store, or that surface, was rewound - or that somebody writes in our name."""
    ours = local.clock.get(own_actor, 0) if local else 0
    theirs = max((n for actor, n in dots_in(stamp) if actor == own_actor), default=0)
    if theirs > ours:
        raise Refused(
            Why.QUARANTINE_REASON_COUNTER_AHEAD,
            f"it says that this node wrote it {theirs} times, which it did {ours} times; "
            "was this workspace or that surface restored from a backup?",
        )


def _check_causality(clock: Mapping[str, int], version: Version) -> None:
    if not covers(clock, version.dot):
        raise _invalid("its clock does not cover one of its versions")
    if any(not covers(clock, dot) for dot in version.vv.items()):
        raise _invalid("its clock does not cover the past of one of its versions")
    if version.deleted and not version.vv and not version.fields:
        return  # the stub of a purged record
    if version.vv.get(version.dot[0], 0) > version.dot[1]:
        raise _invalid("the past of one of its versions does not end with it")
    if any(not version.saw(dot) for dot in version.fields.values()):
        raise _invalid("a field of one of its versions was written after it")


def _check_times(state: State, now_ms: int) -> None:
    latest = max(hlc_millis(version.hlc) for version in state.versions.values())
    if latest > now_ms + _AHEAD_MS:
        hours = (latest - now_ms) // 3_600_000
        raise Refused(
            Why.QUARANTINE_REASON_CLOCK_AHEAD,
            f"its time is {hours} hours ahead of this node's; set the clock of the node that "
            "wrote it",
        )


def _check_limits(state: State, local: State | None) -> None:
    both = join(local, state)
    if len(both.versions) > MAX_VERSIONS:
        raise Refused(
            Why.QUARANTINE_REASON_TOO_MANY_SIBLINGS,
            f"it would have {len(both.versions)} versions side by side, at most {MAX_VERSIONS}; "
            "resolve its conflict first",
        )
    actors = len(both.clock)
    if actors > MAX_ACTORS:
        raise Refused(
            Why.QUARANTINE_REASON_TOO_MANY_ACTORS,
            f"its clock would have {actors} actors; at most {MAX_ACTORS}",
        )


def _is_known(version: Version, local: State | None) -> bool:
    """The very same text is here: it was checked, or made, here."""
    return local is not None and local.versions.get(version.dot) == version


def _invalid(message: str) -> Refused:
    return Refused(Why.QUARANTINE_REASON_INVALID, message)
