"""The rule of the last owner (services/model/owners.py) within the commit of a join.

Read under the same HEAD as the commit is made: who writes in the partition meanwhile
makes it decide again. Nothing more is read where no owner can have been lost: a join
of documents or of new grants asks for the open conflicts of grants at most.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES
from services.model.owners import (
    Revocation,
    Scope,
    event_key_prefix,
    former_body,
    revocations,
    suspended,
)
from services.model.shown import Shown, conflict_id, shown_of
from services.model.stamp import Stamp
from services.model.versions import State
from services.records.conflict_rows import PREFIX, Found, conflict_key
from services.records.port import Index, Item, ItemPage, Key, Put
from services.records.siblings import Rows

__all__ = [
    "OWNER_FAMILIES", "Draft", "as_shown", "settle_owners", "touches_owners", "with_last_owner",
]  # fmt: skip

OWNER_FAMILIES: Final = frozenset(
    {"project_grant", "account_member", "team_member", "platform_admin"}
)

_PAGE: Final = 500
_MOST_LOOKED_UP: Final = 100
"""Of so many revocations, the latest, it is asked what they took away."""


class Partitions(Protocol):
    """What the rule needs of a RecordStore (store.py), which settles after its own commits."""

    async def get_row(self, key: Key) -> Item | None: ...

    async def rows(self, keys: Sequence[Key], met: Sequence[Key] = ()) -> list[Rows]: ...

    async def run(
        self, index: Index, partition: str, *, lower: str, upper: str, limit: int, after: str | None
    ) -> ItemPage: ...

    async def converge(
        self,
        pk: str,
        keys: Sequence[Key],
        decide: Callable[[Sequence[Rows]], Awaitable[Sequence[Put]]],
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Draft:
    """A record of the join: what is stored, and what it will be and show."""

    rows: Rows
    before: State | None
    after: State
    shown: Shown

    @property
    def key(self) -> Key:
        return self.rows.key


async def with_last_owner(
    records: Partitions, pk: str, part: Sequence[Draft]
) -> dict[Key, Draft]:
    """Records of the partition whose rows show other than their versions alone would,
    or did until now, with what they show: of `part` or not."""
    scope = Scope.of(pk)
    if scope is None:
        return {}
    return await _Partition(records, pk, scope, {each.key: each for each in part}).decided()


def touches_owners(
    pk: str, sk: str, family: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> bool:
    """Whether writing this record may end, or move, what is suspended. The members are
    None where it is absent or deleted."""
    scope = Scope.of(pk)
    if scope is None:
        return False
    if family == scope.family:
        return True
    return scope.has_root and sk == pk and scope.facts(before) != scope.facts(after)


async def settle_owners(records: Partitions, pk: str, found: Found) -> None:
    """After a write of this node: what is suspended is decided again, as every node
    does that joins the write. Without it the revocation would have no effect just where
    the next owner was made. Idempotent. Raises INVALID_STATE when more changes by it than
    one commit takes."""
    scope = Scope.of(pk)
    if scope is None:
        return

    async def decide(_: Sequence[Rows]) -> list[Put]:
        drafts = await _Partition(records, pk, scope, {}).again()
        return [put for draft in drafts.values() for put in as_shown(draft, found)]

    try:
        await records.converge(pk, [], decide)
    except OverflowError:
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE,
            "more conflicts about owners change at once than one commit takes; decide some",
            metadata={"resource": pk},
        ) from None


def as_shown(draft: Draft, found: Found) -> list[Put]:
    """Puts for a record whose versions stay, if its row shows something else."""
    item = draft.rows.item
    if item is None:
        return []
    origin = Stamp.load(item.stamp).origin
    puts = draft.rows.puts(draft.after, draft.shown, origin=origin, found=found)
    same = (puts[0].body, puts[0].stamp, puts[0].deleted) == (item.body, item.stamp, item.deleted)
    return [] if same else puts


@dataclass(slots=True)
class _Partition:
    records: Partitions
    pk: str
    scope: Scope
    part: Mapping[Key, Draft]
    root: Mapping[str, Any] | None = None
    contested: dict[Key, Draft] = field(default_factory=dict)

    async def decided(self) -> dict[Key, Draft]:
        lost = self._owner_may_be_lost()
        if not lost and not any(map(self._is_holder, self.part)):
            return {}
        self.contested = await self._contested()
        return await self._chosen() if lost or self.contested else {}

    async def again(self) -> dict[Key, Draft]:
        """`decided` where nothing is joined."""
        self.contested = await self._contested()
        return await self._chosen() if self.contested else {}

    async def _chosen(self) -> dict[Key, Draft]:
        self.root = await self._root()
        choice = await self._choice() if self.scope.is_asked(self.root) else None
        found = dict(self.contested)
        if choice is not None:
            found[choice.key] = choice
        return found

    def _owner_may_be_lost(self) -> bool:
        return any(self._may_lose(draft) for draft in self.part.values())

    def _may_lose(self, draft: Draft) -> bool:
        if self._is_holder(draft.key):
            return any(sum(v.vv.values()) > 1 for v in draft.after.versions.values())
        if self.scope.has_root and draft.key.sk == self.pk:
            before = shown_of(FAMILIES[draft.after.family], draft.before) if draft.before else None
            facts = self.scope.facts
            return facts(_members(before)) != facts(_members(draft.shown))
        if draft.after.family != "activity_event":
            return False
        return any(
            f'"{self.scope.family}"' in version.body and '"before"' in version.body
            for version in draft.after.versions.values()
        )

    def _is_holder(self, key: Key) -> bool:
        return key.sk.startswith(self.scope.prefix)

    async def _root(self) -> Mapping[str, Any] | None:
        key = Key(self.pk, self.pk)
        if key in self.part:
            return _members(self.part[key].shown)
        item = await self.records.get_row(key) if self.scope.has_root else None
        return json.loads(item.body) if item and not item.deleted else None

    async def _contested(self) -> dict[Key, Draft]:
        """Holders with an open conflict: one that is suspended has one."""
        rows = await self._items(f"{PREFIX}{self.scope.prefix}")
        bodies = [json.loads(item.body) for item in rows]
        open_ = {Key(self.pk, body["sk"]) for body in bodies if body["status"] == "open"}
        found = {key: self.part[key] for key in open_ if key in self.part}
        stored = await self.records.rows(sorted(open_ - found.keys()))
        return found | {each.key: draft for each in stored if (draft := _draft(each))}

    async def _choice(self) -> Draft | None:
        """The record whose revocation is suspended; None while there is an owner."""
        holders = await self._holders()
        if holders is None:
            return None
        states = {key.sk: draft.after for key, draft in holders.items()}
        latest = revocations(self.scope, self.root, states)[:_MOST_LOOKED_UP]
        for revocation in latest:
            before = former_body(await self._events(revocation), self.scope, revocation)
            if before is None:  # what is not known gives nobody a right
                return None
            if not self.scope.is_owner(before, self.root):
                continue
            draft = holders[Key(self.pk, revocation.sk)]
            shown = suspended(self.scope, self.root, revocation, before, draft.shown)
            return replace(await self._to_write(draft), shown=shown) if shown else None
        return None

    async def _to_write(self, draft: Draft) -> Draft:
        """With the row of its conflict, should it have been open before: the record, which
        has one version, does not name it."""
        if draft.key in self.part:
            return draft
        conflict = conflict_id(self.pk, draft.key.sk, draft.after.versions)
        (rows,) = await self.records.rows([draft.key], [conflict_key(draft.key, conflict)])
        return replace(draft, rows=rows)

    async def _holders(self) -> dict[Key, Draft] | None:
        """All records of which one makes an owner; None as soon as one does."""
        known = {k: d for k, d in {**self.contested, **self.part}.items() if self._is_holder(k)}
        if any(map(self._owns, known.values())):
            return None
        found = dict(known)
        for item in await self._items(self.scope.prefix):
            if item.key in found:
                continue
            rows = Rows(item.key, item)
            if '"s"' in item.stamp:
                (rows,) = await self.records.rows([item.key])
            draft = _draft(rows)
            if draft is None:
                continue
            if self._owns(draft):
                return None
            found[item.key] = draft
        return found

    def _owns(self, draft: Draft) -> bool:
        members = _members(draft.shown)
        return members is not None and self.scope.is_owner(members, self.root)

    async def _events(self, revocation: Revocation) -> list[Mapping[str, Any]]:
        prefix = event_key_prefix(revocation.version)
        stored = [item.body for item in await self._items(prefix)]
        coming = [
            version.body
            for key, draft in self.part.items()
            if key.sk.startswith(prefix)
            for version in draft.after.versions.values()
        ]
        return [json.loads(body) for body in [*coming, *stored]]

    async def _items(self, prefix: str) -> list[Item]:
        found: list[Item] = []
        after: str | None = None
        while True:
            page = await self.records.run(
                Index.BASE, self.pk, lower=prefix, upper=prefix + "~", limit=_PAGE, after=after
            )
            found += page.items
            after = page.next
            if after is None:
                return found


def _draft(rows: Rows) -> Draft | None:
    """A stored record as its versions alone show it."""
    if rows.item is None or rows.item.family not in FAMILIES or rows.state is None:
        return None
    state = rows.state
    return Draft(rows, state, state, shown_of(FAMILIES[state.family], state))


def _members(shown: Shown | None) -> Mapping[str, Any] | None:
    """The body that is shown; None if there is none."""
    if shown is None or shown.version.deleted:
        return None
    members: Mapping[str, Any] = json.loads(shown.version.body)
    return members
