"""Clocks that claim more than was seen.

A clock says which versions were superseded, and `join` drops what it covers. Who
forges one names versions that are still to be written: joined, they would be dropped
when they come, and nobody would hear of it.

Whoever supersedes a version writes later than it by the hybrid clock
(`RecordStore.commit`). So one that is covered here, is not live, and is later than
everything live was never superseded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from workspace.sync.v1.quarantine_pb2 import QuarantineReason

from services.model.stamp import Dot
from services.model.versions import State, covers
from services.records.port import Key
from sync_svc.engine.refusal import Refusal

__all__ = ["claims_unseen", "suppressed"]

_INVALID: Final = QuarantineReason.QUARANTINE_REASON_INVALID


def suppressed(key: Key, incoming: State, local: State | None) -> Refusal | None:
    """Why a state is kept aside of which a join would drop a version without reason."""
    dot = next(_suppressed_dots(incoming, local), None)
    if dot is None:
        return None
    return Refusal(
        _INVALID,
        f"the clock of {key.sk} here claims that version {dot[1]} of {dot[0]} was "
        "replaced, but nothing here is later: a surface forged that clock. Compare this version "
        "with what is here, edit the record here to what is right, and sync again",
        stays=True,
    )


def _suppressed_dots(incoming: State, local: State | None) -> Iterator[Dot]:
    """Versions that the clock here covers though nothing here can have superseded them."""
    if local is None:
        return
    latest = max(version.hlc for version in local.versions.values())
    for dot, version in sorted(incoming.versions.items()):
        if dot not in local.versions and covers(local.clock, dot) and version.hlc > latest:
            yield dot


def claims_unseen(key: Key, incoming: State, local: State | None) -> Refusal | None:
    """Why a project of a surface that is trusted with content only is kept aside."""
    if incoming.family != "project":
        return None
    actor = next(_unseen_claims(incoming, local), None)
    if actor is None:
        return None
    return Refusal(
        _INVALID,
        f"the clock of {key.sk} claims versions of {actor} that none of its versions has "
        "seen: joined, it would suppress what that workspace writes. Sync with the workspace "
        "that wrote it directly, or trust this surface fully",
    )


def _unseen_claims(incoming: State, local: State | None) -> Iterator[str]:
    """Actors of which the clock says more than the live versions and what is known here.
    Stubs of purged records have no past to compare with."""
    if incoming.deleted:
        return
    known = dict(local.clock) if local else {}
    for dot, version in incoming.versions.items():
        for actor, counter in (*version.vv.items(), dot):
            known[actor] = max(counter, known.get(actor, 0))
    for actor, counter in sorted(incoming.clock.items()):
        if counter > known.get(actor, 0):
            yield actor
