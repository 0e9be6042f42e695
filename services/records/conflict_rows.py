"""Conflict rows: the list of what people must decide, one row a conflict.

A row is derived from the state beside it and written by the same commit. It is
found by project, by account, in the list of all, and by its id (index TEAM). When
the versions change, the row is closed: decided here or elsewhere, or followed by
another conflict with the versions that are live now.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.model.shown import Shown, conflict_id
from services.model.versions import State
from services.records.port import ABSENT, Index, Item, Key, Match, Put

__all__ = [
    "ALL",
    "CONFLICT",
    "PREFIX",
    "Found",
    "closed",
    "conflict_key",
    "conflict_puts",
    "list_prefix",
    "lookup",
    "opened",
]

CONFLICT = "conflict"
PREFIX = "~CONFLICT#"
"""Begins the sort keys of conflict rows in every partition."""
ALL = "CONFLICTS"
"""Partition of index USER that lists the conflicts of the whole store."""
_KEPT_SECONDS = 90 * 86_400


@dataclass(frozen=True, slots=True)
class Found:
    """Circumstances of a change: when (unix milliseconds), over which connection
    ('' for a local write), and the user who decides ('' when it came from elsewhere)."""

    now_ms: int
    connection_id: str = ""
    user_id: str = ""


def conflict_key(key: Key, conflict: str) -> Key:
    """Where the row of a conflict lies: beside its record."""
    return Key(key.pk, f"{PREFIX}{key.sk}#{conflict}")


def list_prefix(status: str) -> str:
    """Sort prefix in an index partition; `status` is `open` or `resolved`."""
    return f"CONFLICT#{status}#"


def lookup(conflict: str) -> str:
    """Partition of index TEAM that has the one row of a conflict."""
    return f"CONFLICT#{conflict}"


def conflict_puts(
    key: Key, state: State, shown: Shown, *, there: Sequence[Item], found: Found
) -> list[Put]:
    """Open the conflict of this state if people must decide it, and close the
    conflict rows in `there` that are not about these versions."""
    wanted = conflict_id(key.pk, key.sk, state.versions) if shown.contest else ""
    puts = [closed(item, found) for item in there if _is_open(item) and not _is_of(item, wanted)]
    kept = [item for item in there if _is_of(item, wanted)]
    if wanted and not (kept and _is_open(kept[0])):
        puts.append(opened(key, state, shown, found, there=kept[0] if kept else None))
    return puts


def opened(
    key: Key, state: State, shown: Shown, found: Found, *, there: Item | None = None
) -> Put:
    """The row of a conflict about these versions (`shown.contest` says why), written
    over the row that is `there`."""
    conflict = conflict_id(key.pk, key.sk, state.versions)
    return _put(conflict_key(key, conflict), _body(key, state, shown, conflict, found), there)


def _body(key: Key, state: State, shown: Shown, conflict: str, found: Found) -> dict[str, Any]:
    members: Mapping[str, Any] = json.loads(shown.version.body)
    if len(members) == 0:  # a tombstone is shown: the ids are in the other versions
        members = next((json.loads(v.body) for v in state.versions.values() if not v.deleted), {})
    assert shown.contest is not None
    return {
        "conflict_id": conflict,
        "kind": shown.contest.kind,
        "fields": list(shown.contest.fields),
        "family": state.family,
        "sk": key.sk,
        "status": "open",
        "dots": [list(dot) for dot in state.dots],
        "project_id": members.get("project_id", _id_in(key, "PROJECT#")),
        "account_id": members.get("account_id", _id_in(key, "ACCOUNT#")),
        "document_id": members.get("document_id", _id_in(key, "DOCUMENT#")),
        "name": str(members.get("name", ""))[:200],
        "connection_id": found.connection_id,
        "created_ms": found.now_ms,
    }


def _id_in(key: Key, prefix: str) -> str:
    return key.pk.removeprefix(prefix) if key.pk.startswith(prefix) else ""


def closed(item: Item, found: Found) -> Put:
    """The row of a conflict that is over, kept for a while as history."""
    body = json.loads(item.body)
    body |= {"status": "resolved", "resolved_by": found.user_id, "resolved_ms": found.now_ms}
    return _put(item.key, body, item, expires_at=found.now_ms // 1000 + _KEPT_SECONDS)


def _put(
    key: Key, body: dict[str, Any], there: Item | None, expires_at: int | None = None
) -> Put:
    sort = f"{list_prefix(body['status'])}{body['created_ms']:013d}#{body['conflict_id']}"
    indexes = {
        Index.USER: (ALL, sort),
        Index.TEAM: (lookup(body["conflict_id"]), CONFLICT),
    }
    if body["project_id"]:
        indexes[Index.PROJECT] = (f"PROJECT#{body['project_id']}", sort)
    if body["account_id"]:
        indexes[Index.ACCOUNT] = (f"ACCOUNT#{body['account_id']}", sort)
    condition = Match(there.token) if there else ABSENT
    text = json.dumps(body, sort_keys=True)
    return Put(key, condition, CONFLICT, text, expires_at=expires_at, indexes=indexes)


def _is_open(item: Item) -> bool:
    return item.family == CONFLICT and json.loads(item.body)["status"] == "open"


def _is_of(item: Item, conflict: str) -> bool:
    return bool(conflict) and item.key.sk.endswith("#" + conflict)
