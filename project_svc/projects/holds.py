"""What keeps things: legal holds of the project and of its home, retention, and open
conflicts of sync, of which a purge would take what is still to be decided on."""

from __future__ import annotations

import json
import logging
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from project_svc.access.facts import project_pk
from project_svc.access.gate import ProjectAccess, invalid_state
from services.model.errors import Reason, WorkspaceError
from services.model.indexes import Index
from services.model.times import from_timestamp, key_time
from services.records.conflict_rows import CONFLICT, list_prefix
from services.records.port import Item
from services.records.store import RecordStore

__all__ = [
    "CONFLICT_SECONDS",
    "has_open_conflict",
    "is_held",
    "postponed",
    "require_no_conflict",
    "require_no_hold",
    "require_retained",
]

CONFLICT_SECONDS = 24 * 3600.0
"""How often a purge that an open conflict postpones is looked at again."""
_PAGE = 200
_log = logging.getLogger("workspace.project.purge")


def is_held(found: ProjectAccess) -> bool:
    """Whether a legal hold of the project or of its home forbids any removal."""
    return found.project.legal_hold or found.user.raw[_home(found)].legal_hold


def require_no_hold(found: ProjectAccess) -> None:
    """Raises HELD under a hold of the project or of its home, whether the
    caller may read the home or not."""
    project = found.project
    if project.legal_hold:
        raise _held(f"projects/{project.project_id}", "an account administrator lifts the hold")
    if is_held(found):
        kind = "accounts" if project.account_id else "workspaces"
        raise _held(f"{kind}/{_home(found)}", "an owner of it lifts the hold")


def require_retained(resource: str, purge_after: Timestamp, now: datetime) -> None:
    """Raises HELD before the end of the retention."""
    until = from_timestamp(purge_after)
    if until > now:
        raise WorkspaceError(
            Reason.ERROR_REASON_HELD,
            f"{resource} is kept in the trash until {key_time(until)}; purge it then",
            metadata={"resource": resource, "until": key_time(until)},
        )


async def has_open_conflict(
    records: RecordStore, project_id: str, document_id: str = ""
) -> bool:
    """Whether people are still to decide on anything of the project; with a
    document: on something of that document, or on the project's own records."""
    if not document_id:
        prefix = list_prefix("open")
        page = await records.run(
            Index.PROJECT, project_pk(project_id), lower=prefix, upper=prefix + "\x7f",
            limit=1, after=None,
        )
        return any(_is_open(item) for item in page.items)
    partitions = (project_pk(project_id), f"DOCUMENT#{document_id}")
    return any([await _is_contested(records, pk) for pk in partitions])


async def require_no_conflict(
    records: RecordStore, project_id: str, resource: str, document_id: str = ""
) -> None:
    """Raises INVALID_STATE while a conflict is open."""
    if await has_open_conflict(records, project_id, document_id):
        raise invalid_state(
            resource, "in conflict",
            "a purge would take what is still to be decided on: resolve its open conflicts "
            "first (ListConflicts, ResolveConflict; wm sync conflicts)",
        )


def postponed(resource: str, now: float) -> float:
    """Say that an open conflict postpones the purge; when to look again."""
    _log.warning("the purge of %s waits a day: a conflict of it is open", resource)
    return now + CONFLICT_SECONDS


async def _is_contested(records: RecordStore, pk: str) -> bool:
    after: str | None = None
    while True:
        page = await records.run(
            Index.BASE, pk, lower="~CONFLICT#", upper="~CONFLICT$", limit=_PAGE, after=after
        )
        if any(_is_open(item) for item in page.items):
            return True
        after = page.next
        if after is None:
            return False


def _is_open(item: Item) -> bool:
    if item.deleted or item.family != CONFLICT:
        return False
    return bool(json.loads(item.body)["status"] == "open")


def _home(found: ProjectAccess) -> str:
    return found.project.account_id or found.project.workspace_id


def _held(resource: str, remedy: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_HELD,
        f"{resource} is under a legal hold; {remedy} first",
        metadata={"resource": resource},
    )
