"""Parents before children: in which order partitions of a batch are committed.

A record is committed with the other changed keys of its partition, so the order is
one of partitions: people and homes, then teams, projects, documents.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from services.records.port import Item, Key

__all__ = ["by_partition", "members_of", "parents_of", "waves"]

_T = TypeVar("_T")
_RANKS: Mapping[str, int] = {
    "PLATFORM": 0, "USER": 0, "IDENTITY": 1, "ACCOUNT": 1, "TEAM": 2, "PROJECT": 3,
    "INVITATION": 4, "DOCUMENT": 4,
}
_LAST = 5
_ID_CHARS = 64


def waves(partitions: Mapping[str, _T]) -> list[list[tuple[str, _T]]]:
    """Partitions of one rank together, lower ranks first."""
    ranked: dict[int, list[tuple[str, _T]]] = {}
    for pk, each in partitions.items():
        ranked.setdefault(_RANKS.get(pk.partition("#")[0], _LAST), []).append((pk, each))
    return [ranked[rank] for rank in sorted(ranked)]


def parents_of(item: Item) -> list[Key]:
    """Keys of the records without which this one hangs in the air; those that it
    names and those of its partition. Never itself."""
    kind, _, name = item.key.pk.partition("#")
    members = {name: v for name, v in members_of(item).items() if _is_id(v)}
    found: list[Key] = []
    match kind:
        case "PROJECT":
            found = [_project(name), *_homes(members)]
        case "DOCUMENT":
            found = [Key(item.key.pk, f"ARTIFACT#{name}")]
            if project := members.get("project_id"):
                found.append(_project(project))
        case "ACCOUNT":
            found = [_account(name)]
        case "TEAM":
            found = [_team(name), *_homes(members)]
            if parent := members.get("parent_team_id"):
                found.append(_team(parent))
    return [key for key in dict.fromkeys(found) if key != item.key]


def members_of(item: Item) -> Mapping[str, Any]:
    """The members of a body; none when it cannot be parsed (screening says so)."""
    try:
        found = json.loads(item.body or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _ID_CHARS and value.isascii()


def _homes(members: Mapping[str, Any]) -> Iterable[Key]:
    if account := members.get("account_id"):
        yield _account(account)
    if team := members.get("team_id"):
        yield _team(team)


def _project(project_id: Any) -> Key:
    return Key(f"PROJECT#{project_id}", f"PROJECT#{project_id}")


def _account(account_id: Any) -> Key:
    return Key(f"ACCOUNT#{account_id}", f"ACCOUNT#{account_id}")


def _team(team_id: Any) -> Key:
    return Key(f"TEAM#{team_id}", f"TEAM#{team_id}")


def by_partition(each: Sequence[_T], keys: Sequence[Key]) -> dict[str, list[_T]]:
    """Group things by the partition of their keys, in order."""
    found: dict[str, list[_T]] = {}
    for one, key in zip(each, keys, strict=True):
        found.setdefault(key.pk, []).append(one)
    return found
