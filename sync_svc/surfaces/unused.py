"""A surface to which nothing was pushed yet."""

from __future__ import annotations

from services.model.errors import Reason, WorkspaceError

__all__ = ["never_used"]


def never_used() -> WorkspaceError:
    """Of one that is opened for reading alone; plans take it for an empty one."""
    return WorkspaceError(
        Reason.ERROR_REASON_BACKEND_UNAVAILABLE,
        "the surface was never used: push to it first, or test it for writing",
        metadata={"backend": "surface"},
    )
