"""What keeps things: legal holds of the project and of its home, and retention."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from project_svc.access.gate import ProjectAccess
from services.model.errors import Reason, WorkspaceError
from services.model.times import from_timestamp, key_time

__all__ = ["is_held", "require_no_hold", "require_retained"]


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


def _home(found: ProjectAccess) -> str:
    return found.project.account_id or found.project.workspace_id


def _held(resource: str, remedy: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_HELD,
        f"{resource} is under a legal hold; {remedy} first",
        metadata={"resource": resource},
    )
