"""What a check finds that works all the same."""

from __future__ import annotations

from services.model.errors import Reason, WorkspaceError

__all__ = ["Notable"]


class Notable(Exception):
    """It works, but somebody should look at it."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.error = WorkspaceError(Reason.ERROR_REASON_INVALID_STATE, message)
