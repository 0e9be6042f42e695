"""Who may connect anywhere: people of this machine, whom nobody else joins."""

from __future__ import annotations

from pathlib import Path

import pytest
from workspace.sync.v1.connection_pb2 import Connection

from services.model.errors import WorkspaceError
from services.settings import Settings
from sync_svc.connections.reach import Reach


def reach(tmp_path: Path, targets: str) -> Reach:
    return Reach.of(Settings(data_dir=tmp_path, targets=targets))


def test_a_workspace_of_this_machine_connects_anywhere(tmp_path: Path) -> None:
    reach(tmp_path, "").check(Connection(provider="local", settings={"folder": str(tmp_path)}))


@pytest.mark.parametrize("targets", ["sync", "identity,project,storage,sync", "relay"])
def test_local_ports_say_nothing_where_people_come_to_another_process(
    tmp_path: Path, targets: str
) -> None:
    """The gateway may be open to the world while sync listens on loopback."""
    stranger = Connection(provider="local", settings={"folder": str(tmp_path)})
    with pytest.raises(WorkspaceError, match="WM_SYNC_PLACES"):
        reach(tmp_path, targets).check(stranger)
