"""What comes from a surface, sorted: taken, kept aside, held for a decision, ignored.

The engine joins nothing that did not pass here, on a push (what the target has comes
back) as on a pull. What is kept aside or held is durable before `sort` returns, so
that a cursor may go past it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from workspace.sync.v1.connection_pb2 import SyncScopeType
from workspace.sync.v1.quarantine_pb2 import QuarantineReason

from services.model.families import FAMILIES
from services.model.shown import shown_of
from services.model.versions import State
from services.records.port import Key
from services.records.replica import Incoming
from services.records.siblings import Rows
from sync_svc.engine import foreign_edits, forged, trust
from sync_svc.engine.containment import OUTSIDE, Containment
from sync_svc.engine.homes import Homes, document_project, strays, under_hold
from sync_svc.engine.refusal import LivedTwice, Refusal
from sync_svc.engine.screening import screened_state
from sync_svc.engine.task import Task
from sync_svc.quarantine.held import Held, HeldRows
from sync_svc.quarantine.rows import Quarantine

__all__ = ["Intake", "Sorted"]

_KEYS_A_READ: Final = 500
_EVENT: Final = "activity_event"
_AHEAD: Final = QuarantineReason.QUARANTINE_REASON_COUNTER_AHEAD
Suspect = Callable[[Task], Awaitable[bool]]
_ABLE_TO_BE_HELD: Final = ("PROJECT#", "ARTIFACT#", "DERIVED#")
"""Begin the sort keys of `trust.POLICY`."""


@dataclass(frozen=True, slots=True)
class Sorted:
    """`take` may be joined here. What a surface has under a key in `kept_out` may not:
    neither this state nor the answer to a push. `quarantined`, `held` and `ignored`
    count records; `refused` says why, by key, `held_fields` what differs."""

    take: list[Incoming] = field(default_factory=list)
    quarantined: int = 0
    held: int = 0
    ignored: int = 0
    refused: dict[Key, Refusal] = field(default_factory=dict)
    held_fields: dict[Key, tuple[str, ...]] = field(default_factory=dict)
    kept_out: frozenset[Key] = frozenset()


@dataclass(slots=True)
class _Piles:
    """While sorting. `later`: changed at the surface meanwhile, it will come again."""

    take: list[Incoming] = field(default_factory=list)
    refused: list[tuple[Rows, Refusal]] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    ignored: list[Key] = field(default_factory=list)
    later: list[Key] = field(default_factory=list)


class Intake:
    """Sorts for one run. `quarantine` is that of the local store. `suspect` is told when
    the surface has versions in our name that we did not make, and says whether we go
    on under another name since."""

    def __init__(self, quarantine: Quarantine, *, suspect: Suspect | None = None) -> None:
        self._quarantine = quarantine
        self._suspect = suspect

    async def sort(self, task: Task, rows: Sequence[Rows]) -> Sorted:
        """Decide on rows just read from `task.remote`, write what is kept aside and
        held, and take out of both what is fine now. Foreign edits get a version of
        their own at the surface. Raises LivedTwice."""
        piles = await self._decide(task, rows, writing=not task.remote.read_only)
        if (
            self._suspect is not None
            and any(_is_of_another_life(task, *each) for each in piles.refused)
            and await self._suspect(task)
        ):
            raise LivedTwice
        await self._write(task, piles)
        return _sorted(piles)

    async def preview(self, task: Task, rows: Sequence[Rows]) -> Sorted:
        """The same decisions; nothing is written anywhere."""
        return _sorted(await self._decide(task, rows, writing=False, preview=True))

    async def agreed(self, task: Task, keys: Sequence[Key]) -> None:
        """These records are the same on both sides: what was kept aside or held of
        them is settled."""
        if not keys:
            return
        name = task.connection.connection_id
        await self._quarantine.clear(name, keys)
        able = [key for key in keys if key.sk.startswith(_ABLE_TO_BE_HELD)]
        await HeldRows(task.local.records).release(
            able, connection_id=name, now_ms=task.now_ms()
        )

    async def _decide(
        self, task: Task, rows: Sequence[Rows], *, writing: bool, preview: bool = False
    ) -> _Piles:
        piles = _Piles()
        for at in range(0, len(rows), _KEYS_A_READ):
            part = [each for each in rows[at : at + _KEYS_A_READ] if each.item is not None]
            local = await task.local.replica.states([each.key for each in part])
            screened = [
                _screened(task, *pair) for pair in zip(part, local, strict=True)
            ]
            for each, mine, found in zip(part, local, screened, strict=True):
                if isinstance(found, State) and foreign_edits.edited(found, mine):
                    found = await self._edited(task, each, found, mine, writing, preview)
                _pile(piles, each, found)
            known = dict(zip((each.key for each in part), local, strict=True))
            await self._trust(task, piles, known, part)
            await self._contain(task, piles, known, part)
        return piles

    async def _edited(
        self,
        task: Task,
        rows: Rows,
        state: State,
        local: State | None,
        writing: bool,
        preview: bool,
    ) -> State | Refusal | None:
        assert local is not None, "what is not here has no edit"
        own = task.local.records.actor
        if any(actor == own for actor, _ in foreign_edits.edited(state, local)):
            # No edit: somebody else writes under our name. Under another one, what is
            # here gets a version of its own.
            return Refusal(
                _AHEAD,
                "a version of this workspace has another content there: one of the two was "
                "restored or copied",
            )
        if state.family == _EVENT:
            return _changed("an event of the history was changed")
        if preview and not task.remote.read_only:
            return foreign_edits.minted(state, local, surface=task.remote.instance)
        if not writing:
            return _changed("it was changed there without a new version, and may not be written")
        return await foreign_edits.mint(
            task.remote, rows.key, seen=state, local=local, now_ms=task.now_ms()
        )

    async def _contain(
        self, task: Task, piles: _Piles, local: dict[Key, State | None], part: Sequence[Rows]
    ) -> None:
        """Take from what was taken of this part what is not in the connection's scope."""
        now = [each for each in piles.take if each.key in local]
        outside = await Containment(task).outside(now, local)
        if outside:
            piles.take[:] = [each for each in piles.take if each.key not in outside]
            piles.refused += [(each, OUTSIDE) for each in part if each.key in outside]

    async def _trust(
        self, task: Task, piles: _Piles, local: dict[Key, State | None], part: Sequence[Rows]
    ) -> None:
        """Take from what was taken of this part what the surface is not trusted with."""
        if not trust.is_content_only(task.connection):
            return
        now = [each for each in piles.take if each.key in local]
        piles.take[:] = [each for each in piles.take if each.key not in local]
        homes = await _homes(task, now, local)
        apart = await strays(task.local.records, now)
        kept = await _kept(task, now, local)
        items = {each.key: each for each in part}
        for each in now:
            mine = local[each.key]
            if not trust.is_taken(each.key, each.state, mine):
                piles.ignored.append(each.key)
                continue
            here = each.key not in apart and homes.has(document_project(each.state))
            fields = trust.held_fields(each.state, mine, project_here=here)
            fields = fields or (("legal_hold",) if each.key in kept else ())
            held = Held(each.key, each.state, fields, _ids(mine))
            if not fields:
                piles.take.append(each)
            elif held.is_too_large:
                piles.refused.append((items[each.key], _too_large()))
            else:
                piles.held.append(held)

    async def _write(self, task: Task, piles: _Piles) -> None:
        name, now_ms = task.connection.connection_id, task.now_ms()
        await self._quarantine.put_all(name, task.run_id, piles.refused)
        fine = [*(each.key for each in piles.take), *(each.key for each in piles.held)]
        await self._quarantine.clear(name, [*fine, *piles.ignored])
        rows = HeldRows(task.local.records)
        await rows.hold(piles.held, connection_id=name, now_ms=now_ms)
        agreed = [each.key for each in piles.take if each.state.family in trust.POLICY]
        await rows.release(agreed, connection_id=name, now_ms=now_ms)


