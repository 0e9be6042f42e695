"""`wm backup`, `wm restore` and sync: what goes along, and who the restored one is."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.serving import ANN, Serving

pytestmark = pytest.mark.timeout(300)  # a dozen of processes each


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    served = Serving(tmp_path)
    served.start()
    served.wm("login", "--as", ANN)
    served.wm("users", "bootstrap-admin")
    served.wm("projects", "create", "Plans")
    connect(served, tmp_path)
    yield served
    if served.process is not None:
        served.end(signal.SIGKILL)


def connect(served: Serving, tmp_path: Path) -> None:
    served.wm("connections", "add", "usb", f"folder={tmp_path / 'usb'}", "--trust", "full")


def restored(serving: Serving, backup: Path) -> Serving:
    """A workspace from a backup, in the place of the lost one."""
    other = Serving(serving.folder)
    other.data = serving.folder / "restored"
    other.env = serving.env | {"WM_CONFIG_DIR": str(serving.folder / "config2")}
    other.wm("restore", backup)
    return other


def node_row(folder: Path) -> dict[str, Any]:
    """What the surface knows of its only node."""
    with closing(sqlite3.connect(folder / "workspace.sqlite")) as connection:
        [[body]] = connection.execute("SELECT body FROM items WHERE sk = 'NODE'").fetchall()
    found: dict[str, Any] = json.loads(body)
    return found


def names(served: Serving) -> set[str]:
    return {each["name"] for each in served.json("projects", "list")["projects"]}


def test_a_backup_has_no_manifests_and_so_nothing_of_theirs(
    serving: Serving, tmp_path: Path
) -> None:
    """`connections.json` stays behind: a restored workspace talks to nobody until somebody
    registers the surface again."""
    serving.wm("sync", "push", "usb")
    serving.wm("backup", tmp_path / "backup")
    layout = {path.name for path in (tmp_path / "backup").iterdir()}
    assert "connections.json" not in layout
    assert "endpoint.json" not in layout
    other = restored(serving, tmp_path / "backup")
    assert not (other.data / "connections.json").exists()
    serving.end()
    other.start()
    other.wm("login", "--as", ANN)
    assert other.json("connections", "list").get("connections", []) == []
    other.end()


def test_a_restored_workspace_syncs_as_another_life_and_loses_nothing(
    serving: Serving, tmp_path: Path
) -> None:
    """What was pushed after the backup comes back from the surface; what the restored one
    writes gets versions that the lost one never had."""
    serving.wm("sync", "push", "usb")
    serving.wm("backup", tmp_path / "backup")
    serving.wm("projects", "create", "After the backup")
    serving.wm("sync", "push", "usb")
    assert serving.end() == 0
    before = node_row(tmp_path / "usb")
    other = restored(serving, tmp_path / "backup")
    other.start()
    try:
        other.wm("login", "--as", ANN)
        other.wm("projects", "create", "After the restore")
        connect(other, tmp_path)
        other.wm("sync", "push", "usb")
        other.wm("sync", "pull", "usb")
        assert names(other) == {"Plans", "After the backup", "After the restore"}
        assert "equal" in other.wm("sync", "compare", "usb")
        assert other.json("sync", "conflicts").get("conflicts", []) == []
    finally:
        other.end(signal.SIGTERM)
    after = node_row(tmp_path / "usb")
    assert set(before["entries"]) < set(after["entries"]), "a new incarnation beside the old"
