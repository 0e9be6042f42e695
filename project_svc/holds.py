"""Legal holds: of the project, and of its home account."""

from __future__ import annotations

from workspace.project.v1.project_pb2 import Project

from project_svc.homes import Homes
from services.model.errors import Reason, WorkspaceError

__all__ = ["require_no_hold"]


async def require_no_hold(project: Project, homes: Homes) -> None:
    """Raises HELD under a hold of the project or its account. A caller who may
    not read the account is refused: its hold cannot be ruled out."""
    if project.legal_hold:
        raise _held(f"projects/{project.project_id}", "an account administrator lifts the hold")
    if project.account_id:
        account = await homes.account(project.account_id)
        if account.legal_hold:
            raise _held(f"accounts/{project.account_id}", "an account owner lifts the hold")


def _held(resource: str, remedy: str) -> WorkspaceError:
    return WorkspaceError(
        Reason.ERROR_REASON_HELD,
        f"{resource} is under a legal hold; {remedy} first",
        metadata={"resource": resource},
    )