def _is_of_another_life(task: Task, rows: Rows, refusal: Refusal) -> bool:
    """Whether it is in our name and we did not make it. An event alone is evidence only
    where the surface is trusted: of a copy that was renamed since, events are all that
    is left under our name, but whoever forges one wants to be believed."""
    if refusal.reason != _AHEAD or rows.item is None:
        return False
    return rows.item.family != _EVENT or not trust.is_content_only(task.connection)


def _pile(piles: _Piles, rows: Rows, found: State | Refusal | None) -> None:
    if isinstance(found, Refusal):
        piles.refused.append((rows, found))
    elif found is None:
        piles.later.append(rows.key)
    else:
        piles.take.append(Incoming(rows.key, found))


def _screened(task: Task, rows: Rows, local: State | None) -> State | Refusal | None:
    found = screened_state(
        rows, local=local, own_actor=task.local.records.actor, now_ms=task.now_ms()
    )
    if not isinstance(found, State):
        return found
    if trust.is_content_only(task.connection) and (
        refusal := forged.claims_unseen(rows.key, found, local)
    ):
        return refusal
    return forged.suppressed(rows.key, found, local) or found


async def _homes(
    task: Task, taken: Sequence[Incoming], local: dict[Key, State | None]
) -> Homes:
    """The projects of documents that are new here."""
    scope = task.connection.scope
    wanted = {
        document_project(each.state)
        for each in taken
        if document_project(each.state) and _is_new(local[each.key])
    }
    accounts = projects = None
    if scope.type == SyncScopeType.SYNC_SCOPE_TYPE_ACCOUNTS:
        accounts = frozenset(scope.account_ids)
    if scope.type == SyncScopeType.SYNC_SCOPE_TYPE_PROJECTS:
        projects = frozenset(scope.project_ids)
    return await Homes.read(
        task.local.records, sorted(wanted - {""}), accounts=accounts, projects=projects
    )


async def _kept(
    task: Task, taken: Sequence[Incoming], local: dict[Key, State | None]
) -> set[Key]:
    """What would be removed here though a legal hold forbids it."""
    projects = {
        each.key: document_project(mine)
        for each in taken
        if (mine := local[each.key]) is not None and trust.removes(each.state, mine)
    }
    if not projects:
        return set()
    held = await under_hold(task.local.records, set(projects.values()) - {""})
    return {key for key, project in projects.items() if project in held}


def _is_new(local: State | None) -> bool:
    return local is None or local.deleted


def _ids(local: State | None) -> dict[str, str]:
    """What the record is called here."""
    if local is None:
        return {}
    members = json.loads(shown_of(FAMILIES[local.family], local).version.body)
    names = ("project_id", "account_id", "document_id", "name")
    return {name: str(members[name]) for name in names if members.get(name)}


def _changed(what: str) -> Refusal:
    return Refusal(
        QuarantineReason.QUARANTINE_REASON_DIGEST_MISMATCH,
        f"{what}: the same version has another content here",
    )


def _too_large() -> Refusal:
    return Refusal(
        QuarantineReason.QUARANTINE_REASON_TOO_LARGE,
        "its policy differs from that here, and it is too large to be held for a decision",
    )


def _sorted(piles: _Piles) -> Sorted:
    refused = {rows.key: refusal for rows, refusal in piles.refused}
    held = {each.key: each.fields for each in piles.held}
    out = frozenset([*refused, *held, *piles.ignored, *piles.later])
    return Sorted(
        list(piles.take), len(refused), len(held), len(piles.ignored), refused, held, out
    )
