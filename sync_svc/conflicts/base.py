"""The last common version of a conflict, when history still has it.

Each commit's activity event keeps what a record was before. It is the common past
of all versions when the version of that commit added nothing but itself to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from services.model.stamp import Dot
from services.model.versions import Version
from services.records.port import Index
from services.records.store import RecordStore
from sync_svc.conflicts.found import FoundConflict

__all__ = ["common_base", "common_past"]


async def common_base(
    records: RecordStore, found: FoundConflict, versions: Sequence[Version]
) -> Version | None:
    """The common past as a version without a name (counter 0), or None."""
    past = common_past(versions)
    for version in versions:
        if past and _without(version.vv, version.dot) == past:
            before = await _before(records, found, version)
            if before is not None:
                return Version(("", 0), past, {}, version.hlc, "", json.dumps(before))
    return None


def common_past(versions: Sequence[Version]) -> Mapping[str, int]:
    """What every version had seen, its own writes aside; empty for independent ones."""
    pasts = [_without(each.vv, each.dot) for each in versions]
    shared = set.intersection(*(set(past) for past in pasts)) if pasts else set()
    return {actor: min(past[actor] for past in pasts) for actor in sorted(shared)}


def _without(vv: Mapping[str, int], dot: Dot) -> dict[str, int]:
    """The past of a version: what its author saw."""
    past = {**vv, dot[0]: dot[1] - 1}
    return {actor: counter for actor, counter in past.items() if counter > 0}


async def _before(
    records: RecordStore, found: FoundConflict, version: Version
) -> Mapping[str, object] | None:
    prefix = f"EVENT#{version.hlc}#{version.dot[0]}#"
    page = await records.run(
        Index.BASE, found.key.pk, lower=prefix, upper=prefix + "~", limit=1, after=None
    )
    for item in page.items:
        for change in json.loads(item.body).get("changes", ()):
            if (change["family"], change["sk"]) == (found.family.name, found.key.sk):
                before: Mapping[str, object] | None = change.get("before")
                return before
    return None
