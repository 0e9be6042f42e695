"""What this node remembers of its contacts with a surface, and what follows when the
surface remembers something else.

With each export the node's entry in the surface gets a new random token and counts
one contact more. The node writes the token down before (`pending`) and after
(`confirmed`). Both memories are in the stores that they are about, so that whoever
is rolled back loses the later contacts:

- the surface has a token that is neither, and counts as many contacts as the node or
  more: another life of this store spoke with it. This store was restored or cloned.
- it counts less, or does not know the node any more, or its generation is lower than
  it was: the surface was rolled back.

The memory is per instance of a surface, whatever connections lead to it. `epoch`
grows whenever cursors of that surface, or into it, mean nothing any more.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields

from services.records.instance import Instance
from services.records.port import ABSENT, Condition, Key, Match, Put
from services.records.store import RecordStore
from sync_svc.nodes.rows import Entry

__all__ = ["Handshake", "Verdict", "judge", "load_handshake", "spoke_since", "store_handshake"]


@dataclass(frozen=True, slots=True)
class Handshake:
    """The local row. `incarnation` is ours at the last contact; `confirmed`, `hlc` and
    `contacts` are of the last contact that the surface has for sure, `pending` and
    `pending_hlc` of one that may have happened. `surface_incarnation`,
    `provider_identity` and `generation` are the surface's, as last seen. `looked_ms`:
    when its nodes were read last. `forced_ms`: when this surface, trusted with content
    only, last made us take a new incarnation (unix milliseconds)."""

    incarnation: str = ""
    confirmed: str = ""
    hlc: str = ""
    contacts: int = 0
    pending: str = ""
    pending_hlc: str = ""
    surface_incarnation: str = ""
    provider_identity: str = ""
    generation: int = 0
    epoch: int = 0
    looked_ms: int = 0
    forced_ms: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """`ours`: this store was restored or cloned. `theirs`: the surface was rolled
    back. `fresh`: this incarnation meets the surface for the first time. `moved`: the
    surface is a restored or moved copy, or somebody found that it was rolled back."""

    ours: bool = False
    theirs: bool = False
    fresh: bool = False
    moved: bool = False

    @property
    def starts_over(self) -> bool:
        """Cursors mean nothing: everything has to be compared."""
        return self.ours or self.theirs or self.fresh or self.moved


def judge(own: Instance, memory: Handshake, surface: Instance, entry: Entry | None) -> Verdict:
    """Compare what both sides remember. `entry` is that of our incarnation."""
    met = bool(memory.surface_incarnation)
    moved = met and (memory.surface_incarnation, memory.provider_identity) != (
        surface.incarnation, surface.provider_identity
    )
    older = met and surface.generation < memory.generation
    if memory.incarnation != own.incarnation:
        # Ours is new, so whoever else spoke under it has its name from this store.
        return Verdict(ours=_spoke(entry), theirs=older, fresh=True, moved=moved)
    if entry is None:
        return Verdict(theirs=older or memory.contacts > 0, moved=moved)
    known = {memory.confirmed, memory.pending} - {""}
    if entry.token in known or (entry.contacts == memory.contacts == 0 and not entry.token):
        return Verdict(theirs=older, moved=moved)
    return Verdict(
        ours=entry.contacts >= memory.contacts,
        theirs=older or entry.contacts <= memory.contacts,
        moved=moved,
    )


def spoke_since(memory: Handshake, entry: Entry | None) -> bool:
    """Whether another life spoke with the surface, as the incarnation that `memory` is
    of, after the contact that `memory` has. `entry` is that incarnation's."""
    if entry is None or entry.token in (memory.confirmed, memory.pending):
        return False
    return entry.contacts >= max(memory.contacts, 1)


def _spoke(entry: Entry | None) -> bool:
    return entry is not None and entry.contacts > 0


async def load_handshake(records: RecordStore, instance_id: str) -> tuple[Handshake, str | None]:
    """The memory of a surface, and the row's token (None: there is none)."""
    item = await records.get_row(_key(instance_id))
    if item is None:
        return Handshake(), None
    names = {each.name for each in fields(Handshake)}
    raw = {name: v for name, v in json.loads(item.body).items() if name in names}
    return Handshake(**raw), item.token


async def store_handshake(
    records: RecordStore, instance_id: str, memory: Handshake, token: str | None
) -> str:
    """Replace what was loaded; returns the new token. Raises ConditionFailed when
    another run changed it meanwhile."""
    condition: Condition = Match(token) if token else ABSENT
    body = json.dumps(asdict(memory), sort_keys=True)
    return await records.put_row(Put(_key(instance_id), condition, "handshake", body))


def _key(instance_id: str) -> Key:
    return Key(f"NODE#{instance_id}", "HANDSHAKE")
