"""What a connection covers: which records take part.

A record belongs to a project, else to an account, else to nobody but the whole
workspace. Of a document or team whose record does not say so itself (a tombstone has
no body) the place is looked up: what is stored here decides, then the other
surface. So a surface cannot move a record into the scope by what it claims.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workspace.sync.v1.connection_pb2 import Connection, SyncScopeType, Trust
from workspace.sync.v1.run_pb2 import SyncOptions

from services.model.families import FAMILIES
from services.records.port import Index, Item, Key
from services.records.store import RecordStore
from sync_svc.engine.order import members_of
from sync_svc.engine.reading import read_rows

__all__ = ["Scope", "filter_hash"]

_MOST_PLACES = 50_000
_KEYS_A_READ = 500
_HOMES = ("account_id", "workspace_id")
"""A personal workspace is an account, too."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a record belongs: at most one of project, account, document, team; the
    latter two are looked up."""

    project: str = ""
    account: str = ""
    document: str = ""
    team: str = ""


def filter_hash(connection: Connection) -> str:
    """Names what a cursor of this connection stands for: its scope, its trust, and
    the families that this software syncs. Another hash: compare everything."""
    scope = connection.scope
    families = sorted(name for name, family in FAMILIES.items() if family.synced)
    parts = [
        scope.type or SyncScopeType.SYNC_SCOPE_TYPE_ALL,
        sorted(scope.account_ids),
        sorted(scope.project_ids),
        connection.trust or Trust.TRUST_CONTENT_ONLY,
        families,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


class Scope:
    """The scope of one run, with what it looked up. `stores` in the order in which
    they are believed: the local one first."""

    def __init__(
        self, connection: Connection, options: SyncOptions, stores: Sequence[RecordStore]
    ) -> None:
        kind = connection.scope.type
        self._stores = stores
        self._accounts: frozenset[str] | None = None
        self._projects: frozenset[str] | None = None
        if kind == SyncScopeType.SYNC_SCOPE_TYPE_ACCOUNTS:
            self._accounts = frozenset(connection.scope.account_ids)
        if kind == SyncScopeType.SYNC_SCOPE_TYPE_PROJECTS:
            self._projects = frozenset(connection.scope.project_ids)
        if options.project_ids:
            asked = frozenset(options.project_ids)
            self._projects = asked if self._projects is None else self._projects & asked
        self._known: dict[Key, _Place] = {}

    @property
    def is_everything(self) -> bool:
        """Every synced record takes part."""
        return self._accounts is None and self._projects is None

    async def select(self, items: Sequence[Item]) -> list[Item]:
        """Those in scope, in order. Reads little for all, nothing if it is everything."""
        if self.is_everything or not items:
            return list(items)
        if len(self._known) > _MOST_PLACES:
            self._known.clear()
        given = {item.key: item for item in items}
        places = [_place(item) for item in items]
        await self._look_up([_document(p.document) for p in places if p.document], given)
        places = [self._of_document(place) for place in places]
        if self._accounts is not None:
            await self._look_up([_project(p.project) for p in places if p.project], given)
            await self._look_up([_team(p.team) for p in places if p.team], given)
        return [item for item, place in zip(items, places, strict=True) if self._holds(place)]

    def moved_in(self, before: Item | None, after: Item) -> bool:
        """Whether a project or team comes into a scope of accounts from another account,
        for the first time or again: then what belongs to it, and what of it changed
        meanwhile, has to be sought, since no feed tells of it any more."""
        if self._accounts is None or after.deleted or after.family not in ("project", "team"):
            return False
        try:
            fields = _fields(after)
            homes = [fields[name] for name in _HOMES if name in fields]
            if before is not None:
                known = _fields(before)
                return homes != [known[name] for name in _HOMES if name in known]
            made = fields.get(f"{after.family}_id")
            return not homes or any(dot != made for dot in homes)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return False  # screening has said what is wrong with it

    def _holds(self, place: _Place) -> bool:
        if self._projects is not None and place.project not in self._projects:
            return False
        if self._accounts is None:
            return True
        account = place.account
        if place.project:
            account = self._known[_project(place.project)].account
        elif place.team:
            account = self._known[_team(place.team)].account
        return account in self._accounts

    def _of_document(self, place: _Place) -> _Place:
        if not place.document:
            return place
        return _Place(project=self._known[_document(place.document)].project)

    async def _look_up(self, keys: Sequence[Key], given: Mapping[Key, Item]) -> None:
        missing = [key for key in dict.fromkeys(keys) if key not in self._known]
        for store in self._stores:
            missing = await self._ask(store, missing)
        for key in missing:
            self._known[key] = _said(given[key]) if key in given else _Place()

    async def _ask(self, store: RecordStore, keys: Sequence[Key]) -> list[Key]:
        unknown: list[Key] = []
        for at in range(0, len(keys), _KEYS_A_READ):
            for rows in await read_rows(store, keys[at : at + _KEYS_A_READ]):
                place = await self._told(store, rows.item) if rows.item else _Place()
                if place == _Place():
                    unknown.append(rows.key)
                else:
                    self._known[rows.key] = place
        return unknown

    async def _told(self, store: RecordStore, item: Item) -> _Place:
        if not item.deleted:
            return _said(item)
        # A tombstone has no body; the events beside it name the place.
        page = await store.run(
            Index.BASE, item.key.pk, lower="EVENT#", upper="EVENT$", limit=1, after=None
        )
        return _said(page.items[0]) if page.items else _Place()


def _fields(item: Item) -> Mapping[str, tuple[str, int]]:
    """By field the dot of its last writer, as a stamp says."""
    raw = json.loads(item.stamp)
    return {name: (raw["a"][actor], count) for name, (actor, count) in raw["f"].items()}


def _place(item: Item) -> _Place:
    kind, _, name = item.key.pk.partition("#")
    match kind:
        case "PROJECT":
            return _Place(project=name)
        case "DOCUMENT":
            return _Place(document=name)
        case "ACCOUNT":
            return _Place(account=name)
        case "TEAM":
            return _Place(team=name)
        case "INVITATION":
            return _invited(members_of(item))
    return _Place()


def _invited(members: Mapping[str, Any]) -> _Place:
    target = str(members.get("target_id", ""))
    match str(members.get("target_type", "")).rpartition("_")[2]:
        case "PROJECT":
            return _Place(project=target)
        case "TEAM":
            return _Place(team=target)
        case "ACCOUNT":
            return _Place(account=target)
    return _Place(account=str(members.get("account_id", "")))


def _said(item: Item) -> _Place:
    """What the body of a project, team, document or event says of its place."""
    members = members_of(item)
    return _Place(
        project=str(members.get("project_id", "")),
        account=str(members.get("account_id") or members.get("workspace_id") or ""),
    )


def _project(project_id: str) -> Key:
    return Key(f"PROJECT#{project_id}", f"PROJECT#{project_id}")


def _document(document_id: str) -> Key:
    return Key(f"DOCUMENT#{document_id}", f"ARTIFACT#{document_id}")


def _team(team_id: str) -> Key:
    return Key(f"TEAM#{team_id}", f"TEAM#{team_id}")
