"""Stamps as another surface gives them: nothing in them is taken on trust."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from workspace.sync.v1.quarantine_pb2 import QuarantineReason as Why

from services.model.stamp import Dot, Stamp
from services.model.versions import MAX_ACTORS, MAX_COUNTER, MAX_VERSIONS
from sync_svc.engine.refusal import Refused

__all__ = ["dots_in", "strict_stamp"]

_MEMBERS: Final = frozenset("acdvfhgxoesp")
_ACTOR: Final = re.compile(r'[!-"$-~]{1,128}')
_HLC: Final = re.compile(r"[0-9]{13}\.[0-9]{5}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_MOST_TEXT: Final = 64 * 1024
_MOST_FIELDS: Final = 256


def strict_stamp(text: str) -> Stamp:
    """The stamp of a row. Raises Refused with NO_VERSION when there is none or it is
    broken, SCHEMA_UNKNOWN when it has members that this software does not know,
    COUNTER_RANGE, TOO_MANY_ACTORS and TOO_MANY_SIBLINGS."""
    if not text:
        raise Refused(Why.QUARANTINE_REASON_NO_VERSION, "the row has no stamp")
    if len(text) > _MOST_TEXT:
        raise Refused(Why.QUARANTINE_REASON_INVALID, f"its stamp has over {_MOST_TEXT} characters")
    _check_members(_parsed(text))
    try:
        stamp = Stamp.load(text)
    except (ValueError, AttributeError, RecursionError) as error:
        raise _broken("it cannot be read") from error
    _check_values(stamp)
    _check_counters(stamp)
    return stamp


def dots_in(stamp: Stamp) -> Iterable[Dot]:
    """Every (actor, counter) of a stamp."""
    yield from stamp.clock.items()
    yield from stamp.vv.items()
    yield from stamp.fields.values()
    yield from stamp.siblings
    yield stamp.dot


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _broken("it is not JSON") from error
    if not isinstance(raw, dict):
        raise _broken("it is not a JSON object")
    return raw


def _check_members(raw: Mapping[str, Any]) -> None:
    if unknown := raw.keys() - _MEMBERS:
        names = ", ".join(sorted(ascii(name[:20]) for name in unknown)[:5])
        raise Refused(
            Why.QUARANTINE_REASON_SCHEMA_UNKNOWN,
            f"its stamp has members that this software does not know: {names}; upgrade it",
        )
    for name in ("x", "e", "p"):
        if not isinstance(raw.get(name, False), bool):
            raise _broken(f"member {name} is not a boolean")


def _check_values(stamp: Stamp) -> None:
    if not (isinstance(stamp.hlc, str) and _HLC.fullmatch(stamp.hlc)):
        raise _broken("its time is not a clock reading")
    if not (isinstance(stamp.digest, str) and _DIGEST.fullmatch(stamp.digest)):
        raise _broken("its digest is not SHA-256 in lower-case hex")
    if not isinstance(stamp.origin, str):
        raise _broken("its origin is not a text")
    if len(stamp.fields) > _MOST_FIELDS:
        raise Refused(Why.QUARANTINE_REASON_INVALID, f"over {_MOST_FIELDS} fields in its stamp")
    if len(set(stamp.siblings)) != len(stamp.siblings):
        raise _broken("it names a version twice")
    if len(stamp.siblings) > MAX_VERSIONS:
        raise Refused(
            Why.QUARANTINE_REASON_TOO_MANY_SIBLINGS,
            f"{len(stamp.siblings)} versions side by side; at most {MAX_VERSIONS}",
        )


def _check_counters(stamp: Stamp) -> None:
    actors = set()
    for actor, counter in dots_in(stamp):
        if not (isinstance(actor, str) and _ACTOR.fullmatch(actor)):
            raise _broken("an actor is not 1 to 128 printable ASCII characters without '#'")
        if type(counter) is not int or counter < 1:
            raise _broken("a counter is not a positive whole number")
        if counter > MAX_COUNTER:
            raise Refused(Why.QUARANTINE_REASON_COUNTER_RANGE, f"counter {counter} is 2^53 or more")
        actors.add(actor)
    if len(actors) > MAX_ACTORS:
        raise Refused(
            Why.QUARANTINE_REASON_TOO_MANY_ACTORS,
            f"{len(actors)} actors in its stamp; at most {MAX_ACTORS}",
        )


def _broken(what: str) -> Refused:
    return Refused(Why.QUARANTINE_REASON_NO_VERSION, f"its stamp is broken: {what}")
