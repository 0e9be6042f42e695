"""What must hold of real stores after random schedules: read past everything that fails."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from services.model.stamp import Dot
from services.model.versions import State, covers
from services.records.port import Key
from sync_svc.engine.objects.copying import look
from sync_svc.engine.objects.needed import Presence, named_objects
from sync_svc.engine.reading import is_synced
from sync_svc.engine.sync_state import SyncStates
from tests.simulation.cast import mark_in
from tests.unit.sync_svc.engine.world import World, same

__all__ = ["Made", "Verdict"]


@dataclass(frozen=True)
class Made:
    """An acknowledged write: by whom, its mark ('' for a deletion), and the versions
    that its author saw and replaced."""

    node: str
    mark: str
    replaced: frozenset[Dot]


class Verdict:
    """`made`: every acknowledged write by its record and dot. The surface "sure" of
    the world is read, which no proxy is before."""

    def __init__(
        self, world: World, nodes: list[str], made: Mapping[tuple[Key, Dot], Made]
    ) -> None:
        self._world = world
        self._nodes = nodes
        self._made = made

    async def after_a_round(self) -> list[str]:
        """While nobody does anything: objects, own writes, cursors."""
        there = await self._world.states("sure")
        wrong = await self._dangling("sure", there)
        for node in self._nodes:
            here = await self._world.states(node)
            wrong += [
                f"{node} acknowledged {key} {dot} and does not know it"
                for (key, dot), made in self._made.items()
                if made.node == node and not (key in here and covers(here[key].clock, dot))
            ]
            wrong += await self._ahead(node, here, there)
        return wrong

    async def at_last(self) -> list[str]:
        """When nothing moves any more: no write is lost, all stores are the same."""
        stores = {name: await self._world.states(name) for name in [*self._nodes, "sure"]}
        sure = stores["sure"]
        wrong = [f"{name} differs" for name in self._nodes if not same(stores[name], sure)]
        for name, states in stores.items():
            wrong += [f"{name}: {each}" for each in self._lost(states)]
            wrong += await self._dangling(name, states)
        return wrong

    def _lost(self, states: Mapping[Key, State]) -> list[str]:
        """Acknowledged writes that are not known, and those that nobody replaced and
        that are not live with what was written."""
        replaced = {(key, dot) for (key, _), made in self._made.items() for dot in made.replaced}
        wrong = []
        for (key, dot), made in self._made.items():
            state = states.get(key)
            if state is None or not covers(state.clock, dot):
                wrong.append(f"{key} {dot} is lost")
                continue
            version = state.versions.get(dot)
            if (key, dot) in replaced:
                if version is not None:
                    wrong.append(f"{key} {dot} was replaced and is live")
            elif version is None or version.deleted != (not made.mark):
                wrong.append(f"{key} {dot} was replaced by nobody and is not live")
            elif made.mark and mark_in(version.body) != made.mark:
                wrong.append(f"{key} {dot} has other content than was written")
        return wrong

    async def _dangling(self, name: str, states: Mapping[Key, State]) -> list[str]:
        """Promised objects that are not there, and are not noted as still to come."""
        noted = " ".join(item.body for item in await self._world.rows(name, "pending_bytes"))
        objects = self._world.surfaces[name].objects
        return [
            f"{name} {key}: {each.key} is {presence.value}"
            for key, state in states.items()
            for each in named_objects(key, state)
            if each.required and each.key not in noted
            and (presence := await look(objects, each)) is not Presence.SAME
        ]

    async def _ahead(
        self, node: str, here: Mapping[Key, State], there: Mapping[Key, State]
    ) -> list[str]:
        """What lies before a cursor is known at the other side, or kept aside."""
        connection_id = self._world.connection(f"of-{node}").connection_id
        state = await SyncStates(self._world.surfaces[node].records).load(connection_id)
        aside = {
            (row["pk"], row["sk"])
            for item in await self._world.rows(node, "quarantine")
            if (row := json.loads(item.body)) and "pk" in row and "sk" in row
        }
        wrong = []
        for cursor, source, ours, theirs in (
            (state.pull_cursor, "sure", there, here), (state.push_cursor, node, here, there)
        ):  # fmt: skip
            if not cursor:
                continue
            later = await self._later(source, cursor)
            wrong += [
                f"{node}: a cursor of {source} passed {key}, which is not there"
                for key, each in ours.items()
                if key not in later and (key.pk, key.sk) not in aside
                and not _known(each, theirs.get(key))
            ]
        return wrong

    async def _later(self, source: str, cursor: str) -> set[Key]:
        """Synced records that the feed tells of after a cursor, all of them."""
        records, found = self._world.surfaces[source].records, set[Key]()
        while True:
            page = await records.changes(cursor)
            found |= {item.key for item in page.items if is_synced(item)}
            if not page.items and page.complete:
                return found
            cursor = page.cursor


def _known(one: State, other: State | None) -> bool:
    return other is not None and all(covers(other.clock, dot) for dot in one.versions)
