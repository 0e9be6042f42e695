"""Which kind of process the settings ask for."""

from __future__ import annotations

from services.processes.lifecycle import Lifecycle
from services.processes.targets import Targets
from services.settings import Settings

__all__ = ["open_process"]


def open_process(settings: Settings) -> Lifecycle:
    """A process that was not started yet. A gateway alone imports no service."""
    if not Targets.parse(settings.targets).has_stores:
        from services.processes.gateway import GatewayProcess

        return GatewayProcess(settings)
    from services.processes.workspace import WorkspaceProcess

    return WorkspaceProcess(settings)
