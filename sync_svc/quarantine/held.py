"""Versions that are held aside: from a surface trusted with content only, and with
other policy than here. People decide on them as on any `policy` conflict.

A held state is a conflict row of its own beside the record, one for each connection
(`~CONFLICT#{sk}#held:{connection_id}`), replaced by a newer one and closed when both
sides agree. It has the members of every conflict row (services/records/
conflict_rows.py), `held: true`, and the whole `state`. It is in no join: taking it is
one, refusing it is one followed by a write of what was here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.model.errors import Reason, WorkspaceError
from services.model.shown import winner_of
from services.model.versions import State, join
from services.records.conflict_rows import ALL, CONFLICT, Found, closed, list_prefix, lookup
from services.records.limits import MAX_ITEM_BYTES
from services.records.port import ABSENT, ConditionFailed, Index, Item, Key, Match, Put
from services.records.store import RecordStore
from sync_svc.quarantine.packing import pack_state, unpack_state

__all__ = ["Held", "HeldRows", "held_id", "held_key", "held_state", "is_settled"]

_TRIES: Final = 10
_KEYS_A_READ: Final = 500


@dataclass(frozen=True, slots=True)
class Held:
    """A state to hold, and the policy fields in which it differs. `ids` has
    `project_id`, `account_id`, `document_id`, `name` as they are here."""

    key: Key
    state: State
    fields: tuple[str, ...]
    ids: dict[str, str]

    @property
    def is_too_large(self) -> bool:
        """No row takes it: it has to be refused instead."""
        return len(json.dumps(pack_state(self.state)).encode()) > MAX_ITEM_BYTES - 4096


def held_key(key: Key, connection_id: str) -> Key:
    """Where the state of a record lies that a connection's surface has."""
    return Key(key.pk, f"~CONFLICT#{key.sk}#held:{connection_id}")


def held_id(key: Key, state: State, connection_id: str) -> str:
    """Conflict id of a held state: another than that of the same versions joined."""
    names = (f"{actor}:{counter}" for actor, counter in state.dots)
    text = "\n".join(("held", connection_id, key.pk, key.sk, *names))
    return hashlib.sha256(text.encode()).hexdigest()


def held_state(item: Item) -> State | None:
    """The state in a conflict row; None in a row of any other conflict."""
    body = json.loads(item.body)
    return unpack_state(body["state"]) if body.get("held") else None


def is_settled(held: State, local: State | None) -> bool:
    """Everything of the held state is known here: there is nothing to decide."""
    return local is not None and join(local, held).same_as(local)


class HeldRows:
    """The held states of one store."""

    def __init__(self, records: RecordStore) -> None:
        self._records = records

    async def hold(self, held: Sequence[Held], *, connection_id: str, now_ms: int) -> None:
        """Keep these states; durable when it returns. What is held already is left as
        it is."""
        there = await self._there([each.key for each in held], connection_id)
        for each, item in zip(held, there, strict=True):
            await self._hold(each, item, connection_id, now_ms)

    async def release(self, keys: Sequence[Key], *, connection_id: str, now_ms: int) -> None:
        """Close what is held of these records: both sides agree."""
        for item in await self._there(keys, connection_id):
            if item is not None and _is_open(item):
                await self._close(item, now_ms)

    async def held_keys(self, connection_id: str, keys: Sequence[Key]) -> set[Key]:
        """Those of these records of which a state is held."""
        there = await self._there(keys, connection_id)
        return {k for k, item in zip(keys, there, strict=True) if item and _is_open(item)}

    async def _there(self, keys: Sequence[Key], connection_id: str) -> list[Item | None]:
        found: list[Item | None] = []
        wanted = [held_key(key, connection_id) for key in keys]
        for at in range(0, len(wanted), _KEYS_A_READ):
            rows = await self._records.rows(wanted[at : at + _KEYS_A_READ])
            found += [each.item for each in rows]
        return found

    async def _hold(self, held: Held, item: Item | None, connection_id: str, now_ms: int) -> None:
        for _ in range(_TRIES):
            body = _body(held, item, connection_id, now_ms)
            if item is not None and json.loads(item.body) == body:
                return
            try:
                await self._records.put_row(_put(held_key(held.key, connection_id), body, item))
            except ConditionFailed:
                item = await self._records.get_row(held_key(held.key, connection_id))
            else:
                return
        raise WorkspaceError(  # the cursor must not go past what is kept nowhere
            Reason.ERROR_REASON_CONFLICTING_WRITE,
            "a held version changes faster than it can be written; run it again",
            retry_after=0.1,
        )

    async def _close(self, item: Item | None, now_ms: int) -> None:
        while item is not None and _is_open(item):
            try:
                await self._records.put_row(closed(item, Found(now_ms)))
            except ConditionFailed:
                item = await self._records.get_row(item.key)
            else:
                return


def _is_open(item: Item) -> bool:
    return bool(json.loads(item.body)["status"] == "open")


def _body(held: Held, item: Item | None, connection_id: str, now_ms: int) -> dict[str, Any]:
    conflict = held_id(held.key, held.state, connection_id)
    before = json.loads(item.body) if item else {}
    same = before.get("conflict_id") == conflict and before.get("status") == "open"
    return {
        "conflict_id": conflict,
        "kind": "policy",
        "fields": list(held.fields),
        "family": held.state.family,
        "sk": held.key.sk,
        "status": "open",
        "dots": [list(dot) for dot in held.state.dots],
        "project_id": "", "account_id": "", "document_id": "", "name": "",
        **_ids(held),
        "connection_id": connection_id,
        "created_ms": before["created_ms"] if same else now_ms,
        "held": True,
        "state": pack_state(held.state),
    }


def _ids(held: Held) -> dict[str, str]:
    """As they are here; of a record that is new, as it says itself."""
    said = json.loads(winner_of(held.state.versions.values()).body)
    names = ("project_id", "account_id", "document_id", "name")
    return {name: str(held.ids.get(name) or said.get(name) or "")[:200] for name in names}


def _put(key: Key, body: dict[str, Any], there: Item | None) -> Put:
    sort = f"{list_prefix('open')}{body['created_ms']:013d}#{body['conflict_id']}"
    indexes = {Index.USER: (ALL, sort), Index.TEAM: (lookup(body["conflict_id"]), CONFLICT)}
    if body["project_id"]:
        indexes[Index.PROJECT] = (f"PROJECT#{body['project_id']}", sort)
    if body["account_id"]:
        indexes[Index.ACCOUNT] = (f"ACCOUNT#{body['account_id']}", sort)
    condition = Match(there.token) if there else ABSENT
    return Put(key, condition, CONFLICT, json.dumps(body, sort_keys=True), indexes=indexes)
