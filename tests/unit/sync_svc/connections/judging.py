"""What is said of a manifest, and of the ways back of what it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from workspace.sync.v1.connection_pb2 import Connection

from services.model.errors import Reason, WorkspaceError
from sync_svc.connections.notable import Notable
from sync_svc.connections.probes import probes_of
from sync_svc.connections.providers import normalise
from sync_svc.connections.secrets import refuse_secrets_in
from sync_svc.surfaces.surface import Surface

__all__ = ["NOWHERE", "check", "refused", "said_of_recovery"]

NOWHERE = cast("Surface", None)


def check(connection: Connection, tmp_path: Path, **more: Any) -> None:
    refuse_secrets_in(connection)
    normalise(connection, base=tmp_path, data_dir=tmp_path / "wm-data", **more)


def refused(connection: Connection, tmp_path: Path, **more: Any) -> str:
    """The field that is wrong."""
    with pytest.raises(WorkspaceError) as caught:
        check(connection, tmp_path, **more)
    assert caught.value.reason == Reason.ERROR_REASON_INVALID_FIELD
    return caught.value.metadata["field"].removeprefix("connection.")


async def said_of_recovery(connection: Connection) -> str:
    """What a test of it notes; empty when there is nothing to say."""
    try:
        await probes_of(connection)["recovery"](NOWHERE, connection, 0.0)
    except Notable as notable:
        return notable.error.message
    return ""
