"""Reading rows of a surface that may be damaged or hostile: one bad row spoils
nothing but itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from services.model.errors import Reason, WorkspaceError
from services.model.families import FAMILIES, KERNEL_ROWS
from services.model.versions import State
from services.records.port import Item, Key
from services.records.siblings import SIBLING, Rows
from services.records.store import RecordStore

__all__ = ["BROKEN", "is_foreign", "is_synced", "read_rows", "record_key", "rows_of", "state_of"]

_KEYS_A_READ = 500
_KERNEL = frozenset(row.name for row in KERNEL_ROWS)
BROKEN = (
    ValueError, KeyError, TypeError, AttributeError, IndexError, AssertionError, RecursionError
)
"""What reading rows that nobody screened may raise."""


async def read_rows(records: RecordStore, keys: Sequence[Key]) -> list[Rows]:
    """The rows of any number of keys, as few requests as possible. A row whose
    stamp cannot be read, or that names versions that are not there, comes as it is."""
    parts = [keys[at : at + _KEYS_A_READ] for at in range(0, len(keys), _KEYS_A_READ)]
    return [rows for part in parts for rows in await _part(records, part)]


async def rows_of(records: RecordStore, items: Iterable[Item]) -> list[Rows]:
    """The rows of items just read: those with versions side by side are read again."""
    found = list(items)
    again = [item.key for item in found if _may_have_siblings(item)]
    read = {rows.key: rows for rows in await read_rows(records, again)} if again else {}
    return [read.get(item.key) or Rows(item.key, item) for item in found]


def state_of(rows: Rows) -> State | None:
    """The state; None when there is none or it cannot be read."""
    try:
        return rows.state
    except BROKEN:
        return None


def is_synced(item: Item) -> bool:
    """Whether this is a row of a synced family. Events of partitions that hold only
    local records (runs, connections, uploads) or rows of the kernel (nodes) stay here,
    too: otherwise every push would leave the events of its own run to push, and
    screening takes no event of a partition without records."""
    family = FAMILIES.get(item.family)
    if family is None or not family.synced:
        return False
    return item.family != "activity_event" or not item.key.pk.startswith(_LOCAL_PARTITIONS)


def _local_partitions() -> tuple[str, ...]:
    """Prefixes of partitions of families and kernel rows that never travel."""
    kernel = {row.pk.partition("{")[0] for row in KERNEL_ROWS if "#{" in row.pk}
    prefixes: dict[bool, set[str]] = {True: set(), False: kernel}
    for family in FAMILIES.values():
        prefixes[family.synced] |= {template.text.split("{")[0] for template in family.pk}
    return tuple(sorted(prefixes[False] - prefixes[True]))


_LOCAL_PARTITIONS = _local_partitions()


def is_foreign(item: Item) -> bool:
    """Whether this is a row of a family that this software does not know."""
    return item.family not in FAMILIES and item.family not in _KERNEL


def record_key(item: Item) -> Key:
    """The key of the record that a row belongs to (of a version beside it, too)."""
    if item.family != SIBLING:
        return item.key
    return Key(item.key.pk, item.key.sk.removeprefix("~SIB#").rpartition("#")[0])


async def _part(records: RecordStore, keys: Sequence[Key]) -> list[Rows]:
    try:
        return await records.rows(keys)
    except BROKEN:
        pass
    except WorkspaceError as error:
        if error.reason != Reason.ERROR_REASON_CONFLICTING_WRITE:
            raise
    if len(keys) == 1:
        return [Rows(keys[0], await records.get_row(keys[0]))]
    middle = len(keys) // 2
    return await _part(records, keys[:middle]) + await _part(records, keys[middle:])


def _may_have_siblings(item: Item) -> bool:
    return item.family in FAMILIES and '"s":' in item.stamp
