"""Legal holds: of the project, and of its home account."""

from __future__ import annotations

from project_svc.access import ProjectAccess
from services.model.errors import Reason, WorkspaceError

__all__ = ["require_no_hold"]


def require_no_hold(found: ProjectAccess) -> None:
    """Raises HELD under a hold of the project or of its home, whether the
    caller may read the home or not."""
    project = found.project
    if project.legal_hold:
        raise _held(f"projects/{project.project_id}", "an account administrator lifts the hold")
    home = project.account_id or project.workspace_id
    if found.user.raw[home].legal_hold:
        resource = f"{'accounts' if project.account_id else 'workspaces'}/{home}"
        raise _held(resource, "an owner of it lifts the hold")


def _held(resource: str, remedy: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_HELD,
        f"{resource} is under a legal hold; {remedy} first",
        metadata={"resource": resource},
    )
