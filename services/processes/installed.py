"""The installed `*_svc` packages, by their entry points."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from services.model.errors import Reason, WorkspaceError

__all__ = ["installed"]


def installed(group: str) -> list[Any]:
    """What each package has in a group, by name. Raises INVALID_STATE when there is none."""
    found = sorted(entry_points(group=group), key=lambda point: point.name)
    if not found:
        raise WorkspaceError(
            Reason.ERROR_REASON_INVALID_STATE, "no service is installed; run: pip install -e ."
        )
    return [point.load() for point in found]
