"""A surface of some accounts or projects reaches no further than these.

The feed of a run is cut to its scope by where a record is. That is not enough: a
record in the scope may say that it belongs elsewhere, and lists find records by what
they say. So nothing is taken whose versions name a project or an account outside of
the scope: a document that is moved into another account's project, an event that
tells another account of something, a file listed in a project that it is not in.

History names where things were. What names a place that is unknown here is taken,
for there it tells nobody anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from workspace.sync.v1.connection_pb2 import SyncScopeType
from workspace.sync.v1.quarantine_pb2 import QuarantineReason
from workspace.sync.v1.run_pb2 import SyncOptions

from services.model.families import FAMILIES
from services.model.versions import State, Version, covers
from services.records.port import Item, Key
from services.records.replica import Incoming
from sync_svc.engine.reading import read_rows
from sync_svc.engine.refusal import Refusal
from sync_svc.engine.scope import Scope
from sync_svc.engine.task import Task

__all__ = ["OUTSIDE", "Containment"]

OUTSIDE: Final = Refusal(
    QuarantineReason.QUARANTINE_REASON_INVALID,
    "it belongs to a project or an account that this connection does not cover",
)
_HOMED: Final = frozenset({"project", "team"})
_HISTORY: Final = "append_only"


class Containment:
    """Judges for one run what passed screening."""

    def __init__(self, task: Task) -> None:
        stores = (task.local.records, task.remote.records)
        self._local = task.local.records
        self._scope = Scope(task.connection, SyncOptions(), stores)
        self._accounts = (
            task.connection.scope.type == SyncScopeType.SYNC_SCOPE_TYPE_ACCOUNTS
        )

    async def outside(
        self, taken: Sequence[Incoming], local: Mapping[Key, State | None]
    ) -> set[Key]:
        """Keys of those that may not be taken."""
        if self._scope.is_everything or not taken:
            return set()
        claims = {each.key: list(self._claims(each, local.get(each.key))) for each in taken}
        asked = [claim for each in claims.values() for claim in each]
        covered = {id(item) for item in await self._scope.select(asked)}
        found = {
            each.key: [item for item in claims[each.key] if id(item) not in covered]
            for each in taken
        }
        known = await self._known(
            item.key.pk for each in taken if _is_history(each) for item in found[each.key]
        )
        return {
            each.key
            for each in taken
            if any(
                item.key == each.key or item.key.pk in known or not _is_history(each)
                for item in found[each.key]
            )
        }

    def _claims(self, each: Incoming, local: State | None) -> Iterator[Item]:
        """What is said of its place, here and by what comes, as rows of such places."""
        family, coming = each.state.family, list(_coming(each.state, local))
        here = list(local.versions.values()) if local else []
        for version in [*coming, *here] or each.state.versions.values():
            yield Item(each.key, "", family, version.body, "{}")
        for version in coming:
            if not version.deleted:
                yield from self._named(family, json.loads(version.body))

    def _named(self, family: str, members: Mapping[str, Any]) -> Iterator[Item]:
        project = members.get("project_id", "")
        homes = [members[name] for name in ("account_id", "workspace_id") if members.get(name)]
        if project and family != "project":
            yield _place("PROJECT", project)
        if self._accounts and family != "invitation":
            for home in homes or ([""] if family in _HOMED else []):
                yield _place("ACCOUNT", home)

    async def _known(self, partitions: Iterable[str]) -> set[str]:
        """The projects and accounts among these that are here."""
        keys = [Key(pk, pk) for pk in dict.fromkeys(partitions)]
        rows = await read_rows(self._local, keys) if keys else []
        return {each.key.pk for each in rows if each.item is not None}


def _coming(incoming: State, local: State | None) -> Iterator[Version]:
    """Live versions that are not here, and were not superseded here."""
    for dot, version in incoming.versions.items():
        there = local.versions.get(dot) if local else None
        if there is None and local is not None and covers(local.clock, dot):
            continue
        if there != version:
            yield version


def _is_history(each: Incoming) -> bool:
    return FAMILIES[each.state.family].policy == _HISTORY


def _place(kind: str, name: str) -> Item:
    return Item(Key(f"{kind}#{name}", "PLACE"), "", "place", "{}", "{}")
